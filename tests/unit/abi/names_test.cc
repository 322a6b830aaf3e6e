// SPDX-License-Identifier: Apache-2.0
#include "abi/names.h"

#include <array>
#include <cstddef>
#include <cstdint>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "gtest/gtest.h"
#include "testing/testdata.h"

namespace npg::abi::names_test {
namespace {

// A name is a label of metrics and a key in JSON; a meaning is a clause.
void ExpectNameAndMeaning(absl::string_view name, absl::string_view meaning,
                          std::set<std::string>& names) {
  EXPECT_NE(name, "unknown");
  EXPECT_EQ(name.find_first_not_of("abcdefghijklmnopqrstuvwxyz_0123456789"),
            absl::string_view::npos)
      << name;
  EXPECT_TRUE(names.emplace(name).second) << name << " is used twice";
  EXPECT_GE(meaning.size(), 10U) << name;
  EXPECT_FALSE(absl::ascii_isupper(static_cast<unsigned char>(meaning.front())) &&
               absl::ascii_islower(static_cast<unsigned char>(meaning[1])))
      << meaning;
  EXPECT_NE(meaning.back(), '.') << meaning;
}

template <typename R, size_t N>
void ExpectWholeTable(const std::array<R, N>& rows, std::set<std::string>& names) {
  for (const R& row : rows) {
    ExpectNameAndMeaning(row.name, row.meaning, names);
    EXPECT_EQ(Name(row.value), row.name);
    EXPECT_EQ(Meaning(row.value), row.meaning);
    EXPECT_EQ(FindByName(rows, row.name), &row);
  }
  EXPECT_EQ(FindByName(rows, "unknown"), nullptr);
}

TEST(Names, EveryCounterHasItsOwnName) {
  std::set<std::string> names;
  ExpectWholeTable(kCounters, names);
  EXPECT_EQ(Name(static_cast<Counter>(kCounters.size())), "unknown");
}

TEST(Names, ACounterHasAHelpUnlessItIsAReason) {
  for (const CounterRow& row : kCounters) {
    EXPECT_EQ(row.help.empty(), row.counted == Counted::kPassedConnects) << row.name;
    EXPECT_TRUE(row.help.empty() || row.help.back() == '.') << row.name;
  }
}

// Scripts and dashboards read these.
TEST(Names, CounterNamesAreAContract) {
  EXPECT_EQ(Name(Counter::kExempted), "exempted");
  EXPECT_EQ(Name(Counter::kForeignNetns), "foreign_netns");
  EXPECT_EQ(Name(Counter::kNoListener), "no_listener");
  EXPECT_EQ(Name(Counter::kIgnoredOwner), "ignored_owner");
  EXPECT_EQ(Name(Counter::kObserved), "observed");
  EXPECT_EQ(Name(Counter::kMarkFailed), "mark_failed");
  EXPECT_EQ(Name(Counter::kEventsSuppressed), "events_suppressed");
  EXPECT_EQ(Name(Counter::kEventsLost), "events_lost");
  EXPECT_EQ(Name(Counter::kRulesRestored), "rules_restored");
  EXPECT_EQ(Name(Counter::kBindSpared), "bind_spared");
  EXPECT_EQ(Name(Counter::kBindWarned), "bind_warned");
  EXPECT_EQ(Name(Counter::kBindRefused), "bind_refused");
}

TEST(Names, SourcesOwnersModesAndScopes) {
  std::set<std::string> names;
  ExpectWholeTable(kSources, names);
  ExpectNameAndMeaning(Name(Source::kProbe), Meaning(Source::kProbe), names);
  ExpectWholeTable(kOwnerVerdicts, names);
  ExpectWholeTable(kModes, names);
  ExpectWholeTable(kScopes, names);
  ExpectWholeTable(kTraffic, names);
}

// Values of flags and of JSON. Each table has names of its own: "off" is in three.
TEST(Names, BindProtectionAndReservedPorts) {
  std::set<std::string> names;
  ExpectWholeTable(kBindProtections, names);
  names.clear();
  ExpectWholeTable(kReservePorts, names);
  names.clear();
  ExpectWholeTable(kReserveStates, names);
  names.clear();
  ExpectWholeTable(kBindOutcomes, names);
  EXPECT_EQ(NamesIn(kBindProtections), (std::array<absl::string_view, 3>{"off", "warn", "deny"}));
  EXPECT_EQ(NamesIn(kReservePorts), (std::array<absl::string_view, 2>{"off", "allocated"}));
  EXPECT_EQ(NamesIn(kReserveStates),
            (std::array<absl::string_view, 4>{"off", "ok", "failed", "too_few"}));
  EXPECT_EQ(NamesIn(kBindOutcomes),
            (std::array<absl::string_view, 4>{"passed", "spared", "warned", "refused"}));
}

TEST(Names, EverySourceErrorHasItsOwnName) {
  std::set<std::string> names;
  ExpectWholeTable(kSourceErrors, names);
  EXPECT_EQ(Name(static_cast<SourceError>(kSourceErrors.size())), "unknown");
}

TEST(Names, SourceErrorNamesAreAContract) {
  const std::array<absl::string_view, kSourceErrors.size()> names = {
      "connect", "tls",  "unauthorized", "forbidden", "throttled", "expired",
      "server",  "http", "decode",       "stalled",   "cut",       "read"};
  EXPECT_EQ(NamesIn(kSourceErrors), names);
}

TEST(Names, OfSeveralSources) {
  EXPECT_EQ(SourcesText(0), "");
  EXPECT_EQ(SourcesText(Bit(Source::kKubernetes)), "kubernetes");
  EXPECT_EQ(SourcesText(Bit(Source::kFile) | Bit(Source::kKubernetes)), "kubernetes,file");
  EXPECT_EQ(SourcesText(7), "kubernetes,netfilter,file");
  EXPECT_EQ(SourceNames(5), (std::vector<absl::string_view>{"kubernetes", "file"}));
}

// A newer build may have written values that this build does not know.
TEST(Names, ValuesOfANewerBuildAreUnknown) {
  EXPECT_EQ(Name(Source{0}), "unknown");
  EXPECT_EQ(Name(Source{3}), "unknown");
  EXPECT_EQ(Name(OwnerVerdict{3}), "unknown");
  EXPECT_EQ(Name(OwnerVerdict{UINT32_MAX}), "unknown");
  EXPECT_EQ(Name(Mode{2}), "unknown");
  EXPECT_EQ(Name(Scope{2}), "unknown");
  EXPECT_EQ(Name(BindProtection{3}), "unknown");
  EXPECT_EQ(Name(ReservePorts{2}), "unknown");
  EXPECT_EQ(Name(ReserveState{4}), "unknown");
  EXPECT_EQ(Name(BindOutcome{4}), "unknown");
  EXPECT_EQ(SourcesText(Bit(Source::kFile) | 0x80000000), "file,unknown");
}

// The enumerators of `enum npg_NAME` in bpf/guard_abi.h, without the one that counts them.
std::vector<std::string> Enumerators(absl::string_view name) {
  const std::string header = testing::ReadSource("bpf/guard_abi.h");
  const size_t begin = header.find(absl::StrCat("\nenum npg_", name, " {"));
  EXPECT_NE(begin, std::string::npos) << name;
  if (begin == std::string::npos) return {};
  const std::string block = header.substr(begin, header.find("\n};", begin) - begin);
  std::vector<std::string> enumerators;
  for (const absl::string_view line : absl::StrSplit(block, '\n')) {
    const absl::string_view word = absl::StripAsciiWhitespace(line);
    if (!absl::StartsWith(word, "NPG_")) continue;
    const absl::string_view enumerator = word.substr(0, word.find_first_of(" =,"));
    if (!absl::EndsWith(enumerator, "_MAX")) enumerators.emplace_back(enumerator);
  }
  return enumerators;
}

TEST(Names, UnprovenIsNoTraffic) {
  EXPECT_EQ(AllTraffic() & kUnproven, 0U);
  EXPECT_EQ(TrafficText(Bit(Traffic::kTcp4) | kUnproven), TrafficText(Bit(Traffic::kTcp4)));
  EXPECT_EQ(TrafficText(AllTraffic() | kUnproven), TrafficText(AllTraffic()));
}

// An enumerator without a row would be missing in flags, JSON and metrics.
TEST(Names, EveryEnumeratorOfTheHeaderHasARow) {
  EXPECT_EQ(Enumerators("source").size(), kSources.size() + 1) << "and the probe";
  EXPECT_EQ(Enumerators("counter").size(), kCounters.size());
  EXPECT_EQ(Enumerators("owner_verdict").size(), kOwnerVerdicts.size());
  EXPECT_EQ(Enumerators("mode").size(), kModes.size());
  EXPECT_EQ(Enumerators("scope").size(), kScopes.size());
  EXPECT_EQ(Enumerators("traffic").size(), kTraffic.size() + 1) << "and that nothing is known";
  EXPECT_EQ(Enumerators("source_error").size(), kSourceErrors.size());
  EXPECT_EQ(Enumerators("bind_protection").size(), kBindProtections.size());
  EXPECT_EQ(Enumerators("reserve_ports").size(), kReservePorts.size());
  EXPECT_EQ(Enumerators("reserve_state").size(), kReserveStates.size());
  EXPECT_EQ(Enumerators("bind_outcome").size(), kBindOutcomes.size());
}

}  // namespace
}  // namespace npg::abi::names_test
