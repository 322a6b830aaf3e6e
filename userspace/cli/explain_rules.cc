// SPDX-License-Identifier: Apache-2.0
#include "cli/explain_rules.h"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "cli/table.h"
#include "core/listener.h"
#include "core/port.h"
#include "dataplane/nft/nft_table.h"
#include "rules/connect.h"
#include "rules/evaluator.h"
#include "rules/node_rules.h"
#include "rules/port_set.h"
#include "rules/rule.h"
#include "rules/rule_changes.h"
#include "rules/save_command.h"

namespace npg::cli {
namespace {

using RulesJson = nlohmann::ordered_json;
using NodeAddressBytes = std::array<uint8_t, 16>;

constexpr size_t kMaxShownAddresses = 8;
// While other programs change rules.
constexpr int kTriesToRead = 5;
constexpr size_t kMaxCommentInTable = 40;

bool IsLinkLocal6(const NodeAddressBytes& address) {
  return address[0] == 0xfe && (address[1] & 0xc0) == 0x80;
}

bool HasFamilyOf(const core::Listener& listener, const NodeAddressBytes& address) {
  if (core::IsV4Mapped(listener.address)) return core::IsV4Mapped(address);
  return !listener.v6only || !core::IsV4Mapped(address);
}

bool SameOutcome(const RulesWay& a, const RulesWay& b) {
  return a.ip_vs == b.ip_vs && a.trace.outcome == b.trace.outcome &&
         a.trace.sometimes == b.trace.sometimes && a.trace.destination == b.trace.destination;
}

absl::string_view HookName(const rules::TraceStep& step) { return step.input ? "input" : "output"; }

std::string RuleNumber(const rules::TraceStep& step) {
  if (step.rule == 0) return "policy";
  return absl::StrCat(step.chain.table.engine == rules::Engine::kLegacy ? "rule " : "handle ",
                      step.rule);
}

std::string Shortened(absl::string_view comment) {
  if (comment.size() <= kMaxCommentInTable) return std::string(comment);
  return absl::StrCat(comment.substr(0, kMaxCommentInTable), "...");
}

std::string InParentheses(absl::string_view comment) {
  return comment.empty() ? "" : absl::StrCat(" (", comment, ")");
}

// The rule that decided.
std::string DecidingRule(const rules::Trace& trace) {
  if (trace.steps.empty()) return "rules that are not known";
  const rules::TraceStep& last = trace.steps.back();
  return absl::StrCat(rules::ToString(last.chain), ", ", RuleNumber(last),
                      InParentheses(last.comment));
}

absl::string_view OutcomeName(rules::Outcome outcome) {
  switch (outcome) {
    case rules::Outcome::kHost:
      return "host";
    case rules::Outcome::kRedirected:
      return "redirected";
    case rules::Outcome::kRefused:
      return "refused";
    case rules::Outcome::kFirewall:
      return "firewall";
    case rules::Outcome::kUnknown:
      break;
  }
  return "unknown";
}

RulesJson StepsJson(const rules::Trace& trace) {
  RulesJson steps = RulesJson::array();
  for (const rules::TraceStep& step : trace.steps) {
    steps.push_back(
        {{"hook", std::string(HookName(step))},
         {"table", rules::ToString(step.chain.table)},
         {"chain", step.chain.name},
         {"rule", step.rule == 0 ? RulesJson(nullptr) : RulesJson(step.rule)},
         {"comment", step.comment.empty() ? RulesJson(nullptr) : RulesJson(step.comment)},
         {"verdict", step.verdict},
         {"sometimes", step.sometimes}});
  }
  return steps;
}

RulesJson OutcomeJson(const RulesWay& way) {
  const rules::Trace& trace = way.trace;
  return {{"outcome", way.ip_vs ? "redirected" : std::string(OutcomeName(trace.outcome))},
          {"destination",
           trace.destination.empty() ? RulesJson(nullptr) : RulesJson(trace.destination)},
          {"sometimes", trace.sometimes},
          {"sentence", way.sentence}};
}

std::string RenderWay(const RulesWay& way, const Style& style) {
  if (way.trace.steps.empty()) return "";
  Table table({{"HOOK"}, {"TABLE"}, {"CHAIN"}, {"RULE", false, true}, {"VERDICT"}});
  for (const rules::TraceStep& step : way.trace.steps) {
    table.AddRow({std::string(HookName(step)), rules::ToString(step.chain.table), step.chain.name,
                  absl::StrCat(RuleNumber(step), InParentheses(Shortened(step.comment))),
                  absl::StrCat(step.verdict, step.sometimes ? " (sometimes)" : "")});
  }
  return absl::StrCat("  Rules that a connect to ", way.destination, " meets without the guard:\n",
                      table.Render(style, "  "));
}

rules::NodeRules::Options OptionsOfNode() {
  rules::NodeRules::Options options;
  options.own_table = std::string(dataplane::kNftTableName);
  options.command_folders = rules::CommandFolders();
  return options;
}

rules::EvaluateOptions EvaluateOnly(uint16_t port, const core::AddressSet& own) {
  rules::EvaluateOptions options;
  options.node_addresses = own;
  options.ports = rules::PortSet::Of(port);
  return options;
}

}  // namespace

std::vector<NodeAddressBytes> OtherAddresses(const core::AddressSet& own,
                                             const std::optional<core::Listener>& listener) {
  if (listener && !core::IsWildcard(listener->address)) return {};
  std::vector<NodeAddressBytes> addresses;
  for (const NodeAddressBytes& address : own) {
    if (IsLinkLocal6(address) || (listener && !HasFamilyOf(*listener, address))) continue;
    addresses.push_back(address);
  }
  std::sort(addresses.begin(), addresses.end());
  if (addresses.size() > kMaxTracedAddresses) addresses.resize(kMaxTracedAddresses);
  return addresses;
}

void KeepDecided(std::optional<WalkRules>& rules) {
  if (!rules) return;
  const auto undecided = [](const RulesWay& way) {
    return way.trace.outcome == rules::Outcome::kHost && !way.ip_vs;
  };
  if (undecided(rules->way)) {
    rules.reset();
    return;
  }
  std::vector<RulesWay>& elsewhere = rules->elsewhere;
  elsewhere.erase(std::remove_if(elsewhere.begin(), elsewhere.end(), undecided), elsewhere.end());
}

std::string RulesSentence(const core::PortKey& key, const RulesWay& way) {
  const rules::Trace& trace = way.trace;
  const std::string connect =
      absl::StrCat(key.protocol == core::Protocol::kUdp ? "a UDP connect to " : "a connect to ",
                   way.destination);
  const std::string without =
      absl::StrCat("Without the guard, ", connect, trace.sometimes ? " sometimes " : " ");
  switch (trace.outcome) {
    case rules::Outcome::kHost:
      return absl::StrCat(without, way.ip_vs ? "is redirected by IPVS." : "reaches the host.");
    case rules::Outcome::kRedirected:
      return absl::StrCat(without, "is redirected",
                          trace.destination.empty() ? "" : absl::StrCat(" to ", trace.destination),
                          " by ", DecidingRule(trace), ".");
    case rules::Outcome::kRefused:
      return absl::StrCat(without, "is refused by ", DecidingRule(trace), ".");
    case rules::Outcome::kFirewall:
      return absl::StrCat(
          without, "is refused by a firewall rule, tracked or not: ", DecidingRule(trace), ".");
    case rules::Outcome::kUnknown:
      break;
  }
  return absl::StrCat("What happens to ", connect, " without the guard cannot be told: ",
                      trace.unknown.empty() ? DecidingRule(trace) : trace.unknown, ".");
}

absl::StatusOr<WalkRules> FollowRules(const core::PortKey& key, const NodeAddressBytes& destination,
                                      const std::vector<NodeAddressBytes>& others,
                                      TraceFunction trace, IpVsFunction ip_vs) {
  const auto follow = [&](const NodeAddressBytes& address) -> absl::StatusOr<RulesWay> {
    absl::StatusOr<rules::Trace> traced = trace({key.protocol, address}, key.port);
    if (!traced.ok()) return traced.status();
    RulesWay way;
    way.destination = absl::StrCat(core::AddressText(address), ":", key.port);
    way.trace = *std::move(traced);
    way.ip_vs = way.trace.outcome == rules::Outcome::kHost && ip_vs(key, address);
    way.sentence = RulesSentence(key, way);
    return way;
  };
  absl::StatusOr<RulesWay> way = follow(destination);
  if (!way.ok()) return way.status();
  WalkRules rules{*std::move(way), {}, 0};
  for (const NodeAddressBytes& address : others) {
    absl::StatusOr<RulesWay> other = follow(address);
    if (!other.ok()) return other.status();
    if (SameOutcome(*other, rules.way)) continue;
    if (rules.elsewhere.size() == kMaxShownAddresses) {
      ++rules.omitted;
      continue;
    }
    rules.elsewhere.push_back(*std::move(other));
  }
  return rules;
}

std::string RenderRules(const WalkRules& rules, const Style& style) {
  std::string out = RenderWay(rules.way, style);
  for (const RulesWay& way : rules.elsewhere) absl::StrAppend(&out, RenderWay(way, style));
  return out;
}

std::vector<std::string> RulesSentences(const WalkRules& rules) {
  std::vector<std::string> sentences = {rules.way.sentence};
  for (const RulesWay& way : rules.elsewhere) sentences.push_back(way.sentence);
  if (rules.omitted > 0) {
    sentences.push_back(absl::StrCat("The outcome is another than for ", rules.way.destination,
                                     " for ", rules.omitted, " more addresses of this node."));
  }
  return sentences;
}

void AddRulesJson(const std::optional<WalkRules>& rules, RulesJson& walk) {
  if (!rules) {
    walk["rules"] = walk["without_guard"] = walk["own_addresses"] = nullptr;
    return;
  }
  walk["rules"] = StepsJson(rules->way.trace);
  walk["without_guard"] = OutcomeJson(rules->way);
  walk["own_addresses"] = RulesJson::array();
  for (const RulesWay& way : rules->elsewhere) {
    walk["own_addresses"].push_back({{"destination", way.destination},
                                     {"rules", StepsJson(way.trace)},
                                     {"without_guard", OutcomeJson(way)}});
  }
}

RulesFollower::RulesFollower(const std::vector<rules::Connect>& connects,
                             const core::AddressSet& own, uint16_t port)
    : rules_(OptionsOfNode(), connects, EvaluateOnly(port, own)) {}

absl::Status RulesFollower::Read() {
  absl::StatusOr<rules::NodeRules::Reading> reading =
      rules_.Read(rules::RuleChanges::Everything(), kTriesToRead);
  if (!reading.ok()) return reading.status();
  failed_.clear();
  for (const absl::Status& failure : reading->failed) failed_.emplace_back(failure.message());
  if (reading->unread) {
    for (std::string& line : reading->skipped) failed_.push_back(std::move(line));
  }
  return absl::OkStatus();
}

}  // namespace npg::cli
