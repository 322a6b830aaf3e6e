// SPDX-License-Identifier: Apache-2.0
#include <netinet/tcp.h>

// After netinet/in.h.
#include <linux/netfilter/nf_conntrack_common.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "rules/rule.h"
#include "rules/save_options.h"
#include "rules/save_values.h"
#include "rules/save_words.h"
#include "rules/xt_address_types.h"

namespace npg::rules {
namespace {

// What an option's values ask for; nullopt if they are not values of it. `!` is not in it.
using SavedValues = absl::Span<const absl::string_view>;
using MakeSavedTest = std::optional<Test> (*)(uint8_t family, SavedValues values);

// Matches whose answer is not the same for each of many like connects.
constexpr std::array<absl::string_view, 9> kSavedChances = {
    "connbytes", "connlimit", "cpu", "hashlimit", "limit", "quota", "recent", "statistic", "time"};

// Matches that always hold.
constexpr std::array<absl::string_view, 2> kSavedNotes = {"comment", "nfacct"};

Test SavedConstant(bool holds) {
  Test test = SavedTest(Field::kProtocol, 1, {});
  test.intervals.clear();
  test.negated = holds;
  return test;
}

std::optional<Test> SavedAlways(uint8_t /*family*/, SavedValues /*values*/) {
  return SavedConstant(true);
}

std::optional<Test> SavedDirection(uint8_t /*family*/, SavedValues values) {
  return SavedConstant(values[0] == "ORIGINAL");
}

template <Field kField>
std::optional<Test> SavedPort(uint8_t /*family*/, SavedValues values) {
  const std::optional<Interval> ports = SavedPortRange(values[0], ':');
  if (!ports) return std::nullopt;
  return SavedTest(kField, 2, *ports);
}

template <Field kField>
std::optional<Test> SavedPorts(uint8_t /*family*/, SavedValues values) {
  std::optional<std::vector<Interval>> ports = SavedPortList(values[0]);
  if (!ports) return std::nullopt;
  Test test = SavedTest(kField, 2, {});
  test.intervals = *std::move(ports);
  return test;
}

std::optional<Test> SavedEitherPorts(uint8_t family, SavedValues values) {
  std::optional<Test> test = SavedPorts<Field::kDestinationPort>(family, values);
  if (test) test->or_source_port = true;
  return test;
}

Test SavedFlagsTest(uint8_t mask, uint8_t flags) {
  Test test = SavedTest(Field::kTcpFlags, 1, {flags, flags});
  test.operands.front().mask = mask;
  return test;
}

std::optional<Test> SavedFlags(uint8_t /*family*/, SavedValues values) {
  const std::optional<uint8_t> mask = SavedTcpFlags(values[0]);
  const std::optional<uint8_t> flags = SavedTcpFlags(values[1]);
  if (!mask || !flags) return std::nullopt;
  return SavedFlagsTest(*mask, *flags);
}

std::optional<Test> SavedSyn(uint8_t /*family*/, SavedValues /*values*/) {
  return SavedFlagsTest(TH_FIN | TH_SYN | TH_RST | TH_ACK, TH_SYN);
}

template <Field kField>
std::optional<Test> SavedTypes(uint8_t family, SavedValues values) {
  uint32_t mask = 0;
  for (const absl::string_view name : absl::StrSplit(values[0], ',')) {
    const std::optional<uint32_t> type = AddressTypeByName(name);
    if (!type || *type >= 32) return std::nullopt;
    mask |= uint32_t{1} << *type;
  }
  Test test = SavedTest(kField, 4, {});
  test.intervals = AddressTypeIntervals(family, mask);
  return test;
}

template <Field kField>
std::optional<Test> SavedMark(uint8_t /*family*/, SavedValues values) {
  const std::optional<std::pair<uint32_t, uint32_t>> mark = SavedMasked(values[0]);
  if (!mark) return std::nullopt;
  Test test = SavedTest(kField, 4, {mark->first, mark->first});
  test.operands.front().mask = mark->second;
  return test;
}

// One of the bits of the state is set.
Test SavedStateTest(uint32_t bits) {
  Test test = SavedTest(Field::kState, 4, {0, 0});
  test.operands.front().mask = bits;
  test.negated = true;
  return test;
}

std::optional<Test> SavedState(uint8_t /*family*/, SavedValues values) {
  const std::optional<uint32_t> bits = SavedStates(values[0]);
  if (!bits) return std::nullopt;
  return SavedStateTest(*bits);
}

std::optional<Test> SavedOriginalProtocol(uint8_t /*family*/, SavedValues values) {
  const std::optional<uint8_t> protocol = SavedProtocol(values[0]);
  if (!protocol) return std::nullopt;
  return SavedTest(Field::kProtocol, 1, {*protocol, *protocol});
}

template <Field kField>
std::optional<Test> SavedOriginalAddress(uint8_t family, SavedValues values) {
  const std::optional<SavedNetwork> network = ParseSavedNetwork(family, values[0]);
  if (!network || !network->interval) return std::nullopt;
  return SavedTest(kField, SavedAddressSize(family), *network->interval);
}

template <Field kField>
std::optional<Test> SavedAddresses(uint8_t family, SavedValues values) {
  const std::optional<Interval> range = SavedAddressRange(family, values[0]);
  if (!range) return std::nullopt;
  return SavedTest(kField, SavedAddressSize(family), *range);
}

std::optional<Test> SavedSet(uint8_t family, SavedValues values) {
  Test test;
  test.set = SetName{.name = std::string(values[0]), .ip_set = true};
  for (const absl::string_view end : absl::StrSplit(values[1], ',')) {
    if (end != "src" && end != "dst") return std::nullopt;
    Operand& operand = test.operands.emplace_back();
    operand.field = end == "src" ? Field::kSource : Field::kDestination;
    operand.size = SavedAddressSize(family);
  }
  return test;
}

struct SavedOption {
  absl::string_view match;
  absl::string_view name;
  size_t values;
  MakeSavedTest make;
};

constexpr std::array<SavedOption, 26> kSavedOptions = {{
    {"tcp", "--sport", 1, SavedPort<Field::kSourcePort>},
    {"tcp", "--dport", 1, SavedPort<Field::kDestinationPort>},
    {"tcp", "--tcp-flags", 2, SavedFlags},
    {"tcp", "--syn", 0, SavedSyn},
    {"udp", "--sport", 1, SavedPort<Field::kSourcePort>},
    {"udp", "--dport", 1, SavedPort<Field::kDestinationPort>},
    {"multiport", "--sports", 1, SavedPorts<Field::kSourcePort>},
    {"multiport", "--dports", 1, SavedPorts<Field::kDestinationPort>},
    {"multiport", "--ports", 1, SavedEitherPorts},
    {"addrtype", "--src-type", 1, SavedTypes<Field::kSourceType>},
    {"addrtype", "--dst-type", 1, SavedTypes<Field::kDestinationType>},
    {"mark", "--mark", 1, SavedMark<Field::kMark>},
    {"connmark", "--mark", 1, SavedMark<Field::kConnectionMark>},
    {"state", "--state", 1, SavedState},
    {"conntrack", "--ctstate", 1, SavedState},
    {"conntrack", "--ctproto", 1, SavedOriginalProtocol},
    {"conntrack", "--ctorigsrc", 1, SavedOriginalAddress<Field::kSource>},
    {"conntrack", "--ctorigdst", 1, SavedOriginalAddress<Field::kDestination>},
    {"conntrack", "--ctorigsrcport", 1, SavedPort<Field::kSourcePort>},
    {"conntrack", "--ctorigdstport", 1, SavedPort<Field::kDestinationPort>},
    {"conntrack", "--ctdir", 1, SavedDirection},
    {"set", "--match-set", 2, SavedSet},
    // These two do not change the answer, but whether a hit is counted.
    {"set", "--update-counters", 0, SavedAlways},
    {"set", "--update-subcounters", 0, SavedAlways},
    {"iprange", "--src-range", 1, SavedAddresses<Field::kSource>},
    {"iprange", "--dst-range", 1, SavedAddresses<Field::kDestination>},
}};

const SavedOption* FindSavedOption(absl::string_view match, absl::string_view name) {
  for (const SavedOption& option : kSavedOptions) {
    if (option.match == match && option.name == name) return &option;
  }
  return nullptr;
}

bool IsSavedMatch(absl::string_view match) {
  return std::any_of(kSavedOptions.begin(), kSavedOptions.end(),
                     [match](const SavedOption& option) { return option.match == match; });
}

template <size_t kSize>
bool IsSavedOneOf(const std::array<absl::string_view, kSize>& names, absl::string_view name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

// A match whose options cannot be evaluated.
void SkipSavedOptions(SaveCursor& words) {
  while (words.AtMatchOption()) {
    words.TakeIf("!");
    words.SkipValues(words.Take());
  }
}

bool ParseSavedNote(SaveCursor& words, Rule& rule) {
  while (words.AtMatchOption()) {
    words.TakeIf("!");
    const absl::string_view option = words.Take();
    if (words.empty()) return false;
    const absl::string_view value = words.Take();
    if (option == "--comment" && rule.comment.empty()) rule.comment = std::string(value);
  }
  return true;
}

// The options of one match of kSavedOptions.
class SavedMatchParser {
 public:
  SavedMatchParser(uint8_t family, absl::string_view match, SaveCursor& words, Rule& rule)
      : family_(family), match_(match), words_(words), rule_(rule) {}

  bool Parse() {
    while (words_.AtMatchOption()) {
      const bool negated = words_.TakeIf("!");
      if (!ParseOption(words_.Take(), negated)) return false;
    }
    // Without a state to match, conntrack does not match packets that it does not track
    // (net/netfilter/xt_conntrack.c).
    if (tracked_ && !state_) {
      Test tracked = SavedStateTest(NF_CT_STATE_INVALID_BIT | NF_CT_STATE_UNTRACKED_BIT);
      tracked.negated = false;
      rule_.steps.emplace_back(std::move(tracked));
    }
    if (unknown_) {
      rule_.steps.emplace_back(SavedOpenTest(Field::kUnknown, absl::StrCat("match ", match_)));
    }
    return true;
  }

 private:
  bool ParseOption(absl::string_view name, bool negated) {
    const SavedOption* const option = FindSavedOption(match_, name);
    if (match_ == "conntrack") (name == "--ctstate" ? state_ : tracked_) = true;
    if (option == nullptr) {
      words_.SkipValues(name);
      unknown_ = true;
      return true;
    }
    if (words_.size() < option->values) return false;
    std::optional<Test> test = option->make(family_, words_.Take(option->values));
    if (!test) {
      unknown_ = true;
      return true;
    }
    if (option->make != SavedAlways) test->negated = test->negated != negated;
    rule_.steps.emplace_back(*std::move(test));
    return true;
  }

  const uint8_t family_;
  const absl::string_view match_;
  SaveCursor& words_;
  Rule& rule_;
  bool unknown_ = false;  // an option, or its value
  bool state_ = false;    // of conntrack: --ctstate
  bool tracked_ = false;  // of conntrack: any other option
};

}  // namespace

bool ParseSavedMatch(uint8_t family, absl::string_view name, SaveCursor& words, Rule& rule) {
  if (IsSavedOneOf(kSavedNotes, name)) return ParseSavedNote(words, rule);
  if (IsSavedMatch(name)) return SavedMatchParser(family, name, words, rule).Parse();
  SkipSavedOptions(words);
  const bool chance = IsSavedOneOf(kSavedChances, name);
  rule.steps.emplace_back(SavedOpenTest(chance ? Field::kChance : Field::kUnknown,
                                        chance ? std::string() : absl::StrCat("match ", name)));
  return true;
}

}  // namespace npg::rules
