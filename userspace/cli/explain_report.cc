// SPDX-License-Identifier: Apache-2.0
#include "cli/explain_report.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "abi/entries.h"
#include "abi/names.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "base/printable.h"
#include "base/short_duration.h"
#include "base/text.h"
#include "cli/args/options.h"
#include "cli/explain_rules.h"
#include "cli/guard_text.h"
#include "cli/table.h"
#include "core/accept_queue.h"
#include "core/coverage.h"
#include "core/decision.h"
#include "core/decision_rows.h"
#include "core/listener.h"
#include "core/node_address.h"
#include "core/owner_policy.h"
#include "core/port.h"
#include "core/service_name.h"
#include "dataplane/nft/nft_table.h"
#include "inspect/coverage.h"
#include "inspect/guard_facts.h"
#include "inspect/guard_parts.h"
#include "inspect/json.h"
#include "inspect/protection.h"
#include "inspect/status.h"
#include "inspect/text.h"

namespace npg::cli {
namespace {

using Json = nlohmann::ordered_json;
using Address = std::array<uint8_t, 16>;

constexpr Address kLoopback4 = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 127, 0, 0, 1};
constexpr absl::string_view kKubeProxyName = "kube-proxy";
constexpr Address kLoopback6 = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1};

std::vector<core::Listener> ListenersOn(const inspect::GuardFacts& facts,
                                        const core::PortKey& key) {
  std::vector<core::Listener> listeners;
  for (const core::Listener& listener : facts.listeners) {
    if (listener.key == key) listeners.push_back(listener);
  }
  return listeners;
}

// A destination that reaches this listener: its own address, or for a wildcard an
// address that no other listener is bound to.
Address DestinationOf(const core::Listener& listener, const std::vector<core::Listener>& others) {
  if (!core::IsWildcard(listener.address)) return listener.address;
  if (!core::IsV4Mapped(listener.address) && listener.v6only) return kLoopback6;
  Address address = kLoopback4;
  const auto taken = [&] {
    return std::any_of(others.begin(), others.end(),
                       [&](const core::Listener& other) { return other.address == address; });
  };
  while (taken() && address.back() < 255) ++address.back();
  return address;
}

std::string ServiceOf(const abi::NodePort* nodeport) {
  return nodeport == nullptr ? "" : nodeport->service;
}

std::string NodePortFact(const inspect::GuardFacts& facts, const abi::NodePort* nodeport) {
  if (nodeport == nullptr) {
    return absl::StrCat("no source names it (", base::Count(facts.nodeports.size(), "NodePort"),
                        " known)");
  }
  const std::string service = ServiceOf(nodeport);
  return absl::StrCat(service.empty() ? "Service not named" : service, ", from ",
                      abi::SourcesText(nodeport->sources), ", known for ",
                      base::ShortDuration(facts.now - nodeport->since));
}

std::string NetnsFact(const inspect::GuardFacts& facts) {
  const std::string guarded = absl::StrCat("the guard's is ", facts.config.netns_cookie);
  if (!facts.same_netns) return absl::StrCat(guarded, "; this kernel cannot name ours");
  return absl::StrCat(guarded, *facts.same_netns ? ", which is this one" : ", this is another");
}

// Why the listener does not count.
std::string WhyNot(const inspect::GuardFacts& facts, const core::Listener& listener) {
  if (listener.ifindex != 0)
    return ", bound to a device, where the kernel's lookup does not see it";
  if (!core::ReachableOverLoopbackOr(facts.own, listener)) return ", not reachable over loopback";
  return ", a UDP socket that asked for no port";
}

std::string ListenerFact(const inspect::GuardFacts& facts, const Walk& walk,
                         const std::vector<core::Listener>& all) {
  if (walk.listener) {
    const bool waiting = walk.listener->accept_queue > 0;
    return absl::StrCat(inspect::OwnerText(*walk.listener), " on ",
                        core::AddressText(walk.listener->address), " (",
                        inspect::OwnerDetails(*walk.listener), ")", waiting ? "; " : "",
                        waiting ? core::AcceptQueueText(*walk.listener) : "");
  }
  std::vector<std::string> elsewhere;
  elsewhere.reserve(all.size());
  for (const core::Listener& listener : all) {
    elsewhere.push_back(absl::StrCat(inspect::OwnerText(listener), " on ",
                                     core::AddressText(listener.address), WhyNot(facts, listener)));
  }
  if (elsewhere.empty()) return "none";
  return absl::StrCat("none; only ", absl::StrJoin(elsewhere, ", "));
}

