// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_INSPECT_GUARD_PARTS_H_
#define NODEPORT_GUARD_INSPECT_GUARD_PARTS_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "abi/entries.h"
#include "abi/names.h"
#include "absl/container/btree_set.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "core/conflicts.h"
#include "core/desired_state.h"
#include "core/listener.h"
#include "core/owner_policy.h"
#include "core/port.h"
#include "inspect/guard_facts.h"

// The parts of the guard, from the facts: pure functions.

namespace npg::inspect {

struct Program {
  absl::string_view name;  // "npg_connect4"
  bool attached = false;
  uint64_t cgroup_id = 0;  // 0: not attached
  std::string cgroup;      // its folder; empty where it could not be named
};
// Those of the guard, attached or not.
std::vector<Program> Programs(const GuardFacts& facts);

// The visible state of the table.
struct NftTable {
  bool present = false;
  bool owned = false;  // only the controller can remove it
  uint64_t exempted_packets = 0;
  size_t flow_entries = 0;
  size_t flows = 0;
  size_t flows_max = 0;
  size_t datagram_ports = 0;
  bool ipvs_bypass = false;
};
// nullopt in another network namespace, and where the table cannot be read.
std::optional<NftTable> VisibleTable(const GuardFacts& facts);

struct MapFill {
  absl::string_view name;
  size_t entries = 0;
  size_t max_entries = 0;
};
std::array<MapFill, 5> Maps(const GuardFacts& facts);

struct NodePortCounts {
  size_t total = 0;
  std::array<size_t, abi::kSources.size()> by_source{};  // in the order of abi::kSources
};
NodePortCounts CountNodePorts(const GuardFacts& facts);

// The cgroups to which live links are attached: folders, or "cgroup ID".
absl::btree_set<std::string> Cgroups(const GuardFacts& facts);

// Why a program, or the table, does not work; nullopt when it does.
std::optional<std::string> ProgramProblem(const GuardFacts& facts, absl::string_view program);
std::optional<std::string> TableProblem(const GuardFacts& facts);

// Whether the guard stands aside for packets of this protocol to this address (IPv4 v4-mapped).
bool StandsAside(const GuardFacts& facts, core::Protocol protocol,
                 const std::array<uint8_t, 16>& destination);
// For what the guard stands aside and which rules are in the way; nullopt when it does not.
std::optional<std::string> AsideProblem(const GuardFacts& facts);

// Why a connect to this address (IPv4 v4-mapped) cannot be exempted: the program of its family,
// or the table. nullopt when it can.
std::optional<std::string> Obstacle(const GuardFacts& facts,
                                    const std::array<uint8_t, 16>& destination);

// Whether connects to the listener can be exempted, of both families where it takes both.
bool CanExempt(const GuardFacts& facts, const core::Listener& listener);

// Addresses of the node that are guarded, sorted: "10.0.0.1", "2001:db8::1".
std::vector<std::string> OwnAddresses(const GuardFacts& facts);
bool GuardsNodeAddresses(const GuardFacts& facts);

// Whether kube-proxy's nftables mode has rules in the guarded network namespace.
bool SeesKubeProxyNftables(const GuardFacts& facts);

// The entry for the port; null when there is none.
const abi::NodePort* FindNodePort(const GuardFacts& facts, const core::PortKey& key);

// The policy for owners, as the programs apply it; the patterns of cgroups are not recorded.
core::OwnerRules Rules(const GuardFacts& facts);

// The wall-clock time of a CLOCK_BOOTTIME instant; nullopt for 0, never.
std::optional<absl::Time> WallTime(const GuardFacts& facts, uint64_t boot_ns);

// The counts and times that the guard has of `ports`.
core::PortHistories Histories(const GuardFacts& facts, const core::PortEntries& ports);

}  // namespace npg::inspect

#endif  // NODEPORT_GUARD_INSPECT_GUARD_PARTS_H_
