// SPDX-License-Identifier: Apache-2.0
#include "cli/guard_text.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "abi/guard_abi_text.h"
#include "absl/container/btree_set.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "base/printable.h"
#include "cli/args/text.h"
#include "cli/guard_facts.h"
#include "cli/output.h"
#include "cli/table.h"
#include "core/conflicts.h"
#include "core/listener.h"
#include "core/mark.h"
#include "core/port.h"
#include "core/workload.h"
#include "dataplane/bpf/guard_state.h"
#include "dataplane/nft/nft_table.h"
#include "guard_abi.h"

namespace npg::cli {
namespace {

using Json = nlohmann::ordered_json;

// What helps against something that is broken in the kernel.
std::string Repair(const GuardFacts& facts) {
  return facts.controller == 0 ? "repair it with 'nodeport-guard run'"
                               : "if it stays like that, restart the controller";
}

const LinkFact* FindLink(const GuardFacts& facts, absl::string_view program) {
  for (const LinkFact& fact : facts.links) {
    if (fact.link.name == program) return &fact;
  }
  return nullptr;
}

std::string CgroupText(const LinkFact& fact) {
  return fact.cgroup.empty() ? absl::StrCat("cgroup ", fact.link.cgroup_id) : fact.cgroup;
}

// The cgroups to which live links are attached, as text.
absl::btree_set<std::string> Cgroups(const GuardFacts& facts) {
  absl::btree_set<std::string> cgroups;
  for (const LinkFact& fact : facts.links) {
    if (fact.link.cgroup_id != 0) cgroups.insert(CgroupText(fact));
  }
  return cgroups;
}

size_t AttachedPrograms(const GuardFacts& facts) {
  size_t attached = 0;
  for (const char* program : dataplane::kLinkNames) {
    if (!ProgramProblem(facts, program)) ++attached;
  }
  return attached;
}

std::string ControllerText(const GuardFacts& facts) {
  if (facts.controller > 0) return absl::StrCat("running, pid ", facts.controller);
  if (facts.controller < 0) return "running, in a pid namespace out of sight";
  return "not running: the guard goes on with what it last knew";
}

std::string ProgramsText(const GuardFacts& facts) {
  constexpr uint64_t kRootId = 1;  // of the root of every cgroup2 hierarchy
  const absl::btree_set<std::string> cgroups = Cgroups(facts);
  bool part = !cgroups.empty();
  for (const LinkFact& fact : facts.links) part = part && fact.link.cgroup_id != kRootId;
  return absl::StrCat(AttachedPrograms(facts), " of ", dataplane::kLinkNames.size(), " attached",
                      cgroups.empty() ? "" : " to ", absl::StrJoin(cgroups, " and "),
                      part ? "; connects of processes below it only" : "");
}

bool TableIsVisible(const GuardFacts& facts) {
  return facts.same_netns != false && facts.nft.ok() && facts.nft->present;
}

std::string TableText(const GuardFacts& facts) {
  const std::string name = absl::StrCat("inet ", dataplane::kNftTableName);
  if (facts.same_netns == false) return absl::StrCat(name, ": not visible from here");
  if (!facts.nft.ok()) return absl::StrCat(name, ": ", facts.nft.status().message());
  if (!facts.nft->present) return absl::StrCat(name, ": missing");
  std::string text =
      absl::StrCat(name, ": in place, ", Count(facts.nft->exempted_packets, "packet"),
                   " exempted, ", Count(facts.nft->flows, "flow"), " untracked, ",
                   Count(facts.nft->datagram_ports, "UDP port"), " exempt");
  if (facts.nft->owner_portid != 0) {
    absl::StrAppend(&text, "; nobody else can remove it");
  } else if (facts.controller != 0) {
    absl::StrAppend(&text, "; this kernel lets others remove it, the controller puts it back");
  } else {
    absl::StrAppend(&text, "; while no controller runs, 'nft flush ruleset' would remove it");
  }
  return text;
}

std::array<std::pair<uint32_t, size_t>, 3> NodePortsBySource(const GuardFacts& facts) {
  std::array<std::pair<uint32_t, size_t>, 3> counts = {
      {{NPG_SOURCE_KUBERNETES, 0}, {NPG_SOURCE_NETFILTER, 0}, {NPG_SOURCE_FILE, 0}}};
  for (const auto& [key, nodeport] : facts.nodeports) {
    for (auto& [bit, count] : counts) count += (nodeport.sources & bit) != 0 ? 1 : 0;
  }
  return counts;
}

std::string NodePortsText(const GuardFacts& facts) {
  std::vector<std::string> parts;
  for (const auto& [bit, count] : NodePortsBySource(facts)) {
    if (count > 0) parts.push_back(absl::StrCat(abi::SourceName(bit), " ", count));
  }
  return absl::StrCat(facts.nodeports.size(), " known", parts.empty() ? "" : ": ",
                      absl::StrJoin(parts, ", "));
}

// The names of which the policy says so.
std::vector<std::string> PolicyNames(const GuardFacts& facts, npg_owner_verdict verdict) {
  std::vector<std::string> names;
  for (const auto& [key, policy] : facts.policy) {
    if (policy.verdict == verdict) names.emplace_back(abi::FieldText(key.comm));
  }
  return names;
}

std::string NamesText(const std::vector<std::string>& names) {
  return names.empty() ? "nobody" : absl::StrJoin(names, ", ");
}

std::string PolicyText(const GuardFacts& facts) {
  if (facts.config.default_verdict == NPG_OWNER_IGNORED) {
    return absl::StrCat("only those of ", NamesText(PolicyNames(facts, NPG_OWNER_GUARDED)),
                        " are guarded (--only-process)");
  }
  return absl::StrCat("all are guarded but those of ",
                      NamesText(PolicyNames(facts, NPG_OWNER_IGNORED)), " (--ignore-process)");
}

std::string ScopeText(const GuardFacts& facts) {
  std::string text =
      absl::StrCat(abi::ScopeName(facts.config.scope), ": ", abi::ScopeMeaning(facts.config.scope));
  if (facts.config.scope == NPG_SCOPE_LOCAL) {
    absl::StrAppend(&text, "; ", facts.own.size(),
                    facts.own.size() == 1 ? " address" : " addresses", " besides loopback");
  }
  return text;
}

// Its rules are read where this command runs.
bool SeesKubeProxyNftables(const GuardFacts& facts) {
  return facts.kube_proxy_nftables && facts.same_netns != false;
}

bool GuardsNodeAddresses(const GuardFacts& facts) { return facts.config.scope == NPG_SCOPE_LOCAL; }

std::string KubeProxyText(const GuardFacts& facts) {
  return absl::StrCat("nftables mode: loopback is not hijacked, the node's addresses are; ",
                      GuardsNodeAddresses(facts) ? "they are guarded, too (--scope local)"
                                                 : "'run --scope local' would guard them");
}

absl::Time Started(const GuardFacts& facts) {
  return absl::FromUnixSeconds(static_cast<int64_t>(facts.config.started));
}

}  // namespace

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
  const std::string name = absl::StrCat("nft table inet ", dataplane::kNftTableName);
  if (!facts.nft.ok()) {
    return absl::StrCat(name, " cannot be read: ", facts.nft.status().message());
  }
  if (!facts.nft->present) return absl::StrCat(name, " is missing, so nothing is exempted");
  return std::nullopt;
}

