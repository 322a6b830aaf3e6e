// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_DATAPLANE_BPF_BPF_GUARD_H_
#define NODEPORT_GUARD_DATAPLANE_BPF_BPF_GUARD_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "abi/entries.h"
#include "abi/names.h"
#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/event_loop.h"
#include "base/unique_fd.h"
#include "core/bind_facts.h"
#include "core/datagram_targets.h"
#include "core/desired_state.h"
#include "core/listener.h"
#include "core/owner_policy.h"
#include "dataplane/bpf/binds_reader.h"
#include "dataplane/bpf/guard_state.h"
#include "dataplane/bpf/pin_paths.h"
#include "dataplane/bpf/reserved_map.h"
#include "dataplane/bpf/skeleton.h"
#include "dataplane/bpf/socket_records.h"

namespace npg::dataplane {

// Owns the BPF half of the guard: programs, maps, links, and their pins. Used
// under a ControllerLock, in this order: Load(), fill the maps, Attach().
class BpfGuard {
 public:
  // Loads the programs over the maps pinned in `pins` that have the same layout, and
  // over new maps otherwise. Attaches and pins nothing. PERMISSION_DENIED without CAP_BPF and
  // CAP_NET_ADMIN.
  static absl::StatusOr<std::unique_ptr<BpfGuard>> Load(const PinPaths& pins,
                                                        const ProgramConstants& constants);

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

  // Replaces owner_policy and guard_uids by the names and users of `policy`, each name at most
  // 15 bytes. Attach() writes the rest: the verdict on all other names, and whether every user
  // is guarded.
  absl::Status SetOwnerPolicy(const core::OwnerPolicy& policy);
  // Replaces guard_cgroups.
  absl::Status SetServedCgroups(const absl::flat_hash_set<uint64_t>& ids);

  // The node's listeners with the records of who bound them.
  SocketRecords Records() const;
  // Replaces the records of sockets that were bound without the programs. RESOURCE_EXHAUSTED
  // when the map is full.
  using EarlierSockets = std::map<abi::ListenerKey, core::Binder>;
  absl::Status SetEarlierSockets(const EarlierSockets& sockets);
  using Refusable = std::map<core::PortKey, uint32_t>;  // abi::kFamilyV4 and kFamilyV6 bits
  // The maps of bind protection among the following.
  struct FormerProtection {
    Refusable refusable;
    std::set<core::PortHolder> first_holders;
    core::AddressSet addresses;
    std::vector<uint32_t> uids;
    std::vector<std::string> processes;
    absl::flat_hash_set<uint64_t> cgroups;
  };
  // The settings that adopted programs read at once, as the earlier run left them. A start that
  // fails writes them back.
  struct FormerMaps {
    core::OwnerPolicy policy;
    absl::flat_hash_set<uint64_t> served_cgroups;
    EarlierSockets earlier_sockets;
    std::vector<core::LocalAddress> local_addresses;
    FormerProtection protection;
  };
  absl::StatusOr<FormerMaps> ReadFormerMaps() const;
  absl::Status WriteFormerMaps(const FormerMaps& maps);
  // Writes the record on a socket, given by its descriptor. ALREADY_EXISTS when it has one: that
  // of a bind() since the socket was listed. UNIMPLEMENTED for MPTCP.
  absl::Status NoteOnSocket(int socket, const core::Binder& binder);
  // The record on a socket; nullopt: it has none.
  absl::StatusOr<std::optional<core::Binder>> NoteOf(int socket) const;
  // Replaces the name in the record `noted` that a socket has. ABORTED when it has another one
  // now: that of a later bind().
  absl::Status RenameOnSocket(int socket, const core::Binder& noted, const std::string& comm);
  // The records of an earlier run with an ABI version below 4, which kept them by address.
  absl::StatusOr<EarlierSockets> FormerRecords() const;

  // Replaces the entries of local_addresses.
  absl::Status SetLocalAddresses(const std::vector<core::LocalAddress>& addresses);

  // Makes the programs leave sockets unmarked that connect to `targets`, and mark those to all
  // other destinations. Call it only with targets that the table exempts (NftTable::
  // SetDatagramTargets). Load() starts without any. RESOURCE_EXHAUSTED if not all fit; sockets
  // that connect to the others are marked.
  absl::Status SetDatagramTargets(const core::DatagramTargets& targets);
  // Removes those that are not among `targets`, before the table does. Adds none.
  absl::Status KeepDatagramTargets(const core::DatagramTargets& targets);

