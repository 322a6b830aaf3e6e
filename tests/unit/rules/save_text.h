// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_TESTS_UNIT_RULES_SAVE_TEXT_H_
#define NODEPORT_GUARD_TESTS_UNIT_RULES_SAVE_TEXT_H_

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "absl/numeric/int128.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/string_view.h"
#include "rules/rule.h"

namespace npg::testing {

// Steps of a rule as short text, so that tests can have tables of them:
// "protocol=6 dport=50,4650 -> jump X". Numbers are hexadecimal.
class RuleText {
 public:
  static std::string Of(const rules::Rule& rule) {
    return absl::StrJoin(rule.steps, " ", [](std::string* text, const rules::Step& step) {
      absl::StrAppend(text, std::visit(RuleText(), step));
    });
  }

  std::string operator()(const rules::Test& test) const {
    std::string text = test.negated ? "!" : "";
    absl::StrAppend(&text, Operands(test.operands));
    if (test.or_source_port) absl::StrAppend(&text, "|sport");
    if (test.set) {
      return absl::StrCat(text, test.set->ip_set ? "@ipset:" : "@", test.set->name);
    }
    absl::StrAppend(&text, "=", absl::StrJoin(test.intervals, ",", Append));
    return text;
  }

  std::string operator()(const rules::Verdict& verdict) const {
    constexpr std::array<absl::string_view, 8> kNames = {"accept", "drop", "reject",   "return",
                                                         "jump",   "goto", "continue", "divert"};
    std::string text = absl::StrCat("-> ", kNames.at(static_cast<size_t>(verdict.kind)));
    if (!verdict.chain.empty()) absl::StrAppend(&text, " ", verdict.chain);
    if (!verdict.unknown.empty()) absl::StrAppend(&text, " ", verdict.unknown);
    return text;
  }

  std::string operator()(const rules::Nat& nat) const {
    return absl::StrCat(nat.redirect ? "-> redirect" : "-> dnat", Optional(" to ", nat.address),
                        Optional(" port ", nat.port));
  }

  std::string operator()(const rules::MarkChange& change) const {
    if (!change.known) return "-> mark ?";
    return absl::StrFormat("-> mark &%x ^%x%s", change.keep, change.flip,
                           change.from_connection ? " connmark" : "");
  }

  std::string operator()(const rules::ConnectionMarkChange&) const { return "-> connmark"; }
  std::string operator()(const rules::Untrack&) const { return "-> untrack"; }
  std::string operator()(const rules::VerdictMap&) const { return "-> vmap"; }
  std::string operator()(const rules::DataMap&) const { return "-> map"; }

 private:
  static std::string Hex(rules::Value value) {
    const uint64_t high = absl::Uint128High64(value);
    const uint64_t low = absl::Uint128Low64(value);
    return high == 0 ? absl::StrFormat("%x", low) : absl::StrFormat("%x%016x", high, low);
  }

  static void Append(std::string* text, const rules::Interval& interval) {
    absl::StrAppend(text, Hex(interval.first));
    if (interval.last != interval.first) absl::StrAppend(text, "-", Hex(interval.last));
  }

  static std::string Optional(absl::string_view name,
                              const std::optional<rules::Interval>& interval) {
    std::string text;
    if (interval) {
      text = std::string(name);
      Append(&text, *interval);
    }
    return text;
  }

  static std::string Operands(const std::vector<rules::Operand>& operands) {
    constexpr std::array<absl::string_view, 18> kNames = {
        "family", "protocol", "src",   "dst",   "sport",   "dport",   "iif",      "oif",    "iifi",
        "oifi",   "mark",     "cmark", "state", "srctype", "dsttype", "tcpflags", "chance", "?"};
    return absl::StrJoin(operands, ".", [&](std::string* text, const rules::Operand& operand) {
      absl::StrAppend(text, kNames.at(static_cast<size_t>(operand.field)));
      if (operand.mask != rules::kAllBits) absl::StrAppend(text, "&", Hex(operand.mask));
      if (!operand.unknown.empty()) absl::StrAppend(text, "(", operand.unknown, ")");
    });
  }
};

}  // namespace npg::testing

#endif  // NODEPORT_GUARD_TESTS_UNIT_RULES_SAVE_TEXT_H_
