// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_INSPECT_GUARD_FACTS_H_
#define NODEPORT_GUARD_INSPECT_GUARD_FACTS_H_

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "abi/entries.h"
#include "abi/names.h"
#include "absl/container/flat_hash_set.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "core/bind_facts.h"
#include "core/listener.h"
#include "core/node_address.h"
#include "core/port.h"
#include "core/port_overlap.h"
#include "dataplane/bpf/guard_state.h"
#include "dataplane/nft/nft_table.h"
#include "node/node_port_traces.h"
#include "node/owners.h"
#include "node/untracked_obstacles.h"

namespace npg::inspect {

struct LinkFact {
  dataplane::LinkState link;
  std::string cgroup;  // its folder; empty when it could not be named
};

// The input of `status` and `explain`, read at one time: the pinned maps and links, the nft
// table, the listeners. Holds facts only.
struct GuardFacts {
  std::string bpffs;
  abi::Config config;
  // What the pins lack, as they are of an earlier ABI version: GuardState::lacks().
  std::vector<std::string> lacks;
  pid_t controller = 0;            // 0: none runs; -1: it runs in a pid namespace out of sight
  std::optional<bool> same_netns;  // as the guarded one; nullopt: no SO_NETNS_COOKIE
  std::vector<std::pair<core::PortKey, abi::NodePort>> nodeports;  // sorted
  size_t earlier_sockets = 0;  // records of sockets that were bound without the programs
  std::vector<std::pair<core::PortKey, abi::PortStats>> stats;
  std::vector<std::pair<std::string, abi::OwnerVerdict>> policy;  // by the owner's name
  std::vector<uint32_t> guard_uids;                               // sorted
  absl::flat_hash_set<uint64_t> guard_cgroups;                    // ids
  core::AddressSet own;  // addresses besides loopback that are guarded
  // Other addresses of this node, with --scope local; empty in another network namespace.
  std::vector<core::LeftOutAddress> left_out;
  abi::Counters counters;
  // As the controller last wrote them: when it ended, if none runs.
  std::vector<std::pair<abi::Source, abi::SourceState>> sources;
  abi::Protection protection;
  std::vector<std::pair<core::PortKey, abi::BindStats>> bind_stats;
  std::vector<std::pair<core::PortKey, uint32_t>> refusable;  // abi::kFamilyV4, kFamilyV6 bits
  std::vector<core::PortHolder> first_holders;
  // What the kernel assigns, and NodePorts; nullopt in another network namespace, and where the
  // sysctls cannot be read.
  std::optional<core::PortOverlap> overlap;
  std::vector<LinkFact> links;
  absl::StatusOr<dataplane::NftTableState> nft = dataplane::NftTableState{};
  // Rules of the node in the way of exempted connections; read only if the guard stands aside.
  std::vector<node::UntrackedObstacle> in_the_way;
  bool kube_proxy_nftables = false;  // kube-proxy's nftables mode has rules here
  // Cilium's connect programs rewrite connects to NodePorts before the guard's mark has an effect.
  bool cilium_socket_lb = false;
  node::NodePortTraces traces;            // of other programs, in the guarded network namespace
  std::vector<core::Listener> listeners;  // on ports of interest only, with owners and records
  node::OwnerGaps gaps;
  absl::Time now;            // when this was read, and
  uint64_t now_boot_ns = 0;  // the same instant on CLOCK_BOOTTIME
};

// The folders to read.
struct GuardPlace {
  std::string bpffs = "/sys/fs/bpf";
  std::string cgroup;  // a folder on cgroup2; empty: none is mounted, so no cgroup is named
  // What the controller of this process found in the way; nullopt: read the rules, if the guard
  // stands aside.
  std::optional<std::vector<node::UntrackedObstacle>> obstacles;
};

// Reads the facts, with the listeners for which `interesting` returns true; its second
// argument is whether the port is a NodePort. NOT_FOUND when no guard is loaded.
absl::StatusOr<GuardFacts> GatherGuardFacts(
    const GuardPlace& place,
    const std::function<bool(const core::PortKey&, bool nodeport)>& interesting);

}  // namespace npg::inspect

#endif  // NODEPORT_GUARD_INSPECT_GUARD_FACTS_H_
