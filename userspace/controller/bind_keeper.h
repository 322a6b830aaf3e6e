// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_CONTROLLER_BIND_KEEPER_H_
#define NODEPORT_GUARD_CONTROLLER_BIND_KEEPER_H_

#include <cstddef>
#include <cstdint>
#include <set>
#include <string>
#include <vector>

#include "abi/names.h"
#include "absl/container/btree_set.h"
#include "absl/container/flat_hash_set.h"
#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "base/event_loop.h"
#include "controller/served_cgroups.h"
#include "core/bind_facts.h"
#include "core/desired_state.h"
#include "core/listener.h"
#include "core/owner_policy.h"
#include "core/port.h"
#include "dataplane/bpf/bpf_guard.h"

namespace npg::controller {

// What has to become of the map `refusable`.
struct RefusablePlan {
  dataplane::BpfGuard::Refusable keep;  // of the present entries, those that stay
  dataplane::BpfGuard::Refusable want;  // all that is to be there
  // Those of `want` that `keep` lacks, or has for other families only: who has a socket there must
  // be noted first.
  absl::btree_set<core::PortKey> fresh;
};

// `complete`: the facts of all sources are known. Until then no port is added, because an unknown
// fact may say `shared`, and what an earlier run left stays.
RefusablePlan PlanRefusable(const dataplane::BpfGuard::Refusable& now,
                            const core::PortEntries& entries,
                            const std::vector<const core::BindFacts*>& facts, bool complete);

// Feeds bind protection: the maps refusable, first_holders, bind_addresses, bind_uids,
// bind_cgroups and bind_names.
//
// A port becomes refusable only after the sockets that were on it have been noted: a process that
// had it first is never refused, nor is another process of its user. In mode deny the sockets are
// listed again after that, and once more a moment later, because a task may have passed the program
// before the port was refusable, and have been preempted before the kernel bound its socket. Those
// lists count only sockets that bind protection would have refused, so that a bind which an
// exception let pass makes no other process of that user an exception. Mode warn does without: at
// worst it reports a process that had the port first.
//
// The names that --ignore-process selects (in owner_policy, ignored or holder) are exceptions, too:
// kube-proxy and runtimes bind the ports that they publish. Nor does a socket of theirs make its
// user a first holder, where its record is known: the kernel lists no records on UDP sockets. The
// verdict on all other names, which --only-process changes, does not matter here: it is about whose
// listeners are guarded.
class BindKeeper {
 public:
  struct Settings {
    abi::BindProtection mode = abi::BindProtection::kOff;
    core::BindExceptions exceptions;
    std::string cgroup_root;  // folder of the root of the hierarchy; for exceptions.cgroups
    core::OwnerPolicy policy;
  };

  // All outlive this.
  BindKeeper(base::EventLoop& loop, dataplane::BpfGuard& guard, Settings settings);
  BindKeeper(const BindKeeper&) = delete;
  BindKeeper& operator=(const BindKeeper&) = delete;

  // Before the programs are attached: writes the exceptions, and removes what may not be refused of
  // what an earlier run left; all of it in mode off.
  absl::Status Prepare(const core::PortEntries& entries,
                       const std::vector<const core::BindFacts*>& facts, bool complete);

  // Once the loop is about to run: begins to watch for new cgroups.
  void Follow();

  // Makes the maps follow `entries`, which the map `nodeports` has. After an error, call it again.
  absl::Status Sync(const core::PortEntries& entries,
                    const std::vector<const core::BindFacts*>& facts, bool complete);

  // Before the map `nodeports` is changed. A port that returns to it before the next Sync() must
  // not be refusable by then: processes may have bound it meanwhile.
  absl::Status PortsChanging(const core::Difference& difference);

  // The addresses of the node besides loopback on which NodePorts collide with a bind. `loopback`:
  // NodePorts are taken to own 127.0.0.0/8.
  absl::Status SetAddresses(const core::AddressSet& own, bool loopback);

  // At regular intervals: tries again what has failed, and looks for new cgroups.
  absl::Status Maintain();

  // A short time after a Sync() that added ports, another one has to look at their sockets.
  bool HasToLookAgain() const { return !recent_.empty(); }

  size_t refusable() const { return refusable_.size(); }

 private:
  using Refusable = dataplane::BpfGuard::Refusable;
  using Holders = std::set<core::PortHolder>;

  absl::Status Empty();
  absl::Status SyncCgroups();
  absl::Status PutRefusable(const Refusable& ports);
  absl::Status PutHolders(Holders holders);
  absl::Status ForgetHolders(const core::PortEntries& entries);
  absl::Status Add(const RefusablePlan& plan);
  // Notes the users of the sockets on `ports` that `counts` selects.
  absl::Status NoteHolders(const absl::btree_set<core::PortKey>& ports,
                           absl::FunctionRef<bool(const core::Listener&)> counts);
  // Whether its name is an exception, as far as it is known.
  bool NamedException(const core::Listener& listener) const;
  // Whether bind protection refuses a bind of this socket by a process that had not the port first.
  bool Refuses(const core::Listener& listener) const;

  dataplane::BpfGuard& guard_;
  const Settings settings_;
  absl::flat_hash_set<std::string> names_;  // that are exceptions
  absl::flat_hash_set<uint64_t> cgroup_ids_;
  ServedCgroups cgroups_;
  bool exceptions_known_ = false;
  core::AddressSet addresses_;
  bool addresses_written_ = false;
  Refusable refusable_;             // as last written
  bool refusable_written_ = false;  // the map is as refusable_
  Holders holders_;
  bool holders_written_ = false;
  absl::btree_set<core::PortKey> gone_;    // from `nodeports` since the last Sync()
  absl::btree_set<core::PortKey> recent_;  // see HasToLookAgain()
};

}  // namespace npg::controller

#endif  // NODEPORT_GUARD_CONTROLLER_BIND_KEEPER_H_