std::string OwnerFact(const inspect::GuardFacts& facts, const Walk& walk) {
  return walk.listener ? inspect::PolicyRule(inspect::Rules(facts), *walk.listener) : "-";
}

std::string DestinationFact(const inspect::GuardFacts& facts, const Address& destination) {
  const std::string text = core::AddressText(destination);
  if (core::IsLoopback(destination)) return absl::StrCat(text, ", which is loopback");
  return absl::StrCat(text, ", which is not loopback",
                      inspect::GuardsNodeAddresses(facts)
                          ? "; --scope local guards the node's addresses, too"
                          : " (--scope local guards the node's addresses, too)");
}

// null where the address is guarded, or not one of this node.
const core::LeftOutAddress* LeftOut(const inspect::GuardFacts& facts, const Address& address) {
  const auto left_out =
      std::find_if(facts.left_out.begin(), facts.left_out.end(),
                   [&](const core::LeftOutAddress& other) { return other.address == address; });
  return left_out == facts.left_out.end() ? nullptr : &*left_out;
}

std::string OwnAddressFact(const inspect::GuardFacts& facts, const Address& destination) {
  const std::string text = core::AddressText(destination);
  if (facts.own.contains(destination)) return absl::StrCat(text, ", an address of this node");
  if (const core::LeftOutAddress* left_out = LeftOut(facts, destination); left_out != nullptr) {
    return absl::StrCat(text, ", an address of this node on ", left_out->interface,
                        " that is left out (", core::Meaning(left_out->role),
                        "); --local-address +", inspect::AddressValue(destination), " adds it");
  }
  return absl::StrCat(text, ", which is not an address of this node");
}

std::string MarkFact(const inspect::GuardFacts& facts) {
  const uint64_t failed = facts.counters[abi::Counter::kMarkFailed];
  return absl::StrCat(
      inspect::MarkText(facts.config), ", ",
      failed == 0 ? "has not failed yet" : absl::StrCat("failed ", failed, " times"));
}

// That a port may be a NodePort although no source names it; empty where they see all.
absl::string_view UnknownNodePorts(const inspect::GuardFacts& facts) {
  if (inspect::JudgeCoverage(facts).coverage == core::Coverage::kAll) return "";
  return ", but may be one: the sources do not see all of them ('nodeport-guard status' has the "
         "reason)";
}

// What happens to a process that would listen there; empty while binds are left alone.
std::string BindNote(const inspect::GuardFacts& facts, const core::PortKey& key) {
  const std::string fate = inspect::BindFateText(facts, key);
  return fate.empty() ? ""
                      : absl::StrCat(" With --bind-protection ", abi::Name(facts.protection.bind),
                                     ", ", fate, ".");
}

