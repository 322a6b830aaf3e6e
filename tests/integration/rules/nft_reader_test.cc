// SPDX-License-Identifier: Apache-2.0
#include "rules/nft_reader.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/netfilter.h>
#include <sched.h>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "rules/connect.h"
#include "rules/rule.h"
#include "rules/rule_set.h"
#include "testing/command.h"
#include "testing/status_asserts.h"

namespace npg::rules::nft_reader_test {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::Field;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::UnorderedElementsAre;

const TableId kTable = {Engine::kNfTables, NFPROTO_IPV4, "t"};

std::string Port(uint16_t port) {
  return {static_cast<char>(port >> 8), static_cast<char>(port & 0xff)};
}
std::string Padded(std::string bytes) {
  bytes.resize((bytes.size() + 3) / 4 * 4);
  return bytes;
}
std::string Address(uint8_t a, uint8_t b, uint8_t c, uint8_t d) {
  return {static_cast<char>(a), static_cast<char>(b), static_cast<char>(c), static_cast<char>(d)};
}

auto Is(const std::string& first, const std::string& last) {
  return AllOf(Field("first", &Element::first, first), Field("last", &Element::last, last),
               Field("catchall", &Element::catchall, false));
}
auto Is(const std::string& key) { return Is(key, key); }
auto Goes(const std::string& chain) {
  return Field("verdict", &Element::verdict, Verdict{VerdictKind::kGoto, chain, ""});
}

// Each test runs in its own network namespace, which ends with the process.
class NftReaderTest : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_EQ(unshare(CLONE_NEWNET), 0) << "these tests need root";
    NPG_ASSERT_OK_AND_ASSIGN(NftReader reader, NftReader::Open("nodeport_guard"));
    reader_.emplace(std::move(reader));
  }

  static void Load(absl::string_view rules) {
    NPG_ASSERT_OK(testing::RunCommand({"nft", "-f", "-"}, rules));
  }

  std::vector<std::string> BaseChains() {
    NPG_EXPECT_OK(reader_->ReadBaseChains(rules_));
    std::vector<std::string> names;
    for (const BaseChain& base : rules_.base_chains()) names.push_back(ToString(base.chain));
    return names;
  }
  // The number of rules of the chain.
  size_t Read(const ChainName& chain) {
    const size_t before = rules_.rules();
    NPG_EXPECT_OK(reader_->ReadChain(chain, rules_));
    EXPECT_TRUE(rules_.HasChain(chain));
    return rules_.rules() - before;
  }
  Set ReadSet(const std::string& name) {
    absl::StatusOr<Set> set = reader_->ReadNftSet(kTable, name);
    NPG_EXPECT_OK(set);
    return set.ok() ? *std::move(set) : Set{};
  }

  std::optional<NftReader> reader_;
  RuleSet rules_{{Connect{}}};
};

TEST_F(NftReaderTest, WithoutRulesThereAreNone) {
  EXPECT_THAT(BaseChains(), IsEmpty());
  EXPECT_EQ(Read({kTable, "none"}), 0U);
  EXPECT_EQ(Read({kTable, std::string(2000, 'x')}), 0U);
  EXPECT_THAT(ReadSet("none").elements, IsEmpty());
  EXPECT_THAT(ReadSet(std::string(2000, 'x')).elements, IsEmpty());
}

TEST_F(NftReaderTest, BaseChainsOfOtherTablesThanTheGuards) {
  Load(
      "table ip t { chain out { type nat hook output priority -100; }; chain plain {}; };"
      "table inet nodeport_guard { chain out { type filter hook output priority 0; }; };"
      "table ip nodeport_guard { chain in { type filter hook input priority 0; policy drop; }; };");
  EXPECT_THAT(BaseChains(), UnorderedElementsAre("nft table ip t, chain out",
                                                 "nft table ip nodeport_guard, chain in"));
}

TEST_F(NftReaderTest, DormantTablesHaveNoHooks) {
  Load(
      "table ip t { flags dormant; chain out { type nat hook output priority -100; }; };"
      "table ip6 t { chain out { type nat hook output priority -100; }; };");
  EXPECT_THAT(BaseChains(), ElementsAre("nft table ip6 t, chain out"));
  Load("add table ip t");
  EXPECT_THAT(BaseChains(),
              UnorderedElementsAre("nft table ip t, chain out", "nft table ip6 t, chain out"));
}

