// SPDX-License-Identifier: Apache-2.0
#include "rules/save_options.h"

#include <cstdint>
#include <optional>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "rules/rule.h"
#include "rules/save_values.h"
#include "rules/save_words.h"

namespace npg::rules {
namespace {

// nullopt: the value is not one of the option.
using SavedCondition = std::optional<Test>;

SavedCondition SavedAddressTest(Field field, uint8_t family, absl::string_view text) {
  const std::optional<SavedNetwork> network = ParseSavedNetwork(family, text);
  if (!network) return std::nullopt;
  Test test = SavedTest(field, SavedAddressSize(family),
                        network->interval.value_or(Interval{network->address, network->address}));
  if (!network->interval) test.operands.front().mask = network->mask;
  return test;
}

SavedCondition SavedInterfaceTest(Field field, absl::string_view text) {
  const std::optional<Interval> names = SavedInterface(text);
  if (!names) return std::nullopt;
  return SavedTest(field, 16, *names);
}

SavedCondition SavedProtocolTest(absl::string_view text) {
  if (text == "all" || text == "0") return SavedTest(Field::kProtocol, 1, {0, 0xff});
  const std::optional<uint8_t> protocol = SavedProtocol(text);
  if (!protocol) return std::nullopt;
  return SavedTest(Field::kProtocol, 1, {*protocol, *protocol});
}

// Of the options that each rule may have, with one value.
SavedCondition SavedBasicTest(uint8_t family, char option, absl::string_view value) {
  switch (option) {
    case 's':
      return SavedAddressTest(Field::kSource, family, value);
    case 'd':
      return SavedAddressTest(Field::kDestination, family, value);
    case 'i':
      return SavedInterfaceTest(Field::kInName, value);
    case 'o':
      return SavedInterfaceTest(Field::kOutName, value);
    default:
      return SavedProtocolTest(value);
  }
}

// "-f": second and further fragments, which no packet of a connect is.
Test SavedFragmentTest() {
  Test never = SavedTest(Field::kProtocol, 1, {});
  never.intervals.clear();
  return never;
}

bool IsSavedBasicOption(absl::string_view option) {
  return option.size() == 2 && option[0] == '-' &&
         absl::string_view("sdiopf").find(option[1]) != absl::string_view::npos;
}

// `option` has been taken.
bool ParseSavedBasicOption(uint8_t family, absl::string_view option, bool negated,
                           SaveCursor& words, Rule& rule) {
  SavedCondition test;
  if (option == "-f") {
    test = SavedFragmentTest();
  } else {
    if (words.empty()) return false;
    test = SavedBasicTest(family, option[1], words.Take());
  }
  if (!test) {
    test = SavedOpenTest(Field::kUnknown, absl::StrCat("option ", option));
  }
  test->negated = test->negated != negated;
  rule.steps.emplace_back(*std::move(test));
  return true;
}

bool ParseSavedGoto(SaveCursor& words, SavedChains is_chain, Rule& rule) {
  if (words.size() != 1 || !is_chain(words.Peek())) return false;
  rule.steps.emplace_back(
      Verdict{.kind = VerdictKind::kGoto, .chain = std::string(words.Take()), .unknown = {}});
  return true;
}

}  // namespace

Test SavedTest(Field field, uint8_t size, Interval interval) {
  Test test;
  Operand& operand = test.operands.emplace_back();
  operand.field = field;
  operand.size = size;
  test.intervals.push_back(interval);
  return test;
}

Test SavedOpenTest(Field field, std::string unknown) {
  Test test;
  Operand& operand = test.operands.emplace_back();
  operand.field = field;
  operand.unknown = std::move(unknown);
  return test;
}

bool ParseSavedOptions(uint8_t family, SaveCursor words, SavedChains is_chain, Rule& rule) {
  while (!words.empty()) {
    const bool negated = words.TakeIf("!");
    if (words.empty()) return false;
    const absl::string_view option = words.Take();
    if (IsSavedBasicOption(option)) {
      if (!ParseSavedBasicOption(family, option, negated, words, rule)) return false;
      continue;
    }
    if (negated || words.empty()) return false;
    if (option == "-j") {
      const absl::string_view target = words.Take();
      return ParseSavedTarget(family, target, words, is_chain, rule);
    }
    if (option == "-g") return ParseSavedGoto(words, is_chain, rule);
    if (option != "-m") return false;
    const absl::string_view match = words.Take();
    if (!ParseSavedMatch(family, match, words, rule)) return false;
  }
  return true;
}

}  // namespace npg::rules