std::vector<std::string> Problems(const GuardFacts& facts) {
  std::vector<std::string> problems;
  for (const char* program : dataplane::kLinkNames) {
    if (const std::optional<std::string> problem = ProgramProblem(facts, program)) {
      problems.push_back(absl::StrCat(*problem, "; ", Repair(facts)));
    }
  }
  if (const absl::btree_set<std::string> cgroups = Cgroups(facts); cgroups.size() > 1) {
    problems.push_back(absl::StrCat("programs are attached to different cgroups (",
                                    absl::StrJoin(cgroups, ", "), "); ", Repair(facts)));
  }
  if (facts.same_netns == false) {
    problems.emplace_back(
        "this command runs in another network namespace than the guard, and sees neither the "
        "listeners nor the nft table there; on a node, put 'nsenter --net=/proc/1/ns/net' "
        "before it");
  } else if (const std::optional<std::string> problem = TableProblem(facts)) {
    problems.push_back(absl::StrCat(*problem, "; ", Repair(facts)));
  }
  return problems;
}

std::string RenderProblems(const std::vector<std::string>& problems, const Style& style) {
  std::string out;
  for (const std::string& problem : problems) {
    absl::StrAppend(&out, Paint("BROKEN:", Tone::kBad, style), " ", base::Printable(problem), "\n");
  }
  return out;
}

