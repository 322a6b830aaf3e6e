// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_CONTROLLER_OWNER_KEEPER_H_
#define NODEPORT_GUARD_CONTROLLER_OWNER_KEEPER_H_

#include <sys/types.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "abi/entries.h"
#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/event_loop.h"
#include "base/unique_fd.h"
#include "core/desired_state.h"
#include "core/listener.h"
#include "core/owner_policy.h"
#include "core/port_ranges.h"
#include "dataplane/bpf/bpf_guard.h"
#include "log/repeated_fault.h"
#include "node/cgroup_watch.h"
#include "node/owners.h"

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
  uint64_t changes() const { return changes_; }

  // Forgets which owners were not found, to look for them again.
  void RetryUnknown();

 private:
  // A process that has a socket open, as of the time it was looked for.
  struct Holder {
    pid_t pid = 0;
    int descriptor = -1;
    std::optional<uint32_t> uid;  // real user id
    uint64_t cgroup_id = 0;       // 0: not known
  };
  // The owner of a socket.
  struct Process {
    pid_t pid = 0;  // 0: was looked for and not found
    std::string comm;
    std::vector<Holder> holders;
    bool complete = false;  // no process was left out to save time
    bool refused = false;   // a holder is not trusted
    bool no_note = false;   // nor was one noted at bind()
    bool retry = false;     // look for it again, but use this meanwhile
  };
  // Inode and address: a socket that listens elsewhere later is another one.
  using Socket = std::pair<uint64_t, abi::ListenerKey>;
  // What is needed of the node's listeners.
  struct Listeners {
    // Those without a note that a trusted process created, and of those with one the trusted
    // ones on NodePorts.
    std::vector<core::Listener> list;
    // The others without a note: hashes of their addresses, because users may have a million.
    absl::flat_hash_set<size_t> untrusted;
  };
  // A search for the owners of sockets.
  struct Walk {
    std::vector<core::Listener> sockets;
    node::Holders holders;
    node::OwnerGaps gaps;
  };

  static Socket SocketOf(const core::Listener& listener);
  static const Holder* HolderOf(const Process& process, pid_t pid);

  absl::Status SyncCgroups();
  void WatchCgroups();
  void NoteWatch(const absl::Status& watched);
  absl::StatusOr<Listeners> List(const core::PortEntries& ports) const;
  void KnowEarlier(const std::vector<core::Listener>& listeners);
  absl::Status Apply(const Listeners& listeners);
  core::Binder RecordOf(const core::Listener& listener, const core::PortRange& automatic) const;
  // What an earlier run knew of a listener whose process was not looked for yet.
  std::optional<core::Binder> FormerRecordOf(const core::Listener& listener) const;
  // Removes the UDP sockets that no rule concerns: DNS servers have thousands.
  void DropOtherDatagrams(const core::PortEntries& ports,
                          std::vector<core::Listener>& listeners) const;
  // Leaves the rest to the next Sync(), which it asks for, when it takes too long.
  void NoteEarlier(std::vector<core::Listener>& listeners);
  // Notes it, if it may be and is not, and learns the note of a UDP socket.
  void NoteOne(core::Listener& listener, pid_t pid, const core::PortRange& automatic);
  // The name of the process that bound a socket, if it still holds it and the verdict depends on
  // it; else the noted one, which is that of the thread.
  std::string ProcessNameOf(const core::Listener& listener, const core::Binder& noted) const;
  // The record of a listener that has no note, as far as it is known which.
  std::optional<core::Binder> KnownRecordOf(const core::Listener& listener,
                                            const core::PortRange& automatic) const;
  // Adds to `unknown` those whose holders must be looked for first.
  void CorrectNames(const core::PortEntries& ports, const std::vector<core::Listener>& listeners,
                    std::vector<core::Listener>& unknown);
  // Calls `write` with a duplicate of the socket, which process `pid` holds. It returns
  // ALREADY_EXISTS or ABORTED if there is nothing to write.
  absl::Status WriteOn(const core::Listener& listener, pid_t pid,
                       absl::FunctionRef<absl::Status(int socket)> write);
  absl::StatusOr<base::UniqueFd> Duplicate(uint64_t inode, pid_t pid);
  // Those that need a record, and whose process was not looked for yet.
  std::vector<core::Listener> Unknown(const std::vector<core::Listener>& listeners) const;
  // True when the programs saw every bind() of the socket.
  bool SeesRequestsOf(const core::Listener& listener) const;
  // True when a listener of a trusted creator may get a record.
  bool Trusted(const core::Listener& listener) const;
  void Learn(const Walk& walk);
  void StartWalk(std::vector<core::Listener> unknown);
  void FinishWalk();

  base::EventLoop& loop_;
  dataplane::BpfGuard& guard_;
  core::OwnerRules rules_;
  const std::string cgroup_root_;
  const bool sees_all_binds_;
  const std::function<void()> changed_;
  std::unique_ptr<node::CgroupWatch> cgroup_watch_;
  log::RepeatedFault watch_fault_{"follow the cgroups of --guard-cgroup"};
  dataplane::BpfGuard::EarlierSockets former_;        // of an earlier run of ABI version 3 or less
  dataplane::BpfGuard::EarlierSockets records_;       // as written
  absl::flat_hash_map<uint64_t, Process> processes_;  // by the socket's inode
  // The sockets that are older than the programs. Where an earlier run judged them, with the
  // process of its record: another one may have the address by now. 0: any process.
  absl::flat_hash_map<Socket, pid_t> earlier_;
  // The notes on UDP sockets.
  absl::flat_hash_map<Socket, core::Binder> datagram_owners_;
  uint64_t changes_ = 0;
  uint64_t walk_began_ = 0;                  // CLOCK_BOOTTIME
  uint64_t next_walk_ = 0;                   // not before that
  base::EventLoop::TimerId walk_timer_ = 0;  // 0: not armed
  // Sockets on which nothing could be noted, by inode, and why.
  absl::flat_hash_map<uint64_t, absl::StatusCode> untouchable_;
  // The thread, while it runs; it alone uses walked_ then, and ends with a write to done_.
  std::thread walk_;
  Walk walked_;
  base::UniqueFd done_;
  std::atomic<bool> stop_ = false;
  bool prepared_ = false;
  bool guarded_before_ = false;   // a guard with records on sockets was adopted
  bool cgroups_written_ = false;  // guard_cgroups is as rules_ has it
  bool watching_ = false;         // all folders that the patterns concern
  bool refusal_logged_ = false;
};

}  // namespace npg::controller

#endif  // NODEPORT_GUARD_CONTROLLER_OWNER_KEEPER_H_
