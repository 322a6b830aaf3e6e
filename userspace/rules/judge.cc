// SPDX-License-Identifier: Apache-2.0
#include "rules/judge.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/string_view.h"
#include "base/text.h"
#include "core/port.h"
#include "core/service_name.h"
#include "rules/evaluator.h"
#include "rules/owner_name.h"
#include "rules/port_set.h"
#include "rules/rule.h"
#include "rules/rule_set.h"
#include "rules/rule_store.h"
#include "rules/walk.h"

namespace npg::rules {
namespace {

PortSet PortsOf(const std::vector<WalkResult::Hit>& hits, bool with_sure) {
  PortSet ports;
  for (const WalkResult::Hit& hit : hits) {
    if (with_sure || hit.reason != 0) ports.Add({hit.port, hit.port});
  }
  return ports;
}

PortSet MaybeRefused(const WalkResult& result) {
  PortSet ports;
  for (const auto& [doubt, refused] : result.maybe_refused) ports.Add(refused);
  return ports;
}

// Compares what becomes of packets that conntrack tracks with what becomes of the others.
class RefusalJudge {
 public:
  RefusalJudge(const WalkResult& tracked, const WalkResult& untracked)
      : tracked_(tracked), untracked_(untracked), refused_(tracked.refused) {
    refused_.Add(MaybeRefused(tracked));
    for (const auto& [reason, ports] : tracked.diverted) host_.Add(ports);
    host_.Add(tracked.passed);
    // What may be refused and does not pass is refused in any case.
    firewall_ = MaybeRefused(untracked);
    maybe_firewall_ = firewall_ & untracked.passed;
    firewall_.Remove(untracked.passed);
    firewall_.Add(untracked.refused);
    maybe_firewall_.Remove(firewall_);
  }

  const PortSet& firewall() const { return firewall_; }
  const PortSet& maybe_firewall() const { return maybe_firewall_; }

  // True if a Nat that is not sure takes the port in any case: all that can happen else is that
  // the packet is refused because conntrack tracks it.
  bool SurelyTaken(uint16_t port) const {
    if (host_.Contains(port)) return false;
    return !refused_.Contains(port) ||
           !(firewall_.Contains(port) || maybe_firewall_.Contains(port));
  }

  enum class Refusal : uint8_t { kTaken, kOpen, kFirewall };
  Refusal Judge(const WalkResult::Hit& hit) const {
    if (firewall_.Contains(hit.port)) return Refusal::kFirewall;
    if (maybe_firewall_.Contains(hit.port)) {
      return hit.reason != 0 && RefusedByTheSame(hit.port) ? Refusal::kFirewall : Refusal::kOpen;
    }
    return hit.reason == 0 || !host_.Contains(hit.port) ? Refusal::kTaken : Refusal::kOpen;
  }

  // The first reason why it is not known whether the untracked packet is refused.
  uint32_t ReasonOfUntracked(uint16_t port) const {
    for (const auto& [doubt, ports] : untracked_.maybe_refused) {
      if (ports.Contains(port)) return doubt.reason;
    }
    return 0;
  }

 private:
  // Rules that may refuse the tracked packet may refuse the other one, too, and for the same
  // reason: both are refused, or neither is.
  bool RefusedByTheSame(uint16_t port) const {
    return std::ranges::all_of(tracked_.maybe_refused, [&](const auto& refused) {
      if (!refused.second.Contains(port)) return true;
      const auto other = untracked_.maybe_refused.find(refused.first);
      return other != untracked_.maybe_refused.end() && other->second.Contains(port);
    });
  }

