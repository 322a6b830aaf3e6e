// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_DATAPLANE_BPF_BPF_GUARD_H_
#define NODEPORT_GUARD_DATAPLANE_BPF_BPF_GUARD_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "abi/entries.h"
#include "abi/names.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/event_loop.h"
#include "base/unique_fd.h"
#include "core/desired_state.h"
#include "core/listener.h"
#include "core/owner_policy.h"
#include "dataplane/bpf/binds_reader.h"
#include "dataplane/bpf/guard_state.h"
#include "dataplane/bpf/pin_paths.h"
#include "dataplane/bpf/skeleton.h"

namespace npg::dataplane {

// Owns the BPF half of the guard: programs, maps, links, and their pins. Used
// under a ControllerLock, in this order: Load(), fill the maps, Attach().
class BpfGuard {
 public:
  // Loads the programs over the maps pinned in `pins`, where there are any of
  // the same layout, and over new maps otherwise. Nothing is attached or pinned
  // by this. `scope` is built into the programs. PERMISSION_DENIED without CAP_BPF and
  // CAP_NET_ADMIN.
  static absl::StatusOr<std::unique_ptr<BpfGuard>> Load(const PinPaths& pins, abi::Scope scope);

  BpfGuard(const BpfGuard&) = delete;
  BpfGuard& operator=(const BpfGuard&) = delete;
  ~BpfGuard() = default;

  // True when maps of an earlier run are in use.
  bool adopted() const { return adopted_; }

  // What an operator should know about the adoption, one line each: maps whose
  // layout changed, and whether their entries were carried over.
  const std::vector<std::string>& notes() const { return notes_; }

  // What the earlier run was told; the defaults when nothing was adopted.
  absl::StatusOr<abi::Config> Config() const;

  absl::StatusOr<core::PortEntries> NodePorts() const;
  // Applies what it can; the error names the first entry that failed. An entry
  // that is replaced keeps its `since`. Returns how many ports were not there.
  absl::StatusOr<size_t> ApplyNodePorts(const core::Difference& difference);

  // Replaces owner_policy by the names of `policy`, each at most 15 bytes. What
  // holds for all others is Config::default_verdict, which Attach() writes.
  absl::Status SetOwnerPolicy(const core::OwnerPolicy& policy);
  // What it is now: of an adopted guard, what the earlier run was told.
  absl::StatusOr<core::OwnerPolicy> OwnerPolicy() const;

  // Enters the owners of sockets that were bound before the programs were
  // there; what the programs entered themselves at bind time stays.
  absl::Status AddListeners(const std::vector<core::Listener>& listeners,
                            const core::OwnerPolicy& policy);
  // Replaces an entry by what was found out about its socket since, unless it is
  // no longer what it was when it was read (`known`).
  absl::Status CorrectListener(const abi::ListenerKey& key, const abi::Listener& known,
                               const core::Listener& listener, const core::OwnerPolicy& policy);
  // Gives every entry of `listeners` the verdict that `policy` has for its
  // owner, whatever an earlier one said.
  absl::Status JudgeListeners(const core::OwnerPolicy& policy);
  absl::StatusOr<std::vector<std::pair<abi::ListenerKey, abi::Listener>>> Listeners() const;
  absl::Status RemoveListener(const abi::ListenerKey& key);

  // Makes local_addresses what is given: no more, no less.
  absl::Status SetLocalAddresses(const std::vector<core::LocalAddress>& addresses);

  // Calls back, on `loop`, soon after a UDP socket was bound to a NodePort in
  // the guarded network namespace. Once, and after Attach().
  absl::Status WatchBinds(base::EventLoop& loop, std::function<void()> bound);

  // How a source does: no program reads it, people do, with or without a
  // controller.
  absl::Status SetSourceState(abi::Source source, const abi::SourceState& state);
  // Removes what is said of others than `sources`.
  absl::Status KeepSourceStates(abi::SourceBits sources);

  // A counter, summed over the processors.
  absl::StatusOr<uint64_t> Counter(abi::Counter counter) const;

  // Adds to a counter that the programs do not write.
  absl::Status AddToCounter(abi::Counter counter, uint64_t amount);

  // Writes `config`, attaches the four programs to the cgroup and pins maps and
  // links: all of it, or nothing. A link that is pinned already is given the
  // new program in place (BPF_LINK_UPDATE), so that there is no moment without
  // one; links of another cgroup go after the new ones are there.
  absl::Status Attach(int cgroup_fd, const abi::Config& config);

  // A while after Attach(), when no program of an earlier run is still in the middle of
  // a connect: adds what those counted since Load() copied their counters, and lets go
  // of their maps. A count of the microsecond in which one is added is lost.
  absl::Status FinishMigration();

  // FAILED_PRECONDITION, naming the program, when one is not attached to the
  // cgroup any more or its link runs another program.
  absl::Status CheckLinks(int cgroup_fd) const;

  // Checks that links and pins are as Attach() left them, and does what is
  // missing again. Returns one line for each thing that had to be repaired. An
  // error, of one link too, is no reason not to try again later.
  absl::StatusOr<std::vector<std::string>> Repair(int cgroup_fd);

 private:
  struct Attachment {
    const char* name = nullptr;
    bpf_program* program = nullptr;
    uint32_t program_id = 0;
    base::UniqueFd link;
    uint32_t replaced_program = 0;  // id; 0 when the link is new
  };

  BpfGuard(PinPaths pins, Skeleton skeleton);

  absl::Status ReuseMaps();
  absl::Status MigrateEntries();
  absl::Status AttachOne(int cgroup_fd, uint64_t cgroup_id, Attachment& attachment);
  void UndoAttach();
  absl::Status PinMaps();
  absl::Status PinLinks();

  static bool IsPinned(const Skeleton& skeleton, const bpf_map* map);

  PinPaths pins_;
  Skeleton skeleton_;
  std::unique_ptr<BindsReader> binds_;
  bool adopted_ = false;
  std::vector<std::string> notes_;
  // Pinned maps whose layout is not ours: name and descriptor.
  std::vector<std::pair<std::string, base::UniqueFd>> outdated_maps_;
  // What was in `counters` when they were copied from one of those.
  abi::Counters carried_counters_;
  std::array<Attachment, kLinkNames.size()> attachments_;
};

// Takes the pins away, links first, and with them (nobody else holds them) the
// programs and maps. Not an error when there are none. The names of what was
// removed.
absl::StatusOr<std::vector<std::string>> RemovePins(const PinPaths& pins);

// Only the links: from then on no connect is exempted any more.
absl::StatusOr<std::vector<std::string>> RemoveLinkPins(const PinPaths& pins);

}  // namespace npg::dataplane

#endif  // NODEPORT_GUARD_DATAPLANE_BPF_BPF_GUARD_H_
