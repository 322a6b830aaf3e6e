// SPDX-License-Identifier: Apache-2.0
#include "core/decision.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>

#include <array>
#include <bitset>
#include <cstddef>
#include <cstdint>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "abi/names.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "core/decision_rows.h"
#include "guard_abi.h"
#include "guard_decide.h"
#include "unit/core/decide_env.h"

// The recorded decision equals that of npg_decide(), and the table of its rows is complete.
namespace npg::core::decision_test {
namespace {

using ::testing::ElementsAre;

constexpr std::array<uint8_t, 16> kLoopback4 = {0, 0, 0,    0,    0,   0, 0, 0,
                                                0, 0, 0xff, 0xff, 127, 0, 0, 1};
constexpr std::array<uint8_t, 16> kLoopback6 = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1};
constexpr std::array<uint8_t, 16> kElsewhere4 = {0, 0, 0,    0,    0,  0, 0, 0,
                                                 0, 0, 0xff, 0xff, 10, 0, 0, 5};
constexpr std::array<uint8_t, 16> kElsewhere6 = {0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0,
                                                 0,    0, 0,    0,    0, 0, 0, 1};

ConnectFacts AllYes() {
  ConnectFacts facts;
  facts.destination = kLoopback4;
  facts.guards_own_addresses = facts.own_address = facts.nodeport = facts.guarded_netns =
      facts.listener = facts.owner_trusted = facts.enforce = facts.mark_set = true;
  return facts;
}

// Compares all combinations of facts, destinations and protocols with a call of
// npg_decide() in an environment that the product does not use.
TEST(DecisionTest, EqualsNpgDecide) {
  const std::vector<std::pair<std::array<uint8_t, 16>, npg_destination>> destinations = {
      {kLoopback4, NPG_DST_LOOPBACK4},
      {kLoopback6, NPG_DST_LOOPBACK6},
      {kElsewhere4, NPG_DST_ELSEWHERE4},
      {kElsewhere6, NPG_DST_ELSEWHERE6}};
  for (const auto& [address, destination] : destinations) {
    for (const uint32_t protocol :
         std::vector<uint32_t>{0, IPPROTO_TCP, IPPROTO_UDP, IPPROTO_SCTP, NPG_IPPROTO_MPTCP}) {
      for (unsigned bits = 0; bits < 1024; ++bits) {
        const std::bitset<10> fact(bits);
        ConnectFacts facts{protocol, address, fact[0],  fact[1], fact[2],  fact[3],
                           fact[4],  fact[5], !fact[8], fact[6], !fact[9], fact[7]};
        npg_env env;
        env.guards_local = fact[0];
        env.own_address = fact[1];
        env.nodeport = fact[2];
        env.guarded_netns = fact[3];
        env.listener = fact[4];
        env.trusted = fact[5];
        env.not_ignored = fact[8];
        env.enforce = fact[6];
        env.mark = fact[7];
        env.not_aside = fact[9];
        npg_port_key key{};
        npg_listener_key listener{};
        const npg_verdict want = npg_decide(&env, protocol, destination, 33589, &key, &listener);
        SCOPED_TRACE(absl::StrCat("destination ", static_cast<int>(destination), " protocol ",
                                  protocol, " facts ", fact.to_string()));
        const Decision decision = Decide(facts);
        EXPECT_EQ(static_cast<npg_verdict>(decision.verdict), want);
        EXPECT_EQ(decision.answers, AnswersOf(env, destination, want));
        // The last answer gave the verdict.
        for (size_t i = 0; i < decision.answers.size(); ++i) {
          const bool last = i + 1 == decision.answers.size();
          EXPECT_EQ(decision.answers[i].yes, !last || want == NPG_EXEMPT);
        }
        if (want != NPG_EXEMPT) {
          const Question last = decision.answers.back().question;
          const DecisionRow& row = RowOf(last);
          const bool second =
              last == Question::kHolder || (last == Question::kMode && facts.enforce);
          EXPECT_EQ((second ? row.second_end : row.end).verdict, decision.verdict);
        }
      }
    }
  }
}

TEST(DecisionTest, AsksAboutLoopbackInThisOrder) {
  const Decision decision = Decide(AllYes());
  EXPECT_EQ(decision.verdict, Verdict::kExempt);
  EXPECT_THAT(decision.answers,
              ElementsAre(Answer{Question::kDestination, true}, Answer{Question::kProtocol, true},
                          Answer{Question::kNodePort, true}, Answer{Question::kNetns, true},
                          Answer{Question::kListener, true}, Answer{Question::kOwner, true},
                          Answer{Question::kHolder, true}, Answer{Question::kMode, true},
                          Answer{Question::kMark, true}));
}

// Row 2 takes two questions, with the cheaper row 3 in between.
TEST(DecisionTest, AsksAboutAnOwnAddressInThisOrder) {
  ConnectFacts facts = AllYes();
  facts.destination = kElsewhere4;
  EXPECT_EQ(Decide(facts).verdict, Verdict::kExempt);
  facts.own_address = false;
  const Decision decision = Decide(facts);
  EXPECT_EQ(decision.verdict, Verdict::kPassOutOfScope);
  EXPECT_THAT(decision.answers,
              ElementsAre(Answer{Question::kDestination, true}, Answer{Question::kProtocol, true},
                          Answer{Question::kNodePort, true}, Answer{Question::kOwnAddress, false}));
}

// Row 1 is not a call in the header, so the recorder inserts it here.
TEST(DecisionTest, AsksForTheProtocolAfterTheDestination) {
  ConnectFacts facts = AllYes();
  facts.protocol = IPPROTO_SCTP;
  EXPECT_THAT(Decide(facts).answers, ElementsAre(Answer{Question::kDestination, true},
                                                 Answer{Question::kProtocol, false}));
  facts.destination = kElsewhere6;
  EXPECT_THAT(Decide(facts).answers, ElementsAre(Answer{Question::kDestination, true},
                                                 Answer{Question::kProtocol, false}));
  facts.guards_own_addresses = false;
  EXPECT_THAT(Decide(facts).answers, ElementsAre(Answer{Question::kDestination, false}));
}

TEST(DecisionRowsTest, AreNumberedAndFitTheirColumn) {
  for (size_t i = 0; i < kDecisionRows.size(); ++i) {
    EXPECT_EQ(kDecisionRows.at(i).number, i + 1);
    EXPECT_LE(kDecisionRows.at(i).question.size(), 21U);
    EXPECT_EQ(&RowOf(kDecisionRows.at(i).asks), &kDecisionRows.at(i));
  }
  EXPECT_EQ(RowOf(Question::kOwnAddress).number, 2);
  EXPECT_EQ(RowOf(Question::kHolder).number, 6);
}

// Metrics, JSON and `bpftool map dump` use these names of the counters.
TEST(DecisionRowsTest, CountersAreThoseOfThePrograms) {
  const std::vector<std::pair<Verdict, abi::Counter>> counters = {
      {Verdict::kPassForeignNetns, abi::Counter::kForeignNetns},
      {Verdict::kPassNoListener, abi::Counter::kNoListener},
      {Verdict::kPassUntrustedOwner, abi::Counter::kUntrustedOwner},
      {Verdict::kPassIgnoredOwner, abi::Counter::kIgnoredOwner},
      {Verdict::kPassObserved, abi::Counter::kObserved},
      {Verdict::kPassStandingAside, abi::Counter::kStandingAside},
      {Verdict::kPassMarkFailed, abi::Counter::kMarkFailed}};
  for (const DecisionRow& row : kDecisionRows) {
    for (const DecisionEnd& end : {row.end, row.second_end}) {
      std::string want;
      for (const auto& [verdict, counter] : counters) {
        if (verdict == end.verdict) want = std::string(abi::Name(counter));
      }
      EXPECT_EQ(end.counter, want) << "row " << row.number;
    }
  }
  EXPECT_EQ(kExemptCounter, abi::Name(abi::Counter::kExempted));
}

TEST(DecisionRowsTest, EveryVerdictHasItsOwnName) {
  std::set<std::string> names;
  for (int i = NPG_PASS_PROTOCOL; i <= NPG_EXEMPT; ++i) {
    const auto& [name, meaning] = TextOf(static_cast<Verdict>(i));
    EXPECT_EQ(name.find_first_not_of("abcdefghijklmnopqrstuvwxyz_0123456789"),
              absl::string_view::npos)
        << name;
    EXPECT_TRUE(names.emplace(name).second) << name << " is used twice";
    EXPECT_GE(meaning.size(), 10U) << name;
    EXPECT_FALSE(absl::ascii_isupper(static_cast<unsigned char>(meaning.front()))) << meaning;
    EXPECT_NE(meaning.back(), '.') << meaning;
  }
}

// Scripts read these in `explain -o json`.
TEST(DecisionRowsTest, VerdictNamesAreAContract) {
  const std::array<const char*, 11> names = {"pass_protocol",
                                             "pass_out_of_scope",
                                             "pass_not_nodeport",
                                             "pass_foreign_netns",
                                             "pass_no_listener",
                                             "pass_untrusted_owner",
                                             "pass_ignored_owner",
                                             "pass_observed",
                                             "pass_standing_aside",
                                             "pass_mark_failed",
                                             "exempt"};
  for (size_t i = 0; i < names.size(); ++i) {
    EXPECT_EQ(TextOf(static_cast<Verdict>(i)).name, names.at(i));
  }
}

}  // namespace
}  // namespace npg::core::decision_test