std::string Sentence(const inspect::GuardFacts& facts, const Walk& walk,
                     const abi::NodePort* nodeport, const std::optional<std::string>& obstacle) {
  const bool udp = walk.key.protocol == core::Protocol::kUdp;
  const std::string connect =
      absl::StrCat(udp ? "A UDP connect to " : "A connect to ", walk.destination);
  const std::string name = core::ToString(walk.key);
  const std::string service = inspect::TakerText(ServiceOf(nodeport));
  const std::string owner = walk.listener ? inspect::OwnerText(*walk.listener) : "";
  switch (walk.verdict) {
    case core::Verdict::kPassNotNodePort:
      return absl::StrCat(connect, " is left alone: ", name, " is not a known NodePort",
                          UnknownNodePorts(facts), ".");
    case core::Verdict::kPassForeignNetns:
      return absl::StrCat(connect,
                          " from here is left alone: the guard serves another network "
                          "namespace.");
    case core::Verdict::kPassNoListener:
      return absl::StrCat(connect, " is left to ", service, ": no process of this node listens on ",
                          name, " there.", BindNote(facts, walk.key));
    case core::Verdict::kPassUntrustedOwner:
      return absl::StrCat(connect, " is left to ", service, ": ",
                          inspect::UntrustedText(*walk.listener), "; ",
                          inspect::RemedyOfUntrusted(*walk.listener), ".");
    case core::Verdict::kPassIgnoredOwner:
      return absl::StrCat(connect, " is left to ", service, ": ", owner,
                          " listens there and is ignored.");
    case core::Verdict::kPassObserved:
      return absl::StrCat(connect, " is counted and left to ", service, ": ", owner,
                          " listens there, but the mode is observe.");
    case core::Verdict::kPassStandingAside:
      return absl::StrCat(connect, " is left to ", service, ": ", owner, " listens there, but ",
                          inspect::AsideProblem(facts).value_or("the guard stands aside"), ".");
    case core::Verdict::kExempt:
      if (obstacle) {
        return absl::StrCat(connect, " should be exempted and is not: ", *obstacle, ".");
      }
      return absl::StrCat(
          connect, " is exempted: ", owner, " listens there and ", service,
          core::IsServiceName(ServiceOf(nodeport)) ? " owns the NodePort." : " would get it.",
          core::HasLongAcceptQueue(*walk.listener)
              ? absl::StrCat(" But ",
                             inspect::LongQueueText(inspect::Rules(facts), *walk.listener,
                                                    inspect::ConflictState::kExempted),
                             ".")
              : "");
    default:
      return absl::StrCat(connect, " is left alone: ", core::TextOf(walk.verdict).meaning, ".");
  }
}

// kube-proxy serves the health checks of Services with externalTrafficPolicy Local on ports of
// their own (healthCheckNodePort). The API server does not keep such a number free of NodePorts
// that are asked for by number. Empty where the listener is none of these.
std::string HealthCheckNote(const inspect::GuardFacts& facts, const Walk& walk,
                            const abi::NodePort* nodeport) {
  const std::string service = ServiceOf(nodeport);
  if (walk.verdict != core::Verdict::kPassIgnoredOwner || !walk.listener ||
      walk.key.protocol != core::Protocol::kTcp || walk.listener->owner.comm != kKubeProxyName ||
      !core::IsWildcard(walk.listener->address) || core::HasLongAcceptQueue(*walk.listener) ||
      !core::IsServiceName(service)) {
    return "";
  }
  const bool counted =
      std::any_of(facts.sources.begin(), facts.sources.end(),
                  [](const auto& source) { return source.second.health_check_ports > 0; });
  return absl::StrCat(
      counted ? " kube-proxy serves the health check of another Service (healthCheckNodePort) on "
                "this number: "
              : " If kube-proxy serves the health check of another Service (healthCheckNodePort) "
                "on this number, nothing reaches it: ",
      "connects from outside and from the node go to ", service,
      " instead; give one of the two another number.");
}

// The facts for npg_decide().
core::ConnectFacts FactsOfConnect(const inspect::GuardFacts& facts, const core::PortKey& key,
                                  const Address& destination, const core::Listener* listener) {
  core::ConnectFacts connect;
  connect.protocol = static_cast<uint32_t>(key.protocol);
  connect.destination = destination;
  connect.guards_own_addresses = inspect::GuardsNodeAddresses(facts);
  connect.own_address = facts.own.contains(destination);
  connect.nodeport = inspect::FindNodePort(facts, key) != nullptr;
  // If the kernel does not report cookies, assume that this namespace is the guarded one.
  connect.guarded_netns = facts.same_netns != false;
  connect.listener = listener != nullptr;
  if (listener != nullptr) {
    const core::OwnerVerdict verdict = inspect::Rules(facts).Judge(*listener);
    connect.owner_trusted = verdict != core::OwnerVerdict::kUntrusted;
    connect.owner_ignored = verdict == core::OwnerVerdict::kIgnored;
  }
  connect.enforce = facts.config.mode == abi::Mode::kEnforce;
  connect.stands_aside = inspect::StandsAside(facts, key.protocol, destination);
  connect.mark_set = true;  // only an attempt could show a failure
  return connect;
}

