// SPDX-License-Identifier: Apache-2.0
#include "node/rule_marks.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "absl/numeric/int128.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "core/mark.h"
#include "node/mark_use.h"
#include "node/nft_tables.h"
#include "rules/rule.h"

namespace npg::node {
namespace {

constexpr uint32_t kAllMarkBits = ~uint32_t{0};
constexpr uint32_t kLoopbackAddress = 0x7f000001;
constexpr size_t kAddressBytes = 4;

uint32_t MarkWord(const rules::Value& value) {
  return static_cast<uint32_t>(absl::Uint128Low64(value));
}

std::string MarkWithMask(uint32_t value, uint32_t mask) {
  return mask == kAllMarkBits ? core::HexText(value)
                              : absl::StrCat(core::HexText(value), "/", core::HexText(mask));
}

// Goes through the steps of one rule.
class MarkSteps {
 public:
  MarkSteps(const rules::ChainName& chain, const rules::Rule& rule) : chain_(chain), rule_(rule) {}

  void operator()(const rules::Test& test) {
    if (test.set || test.operands.size() != 1) return LookUp(test.operands);
    const rules::Operand& operand = test.operands.front();
    if (operand.field != rules::Field::kMark) return;
    const uint32_t mask = MarkWord(operand.mask);
    for (const rules::Interval& interval : test.intervals) {
      if (interval.first != interval.last) return LookUp(test.operands);
      const uint32_t value = MarkWord(interval.first ^ operand.flip);
      Add(MarkUse::Kind::kMatch, value, mask,
          absl::StrCat(test.negated ? "matches all but mark " : "matches mark ",
                       MarkWithMask(value, mask)));
    }
  }

  void operator()(const rules::VerdictMap& map) { LookUp(map.operands); }
  void operator()(const rules::DataMap& map) { LookUp(map.operands); }

  void operator()(const rules::MarkChange& change) {
    if (!change.known) return;
    const uint32_t bits = ~change.keep | change.flip;
    Add(MarkUse::Kind::kSet, change.flip, bits,
        absl::StrCat("sets mark ", MarkWithMask(change.flip, bits)));
  }

  template <typename Other>
  void operator()(const Other& /*step*/) {}

  std::vector<MarkUse> Take() { return std::move(uses_); }

 private:
  void LookUp(const std::vector<rules::Operand>& operands) {
    for (const rules::Operand& operand : operands) {
      if (operand.field != rules::Field::kMark) continue;
      Add(MarkUse::Kind::kLookup, 0, MarkWord(operand.mask), "matches several marks");
    }
  }

  void Add(MarkUse::Kind kind, uint32_t value, uint32_t mask, absl::string_view text) {
    const bool numbered = chain_.table.engine == rules::Engine::kLegacy;
    const std::string comment = rule_.comment.empty() ? "" : absl::StrCat(" (", rule_.comment, ")");
    const rules::TableId& table = chain_.table;
    // Marks count in tables of every family.
    uses_.push_back({numbered ? rules::ToString(table)
                              : absl::StrCat("nft table ", TableText({table.family, table.name})),
                     absl::StrCat("chain ", chain_.name, numbered ? ", rule " : ", handle ",
                                  rule_.handle, comment, ": ", text),
                     kind, value, mask});
  }

  const rules::ChainName& chain_;
  const rules::Rule& rule_;
  std::vector<MarkUse> uses_;
};

bool HoldsForLoopback(const rules::Test& test) {
  const rules::Operand& operand = test.operands.front();
  // iptables-nft compares only the bytes that a prefix covers.
  const rules::Value address =
      operand.size >= kAddressBytes
          ? rules::Value(kLoopbackAddress)
          : rules::Value(kLoopbackAddress) >> static_cast<int>(8 * (kAddressBytes - operand.size));
  const rules::Value compared = (address & operand.mask) ^ operand.flip;
  const bool found = std::any_of(test.intervals.begin(), test.intervals.end(),
                                 [&compared](const rules::Interval& interval) {
                                   return interval.first <= compared && compared <= interval.last;
                                 });
  return found != test.negated;
}

}  // namespace

std::vector<MarkUse> MarksOf(const rules::ChainName& chain, const rules::Rule& rule) {
  MarkSteps steps(chain, rule);
  for (const rules::Step& step : rule.steps) std::visit(steps, step);
  return steps.Take();
}

bool JumpsTo(const rules::Rule& rule, absl::string_view chain) {
  return std::any_of(rule.steps.begin(), rule.steps.end(), [chain](const rules::Step& step) {
    const auto* verdict = std::get_if<rules::Verdict>(&step);
    return verdict != nullptr && verdict->chain == chain &&
           (verdict->kind == rules::VerdictKind::kJump ||
            verdict->kind == rules::VerdictKind::kGoto);
  });
}

bool AdmitsLoopback(const rules::Rule& rule) {
  return std::all_of(rule.steps.begin(), rule.steps.end(), [](const rules::Step& step) {
    const auto* test = std::get_if<rules::Test>(&step);
    if (test == nullptr || test->set || test->operands.size() != 1) return true;
    return test->operands.front().field != rules::Field::kDestination || HoldsForLoopback(*test);
  });
}

}  // namespace npg::node
