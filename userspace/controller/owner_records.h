// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_CONTROLLER_OWNER_RECORDS_H_
#define NODEPORT_GUARD_CONTROLLER_OWNER_RECORDS_H_

#include <sys/types.h>

#include <optional>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "controller/socket_holders.h"
#include "controller/socket_id.h"
#include "core/listener.h"
#include "core/owner_policy.h"
#include "core/port_ranges.h"
#include "dataplane/bpf/bpf_guard.h"

namespace npg::controller {

// The ports that the kernel picks from for sockets that asked for any; its default for a node on
// which that cannot be read.
core::PortRange AutomaticPorts();

// Decides which listeners without a note may have a record, and what is in it: from the processes
// that hold the socket, and what an earlier run knew. Writes nothing.
class OwnerRecords {
 public:
  // `rules` and `holders` outlive this. `sees_all_binds`: the programs are attached to the root of
  // the hierarchy.
  OwnerRecords(const core::OwnerRules& rules, const SocketHolders& holders, bool sees_all_binds)
      : rules_(rules), holders_(holders), sees_all_binds_(sees_all_binds) {}

  // Takes the records of an earlier run of ABI version 3 or less.
  void SetFormer(dataplane::BpfGuard::EarlierSockets former) { former_ = std::move(former); }
  bool HasFormer() const { return !former_.empty(); }
  void ForgetFormer() { former_.clear(); }

  // Before the programs see a bind(): listeners without a note are older than they are.
  // `guarded_before`: a guard with records on sockets was adopted.
  void KnowEarlier(const std::vector<core::Listener>& listeners, bool guarded_before);
  bool IsEarlier(const core::Listener& listener) const {
    return earlier_.contains(SocketOf(listener));
  }

  // True when a listener of a trusted creator may get a record.
  bool Trusted(const core::Listener& listener) const;

  // The record of a listener without a note, as far as its process is known.
  core::Binder RecordOf(const core::Listener& listener, const core::PortRange& automatic) const;
  // What an earlier run knew of a listener whose process was not looked for yet.
  std::optional<core::Binder> FormerRecordOf(const core::Listener& listener) const;

  // Forgets all sockets except these.
  void Keep(const absl::flat_hash_set<SocketId>& sockets);

 private:
  // True when the programs saw every bind() of the socket.
  bool SeesRequestsOf(const core::Listener& listener) const;

  const core::OwnerRules& rules_;
  const SocketHolders& holders_;
  const bool sees_all_binds_;
  dataplane::BpfGuard::EarlierSockets former_;
  // The sockets that are older than the programs. Where an earlier run judged them, with the
  // process of its record: another one may have the address by now. 0: any process.
  absl::flat_hash_map<SocketId, pid_t> earlier_;
};

}  // namespace npg::controller

#endif  // NODEPORT_GUARD_CONTROLLER_OWNER_RECORDS_H_