  const WalkResult& tracked_;
  const WalkResult& untracked_;
  PortSet refused_;  // perhaps
  PortSet host_;     // may be reached
  PortSet firewall_;
  PortSet maybe_firewall_;
};

void JudgeNats(const WalkResult& result, const RefusalJudge& refusals, bool trace,
               Judgement& judgement) {
  for (const WalkResult::Hit& hit : result.nats) {
    if (hit.reason != 0 && !refusals.SurelyTaken(hit.port)) {
      judgement.open[hit.reason].Add({hit.port, hit.port});
      continue;
    }
    judgement.taken.push_back(hit);
    if (trace) judgement.redirected.Add({hit.port, hit.port});
  }
}

void JudgeRefusals(const WalkResult& result, const RefusalJudge& refusals, Judgement& judgement) {
  for (const WalkResult::Hit& hit : result.refusals) {
    switch (refusals.Judge(hit)) {
      case RefusalJudge::Refusal::kTaken:
        judgement.taken.push_back(hit);
        break;
      case RefusalJudge::Refusal::kOpen: {
        const uint32_t reason = hit.reason != 0 ? hit.reason : refusals.ReasonOfUntracked(hit.port);
        judgement.open[reason].Add({hit.port, hit.port});
        break;
      }
      case RefusalJudge::Refusal::kFirewall:
        break;
    }
  }
}

// Whether the port of a trace is refused, as far as that is known.
void JudgeTrace(const WalkResult& result, const RefusalJudge& refusals, uint16_t port,
                Judgement& judgement) {
  judgement.refused = result.refused;
  judgement.firewall = refusals.firewall();
  const bool sure = result.refused.Contains(port) || result.passed.empty();
  if (!sure && !result.maybe_refused.empty()) {
    judgement.doubt = result.maybe_refused.begin()->first.reason;
    return;
  }
  judgement.refused.Add(MaybeRefused(result));
  if (!judgement.refused.empty() && refusals.maybe_firewall().Contains(port)) {
    judgement.doubt = refusals.ReasonOfUntracked(port);
  }
}

}  // namespace

absl::StatusOr<Judgement> Judge(RuleSet& rules, RuleReader& reader, const EvaluateOptions& options,
                                Owners& owners, Reasons& reasons, size_t connect,
                                const PortSet& ports, std::vector<TraceStep>* trace) {
  Walk walk(rules, reader, options, owners, reasons,
            {.connect = connect, .tracked = true, .trace = trace});
  const absl::Status status = walk.Run(ports);
  if (!status.ok()) return status;
  WalkResult& result = walk.result();
  PortSet refused = result.refused;
  refused.Add(MaybeRefused(result));
  PortSet candidates = PortsOf(result.refusals, true);
  candidates.Add(PortsOf(result.nats, false) & refused);
  if (trace != nullptr) candidates = std::move(refused);
  Walk untracked(rules, reader, options, owners, reasons,
                 {.connect = connect, .tracked = false, .trace = nullptr});
  if (!candidates.empty()) {
    const absl::Status second = untracked.Run(candidates);
    if (!second.ok()) return second;
  }
  const RefusalJudge refusals(result, untracked.result());
  Judgement judgement;
  JudgeNats(result, refusals, trace != nullptr, judgement);
  JudgeRefusals(result, refusals, judgement);
  for (const auto& [reason, diverted] : result.diverted) judgement.open[reason].Add(diverted);
  for (const WalkResult::Broad& broad : result.broad) judgement.redirected.Add(broad.ports);
  if (trace != nullptr && !ports.empty()) {
    JudgeTrace(result, refusals, ports.ranges().front().first, judgement);
  }
  judgement.broad = std::move(result.broad);
  judgement.passed = std::move(result.passed);
  judgement.destination = std::move(result.destination);
  return judgement;
}

std::string RuleText(const RuleSet::Store& store, RuleSet::ChainId chain, uint64_t rule) {
  const ChainName name = store.NameOf(chain);
  const absl::string_view number = name.table.engine == Engine::kLegacy ? "rule" : "handle";
  return core::OneLine(absl::StrCat(ToString(name), ", ", number, " ", rule));
}

std::string PortsText(const PortSet& ports, core::Protocol protocol) {
  std::vector<std::string> texts;
  for (const PortSet::Range& range : ports.ranges()) {
    const std::string last = range.first == range.last ? "" : absl::StrCat("-", range.last);
    texts.push_back(absl::StrCat(range.first, last, "/", core::ProtocolName(protocol)));
  }
  return absl::StrJoin(texts, ", ");
}

std::string NumberOfPortsText(const PortSet& ports, core::Protocol protocol) {
  return absl::StrCat(base::Count(ports.size(), "port"), " of ", core::ProtocolName(protocol));
}

std::string UnknownText(const RuleSet::Store& store, const Reasons::Reason& reason,
                        absl::string_view ports) {
  return absl::StrCat(RuleText(store, reason.chain, reason.rule), ": ", core::OneLine(reason.what),
                      " cannot be evaluated (", ports, ")");
}

}  // namespace npg::rules
