// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_CLI_GUARD_FACTS_H_
#define NODEPORT_GUARD_CLI_GUARD_FACTS_H_

#include <sys/types.h>

#include <array>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "cli/args/options.h"
#include "core/listener.h"
#include "core/port.h"
#include "dataplane/bpf/guard_state.h"
#include "dataplane/nft/nft_table.h"
#include "guard_abi.h"
#include "node/owners.h"

namespace npg::cli {

struct LinkFact {
  dataplane::LinkState link;
  std::string cgroup;  // its folder; empty when it could not be named
};

// All that `status` and `explain` go by, at one time: what is pinned, what the
// nft table is, what listens. Nothing here is a judgement.
struct GuardFacts {
  std::string bpffs;
  npg_config config{};
  pid_t controller = 0;            // 0: none runs; -1: one does, in a pid namespace out of sight
  std::optional<bool> same_netns;  // as the guarded one; nullopt where the kernel cannot say
  std::vector<std::pair<npg_port_key, npg_nodeport>> nodeports;
  std::vector<std::pair<npg_listener_key, npg_listener>> classified;
  std::vector<std::pair<npg_port_key, npg_port_stats>> stats;
  std::vector<std::pair<npg_policy_key, npg_policy>> policy;
  core::AddressSet own;  // addresses besides loopback that are guarded
  std::array<uint64_t, NPG_COUNTER_MAX> counters{};
  // As the controller last wrote them: when it ended, if none runs.
  std::vector<std::pair<npg_source_key, npg_source_state>> sources;
  std::vector<LinkFact> links;
  absl::StatusOr<dataplane::NftTableState> nft = dataplane::NftTableState{};
  bool kube_proxy_nftables = false;       // kube-proxy's nftables mode has rules here
  std::vector<core::Listener> listeners;  // on ports of interest only, with their owners
  node::OwnerGaps gaps;
  absl::Time now;            // when this was read, and
  uint64_t now_boot_ns = 0;  // the same instant on CLOCK_BOOTTIME
};

// Reads the facts. Listeners are left out where `interesting` denies them; the
// second argument says whether the port is a NodePort. The error of a guard
// that is not loaded is NOT_FOUND.
absl::StatusOr<GuardFacts> GatherGuardFacts(
    const NodeOptions& options,
    const std::function<bool(const core::PortKey&, bool nodeport)>& interesting);

}  // namespace npg::cli

#endif  // NODEPORT_GUARD_CLI_GUARD_FACTS_H_
