// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_CORE_RESERVED_PLAN_H_
#define NODEPORT_GUARD_CORE_RESERVED_PLAN_H_

#include <cstddef>
#include <string>
#include <vector>

#include "core/port_ranges.h"

// What the controller does with net.ipv4.ip_local_reserved_ports, which it shares with the
// administrator. The sysctl does not tell who reserved a port, so the controller keeps notes (the
// map reserved_ports), which outlive it.
//
// The notes are changed before and after each write in an order in which the controller can end
// between any two steps: the next one, or `unload`, can still tell the two parts apart.
namespace npg::core {

// The kernel uses at most this many bytes of one write.
inline constexpr size_t kReservedWriteBytes = 4095;

// What is known of the sysctl.
struct ReservedNow {
  PortRanges content;  // of the sysctl
  // The notes; a port is in at most one of them.
  PortRanges ours;    // that the controller has added
  PortRanges unsure;  // of which a write was begun
  PortRanges admin;   // of the administrator, as last seen; empty without ports of the controller
};

// One step: a change of the notes, or a write to the sysctl.
struct ReservedStep {
  enum class Kind {
    kNoteAdmin,
    kNoteUnsure,
    kNoteOurs,
    kForget,   // removes notes
    kAdd,      // to the sysctl
    kReplace,  // all of the sysctl: `ports` with the first writes, then `rest`
  };
  Kind kind = Kind::kForget;
  PortRanges ports;
  PortRanges rest{};

  bool operator==(const ReservedStep&) const = default;
};

struct ReservedPlan {
  PortRanges admin;      // the administrator's part
  PortRanges ours;       // what the controller owns of `content`
  PortRanges add;        // to be added now
  PortRanges remove;     // of `ours`, to be removed
  bool too_few = false;  // with all that is wanted, too few ports would be left: all of `ours` goes
};

// `wanted`: the ports to reserve, of any number; `local`: those that the kernel assigns. A port
// outside of it needs no reservation.
ReservedPlan PlanReserved(const ReservedNow& now, const PortRanges& wanted, const PortRange& local);

// The plan to remove all that the controller has added.
ReservedPlan PlanRestore(const ReservedNow& now);

// Takes over what others have changed, and adds plan.add. Empty when there is nothing to do.
std::vector<ReservedStep> StepsToAdd(const ReservedNow& now, const ReservedPlan& plan);

// Removes plan.remove. To be taken after those of StepsToAdd(), or where they are none.
std::vector<ReservedStep> StepsToRemove(const ReservedPlan& plan);

// The texts of the writes for kAdd and kReplace: each fits into one. At least one, which may be
// empty ("\n").
std::vector<std::string> ReservedWrites(const PortRanges& first, const PortRanges& rest);

}  // namespace npg::core

#endif  // NODEPORT_GUARD_CORE_RESERVED_PLAN_H_