  // Bind protection. Each replaces the entries of its map. The first two are for frequent calls
  // with many entries: they read the map once, and then write the difference to what they last
  // wrote.
  absl::Status SetRefusable(const Refusable& ports);
  absl::Status SetFirstHolders(const std::set<core::PortHolder>& holders);
  absl::StatusOr<Refusable> ReadRefusable() const;
  absl::StatusOr<std::set<core::PortHolder>> FirstHolders() const;
  absl::Status SetBindAddresses(const core::AddressSet& addresses);
  absl::Status SetBindExceptions(const std::vector<uint32_t>& uids,
                                 const std::vector<std::string>& processes);
  absl::Status SetBindCgroups(const absl::flat_hash_set<uint64_t>& ids);

  // What a refused bind() fails with: EADDRINUSE, or EPERM where the kernel has no choice. Without
  // bind protection it means nothing.
  int refusal_errno() const { return refusal_errno_; }

  // Writes the only entry of `protection`, for `status`.
  absl::Status SetProtection(const abi::Protection& protection);

  // The map of the ports that the controller reserved.
  absl::StatusOr<ReservedMap> Reserved() const;

  // Calls back, on `loop`, soon after a UDP socket of a trusted owner was bound to a
  // NodePort in the guarded network namespace, or connected from one, or after a connect met a
  // listener that has no record. Once, and after Attach().
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

  // Changes one setting of Attach(): the traffic for which the guard stands aside. The programs
  // see it at once.
  absl::Status SetStandingAside(abi::TrafficBits traffic);

  // Call it some time after Attach(), when no connect still runs a program of an earlier
  // run. Adds what those counted since Load() copied their counters, and closes their maps.
  // A count that a program makes in the moment of the addition is lost. After an error, call
  // it again: it adds what is left.
  absl::Status FinishMigration();

  // FAILED_PRECONDITION, with the name of the program, when one is no longer attached to
  // the cgroup or its link runs another program.
  absl::Status CheckLinks(int cgroup_fd) const;

  // Checks that links are as Attach() left them, and with `pins` the pins, too, and restores
  // what is missing. The pins belong to the process that has the lock: without it, leave them.
  // Returns one line for each repair. After an error, the caller may try again later.
  absl::StatusOr<std::vector<std::string>> Repair(int cgroup_fd, bool pins = true);

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
  absl::StatusOr<FormerProtection> ReadFormerProtection() const;
  absl::Status WriteFormerProtection(const FormerProtection& maps);
  absl::Status AttachOne(int cgroup_fd, uint64_t cgroup_id, Attachment& attachment);
  // Returns `failure`, with the names of the programs that it could not restore.
  absl::Status UndoAttach(absl::Status failure);
  // What was pinned before Attach().
  struct FormerPins {
    std::vector<std::pair<std::string, base::UniqueFd>> programs;
    std::vector<std::string> new_programs, new_maps;  // names that were not pinned
    bool maps = false;                                // there were pinned maps
  };
  absl::StatusOr<FormerPins> ReadFormerPins() const;
  // Pins again what Attach() replaced, and removes the pins that it added.
  void RestorePins(const FormerPins& former);
  absl::Status PinMaps();
  absl::Status PinPrograms();
  absl::Status PinLinks();
  // Adds a line for each pin; the links in `reattached` have none yet.
  absl::Status RepairPins(const std::vector<absl::string_view>& reattached,
                          std::vector<std::string>& repaired);
  void RemoveObsoletePins();

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
  int refusal_errno_ = 0;
  // What the maps refusable and first_holders have; nullopt: they were not read yet.
  std::optional<Refusable> refusable_;
  std::optional<std::set<core::PortHolder>> first_holders_;
  std::array<Attachment, kLinkNames.size()> attachments_;
};

// Removes the pins, links first, then programs, then maps, and with their last reference
// the programs and maps. Returns the names of the removed pins. Not an error when there are none.
absl::StatusOr<std::vector<std::string>> RemovePins(const PinPaths& pins);

// Removes only the links: from then on no connect is exempted.
absl::StatusOr<std::vector<std::string>> RemoveLinkPins(const PinPaths& pins);

}  // namespace npg::dataplane

#endif  // NODEPORT_GUARD_DATAPLANE_BPF_BPF_GUARD_H_