TEST_F(NftReaderTest, AChainHasItsOwnRules) {
  Load(
      "table ip t { chain a { tcp dport 1 drop; tcp dport 2 drop; }; chain b { tcp dport 3 drop; };"
      "chain c {}; };"
      "table ip6 t { chain a { tcp dport 4 drop; }; };"
      "table ip u { chain a { tcp dport 4 drop; }; };");
  EXPECT_EQ(Read({kTable, "a"}), 2U);
  EXPECT_EQ(Read({kTable, "b"}), 1U);
  EXPECT_EQ(Read({kTable, "c"}), 0U);
  EXPECT_EQ(Read({{Engine::kNfTables, NFPROTO_IPV6, "t"}, "a"}), 1U);
  // Reading it again replaces its rules.
  EXPECT_EQ(Read({kTable, "a"}), 0U);
}

TEST_F(NftReaderTest, ALongChainComesWhole) {
  constexpr size_t kRules = 3000;
  std::string rules = "table ip t { chain a {\n";
  for (size_t i = 1; i <= kRules; ++i) absl::StrAppend(&rules, "tcp dport ", i, " drop\n");
  Load(absl::StrCat(rules, "}\n}\n"));
  EXPECT_EQ(Read({kTable, "a"}), kRules);
}

TEST_F(NftReaderTest, SetsOfPorts) {
  Load(
      "table ip t {"
      "set single { type inet_service; elements = { 80, 443 }; };"
      "set ranges { type inet_service; flags interval; elements = { 1-9, 20, 60000-65535 }; };"
      "set zero { type inet_service; flags interval; elements = { 0-9 }; }; }");
  EXPECT_THAT(ReadSet("single").elements, UnorderedElementsAre(Is(Port(80)), Is(Port(443))));
  EXPECT_THAT(ReadSet("ranges").elements,
              ElementsAre(Is(Port(1), Port(9)), Is(Port(20)), Is(Port(60000), Port(65535))));
  EXPECT_THAT(ReadSet("zero").elements, ElementsAre(Is(Port(0), Port(9))));
}

TEST_F(NftReaderTest, MapsOfVerdictsWithComments) {
  Load(
      "table ip t { chain a {}; chain b {};"
      "map services { type inet_proto . inet_service : verdict;"
      "elements = { tcp . 30000 comment \"ns/web\" : goto a, udp . 30001 : goto b }; };"
      "map ranges { type inet_service : verdict; flags interval;"
      "elements = { 10-19 : goto a, 20-29 : goto b }; }; }");
  const std::string tcp = Padded("\x06");
  const std::string udp = Padded("\x11");
  EXPECT_THAT(
      ReadSet("services").elements,
      UnorderedElementsAre(
          AllOf(Is(tcp + Padded(Port(30000))), Goes("a"), Field(&Element::comment, "ns/web")),
          AllOf(Is(udp + Padded(Port(30001))), Goes("b"), Field(&Element::comment, ""))));
  EXPECT_THAT(ReadSet("ranges").elements, ElementsAre(AllOf(Is(Port(10), Port(19)), Goes("a")),
                                                      AllOf(Is(Port(20), Port(29)), Goes("b"))));
}

TEST_F(NftReaderTest, MapsOfData) {
  Load(
      "table ip t { map backends { type inet_service : ipv4_addr . inet_service;"
      "elements = { 80 : 10.0.0.1 . 8080 }; }; }");
  EXPECT_THAT(ReadSet("backends").elements,
              ElementsAre(AllOf(Is(Port(80)),
                                Field(&Element::data, Address(10, 0, 0, 1) + Padded(Port(8080))))));
}

TEST_F(NftReaderTest, ConcatenatedRanges) {
  Load(
      "table ip t { set s { type ipv4_addr . inet_service; flags interval;"
      "elements = { 10.0.0.0/8 . 1-9, 192.168.0.1 . 80 }; }; }");
  EXPECT_THAT(ReadSet("s").elements,
              UnorderedElementsAre(Is(Address(10, 0, 0, 0) + Padded(Port(1)),
                                      Address(10, 255, 255, 255) + Padded(Port(9))),
                                   Is(Address(192, 168, 0, 1) + Padded(Port(80)))));
}