std::string FactText(const inspect::GuardFacts& facts, const Walk& walk,
                     const std::vector<core::Listener>& all, const Address& destination,
                     core::Question question) {
  switch (question) {
    case core::Question::kProtocol:
      return std::string(core::ProtocolName(walk.key.protocol));
    case core::Question::kDestination:
      return DestinationFact(facts, destination);
    case core::Question::kOwnAddress:
      return OwnAddressFact(facts, destination);
    case core::Question::kNodePort:
      return NodePortFact(facts, inspect::FindNodePort(facts, walk.key));
    case core::Question::kNetns:
      return NetnsFact(facts);
    case core::Question::kListener:
      return ListenerFact(facts, walk, all);
    case core::Question::kOwner:
    case core::Question::kHolder:
      return OwnerFact(facts, walk);
    case core::Question::kMode:
      return absl::StrCat(abi::Name(facts.config.mode),
                          inspect::StandsAside(facts, walk.key.protocol, destination)
                              ? ", but the guard stands aside"
                              : "");
    case core::Question::kMark:
      return MarkFact(facts);
  }
  return "";
}

Walk MakeWalk(const inspect::GuardFacts& facts, const core::PortKey& key,
              const std::vector<core::Listener>& all, const core::Listener* listener) {
  Walk walk;
  walk.key = key;
  const Address destination = listener == nullptr ? kLoopback4 : DestinationOf(*listener, all);
  walk.address = destination;
  walk.destination = absl::StrCat(core::AddressText(destination), ":", key.port);
  if (listener != nullptr) {
    walk.listener = *listener;
    walk.owner = inspect::NameOf(*listener);
  }
  const core::Decision decision = core::Decide(FactsOfConnect(facts, key, destination, listener));
  walk.verdict = decision.verdict;
  const auto add = [&](core::Question question, std::optional<bool> yes) {
    const core::DecisionRow& row = core::RowOf(question);
    // Both questions of row 6 have one fact: the last answer counts.
    if (question == core::Question::kHolder) walk.rows.pop_back();
    walk.rows.push_back({row.number, std::string(row.question),
                         FactText(facts, walk, all, destination, question), yes});
  };
  for (const core::Answer& answer : decision.answers) add(answer.question, answer.yes);
  for (const core::DecisionRow& row : core::kDecisionRows) {
    const bool asked =
        std::any_of(walk.rows.begin(), walk.rows.end(),
                    [&](const ExplainRow& other) { return other.number == row.number; });
    if (!asked) add(row.asks, std::nullopt);
  }
  const std::optional<std::string> obstacle =
      walk.verdict == core::Verdict::kExempt ? inspect::Obstacle(facts, destination) : std::nullopt;
  walk.effective = !obstacle.has_value();
  const abi::NodePort* nodeport = inspect::FindNodePort(facts, key);
  walk.sentence = absl::StrCat(Sentence(facts, walk, nodeport, obstacle),
                               HealthCheckNote(facts, walk, nodeport));
  return walk;
}

std::string RenderWalk(const Walk& walk, const Style& style) {
  std::string out = Paint(absl::StrCat("A connect to ", walk.destination, " (",
                                       core::ProtocolName(walk.key.protocol), ")"),
                          Tone::kHeading, style);
  Table table({{"ROW", true}, {"QUESTION"}, {"FACT", false, true}, {"YES?"}});
  for (const ExplainRow& row : walk.rows) {
    const Cell answer = !row.yes   ? Cell("-")
                        : *row.yes ? Cell("yes", Tone::kGood)
                                   : Cell("no", Tone::kWarn);
    table.AddRow({absl::StrCat(row.number), row.question, row.fact, answer});
  }
  return absl::StrCat(out, "\n", table.Render(style, "  "),
                      walk.rules ? RenderRules(*walk.rules, style) : "");
}

}  // namespace