Json SourcesJson(uint32_t sources) {
  Json names = Json::array();
  for (uint32_t rest = sources; rest != 0; rest &= rest - 1) {
    names.push_back(std::string(abi::SourceName(rest & (~rest + 1))));
  }
  return names;
}

std::string AddressValue(const std::array<uint8_t, 16>& address) {
  std::string text = core::AddressText(address);
  if (text.front() == '[') text = text.substr(1, text.size() - 2);
  return text;
}

std::string OwnerText(const core::Listener& listener, const npg_listener* classified) {
  if (listener.owner.pid != 0) {
    return absl::StrCat(listener.owner.comm, "[", listener.owner.pid, "]");
  }
  if (classified != nullptr && classified->pid != 0) {
    return absl::StrCat(abi::FieldText(classified->comm), "[", classified->pid, "]");
  }
  return absl::StrCat("uid ", listener.uid);
}

Json OwnerJson(const core::Listener& listener, const npg_listener* classified) {
  Json json;
  const core::Owner& owner = listener.owner;
  if (owner.pid != 0) {
    json["pid"] = owner.pid;
    json["comm"] = owner.comm;
  } else if (classified != nullptr && classified->pid != 0) {
    json["pid"] = classified->pid;
    json["comm"] = std::string(abi::FieldText(classified->comm));
  } else {
    json["pid"] = nullptr;
    json["comm"] = nullptr;
  }
  json["uid"] = listener.uid;
  json["executable"] = TextOrNull(owner.executable);
  json["cgroup"] = TextOrNull(owner.cgroup);
  AddWorkload(owner.workload, json);
  json["holders"] = owner.holders;
  return json;
}

std::string OwnerDetails(const core::Listener& listener) {
  const core::Owner& owner = listener.owner;
  std::vector<std::string> parts = {absl::StrCat("uid ", listener.uid)};
  if (!owner.executable.empty()) parts.push_back(owner.executable);
  if (!owner.workload.empty()) {
    parts.push_back(core::ToString(owner.workload));
  } else if (!owner.cgroup.empty()) {
    parts.push_back(absl::StrCat("cgroup ", owner.cgroup));
  }
  if (owner.holders.size() > 1) {
    parts.push_back(absl::StrCat("shared by ", owner.holders.size(), " processes"));
  }
  return absl::StrJoin(parts, ", ");
}

std::string RenderOwners(const GuardFacts& facts, const std::vector<core::Conflict>& conflicts,
                         const Style& style) {
  Table table({{"OWNER"}, {"", false, true}});
  absl::btree_set<std::string> shown;
  for (const core::Conflict& conflict : conflicts) {
    std::string owner = OwnerText(conflict.listener, Classified(facts, conflict.listener));
    std::string details = OwnerDetails(conflict.listener);
    if (details == owner || !shown.insert(owner).second) continue;
    table.AddRow({std::move(owner), std::move(details)});
  }
  return shown.empty() ? "" : absl::StrCat("\n", table.Render(style, "  "));
}

void AddWorkload(const core::Workload& workload, Json& json) {
  json["unit"] = TextOrNull(workload.unit);
  json["pod_uid"] = TextOrNull(workload.pod_uid);
  json["container_id"] = TextOrNull(workload.container_id);
  json["container_runtime"] = TextOrNull(workload.runtime);
}

