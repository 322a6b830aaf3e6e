// SPDX-License-Identifier: Apache-2.0
// The parsers, on fixtures.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/fib_rules.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <sys/socket.h>

#include <array>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "base/netlink_view.h"
#include "base/nft_objects.h"
#include "core/mark.h"
#include "core/port_ranges.h"
#include "dataplane/nft/nft_rule_builder.h"
#include "node/ip_rules.h"
#include "node/mark_use.h"
#include "node/node_files.h"
#include "node/rule_marks.h"
#include "rules/nft_rule_decoder.h"
#include "rules/rule.h"
#include "rules/save_parser.h"
#include "testing/testdata.h"

namespace npg::node::readers_test {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr core::Mark kMark = {0x1000, 0x1000};

MarkUse Match(uint32_t value, uint32_t mask) {
  return {"", "", MarkUse::Kind::kMatch, value, mask};
}
MarkUse Set(uint32_t value, uint32_t mask) { return {"", "", MarkUse::Kind::kSet, value, mask}; }

TEST(MarkUseTest, DetectsCollisions) {
  EXPECT_TRUE(Collides(Match(0x1000, 0x1000), kMark));
  EXPECT_TRUE(Collides(Match(0x3000, 0x3000), kMark));
  EXPECT_TRUE(Collides(Match(0x1001, ~0U), kMark));
  // Matches packets without any mark, so it treats exempted packets differently.
  EXPECT_TRUE(Collides(Match(0, ~0U), kMark));
  EXPECT_TRUE(Collides(Match(0, 0xf000), kMark));
  EXPECT_FALSE(Collides(Match(0x4000, 0x4000), kMark));
  EXPECT_FALSE(Collides(Match(0, 0x4000), kMark));
  EXPECT_FALSE(Collides(Match(1, ~0U), kMark));
  EXPECT_TRUE(Collides(Set(0x1000, 0x1000), kMark));
  EXPECT_TRUE(Collides(Set(0xffff, ~0U), kMark));
  EXPECT_FALSE(Collides(Set(0x4000, 0x4000), kMark));
  EXPECT_FALSE(Collides(Set(0, ~0U), kMark));
}

TEST(MarkUseTest, AFreeBitIsNeverKubernetes) {
  EXPECT_EQ(FreeMark({}), 0x1000);
  EXPECT_EQ(FreeMark({Match(0x1000, 0x1000), Set(0x800, 0x800)}), 0x400);
  EXPECT_EQ(FreeMark({Set(0xffff1fff, ~0U)}), std::nullopt);
  EXPECT_EQ(FreeMark({Match(0, ~0U)}), std::nullopt);
}

// The rules of iptables-legacy-save's output.
class SavedRules : public rules::SaveParser::Sink {
 public:
  explicit SavedRules(absl::string_view saved, uint8_t family = NFPROTO_IPV4) {
    rules::SaveParser parser(family, *this);
    parser.Feed(saved);
    EXPECT_TRUE(parser.Finish().ok());
  }
  void Chain(const rules::ChainName& /*chain*/) override {}
  void Append(const rules::ChainName& chain, const rules::Rule& rule) override {
    for (const MarkUse& use : MarksOf(chain, rule)) marks.push_back(use);
    if (JumpsTo(rule, "KUBE-NODEPORTS")) jumps.push_back(AdmitsLoopback(rule));
  }

