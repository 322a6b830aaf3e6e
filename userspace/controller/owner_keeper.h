// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_CONTROLLER_OWNER_KEEPER_H_
#define NODEPORT_GUARD_CONTROLLER_OWNER_KEEPER_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/event_loop.h"
#include "controller/owner_records.h"
#include "controller/owner_search.h"
#include "controller/served_cgroups.h"
#include "controller/socket_holders.h"
#include "controller/socket_notes.h"
#include "core/desired_state.h"
#include "core/listener.h"
#include "core/owner_policy.h"
#include "core/port_ranges.h"
#include "dataplane/bpf/bpf_guard.h"

namespace npg::controller {

// Keeps what the programs know of listeners complete. The programs note on each socket who
// binds it; this adds the notes on trusted listeners without one (bound before the guard,
// outside the guarded cgroup, or by the kernel itself). Where a socket cannot be duplicated, it
// keeps the record in the map earlier_sockets, by address. It also keeps guard_cgroups equal to
// the cgroups that the policy selects.
//
// The user and cgroup of such a listener are those of the process that created the socket, which
// may have passed it on: inetd hands an accepted connection of root to a service, which can
// disconnect it and let it listen, and no program sees that. So every process that holds the
// socket must be trusted, too. Only for sockets that were there before the programs were, the
// creator alone decides: servers bind as root, and serve as another user.
//
// The kernel lists the notes on TCP sockets, not those on UDP sockets (inet_sk_diag_fill() in
// net/ipv4/inet_diag.c ends before them). Those on NodePorts are read from a duplicate of the
// socket, once, and kept in earlier_sockets for whatever has to know them without a connect.
//
// Each Sync() lists the node's sockets, which takes some milliseconds. Processes are looked up
// in /proc once for each socket, by a thread of its own while the loop runs.
class OwnerKeeper {
 public:
  // All outlive this. `sees_all_binds`: the programs are attached to the root of the hierarchy.
  // `changed` is called, from the loop, when verdicts may have changed.
  OwnerKeeper(base::EventLoop& loop, dataplane::BpfGuard& guard, core::OwnerPolicy policy,
              std::string cgroup_root, bool sees_all_binds, std::function<void()> changed);
  ~OwnerKeeper();
  OwnerKeeper(const OwnerKeeper&) = delete;
  OwnerKeeper& operator=(const OwnerKeeper&) = delete;

  const core::OwnerRules& rules() const { return rules_; }

  // Before the programs are attached: fills the maps, and reads /proc itself.
  absl::Status Prepare(const core::PortEntries& ports);

  // Once the loop is about to run.
  absl::Status Follow();

  // Every ten seconds: tries again to watch the cgroups, if that failed.
  void Maintain();

  // At any time later. Corrects the names of owners on `ports` whose thread has another name
  // than its process.
  absl::Status Sync(const core::PortEntries& ports);

  // True when Sync() should run every ten seconds: a record by address concerns a NodePort, whose
  // socket may have been closed, and another socket may have its address; or no watch tells of
  // new cgroups.
  bool NeedsCare(const core::PortEntries& ports) const;

  // The number of changes to the records of sockets. Changes of cgroups do not count, because a
  // user who may create cgroups could cause them without end.
  uint64_t changes() const { return changes_ + notes_.changes(); }

  // Forgets which owners were not found, to look for them again.
  void RetryUnknown();

 private:
  // What is needed of the node's listeners.
  struct Listeners {
    // Those without a note that a trusted process created, and of those with one the trusted
    // ones on NodePorts.
    std::vector<core::Listener> list;
    // The others without a note: hashes of their addresses, because users may have a million.
    absl::flat_hash_set<size_t> untrusted;
  };

  absl::StatusOr<Listeners> List(const core::PortEntries& ports) const;
  // Removes the UDP sockets that no rule concerns: DNS servers have thousands.
  void DropOtherDatagrams(const core::PortEntries& ports,
                          std::vector<core::Listener>& listeners) const;
  // Leaves the rest to the next Sync(), which it asks for, when it takes too long.
  void NoteEarlier(std::vector<core::Listener>& listeners);
  // The record of a listener that has no note, as far as it is known which.
  std::optional<core::Binder> KnownRecordOf(const core::Listener& listener,
                                            const core::PortRange& automatic) const;
  absl::Status Apply(const Listeners& listeners);
  // Looks for the owners of `sockets` at once, with limits.
  void SearchNow(std::vector<core::Listener> sockets);

  dataplane::BpfGuard& guard_;
  core::OwnerRules rules_;
  const std::function<void()> changed_;
  ServedCgroups cgroups_;
  SocketHolders holders_;
  OwnerRecords records_;
  SocketNotes notes_;
  OwnerSearch search_;
  dataplane::BpfGuard::EarlierSockets written_;  // earlier_sockets, as written
  uint64_t changes_ = 0;                         // besides those of notes_
  bool prepared_ = false;
  bool guarded_before_ = false;  // a guard with records on sockets was adopted
  bool earlier_known_ = false;   // to records_
};

}  // namespace npg::controller

#endif  // NODEPORT_GUARD_CONTROLLER_OWNER_KEEPER_H_
