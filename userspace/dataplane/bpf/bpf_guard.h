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
  // Loads the programs over the maps pinned in `pins` that have the same layout, and
  // over new maps otherwise. Attaches and pins nothing. `scope` is a constant of the
  // programs. PERMISSION_DENIED without CAP_BPF and CAP_NET_ADMIN.
  static absl::StatusOr<std::unique_ptr<BpfGuard>> Load(const PinPaths& pins, abi::Scope scope);

  BpfGuard(const BpfGuard&) = delete;
  BpfGuard& operator=(const BpfGuard&) = delete;
  ~BpfGuard() = default;

  // True when maps of an earlier run are in use.
  bool adopted() const { return adopted_; }

  // Notes on the adoption for the log, one line each: maps whose layout changed, and
  // whether their entries were carried over.
  const std::vector<std::string>& notes() const { return notes_; }

  // The settings of the earlier run; the defaults when nothing was adopted.
  absl::StatusOr<abi::Config> Config() const;

  absl::StatusOr<core::PortEntries> NodePorts() const;
  // Applies as much as possible; the error names the first entry that failed. A replaced
  // entry keeps its `since`. Returns the number of new ports.
  absl::StatusOr<size_t> ApplyNodePorts(const core::Difference& difference);

  // Replaces owner_policy by the names of `policy`, each at most 15 bytes. All others
  // have Config::default_verdict, which Attach() writes.
  absl::Status SetOwnerPolicy(const core::OwnerPolicy& policy);
  // The present policy; of an adopted guard, that of the earlier run.
  absl::StatusOr<core::OwnerPolicy> OwnerPolicy() const;

  // Enters the owners of sockets that were bound before the programs were attached;
  // entries that the programs wrote at bind() stay.
  absl::Status AddListeners(const std::vector<core::Listener>& listeners,
                            const core::OwnerPolicy& policy);
  // Corrects an entry, unless it has changed since it was read (`known`).
  absl::Status CorrectListener(const abi::ListenerKey& key, const abi::Listener& known,
                               const core::Listener& listener, const core::OwnerPolicy& policy);
  // Sets the verdict of every entry of `listeners` to that of `policy` for its owner.
  absl::Status JudgeListeners(const core::OwnerPolicy& policy);
  absl::StatusOr<std::vector<std::pair<abi::ListenerKey, abi::Listener>>> Listeners() const;
  absl::Status RemoveListener(const abi::ListenerKey& key);

  // Replaces the entries of local_addresses.
  absl::Status SetLocalAddresses(const std::vector<core::LocalAddress>& addresses);

  // Calls back, on `loop`, soon after a UDP socket was bound to a NodePort in
  // the guarded network namespace. Once, and after Attach().
  absl::Status WatchBinds(base::EventLoop& loop, std::function<void()> bound);

  // Writes the state of a source. No program reads it; `status` does, also while no
  // controller runs.
  absl::Status SetSourceState(abi::Source source, const abi::SourceState& state);
  // Removes the states of all sources except `sources`.
  absl::Status KeepSourceStates(abi::SourceBits sources);

  // A counter, summed over the processors.
  absl::StatusOr<uint64_t> Counter(abi::Counter counter) const;

  // Adds to a counter that the programs do not write.
  absl::Status AddToCounter(abi::Counter counter, uint64_t amount);

  // Writes `config`, attaches the four programs to the cgroup and pins maps, programs and
  // links: all of it, or nothing. Updates links that are already pinned in place
  // (BPF_LINK_UPDATE), so that no connect meets no program. Removes links of another
  // cgroup after the new ones are attached.
  //
  // On an error the links run the programs of the earlier run again, which it opened from
  // their pins before. An earlier build pinned no programs: they are then opened by id,
  // which needs CAP_SYS_ADMIN (bpf_prog_get_fd_by_id() in kernel/bpf/syscall.c). Where that
  // is refused, the error names the programs that were not restored.
  absl::Status Attach(int cgroup_fd, const abi::Config& config);

  // Call it some time after Attach(), when no connect still runs a program of an earlier
  // run. Adds what those counted since Load() copied their counters, and closes their maps.
  // A count that a program makes in the moment of the addition is lost. After an error, call
  // it again: it adds what is left.
  absl::Status FinishMigration();

  // FAILED_PRECONDITION, with the name of the program, when one is no longer attached to
  // the cgroup or its link runs another program.
  absl::Status CheckLinks(int cgroup_fd) const;

  // Checks that links and pins are as Attach() left them, and restores what is missing.
  // Returns one line for each repair. After an error, the caller may try again later.
  absl::StatusOr<std::vector<std::string>> Repair(int cgroup_fd);

 private:
  struct Attachment {
    const char* name = nullptr;
    bpf_program* program = nullptr;
    uint32_t program_id = 0;
    base::UniqueFd link;
    base::UniqueFd former_program;  // of the earlier run, while Attach() may need it
    int former_error = 0;           // why that could not be opened
    uint32_t replaced_program = 0;  // id; 0 when the link is new
  };

  BpfGuard(PinPaths pins, Skeleton skeleton);

  absl::Status ReuseMaps();
  absl::Status MigrateEntries();
  absl::Status AttachOne(int cgroup_fd, uint64_t cgroup_id, Attachment& attachment);
  // Returns `failure`, with the names of the programs that it could not restore.
  absl::Status UndoAttach(absl::Status failure);
  // What was pinned before Attach().
  struct FormerPins {
    std::vector<std::pair<std::string, base::UniqueFd>> programs;
    std::vector<std::string> new_maps;  // those that were not
    bool maps = false;                  // there were pinned maps
  };
  absl::StatusOr<FormerPins> ReadFormerPins() const;
  // Pins again what Attach() replaced, and removes the pins that it added.
  void RestorePins(const FormerPins& former);
  absl::Status PinMaps();
  absl::Status PinPrograms();
  absl::Status PinLinks();

  static bool IsPinned(const Skeleton& skeleton, const bpf_map* map);

  PinPaths pins_;
  Skeleton skeleton_;
  std::unique_ptr<BindsReader> binds_;
  bool adopted_ = false;
  std::vector<std::string> notes_;
  // Pinned maps with another layout: name and descriptor.
  std::vector<std::pair<std::string, base::UniqueFd>> outdated_maps_;
  // The counters that Load() copied from one of those.
  abi::Counters carried_counters_;
  std::array<Attachment, kLinkNames.size()> attachments_;
};

// Removes the pins, links first, then programs, then maps, and with their last reference
// the programs and maps. Returns the names of the removed pins. Not an error when there are none.
absl::StatusOr<std::vector<std::string>> RemovePins(const PinPaths& pins);

// Removes only the links: from then on no connect is exempted.
absl::StatusOr<std::vector<std::string>> RemoveLinkPins(const PinPaths& pins);

}  // namespace npg::dataplane

#endif  // NODEPORT_GUARD_DATAPLANE_BPF_BPF_GUARD_H_
