// SPDX-License-Identifier: Apache-2.0
#include "inspect/guard_parts.h"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "abi/entries.h"
#include "abi/names.h"
#include "absl/container/btree_set.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "core/conflicts.h"
#include "core/listener.h"
#include "core/owner_policy.h"
#include "core/port.h"
#include "dataplane/bpf/guard_state.h"
#include "dataplane/nft/nft_table.h"
#include "inspect/guard_facts.h"
#include "inspect/text.h"
#include "node/untracked_obstacles.h"

namespace npg::inspect {
namespace {

const LinkFact* FindLink(const GuardFacts& facts, absl::string_view program) {
  for (const LinkFact& fact : facts.links) {
    if (fact.link.name == program) return &fact;
  }
  return nullptr;
}

std::string CgroupText(const LinkFact& fact) {
  return fact.cgroup.empty() ? absl::StrCat("cgroup ", fact.link.cgroup_id) : fact.cgroup;
}

}  // namespace

std::optional<absl::Time> WallTime(const GuardFacts& facts, uint64_t boot_ns) {
  if (boot_ns == 0) return std::nullopt;
  return facts.now - absl::Nanoseconds(static_cast<int64_t>(facts.now_boot_ns - boot_ns));
}

std::vector<Program> Programs(const GuardFacts& facts) {
  std::vector<Program> programs;
  for (const char* name : dataplane::LinkNames(facts.config.abi_version)) {
    const LinkFact* fact = FindLink(facts, name);
    if (fact == nullptr || fact->link.cgroup_id == 0) {
      programs.push_back({name, false, 0, ""});
    } else {
      programs.push_back({name, true, fact->link.cgroup_id, fact->cgroup});
    }
  }
  return programs;
}

std::optional<NftTable> VisibleTable(const GuardFacts& facts) {
  if (facts.same_netns == false || !facts.nft.ok()) return std::nullopt;
  const dataplane::NftTableState& state = *facts.nft;
  NftTable table;
  table.present = state.present;
  table.owned = state.owner_portid != 0;
  table.exempted_packets = state.exempted_packets;
  table.flow_entries = state.flow_entries;
  table.flows = state.flows;
  table.flows_max = dataplane::kFlowsPerSet;
  table.datagram_ports = state.datagram_ports;
  table.ipvs_bypass = state.ipvs_bypass;
  return table;
}

std::array<MapFill, 5> Maps(const GuardFacts& facts) {
  return {{{"nodeports", facts.nodeports.size(), abi::kMaxNodePorts},
           {"earlier_sockets", facts.earlier_sockets, abi::kMaxEarlierSockets},
           {"local_addresses", facts.own.size(), abi::kMaxLocalAddresses},
           {"owner_policy", facts.policy.size(), abi::kMaxPolicies},
           {"port_stats", facts.stats.size(), abi::kMaxPortStats}}};
}

NodePortCounts CountNodePorts(const GuardFacts& facts) {
  NodePortCounts counts;
  counts.total = facts.nodeports.size();
  for (const auto& [key, nodeport] : facts.nodeports) {
    for (size_t i = 0; i < counts.by_source.size(); ++i) {
      if ((nodeport.sources & abi::Bit(abi::kSources[i].value)) != 0) ++counts.by_source[i];
    }
  }
  return counts;
}

absl::btree_set<std::string> Cgroups(const GuardFacts& facts) {
  absl::btree_set<std::string> cgroups;
  for (const LinkFact& fact : facts.links) {
    if (fact.link.cgroup_id != 0) cgroups.insert(CgroupText(fact));
  }
  return cgroups;
}

std::optional<std::string> ProgramProblem(const GuardFacts& facts, absl::string_view program) {
  const LinkFact* fact = FindLink(facts, program);
  if (fact == nullptr) {
    return absl::StrCat("program ", program, " is not attached, its pin is gone");
  }
  if (fact->link.cgroup_id == 0) {
    return absl::StrCat("program ", program, " is not attached, its link is dead");
  }
  return std::nullopt;
}

std::optional<std::string> TableProblem(const GuardFacts& facts) {
  const std::string name = absl::StrCat("nft table ", NftTableName());
  if (!facts.nft.ok()) {
    return absl::StrCat(name, " cannot be read: ", facts.nft.status().message());
  }
  if (!facts.nft->present) return absl::StrCat(name, " is missing, so nothing is exempted");
  return std::nullopt;
}

bool StandsAside(const GuardFacts& facts, core::Protocol protocol,
                 const std::array<uint8_t, 16>& destination) {
  const abi::Traffic traffic =
      abi::TrafficOf(protocol == core::Protocol::kTcp, core::IsV4Mapped(destination));
  return (facts.config.standing_aside & abi::Bit(traffic)) != 0;
}

std::optional<std::string> AsideProblem(const GuardFacts& facts) {
  if (facts.config.standing_aside == 0) return std::nullopt;
  std::vector<std::string> rules;
  for (const node::UntrackedObstacle& obstacle : facts.in_the_way) {
    rules.push_back(absl::StrCat(node::ToString(obstacle), " (add: ", obstacle.fix, ")"));
  }
  // A guard that no probe has tested begins so.
  const bool probed = facts.counters[abi::Counter::kProbed] != 0;
  const absl::string_view none =
      probed ? ": found by the self-probe; no rule could be named (iptables-legacy is not read)"
             : ": no self-probe has shown that exempted packets arrive untracked";
  return absl::StrCat(
      "the guard stands aside for ", abi::TrafficText(facts.config.standing_aside),
      rules.empty() ? none : ": rules of this node would track or drop exempted packets: ",
      absl::StrJoin(rules, "; "));
}

std::optional<std::string> Obstacle(const GuardFacts& facts,
                                    const std::array<uint8_t, 16>& destination) {
  const bool v4 = core::IsV4Mapped(destination);
  if (std::optional<std::string> problem =
          ProgramProblem(facts, v4 ? "npg_connect4" : "npg_connect6")) {
    return problem;
  }
  if (facts.cilium_socket_lb) return CiliumText();
  return TableProblem(facts);
}

bool CanExempt(const GuardFacts& facts, const core::Listener& listener) {
  if (!core::IsLookedUp(listener)) return false;
  // A wildcard IPv6 listener takes IPv4, too.
  constexpr std::array<uint8_t, 16> kAnyV4 = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
  const bool both =
      core::IsWildcard(listener.address) && !core::IsV4Mapped(listener.address) && !listener.v6only;
  const auto can = [&](const std::array<uint8_t, 16>& address) {
    return !Obstacle(facts, address) && !StandsAside(facts, listener.key.protocol, address);
  };
  return can(listener.address) && (!both || can(kAnyV4));
}

std::vector<std::string> OwnAddresses(const GuardFacts& facts) {
  std::vector<std::string> own;
  own.reserve(facts.own.size());
  for (const auto& address : facts.own) own.push_back(AddressValue(address));
  std::sort(own.begin(), own.end());
  return own;
}

bool GuardsNodeAddresses(const GuardFacts& facts) {
  return facts.config.scope == abi::Scope::kLocal;
}

bool SeesKubeProxyNftables(const GuardFacts& facts) {
  return facts.kube_proxy_nftables && facts.same_netns != false;
}

const abi::NodePort* FindNodePort(const GuardFacts& facts, const core::PortKey& key) {
  const auto at = std::lower_bound(
      facts.nodeports.begin(), facts.nodeports.end(), key,
      [](const auto& entry, const core::PortKey& port) { return entry.first < port; });
  return at != facts.nodeports.end() && at->first == key ? &at->second : nullptr;
}

core::OwnerRules Rules(const GuardFacts& facts) {
  core::OwnerRules rules;
  const bool only = facts.config.default_verdict == abi::OwnerVerdict::kIgnored;
  for (const auto& [name, verdict] : facts.policy) {
    if (verdict != abi::OwnerVerdict::kGuarded) rules.policy.ignored.push_back(name);
    if (verdict != abi::OwnerVerdict::kIgnored && only) rules.policy.only.push_back(name);
  }
  rules.policy.uids = facts.guard_uids;
  rules.policy.any_uid = facts.config.any_uid;
  rules.served_cgroups = facts.guard_cgroups;
  return rules;
}

core::PortHistories Histories(const GuardFacts& facts, const core::PortEntries& ports) {
  core::PortHistories histories;
  for (const auto& [key, entry] : ports) {
    if (const abi::NodePort* const nodeport = FindNodePort(facts, key)) {
      histories[key].since = nodeport->since;
    }
  }
  for (const auto& [key, stats] : facts.stats) {
    if (!ports.contains(key)) continue;
    core::PortHistory& history = histories[key];
    history.exempted = stats.exempted;
    history.observed = stats.observed;
    history.last = WallTime(facts, stats.last_boot_ns);
  }
  return histories;
}

}  // namespace npg::inspect