  std::vector<MarkUse> marks;
  std::vector<bool> jumps;  // whether each admits loopback
};

TEST(RuleMarksTest, KubeProxysOwnDump) {
  const SavedRules rules(testing::ReadTestdata("kube-proxy-1.36-iptables.save"));
  EXPECT_THAT(rules.jumps, ::testing::Contains(true));
  ASSERT_THAT(rules.marks, SizeIs(4));
  for (const MarkUse& use : rules.marks) {
    EXPECT_EQ(use.value, 0x4000) << use.rule;
    EXPECT_FALSE(Collides(use, kMark)) << use.rule;
    EXPECT_TRUE(Collides(use, {0x4000, 0x4000})) << use.rule;
  }
}

TEST(RuleMarksTest, MarksOfEveryKind) {
  const SavedRules rules(
      "*mangle\n"
      ":OUTPUT ACCEPT [0:0]\n"
      "-A OUTPUT -m mark ! --mark 0x1000/0x3000 -m comment --comment \"a \\\"-j MARK\\\" --mark "
      "7\" "
      "-j ACCEPT\n"
      "-A OUTPUT -j MARK --set-xmark 0x1000/0xffffffff\n"
      // Marks of connections, not of packets.
      "-A OUTPUT -m connmark --mark 0x1000 -j ACCEPT\n"
      "-A OUTPUT -j CONNMARK --set-xmark 0x1000/0xffffffff\n"
      "COMMIT\n",
      NFPROTO_IPV6);
  ASSERT_THAT(rules.marks, SizeIs(2));
  EXPECT_EQ(rules.marks[0].kind, MarkUse::Kind::kMatch);
  EXPECT_EQ(rules.marks[0].value, 0x1000);
  EXPECT_EQ(rules.marks[0].mask, 0x3000);
  EXPECT_EQ(rules.marks[0].where, "ip6tables-legacy table mangle");
  EXPECT_EQ(rules.marks[0].rule,
            "chain OUTPUT, rule 1 (a \"-j MARK\" --mark 7): matches all but mark 0x1000/0x3000");
  EXPECT_EQ(rules.marks[1].kind, MarkUse::Kind::kSet);
  EXPECT_EQ(rules.marks[1].value, 0x1000);
  EXPECT_EQ(rules.marks[1].mask, ~0U);
  EXPECT_EQ(rules.marks[1].rule, "chain OUTPUT, rule 2: sets mark 0x1000");
}

TEST(RuleMarksTest, SeveralValuesAreALookup) {
  const rules::ChainName chain{{rules::Engine::kNfTables, NFPROTO_BRIDGE, "vpn"}, "c"};
  rules::Operand mark;
  mark.field = rules::Field::kMark;
  mark.size = 4;
  mark.mask = 0xff00;
  rules::Test test;
  test.operands = {mark};
  test.intervals = {{0x100, 0x300}};
  rules::Rule rule;
  rule.handle = 7;
  rule.steps.emplace_back(test);
  test.intervals.clear();
  test.set = rules::SetName{"marks"};
  rule.steps.emplace_back(test);
  rule.steps.emplace_back(rules::MarkChange{false, 0, 0});
  const std::vector<MarkUse> uses = MarksOf(chain, rule);
  ASSERT_THAT(uses, SizeIs(2));
  for (const MarkUse& use : uses) {
    EXPECT_EQ(use.kind, MarkUse::Kind::kLookup);
    EXPECT_EQ(use.mask, 0xff00);
    EXPECT_EQ(use.where, "nft table bridge vpn");
    EXPECT_EQ(use.rule, "chain c, handle 7: matches several marks");
  }
}

TEST(RuleMarksTest, LocalhostNodePortsOff) {
  EXPECT_THAT(SavedRules("*nat\n"
                         ":KUBE-SERVICES - [0:0]\n"
                         ":KUBE-NODEPORTS - [0:0]\n"
                         "-A KUBE-SERVICES ! -d 127.0.0.0/8 -m addrtype --dst-type LOCAL -j "
                         "KUBE-NODEPORTS\n"
                         "-A KUBE-SERVICES ! -d 10.0.0.0/8 -j KUBE-NODEPORTS\n"
                         "-A KUBE-SERVICES -d 10.0.0.5/32 -j KUBE-NODEPORTS\n"
                         "COMMIT\n")
                  .jumps,
              ElementsAre(false, true, false));
}

// What the kernel answers for a rule.
std::vector<MarkUse> MarksOfNftRule(nftnl_rule& rule) {
  nftnl_rule_set_u32(&rule, NFTNL_RULE_FAMILY, NFPROTO_INET);
  nftnl_rule_set_str(&rule, NFTNL_RULE_TABLE, "vpn");
  nftnl_rule_set_u64(&rule, NFTNL_RULE_HANDLE, 5);
  alignas(nlmsghdr) std::array<char, 4096> bytes{};
  nlmsghdr* message = nftnl_nlmsg_build_hdr(bytes.data(), NFT_MSG_NEWRULE, NFPROTO_INET, 0, 0);
  nftnl_rule_nlmsg_build_payload(message, &rule);
  const std::optional<rules::NftRule> decoded = rules::DecodeNftRule(base::ViewOf(*message));
  if (!decoded) {
    ADD_FAILURE() << "no rule";
    return {};
  }
  return MarksOf(decoded->chain, decoded->rule);
}

TEST(RuleMarksTest, MatchAndSetWithAMaskInNftables) {
  dataplane::RuleBuilder builder("mine");
  builder.MarkIs({0x1000, 0x3000}).SetMark({0x800, 0x800});
  const std::vector<MarkUse> uses = MarksOfNftRule(*builder.Build());
  ASSERT_THAT(uses, SizeIs(2));
  EXPECT_EQ(uses[0].kind, MarkUse::Kind::kMatch);
  EXPECT_EQ(uses[0].value, 0x1000);
  EXPECT_EQ(uses[0].mask, 0x3000);
  EXPECT_THAT(uses[0].rule, HasSubstr("chain mine, handle 5: matches mark 0x1000/0x3000"));
  EXPECT_EQ(uses[1].kind, MarkUse::Kind::kSet);
  EXPECT_EQ(uses[1].value, 0x800);
  EXPECT_FALSE(Collides(uses[1], kMark));
  EXPECT_TRUE(Collides(uses[1], {0x800, 0x800}));
}

TEST(RuleMarksTest, OtherFieldsAreNoMarks) {
  dataplane::RuleBuilder builder("mine");
  builder.OutputInterfaceIsNot(1).ProtocolIs(6).NoTrack();
  EXPECT_THAT(MarksOfNftRule(*builder.Build()), IsEmpty());
}

// One RTM_NEWRULE message.
class IpRule {
 public:
  explicit IpRule(uint8_t family) {
    header().nlmsg_type = RTM_NEWRULE;
    header().nlmsg_len = NLMSG_SPACE(sizeof(fib_rule_hdr));
    fib_rule_hdr rule{};
    rule.family = family;
    rule.action = FR_ACT_TO_TBL;
    std::memcpy(bytes_.data() + NLMSG_HDRLEN, &rule, sizeof(rule));
  }
  IpRule& Add(uint16_t type, uint32_t value) {
    const rtattr attribute{RTA_LENGTH(sizeof(value)), type};
    std::memcpy(bytes_.data() + header().nlmsg_len, &attribute, sizeof(attribute));
    std::memcpy(bytes_.data() + header().nlmsg_len + RTA_LENGTH(0), &value, sizeof(value));
    header().nlmsg_len += RTA_SPACE(sizeof(value));
    return *this;
  }
  nlmsghdr& header() { return *reinterpret_cast<nlmsghdr*>(bytes_.data()); }