std::vector<Walk> WalkDecision(const inspect::GuardFacts& facts, const core::PortKey& key) {
  // Outside the guarded namespace, the sockets of this one are irrelevant.
  const std::vector<core::Listener> listeners =
      facts.same_netns == false ? std::vector<core::Listener>{} : ListenersOn(facts, key);
  const core::OwnerRules rules = inspect::Rules(facts);
  std::vector<Walk> walks;
  for (const core::Listener& listener : listeners) {
    const bool reachable = core::ReachableOverLoopbackOr(facts.own, listener) ||
                           LeftOut(facts, listener.address) != nullptr;
    if (!reachable || !core::IsLookedUp(listener)) continue;
    if (rules.Judge(listener) == core::OwnerVerdict::kNoListener) continue;
    Walk walk = MakeWalk(facts, key, listeners, &listener);
    // Sockets that share an address (SO_REUSEPORT) have the same result.
    if (walks.empty() || walks.back().sentence != walk.sentence) walks.push_back(std::move(walk));
  }
  if (walks.empty()) walks.push_back(MakeWalk(facts, key, listeners, nullptr));
  return walks;
}

std::vector<core::PortKey> KeysToExplain(const inspect::GuardFacts& facts,
                                         const ExplainOptions& options) {
  if (options.protocol) return {{options.port, *options.protocol}};
  std::vector<core::PortKey> keys;
  for (const core::Protocol protocol : {core::Protocol::kTcp, core::Protocol::kUdp}) {
    const core::PortKey key{options.port, protocol};
    if (inspect::FindNodePort(facts, key) != nullptr) keys.push_back(key);
  }
  if (keys.empty()) keys.push_back({options.port, core::Protocol::kTcp});
  return keys;
}

ExplainReport MakeExplainReport(inspect::GuardFacts facts, const ExplainOptions& options) {
  ExplainReport report;
  for (const core::PortKey& key : KeysToExplain(facts, options)) {
    for (Walk& walk : WalkDecision(facts, key)) report.walks.push_back(std::move(walk));
  }
  report.status = inspect::MakeStatus(std::move(facts));
  return report;
}

std::string RenderExplain(const ExplainReport& report, const Style& style) {
  std::string out = RenderProblems(report.status.problems, style);
  for (const Walk& walk : report.walks) absl::StrAppend(&out, RenderWalk(walk, style), "\n");
  absl::StrAppend(&out, Paint("Guard", Tone::kHeading, style), "\n",
                  RenderGuard(report.status, style), "\n");
  for (const Walk& walk : report.walks) {
    absl::StrAppend(&out, base::Printable(walk.sentence), "\n");
    if (!walk.rules) continue;
    for (const std::string& sentence : RulesSentences(*walk.rules)) {
      absl::StrAppend(&out, base::Printable(sentence), "\n");
    }
  }
  if (!report.rules_unread.empty()) {
    absl::StrAppend(&out, "Rules were not read: ", base::Printable(report.rules_unread), ".\n");
  }
  return out;
}

Json ExplainJson(const ExplainReport& report) {
  Json json;
  json["healthy"] = report.status.healthy();
  json["problems"] = report.status.problems;
  json["walks"] = Json::array();
  for (const Walk& walk : report.walks) {
    Json entry;
    entry["port"] = walk.key.port;
    entry["protocol"] = std::string(core::ProtocolName(walk.key.protocol));
    entry["destination"] = walk.destination;
    entry["rows"] = Json::array();
    for (const ExplainRow& row : walk.rows) {
      entry["rows"].push_back({{"row", row.number},
                               {"question", row.question},
                               {"fact", row.fact},
                               {"yes", row.yes ? Json(*row.yes) : Json(nullptr)}});
    }
    if (walk.listener) {
      entry["listener"] = {{"address", inspect::AddressValue(walk.listener->address)},
                           {"owner", inspect::OwnerJson(*walk.listener, walk.owner)}};
    } else {
      entry["listener"] = nullptr;
    }
    entry["verdict"] = std::string(core::TextOf(walk.verdict).name);
    entry["exempted"] = walk.verdict == core::Verdict::kExempt && walk.effective;
    entry["sentence"] = walk.sentence;
    AddRulesJson(walk.rules, entry);
    json["walks"].push_back(std::move(entry));
  }
  json["rules_unread"] = report.rules_unread.empty() ? Json(nullptr) : Json(report.rules_unread);
  json["guard"] = inspect::GuardJson(report.status);
  return json;
}

}  // namespace npg::cli