Json ConflictJson(const core::Conflict& conflict, const npg_listener* classified) {
  const core::PortHistory& history = conflict.history;
  Json entry;
  entry["port"] = conflict.key.port;
  entry["protocol"] = std::string(core::ProtocolName(conflict.key.protocol));
  entry["service"] = TextOrNull(conflict.service);
  entry["sources"] = SourcesJson(conflict.sources);
  entry["listener"] = AddressValue(conflict.listener.address);
  entry["owner"] = OwnerJson(conflict.listener, classified);
  entry["verdict"] =
      std::string(abi::OwnerVerdictName(conflict.ignored ? NPG_OWNER_IGNORED : NPG_OWNER_GUARDED));
  entry["exempted"] = history.exempted;
  entry["observed"] = history.observed;
  entry["last"] = history.last ? Json(UtcTime(*history.last)) : Json(nullptr);
  entry["since"] = history.since ? Json(UtcTime(*history.since)) : Json(nullptr);
  return entry;
}

core::PortHistories Histories(const GuardFacts& facts) {
  core::PortHistories histories;
  for (const auto& [key, nodeport] : facts.nodeports) {
    histories[ToPortKey(key)].since = absl::FromUnixSeconds(static_cast<int64_t>(nodeport.since));
  }
  for (const auto& [key, stats] : facts.stats) {
    core::PortHistory& history = histories[ToPortKey(key)];
    history.exempted = stats.exempted;
    history.observed = stats.observed;
    history.last = WallTime(facts, stats.last);
  }
  return histories;
}

bool IsIgnored(const GuardFacts& facts, const npg_listener* classified) {
  return (classified != nullptr ? classified->verdict : facts.config.default_verdict) ==
         NPG_OWNER_IGNORED;
}

std::string PolicyRule(const GuardFacts& facts, absl::string_view comm) {
  const bool only = facts.config.default_verdict == NPG_OWNER_IGNORED;
  const npg_owner_verdict special = only ? NPG_OWNER_GUARDED : NPG_OWNER_IGNORED;
  const std::vector<std::string> names = PolicyNames(facts, special);
  const bool named = std::find(names.begin(), names.end(), comm) != names.end();
  const npg_owner_verdict verdict =
      named ? special : static_cast<npg_owner_verdict>(facts.config.default_verdict);
  const std::string who = comm.empty() ? "an owner that is not known" : std::string(comm);
  return absl::StrCat(abi::OwnerVerdictName(verdict), ": ",
                      only ? "--only-process" : "--ignore-process",
                      named ? " names " : " does not name ", who,
                      named ? "" : absl::StrCat(" (", NamesText(names), ")"));
}

const npg_listener* Classified(const GuardFacts& facts, const core::Listener& listener) {
  for (const auto& [key, value] : facts.classified) {
    if (key.port == listener.key.port &&
        key.protocol == static_cast<uint8_t>(listener.key.protocol) &&
        std::memcmp(key.address, listener.address.data(), listener.address.size()) == 0) {
      return &value;
    }
  }
  return nullptr;
}

const npg_nodeport* FindNodePort(const GuardFacts& facts, const core::PortKey& key) {
  for (const auto& [candidate, nodeport] : facts.nodeports) {
    if (ToPortKey(candidate) == key) return &nodeport;
  }
  return nullptr;
}

core::PortKey ToPortKey(const npg_port_key& key) {
  return {key.port, static_cast<core::Protocol>(key.protocol)};
}

std::optional<absl::Time> WallTime(const GuardFacts& facts, uint64_t boot_ns) {
  if (boot_ns == 0) return std::nullopt;
  return facts.now - absl::Nanoseconds(static_cast<int64_t>(facts.now_boot_ns - boot_ns));
}

std::string MarkText(const npg_config& config) {
  return core::ToString(core::Mark{config.mark, config.mark_mask});
}