 private:
  alignas(nlmsghdr) std::array<uint8_t, 256> bytes_{};
};

TEST(IpRulesTest, Decode) {
  IpRule rule(AF_INET6);
  EXPECT_EQ(DecodeIpRule(rule.header()), std::nullopt);
  rule.Add(FRA_PRIORITY, 100).Add(FRA_FWMARK, 0x1000).Add(FRA_FWMASK, 0x1000).Add(FRA_TABLE, 7);
  const std::optional<MarkUse> use = DecodeIpRule(rule.header());
  ASSERT_TRUE(use.has_value());
  EXPECT_EQ(use->where, "ip -6 rule");
  EXPECT_EQ(use->rule, "100: fwmark 0x1000/0x1000 lookup 7");
  EXPECT_TRUE(Collides(*use, kMark));
  // A message cut anywhere is not read beyond its end.
  for (uint32_t size = 0; size < rule.header().nlmsg_len; ++size) {
    IpRule cut = rule;
    cut.header().nlmsg_len = size;
    (void)DecodeIpRule(cut.header());
  }
}

class NodeFilesTest : public ::testing::Test {
 protected:
  void SetUp() override {
    root_ = ::testing::TempDir() + "doctor_proc_" +
            ::testing::UnitTest::GetInstance()->current_test_info()->name();
    std::filesystem::remove_all(root_);
  }
  void TearDown() override { std::filesystem::remove_all(root_); }

