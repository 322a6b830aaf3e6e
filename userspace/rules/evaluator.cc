// SPDX-License-Identifier: Apache-2.0
#include "rules/evaluator.h"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/btree_map.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "core/listener.h"
#include "core/port.h"
#include "rules/connect.h"
#include "rules/judge.h"
#include "rules/owner_name.h"
#include "rules/port_set.h"
#include "rules/rule.h"
#include "rules/rule_set.h"
#include "rules/rule_store.h"
#include "rules/walk.h"

namespace npg::rules {
namespace {

constexpr std::array<core::Protocol, 2> kProtocols = {core::Protocol::kTcp, core::Protocol::kUdp};

// Joins what the connects meet.
class Tally {
 public:
  Tally(const RuleSet::Store& store, const Owners& owners, const Reasons& reasons)
      : store_(store), owners_(owners), reasons_(reasons) {}

  void Add(core::Protocol protocol, const Judgement& judgement);
  Evaluation Take(size_t max_ports_of_rule) &&;

 private:
  static constexpr uint32_t kFree = UINT32_MAX;
  using ByProtocol = std::array<PortSet, 2>;  // as kProtocols

  struct BroadRule {
    bool redirect = false;
    ByProtocol ports;
  };

  static size_t IndexOf(core::Protocol protocol) {
    return protocol == core::Protocol::kTcp ? 0 : 1;
  }
  void AddHit(std::vector<uint32_t>& taken, const WalkResult::Hit& hit) const;
  std::string UnknownLine(const Reasons::Reason& reason, const ByProtocol& ports, bool many) const;

  const RuleSet::Store& store_;
  const Owners& owners_;
  const Reasons& reasons_;
  std::array<std::vector<uint32_t>, 2> taken_ = {std::vector<uint32_t>(65536, kFree),
                                                 std::vector<uint32_t>(65536, kFree)};
  absl::btree_map<uint32_t, ByProtocol> open_;
  absl::btree_map<std::pair<RuleSet::ChainId, uint64_t>, BroadRule> broad_;
};

void Tally::AddHit(std::vector<uint32_t>& taken, const WalkResult::Hit& hit) const {
  uint32_t& owner = taken[hit.port];
  if (owner == kFree || (!owners_.IsService(owner) && owners_.IsService(hit.owner))) {
    owner = hit.owner;
  }
}

void Tally::Add(core::Protocol protocol, const Judgement& judgement) {
  const size_t index = IndexOf(protocol);
  for (const WalkResult::Hit& hit : judgement.taken) AddHit(taken_.at(index), hit);
  for (const auto& [reason, ports] : judgement.open) open_[reason].at(index).Add(ports);
  for (const WalkResult::Broad& broad : judgement.broad) {
    BroadRule& rule = broad_[{broad.chain, broad.rule}];
    rule.redirect = broad.redirect;
    rule.ports.at(index).Add(broad.ports);
  }
}

Evaluation Tally::Take(size_t max_ports_of_rule) && {
  Evaluation result;
  for (uint32_t port = 1; port < taken_[0].size(); ++port) {
    for (size_t i = 0; i < kProtocols.size(); ++i) {
      const uint32_t owner = taken_.at(i)[port];
      if (owner == kFree) continue;
      result.taken.emplace_hint(result.taken.end(),
                                core::PortKey{static_cast<uint16_t>(port), kProtocols.at(i)},
                                owners_.ref(owner));
    }
  }
  for (auto& [number, ports] : open_) {
    for (size_t i = 0; i < kProtocols.size(); ++i) {
      PortSet taken;
      for (const PortSet::Range& range : ports.at(i).ranges()) {
        for (uint32_t port = range.first; port <= range.last; ++port) {
          const auto one = static_cast<uint16_t>(port);
          if (taken_.at(i)[port] != kFree) taken.Add({one, one});
        }
      }
      ports.at(i).Remove(taken);
    }
    if (ports[0].empty() && ports[1].empty()) continue;
    const bool many = std::max(ports[0].size(), ports[1].size()) > max_ports_of_rule;
    result.unknown.push_back(UnknownLine(reasons_[number], ports, many));
    if (many) continue;
    for (size_t i = 0; i < kProtocols.size(); ++i) {
      for (const PortSet::Range& range : ports.at(i).ranges()) {
        for (uint32_t port = range.first; port <= range.last; ++port) {
          result.open.push_back({static_cast<uint16_t>(port), kProtocols.at(i)});
        }
      }
    }
  }
  for (const auto& [rule, broad] : broad_) {
    std::vector<std::string> numbers;
    for (size_t i = 0; i < kProtocols.size(); ++i) {
      if (broad.ports.at(i).empty()) continue;
      numbers.push_back(NumberOfPortsText(broad.ports.at(i), kProtocols.at(i)));
    }
    result.broad.push_back(absl::StrCat(RuleText(store_, rule.first, rule.second), ": redirects ",
                                        absl::StrJoin(numbers, " and ")));
  }
  std::sort(result.unknown.begin(), result.unknown.end());
  std::sort(result.broad.begin(), result.broad.end());
  std::sort(result.open.begin(), result.open.end());
  result.open.erase(std::unique(result.open.begin(), result.open.end()), result.open.end());
  return result;
}

std::string Tally::UnknownLine(const Reasons::Reason& reason, const ByProtocol& ports,
                               bool many) const {
  std::vector<std::string> texts;
  for (size_t i = 0; i < kProtocols.size(); ++i) {
    if (ports.at(i).empty()) continue;
    texts.push_back(many ? NumberOfPortsText(ports.at(i), kProtocols.at(i))
                         : PortsText(ports.at(i), kProtocols.at(i)));
  }
  return UnknownText(store_, reason, absl::StrJoin(texts, ", "));
}

// A Nat to such an address means the same for all connects.
bool IsOwnAddress(const EvaluateOptions& options, const Connect& connect) {
  return core::IsLoopback(connect.address) || options.node_addresses.contains(connect.address);
}

}  // namespace

absl::StatusOr<Evaluation> Evaluate(RuleSet& rules, RuleReader& reader,
                                    const EvaluateOptions& options) {
  Owners owners(rules.store());
  Reasons reasons;
  Tally tally(rules.store(), owners, reasons);
  std::vector<size_t> walked;
  for (size_t connect = 0; connect < rules.connects().size(); ++connect) {
    // What the walks so far have reached is all that this one would reach.
    const bool same = std::any_of(walked.begin(), walked.end(), [&](size_t other) {
      return IsOwnAddress(options, rules.connects()[connect]) &&
             IsOwnAddress(options, rules.connects()[other]) &&
             rules.store().TreatsAlike(connect, other);
    });
    if (same) continue;
    walked.push_back(connect);
    absl::StatusOr<Judgement> judgement =
        Judge(rules, reader, options, owners, reasons, connect, options.ports, nullptr);
    if (!judgement.ok()) return judgement.status();
    tally.Add(rules.connects()[connect].protocol, *judgement);
  }
  return std::move(tally).Take(options.max_ports_of_rule);
}

}  // namespace npg::rules