std::string RenderGuard(const GuardFacts& facts, const Style& style) {
  Table table({{"", false, false}, {"", false, true}});
  const bool broken_programs =
      AttachedPrograms(facts) < dataplane::kLinkNames.size() || Cgroups(facts).size() > 1;
  const bool broken_table = facts.same_netns != false && TableProblem(facts).has_value();
  const bool observe = facts.config.mode == NPG_MODE_OBSERVE;
  table.AddRow(
      {"controller", {ControllerText(facts), facts.controller == 0 ? Tone::kWarn : Tone::kPlain}});
  table.AddRow(
      {"mode",
       {absl::StrCat(abi::ModeName(facts.config.mode), ": ", abi::ModeMeaning(facts.config.mode)),
        observe ? Tone::kWarn : Tone::kPlain}});
  table.AddRow({"programs", {ProgramsText(facts), broken_programs ? Tone::kBad : Tone::kPlain}});
  table.AddRow({"nft table", {TableText(facts), broken_table ? Tone::kBad : Tone::kPlain}});
  table.AddRow({"scope", ScopeText(facts)});
  table.AddRow({"listeners", PolicyText(facts)});
  if (TableIsVisible(facts)) {
    table.AddRow({"IPVS dodge",
                  facts.nft->ipvs_dodge ? "on: exempted packets go past IPVS's services" : "off"});
  }
  table.AddRow({"mark", MarkText(facts.config)});
  table.AddRow({"NodePorts", NodePortsText(facts)});
  if (SeesKubeProxyNftables(facts)) table.AddRow({"kube-proxy", KubeProxyText(facts)});
  table.AddRow({"pins", absl::StrCat(facts.bpffs, "/nodeport-guard")});
  table.AddRow({"version", absl::StrCat(abi::FieldText(facts.config.version),
                                        ", controller started ", UtcTime(Started(facts)))});
  return table.Render(style, "  ");
}

Json GuardJson(const GuardFacts& facts) {
  Json json;
  json["controller"] = {{"running", facts.controller != 0},
                        {"pid", facts.controller > 0 ? Json(facts.controller) : Json(nullptr)}};
  json["version"] = std::string(abi::FieldText(facts.config.version));
  json["started"] = UtcTime(Started(facts));
  json["mode"] = std::string(abi::ModeName(facts.config.mode));
  json["mark"] = core::HexText(facts.config.mark);
  json["mark_mask"] = core::HexText(facts.config.mark_mask);
  json["scope"] = std::string(abi::ScopeName(facts.config.scope));
  json["own_addresses"] = Json::array();
  std::vector<std::string> own;
  for (const auto& address : facts.own) own.push_back(AddressValue(address));
  std::sort(own.begin(), own.end());
  for (std::string& address : own) json["own_addresses"].push_back(std::move(address));
  json["only_process"] = PolicyNames(facts, NPG_OWNER_GUARDED);
  json["ignore_process"] = PolicyNames(facts, NPG_OWNER_IGNORED);
  json["pins"] = absl::StrCat(facts.bpffs, "/nodeport-guard");
  json["same_network_namespace"] = facts.same_netns ? Json(*facts.same_netns) : Json(nullptr);
  json["programs"] = Json::array();
  for (const char* program : dataplane::kLinkNames) {
    const LinkFact* fact = FindLink(facts, program);
    const bool attached = fact != nullptr && fact->link.cgroup_id != 0;
    json["programs"].push_back(
        {{"name", program},
         {"attached", attached},
         {"cgroup", attached && !fact->cgroup.empty() ? Json(fact->cgroup) : Json(nullptr)},
         {"cgroup_id", attached ? Json(fact->link.cgroup_id) : Json(nullptr)}});
  }
  Json table;
  table["name"] = absl::StrCat("inet ", dataplane::kNftTableName);
  if (facts.same_netns == false || !facts.nft.ok()) {
    table["present"] = nullptr;
  } else {
    table["present"] = facts.nft->present;
    table["owned"] = facts.nft->owner_portid != 0;
    table["exempted_packets"] = facts.nft->exempted_packets;
    table["flow_entries"] = facts.nft->flow_entries;
    table["flows"] = facts.nft->flows;
    table["flows_max"] = dataplane::kFlowsPerSet;
    table["datagram_ports"] = facts.nft->datagram_ports;
    table["ipvs_dodge"] = facts.nft->ipvs_dodge;
  }
  json["nft_table"] = std::move(table);
  json["nodeports"]["total"] = facts.nodeports.size();
  for (const auto& [bit, count] : NodePortsBySource(facts)) {
    json["nodeports"][std::string(abi::SourceName(bit))] = count;
  }
  json["kube_proxy"] = nullptr;
  if (SeesKubeProxyNftables(facts)) {
    json["kube_proxy"] = {{"mode", "nftables"},
                          {"hijacks_loopback", false},
                          {"node_addresses_guarded", GuardsNodeAddresses(facts)}};
  }
  return json;
}

}  // namespace npg::cli