  void Write(const std::string& path, const std::string& text) {
    const std::filesystem::path file = root_ + "/" + path;
    std::filesystem::create_directories(file.parent_path());
    std::ofstream(file) << text;
  }

  std::string root_;
};

TEST_F(NodeFilesTest, Sysctls) {
  EXPECT_TRUE(absl::IsNotFound(ReadLocalPortRange(root_).status()));
  Write("sys/net/ipv4/ip_local_port_range", "32768\t60999\n");
  Write("sys/net/ipv4/ip_local_reserved_ports", "8080,9000-9100\n");
  Write("sys/net/ipv4/conf/all/route_localnet", "1\n");
  EXPECT_EQ(*node::ReadLocalPortRange(root_), (core::PortRange{32768, 60999}));
  EXPECT_EQ(core::PortRangesText(*node::ReadReservedPorts(root_)), "8080,9000-9100");
  EXPECT_TRUE(*node::ReadRouteLocalnet(root_));
  for (const char* bad : {"", "1", "9 1", "1 70000", "a b"}) {
    Write("sys/net/ipv4/ip_local_port_range", bad);
    EXPECT_FALSE(ReadLocalPortRange(root_).ok()) << bad;
  }
}

TEST_F(NodeFilesTest, ReservedPortsOfAnyLength) {
  // Every third port is free: no list is longer.
  std::string all;
  for (int port = 1; port < 65535; port += 3) absl::StrAppend(&all, port, "-", port + 1, ",");
  for (const size_t bytes : {size_t{4095}, size_t{4096}, size_t{4097}, size_t{20000}, all.size()}) {
    // A whole range at the end, as the kernel has it.
    const std::string text = all.substr(0, all.rfind(',', bytes - 1));
    Write("sys/net/ipv4/ip_local_reserved_ports", text + "\n");
    const auto read = ReadReservedPorts(root_);
    ASSERT_TRUE(read.ok()) << read.status();
    EXPECT_EQ(core::PortRangesText(*read), text);
  }
  EXPECT_GT(all.size(), 200'000);
  // Exactly as long as the first, short read.
  Write("sys/net/ipv4/ip_local_reserved_ports", std::string(4094, '0') + "7\n");
  EXPECT_EQ(core::PortRangesText(*ReadReservedPorts(root_)), "7");
  Write("sys/net/ipv4/ip_local_reserved_ports", std::string(size_t{512} << 10, '0'));
  EXPECT_TRUE(absl::IsResourceExhausted(ReadReservedPorts(root_).status()));
  EXPECT_TRUE(absl::IsNotFound(ReadPortRanges(root_ + "/none").status()));
}

TEST_F(NodeFilesTest, Capabilities) {
  Write("self/status", "Name:\tx\nCapPrm:\t0\nCapEff:\t0000000000001000\n");
  EXPECT_EQ(*node::ReadEffectiveCapabilities(root_), 0x1000);
  EXPECT_FALSE(ParseEffectiveCapabilities("Name:\tx\n").ok());
  EXPECT_FALSE(ParseEffectiveCapabilities("CapEff:\tzz\n").ok());
}

TEST_F(NodeFilesTest, NamespacesAndTables) {
  EXPECT_EQ(InNetnsOfInit(root_), std::nullopt);
  for (const char* process : {"self", "1"}) {
    std::filesystem::create_directories(absl::StrCat(root_, "/", process, "/ns"));
    std::filesystem::create_symlink("net:[1]", absl::StrCat(root_, "/", process, "/ns/net"));
  }
  EXPECT_EQ(InNetnsOfInit(root_), true);
  std::filesystem::remove(root_ + "/1/ns/net");
  std::filesystem::create_symlink("net:[2]", root_ + "/1/ns/net");
  EXPECT_EQ(InNetnsOfInit(root_), false);

  EXPECT_FALSE(HasLegacyTables(root_, false));
  Write("self/net/ip_tables_names", "");
  EXPECT_FALSE(HasLegacyTables(root_, false));
  Write("self/net/ip_tables_names", "nat\n");
  EXPECT_TRUE(HasLegacyTables(root_, false));
  EXPECT_FALSE(HasLegacyTables(root_, true));
}

}  // namespace
}  // namespace npg::node::readers_test
