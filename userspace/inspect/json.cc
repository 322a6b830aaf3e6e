// SPDX-License-Identifier: Apache-2.0
#include "inspect/json.h"

#include <cstddef>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>

#include "abi/entries.h"
#include "abi/names.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "base/printable.h"
#include "base/text.h"
#include "core/conflicts.h"
#include "core/coverage.h"
#include "core/listener.h"
#include "core/mark.h"
#include "core/node_address.h"
#include "core/port.h"
#include "core/workload.h"
#include "inspect/guard_facts.h"
#include "inspect/guard_parts.h"
#include "inspect/protection.h"
#include "inspect/status.h"
#include "inspect/text.h"
#include "node/untracked_obstacles.h"

namespace npg::inspect {
namespace {

// In IPVS mode, each Service has an address on the node.
constexpr size_t kMaxLeftOut = 100;

Json TimeJson(absl::Time time) {
  return abi::IsNever(time) ? Json(nullptr) : Json(base::UtcTime(time));
}

// Replaces invalid UTF-8, which texts of servers and file names may contain.
Json TextJson(absl::string_view text) {
  return text.empty() ? Json(nullptr) : Json(base::Printable(text));
}

// ["kubernetes", "netfilter"].
Json SourcesJson(abi::SourceBits sources) {
  Json names = Json::array();
  for (const absl::string_view name : abi::SourceNames(sources)) {
    names.push_back(std::string(name));
  }
  return names;
}

Json SourceStatesJson(const GuardFacts& facts) {
  Json list = Json::array();
  for (const auto& [source, state] : facts.sources) {
    Json entry;
    entry["source"] = std::string(abi::Name(source));
    entry["connected"] = state.connected;
    entry["since"] = TimeJson(state.since);
    entry["last_event"] = TimeJson(state.last_event);
    entry["last_reading"] = TimeJson(state.last_reading);
    entry["services"] = state.services;
    entry["ports"] = state.ports;
    entry["health_check_ports"] = state.health_check_ports;
    entry["skipped"] = state.skipped;
    // Until something was read, the state has its initial value.
    const bool read = !abi::IsNever(state.last_reading) || state.coverage != core::Coverage::kAll;
    entry["coverage"] = std::string(core::Name(read ? state.coverage : core::Coverage::kNone));
    entry["errors"] = Json::object();
    for (const auto& row : abi::kSourceErrors) {
      entry["errors"][std::string(row.name)] = state.errors[row.value];
    }
    entry["resource_version"] = TextJson(state.resource_version);
    entry["last_error"] = TextJson(state.last_error);
    entry["detail"] = TextJson(state.detail);
    list.push_back(std::move(entry));
  }
  return list;
}

// Null for UDP, which has none.
Json AcceptQueueJson(const core::Listener& listener) {
  if (listener.key.protocol != core::Protocol::kTcp) return nullptr;
  return {{"waiting", listener.accept_queue}, {"limit", listener.accept_limit}};
}

}  // namespace

Json TextOrNull(const std::string& text) { return text.empty() ? Json(nullptr) : Json(text); }

Json OwnerJson(const core::Listener& listener, const OwnerName& name) {
  Json json;
  const core::Owner& owner = listener.owner;
  json["pid"] = name.pid != 0 ? Json(name.pid) : Json(nullptr);
  json["comm"] = name.pid != 0 ? Json(name.comm) : Json(nullptr);
  json["uid"] = UidOf(listener);
  json["kernel"] = owner.no_process;
  json["executable"] = TextOrNull(owner.executable);
  json["cgroup"] = TextOrNull(owner.cgroup);
  AddWorkload(owner.workload, json);
  json["holders"] = owner.holders;
  return json;
}

void AddWorkload(const core::Workload& workload, Json& json) {
  json["unit"] = TextOrNull(workload.unit);
  json["pod_uid"] = TextOrNull(workload.pod_uid);
  json["container_id"] = TextOrNull(workload.container_id);
  json["container_runtime"] = TextOrNull(workload.runtime);
}

Json ConflictJson(const Conflict& conflict) {
  const core::PortHistory& history = conflict.history;
  Json entry;
  entry["port"] = conflict.key.port;
  entry["protocol"] = std::string(core::ProtocolName(conflict.key.protocol));
  entry["service"] = TextOrNull(conflict.service);
  entry["sources"] = SourcesJson(conflict.sources);
  entry["listener"] = AddressValue(conflict.listener.address);
  entry["owner"] = OwnerJson(conflict.listener, conflict.owner);
  entry["accept_queue"] = AcceptQueueJson(conflict.listener);
  entry["verdict"] = std::string(core::Name(conflict.owner_verdict));
  entry["exempted"] = history.exempted;
  entry["observed"] = history.observed;
  entry["last"] = history.last ? Json(base::UtcTime(*history.last)) : Json(nullptr);
  entry["since"] = history.since ? Json(base::UtcTime(*history.since)) : Json(nullptr);
  return entry;
}

Json LeftOutJson(const GuardFacts& facts) {
  Json json = Json::array();
  for (size_t i = 0; i < facts.left_out.size() && i < kMaxLeftOut; ++i) {
    const core::LeftOutAddress& left_out = facts.left_out[i];
    json.push_back({{"address", AddressValue(left_out.address)},
                    {"interface", left_out.interface},
                    {"reason", std::string(core::Meaning(left_out.role))}});
  }
  return json;
}

Json GuardJson(const Status& status) {
  const GuardFacts& facts = status.facts;
  Json json;
  json["controller"] = {{"running", facts.controller != 0},
                        {"pid", facts.controller > 0 ? Json(facts.controller) : Json(nullptr)}};
  json["version"] = facts.config.version;
  json["started"] = base::UtcTime(facts.config.started);
  json["mode"] = std::string(abi::Name(facts.config.mode));
  json["mark"] = core::HexText(facts.config.mark);
  json["mark_mask"] = core::HexText(facts.config.mark_mask);
  json["standing_aside"] = Json::array();
  for (const auto& row : abi::kTraffic) {
    if ((facts.config.standing_aside & abi::Bit(row.value)) == 0) continue;
    json["standing_aside"].push_back(std::string(row.name));
  }
  json["in_the_way"] = Json::array();
  for (const node::UntrackedObstacle& obstacle : facts.in_the_way) {
    json["in_the_way"].push_back({{"where", base::Printable(obstacle.where)},
                                  {"rule", base::Printable(obstacle.rule)},
                                  {"fix", base::Printable(obstacle.fix)}});
  }
  json["scope"] = std::string(abi::Name(facts.config.scope));
  json["own_addresses"] = OwnAddresses(facts);
  const core::OwnerRules rules = Rules(facts);
  json["guard_uid"] = rules.policy.any_uid ? Json("any") : Json(rules.policy.uids);
  json["guard_cgroups"] = rules.served_cgroups.size();
  json["left_out_addresses"] = LeftOutJson(facts);
  json["left_out_addresses_total"] = facts.left_out.size();
  json["only_process"] = rules.policy.only;
  json["ignore_process"] = rules.policy.ignored;
  json["pins"] = PinsText(facts);
  json["same_network_namespace"] = facts.same_netns ? Json(*facts.same_netns) : Json(nullptr);
  json["programs"] = Json::array();
  for (const Program& program : Programs(facts)) {
    json["programs"].push_back(
        {{"name", std::string(program.name)},
         {"attached", program.attached},
         {"cgroup", TextOrNull(program.cgroup)},
         {"cgroup_id", program.attached ? Json(program.cgroup_id) : Json(nullptr)}});
  }
  Json table;
  table["name"] = NftTableName();
  if (const std::optional<NftTable> seen = VisibleTable(facts)) {
    table["present"] = seen->present;
    table["owned"] = seen->owned;
    table["exempted_packets"] = seen->exempted_packets;
    table["flow_entries"] = seen->flow_entries;
    table["flows"] = seen->flows;
    table["flows_max"] = seen->flows_max;
    table["datagram_ports"] = seen->datagram_ports;
    table["ipvs_dodge"] = seen->ipvs_bypass;
  } else {
    table["present"] = nullptr;
  }
  json["nft_table"] = std::move(table);
  json["nodeports"]["total"] = status.nodeports.total;
  for (size_t i = 0; i < abi::kSources.size(); ++i) {
    json["nodeports"][std::string(abi::kSources[i].name)] = status.nodeports.by_source[i];
  }
  json["kube_proxy"] = nullptr;
  if (SeesKubeProxyNftables(facts)) {
    json["kube_proxy"] = {{"mode", "nftables"},
                          {"hijacks_loopback", false},
                          {"node_addresses_guarded", GuardsNodeAddresses(facts)}};
  }
  return json;
}

Json StatusJson(const Status& status) {
  const GuardFacts& facts = status.facts;
  Json json;
  json["healthy"] = status.healthy();
  json["problems"] = status.problems;
  json["conflicts"] = Json::array();
  for (const Conflict& conflict : status.conflicts) {
    json["conflicts"].push_back(ConflictJson(conflict));
  }
  json["guard"] = GuardJson(status);
  json["protection"] = ProtectionJson(facts, status.refusable, status.bound);
  json["port_ranges"] = PortRangesJson(facts.overlap);
  json["sources"] = SourceStatesJson(facts);
  json["counters"] = Json::object();
  for (const auto& row : abi::kCounters) {
    json["counters"][std::string(row.name)] = facts.counters[row.value];
  }
  for (const MapFill& map : status.maps) {
    json["maps"][std::string(map.name)] = {{"entries", map.entries},
                                           {"max_entries", map.max_entries}};
  }
  json["notes"] = status.notes;
  return json;
}

}  // namespace npg::inspect