TEST_F(NftReaderTest, AnonymousSetsHaveNamesToo) {
  Load("table ip t { chain a { tcp dport { 80, 443 } drop; }; }");
  EXPECT_THAT(ReadSet("__set0").elements, UnorderedElementsAre(Is(Port(80)), Is(Port(443))));
}

TEST_F(NftReaderTest, TheElementForAllOthers) {
  Load(
      "table ip t { chain a {};"
      "map m { type inet_service : verdict; elements = { * : drop, 80 : goto a }; };"
      "map ranges { type inet_service : verdict; flags interval;"
      "elements = { * : drop, 80-90 : goto a }; }; }");
  for (const std::string name : {"m", "ranges"}) {
    const Set set = ReadSet(name);
    ASSERT_EQ(set.elements.size(), 2U) << name;
    EXPECT_THAT(set.elements.front(), Goes("a")) << name;
    EXPECT_TRUE(set.elements.back().catchall) << name;
    EXPECT_EQ(set.elements.back().verdict.kind, VerdictKind::kDrop) << name;
  }
}

TEST_F(NftReaderTest, SetsThatPacketsOrTimeChange) {
  Load(
      "table ip t {"
      "set plain { type ipv4_addr; counter; elements = { 10.0.0.1 }; };"
      "set seen { type ipv4_addr; flags dynamic; };"
      "set soon { type ipv4_addr; flags timeout; elements = { 10.0.0.1 timeout 1h }; };"
      "set later { type ipv4_addr; timeout 1h; };"
      "set never { type ipv4_addr; flags timeout; elements = { 10.0.0.1 }; }; }");
  EXPECT_FALSE(ReadSet("plain").chance);
  EXPECT_TRUE(ReadSet("seen").chance);
  EXPECT_TRUE(ReadSet("soon").chance);
  EXPECT_TRUE(ReadSet("later").chance);
  EXPECT_FALSE(ReadSet("never").chance);
}

TEST_F(NftReaderTest, ALongSetComesWhole) {
  constexpr size_t kElements = 20000;
  std::string rules = "table ip t { set s { type inet_service; elements = {";
  for (size_t i = 1; i <= kElements; ++i) absl::StrAppend(&rules, i, ",\n");
  Load(absl::StrCat(rules, "}; }; }"));
  EXPECT_EQ(ReadSet("s").elements.size(), kElements);
}

TEST_F(NftReaderTest, PutsSetsOfBothKinds) {
  Load("table ip t { set s { type inet_service; elements = { 80 }; }; }");
  NPG_ASSERT_OK(testing::RunCommand({"ipset", "create", "s", "hash:ip"}));
  for (const SetName& name : {SetName{"s"}, SetName{"s", true}, SetName{"none"}}) {
    EXPECT_FALSE(rules_.HasSet(kTable, name));
    NPG_EXPECT_OK(reader_->ReadSet(kTable, name, rules_));
    EXPECT_TRUE(rules_.HasSet(kTable, name));
  }
}

TEST_F(NftReaderTest, TheGenerationChangesWithTheRules) {
  NPG_ASSERT_OK_AND_ASSIGN(const uint32_t before, reader_->Generation());
  EXPECT_EQ(*reader_->Generation(), before);
  Load("add table ip t");
  EXPECT_NE(*reader_->Generation(), before);
}

TEST_F(NftReaderTest, NeedsTheCapability) {
  Load("table ip t { chain a {}; }");
  const absl::StatusOr<std::string> messages = testing::RunInFork([this] {
    if (!testing::BecomeNobody().ok()) return std::string("not nobody");
    return absl::StrCat(reader_->ReadChain({kTable, "a"}, rules_).ToString(), "\n",
                        reader_->ReadNftSet(kTable, "s").status().ToString(), "\n",
                        NftReader::Open("nodeport_guard").status().ToString());
  });
  NPG_ASSERT_OK(messages);
  EXPECT_THAT(*messages, AllOf(HasSubstr("PERMISSION_DENIED"),
                               HasSubstr("read the rules of nft table ip t, chain a: Operation"),
                               HasSubstr("read the set s of nft table ip t: Operation"),
                               HasSubstr("read the nf_tables generation"),
                               HasSubstr("capability CAP_NET_ADMIN")));
}

}  // namespace
}  // namespace npg::rules::nft_reader_test
