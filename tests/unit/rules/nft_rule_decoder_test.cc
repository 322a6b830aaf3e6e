// SPDX-License-Identifier: Apache-2.0
#include "rules/nft_rule_decoder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>

#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <ostream>
#include <string>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include "absl/numeric/int128.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "base/netlink_view.h"
#include "rules/rule.h"
#include "testing/testdata.h"

namespace npg::rules::nft_rule_decoder_test {
namespace {

using ::testing::IsEmpty;

// The payloads of messages of the kernel, by "rule ip tcp dport 80 accept", "chain 2 y".
std::map<std::string, std::string> ReadRecorded() {
  std::map<std::string, std::string> messages;
  const std::string text = testing::ReadTestdata("nft-rules.hex");
  const std::vector<std::string> lines = absl::StrSplit(text, '\n', absl::SkipEmpty());
  for (size_t i = 0; i + 1 < lines.size(); i += 2) {
    messages[lines[i]] = absl::HexStringToBytes(lines[i + 1]);
  }
  return messages;
}

const std::map<std::string, std::string>& Recorded() {
  static const auto* const kMessages = new std::map<std::string, std::string>(ReadRecorded());
  return *kMessages;
}

base::NetlinkMessage MessageOf(uint8_t type, absl::string_view payload) {
  return {static_cast<uint16_t>((NFNL_SUBSYS_NFTABLES << 8) | type), 0, 0, payload};
}

std::string Hex(Value value) {
  const uint64_t high = absl::Uint128High64(value);
  const uint64_t low = absl::Uint128Low64(value);
  return high == 0 ? absl::StrFormat("%x", low) : absl::StrFormat("%x%016x", high, low);
}

std::string Describe(const Operand& operand) {
  static constexpr const char* kNames[] = {"family",   "protocol", "source", "destination", "sport",
                                           "dport",    "iname",    "oname",  "iif",         "oif",
                                           "mark",     "ctmark",   "state",  "stype",       "dtype",
                                           "tcpflags", "chance",   "unknown"};
  std::string text = absl::StrCat(kNames[static_cast<size_t>(operand.field)], "/", operand.size);
  if (operand.offset != 0) absl::StrAppend(&text, "@", operand.offset);
  if (operand.host_order) text += "h";
  if (operand.mask != kAllBits) absl::StrAppend(&text, "&", Hex(operand.mask));
  if (operand.flip != 0) absl::StrAppend(&text, "^", Hex(operand.flip));
  if (!operand.unknown.empty()) absl::StrAppend(&text, "(", operand.unknown, ")");
  return text;
}

std::string Describe(const std::vector<Operand>& operands) {
  return absl::StrJoin(operands, ".", [](std::string* out, const Operand& operand) {
    out->append(Describe(operand));
  });
}

std::string Describe(const Interval& interval) {
  return interval.first == interval.last
             ? Hex(interval.first)
             : absl::StrCat(Hex(interval.first), "-", Hex(interval.last));
}

std::string Describe(const Test& test) {
  std::string text = absl::StrCat(Describe(test.operands), test.negated ? "!=" : "=");
  if (test.set) return absl::StrCat(text, "@", test.set->name);
  return text + absl::StrJoin(test.intervals, ",", [](std::string* out, const Interval& interval) {
           out->append(Describe(interval));
         });
}

std::string Describe(const Verdict& verdict) {
  static constexpr const char* kNames[] = {"accept", "drop", "reject",   "return",
                                           "jump",   "goto", "continue", "divert"};
  std::string text = kNames[static_cast<size_t>(verdict.kind)];
  if (!verdict.chain.empty()) absl::StrAppend(&text, " ", verdict.chain);
  if (!verdict.unknown.empty()) absl::StrAppend(&text, " ", verdict.unknown);
  return text;
}

std::string Describe(const VerdictMap& map) {
  return absl::StrCat(Describe(map.operands), " vmap ", map.map.name);
}
std::string Describe(const DataMap& map) {
  return absl::StrCat(Describe(map.operands), " map ", map.map.name);
}
std::string Describe(const Nat& nat) {
  std::string text = nat.redirect ? "redirect" : "dnat";
  if (nat.address) absl::StrAppend(&text, " ", Describe(*nat.address));
  if (nat.address_offset >= 0) absl::StrAppend(&text, " map+", nat.address_offset);
  if (nat.port) absl::StrAppend(&text, " :", Describe(*nat.port));
  if (nat.port_offset >= 0) absl::StrAppend(&text, " :map+", nat.port_offset);
  return text;
}
std::string Describe(const MarkChange& change) {
  if (!change.known) return "mark=?";
  return absl::StrFormat("mark=mark&%x^%x%s", change.keep, change.flip,
                         change.from_connection ? " of ctmark" : "");
}
std::string Describe(const ConnectionMarkChange& /*change*/) { return "ctmark=?"; }
std::string Describe(const Untrack& /*untrack*/) { return "notrack"; }

std::string Describe(const Rule& rule) {
  return absl::StrJoin(rule.steps, "; ", [](std::string* out, const Step& step) {
    out->append(std::visit([](const auto& each) { return Describe(each); }, step));
  });
}

struct RuleCase {
  const char* rule;
  const char* steps;
};

// Used by GoogleTest to print one.
void PrintTo(const RuleCase& rule, std::ostream* out) { *out << rule.rule; }

constexpr RuleCase kRules[] = {
    {"ip tcp dport 30080 accept", "protocol/1=6; dport/2=7580; accept"},
    {"ip tcp dport != { 80, 443 } drop", "protocol/1=6; dport/2!=@__set0; drop"},
    {"ip tcp dport 30000-32767 jump x", "protocol/1=6; dport/2=7530-7fff; jump x"},
    {"ip tcp dport > 1024 goto x", "protocol/1=6; dport/2=401-ffff; goto x"},
    {"ip tcp dport <= 1024 return", "protocol/1=6; dport/2=0-400; return"},
    {"ip udp sport 53 udp dport 5353 accept", "protocol/1=11; sport/2=35; dport/2=14e9; accept"},
    {"ip tcp sport . tcp dport { 1 . 2 } accept",
     "protocol/1=6; sport/2.dport/2@4=@__set0; accept"},
    {"ip ip daddr 127.0.0.0/8 accept", "destination/4&ff000000=7f000000; accept"},
    {"ip ip daddr 10.96.0.0/12 accept", "destination/4&fff00000=a600000; accept"},
    {"ip ip saddr 10.1.2.3 ip daddr 10.4.0.0/16 drop",
     "source/4=a010203; destination/4&ffff0000=a040000; drop"},
    {"ip ip saddr 10.1.2.3 ip daddr 10.4.5.6 drop",
     "source/4=a010203; destination/4=a040506; drop"},
    {"ip ip daddr != 127.0.0.1 accept", "destination/4!=7f000001; accept"},
    {"ip ip daddr 10.0.0.1-10.0.0.9 accept", "destination/4=a000001-a000009; accept"},
    {"ip ip daddr . ip protocol . th dport vmap @v", "destination/4.protocol/1@4.dport/2@8 vmap v"},
    {"ip ip daddr . tcp dport @pairs ct state new accept",
     "protocol/1=6; destination/4.dport/2@4=@pairs; state/4h&8!=0; accept"},
    {"ip ip saddr 10.9.0.0/16 tcp dport @ports accept",
     "source/4&ffff0000=a090000; protocol/1=6; dport/2=@ports; accept"},
    {"ip6 ip6 daddr ::1 tcp dport 80 accept", "destination/16=1; protocol/1=6; dport/2=50; accept"},
    {"ip6 ip6 daddr fd00::/8 accept",
     "destination/16&ff000000000000000000000000000000=fd000000000000000000000000000000; accept"},
    {"ip6 ip6 saddr fe80::/10 drop",
     "source/16&ffc00000000000000000000000000000=fe800000000000000000000000000000; drop"},
    {"ip6 ip6 nexthdr 17 accept", "protocol/1=11; accept"},
    {"inet ip daddr 10.0.0.1 accept", "family/1=2; destination/4=a000001; accept"},
    {"inet ip6 daddr ::1 accept", "family/1=a; destination/16=1; accept"},
    {"inet meta nfproto ipv6 accept", "family/1=a; accept"},
    {"inet meta protocol ip udp dport 53 accept", "family/1=2; protocol/1=11; dport/2=35; accept"},
    {"inet meta l4proto { tcp, udp } th dport 53 accept", "protocol/1=@__set0; dport/2=35; accept"},
    {"inet ip daddr 127.0.0.0/8 tcp dport 1-1023 accept",
     "family/1=2; destination/4&ff000000=7f000000; protocol/1=6; dport/2=1-3ff; accept"},
    {"inet fib daddr type local meta l4proto . th dport vmap @vp",
     "dtype/4h=2; protocol/1.dport/2@4 vmap vp"},
    {"inet iifname \"lo\" accept", "iname/16=6c6f0000000000000000000000000000; accept"},
    {"inet oifname \"cali*\" accept",
     "oname/16&ffffffff000000000000000000000000=63616c69000000000000000000000000; accept"},
    {"inet oif \"lo\" accept", "oif/4h=1; accept"},
    {"inet oif != \"lo\" drop", "oif/4h!=1; drop"},
    {"inet meta mark and 0x4000 == 0x4000 accept", "mark/4h&4000=4000; accept"},
    {"inet meta mark 0x8 drop", "mark/4h=8; drop"},
    {"inet meta mark > 0x8 drop", "mark/4=9-ffffffff; drop"},
    {"inet meta mark set meta mark or 0x4000", "mark=mark&ffffbfff^4000"},
    {"inet meta mark set 0x21 ct mark set meta mark", "mark=mark&0^21; ctmark=?"},
    {"inet meta mark set ct mark", "state/4h&41=0; mark=mark&0^0 of ctmark"},
    {"inet meta mark set meta mark xor 0x4000", "mark=mark&ffffffff^4000"},
    {"inet ct state established,related accept", "state/4h&6!=0; accept"},
    {"inet ct state new drop", "state/4h&8!=0; drop"},
    {"inet ct state vmap { invalid : drop, established : accept }", "state/4h vmap __map0"},
    {"inet ct status dnat accept", "state/4h&41=0; family/4h&0="},
    {"inet ct status confirmed accept", "state/4h&41=0; unknown/0(ct status)=; accept"},
    {"inet ct direction reply accept", "state/4h&41=0; family/1h&0="},
    {"inet ct direction original drop", "state/4h&41=0; drop"},
    {"inet ct mark and 0xff == 1 accept", "state/4h&41=0; ctmark/4h&ff=1; accept"},
    {"inet tcp flags & (fin|syn|rst|ack) == syn counter accept",
     "protocol/1=6; tcpflags/1&17=2; accept"},
    {"inet tcp flags syn accept", "protocol/1=6; tcpflags/1&2!=0; accept"},
    {"inet meta skuid 1000 accept", "unknown/0(meta skuid)=; accept"},
    {"inet socket transparent 1 accept", "unknown/0(socket)=; accept"},
    {"inet tcp option maxseg size 1000 accept", "unknown/0(exthdr)=; accept"},
    {"inet @th,96,16 0x5002 accept", "unknown/0(payload transport 12+1)=; tcpflags/1=2; accept"},
    {"inet meta pkttype broadcast drop", "family/1h&0="},
    {"inet limit rate 5/second accept", "chance/0=; accept"},
    {"inet numgen random mod 3 vmap { 0 : accept, 1 : drop }", "chance/4h vmap __map0"},
    {"inet meta random & 1 == 0 accept", "chance/0=; accept"},
    {"inet add @dyn { ip saddr limit rate 3/second } drop", "family/1=2; chance/0=; drop"},
    {"inet counter name \"c\" quota name \"q\" drop", "chance/0=; drop"},
    {"inet notrack", "notrack"},
    {"inet reject with tcp reset", "protocol/1=6; reject"},
    {"inet tcp dport set 8080", "protocol/1=6; divert payload set"},
    {"inet ip ttl set 3", "family/1=2"},
    {"inet ip daddr set 10.0.0.1", "family/1=2; divert payload set"},
    {"inet fib saddr . iif oif missing drop", "unknown/0(fib)=; drop"},
    {"inet meta iifname . tcp dport { \"lo\" . 80 } accept",
     "protocol/1=6; iname/16.dport/2@16=@__set0; accept"},
    {"inet continue", ""},
    {"inet accept comment \"web/site:http\"", "accept"},
    {"inet tcp dport 80 counter comment \"a\"", "protocol/1=6; dport/2=50"},
    {"ip tcp dport 30080 dnat to 10.244.1.2:8080",
     "protocol/1=6; dport/2=7580; dnat af40102 :1f90"},
    {"ip tcp dport 30080 dnat to 10.244.1.2-10.244.1.4:8080-8083",
     "protocol/1=6; dport/2=7580; dnat af40102-af40104 :1f90-1f93"},
    {"ip dnat to tcp dport map { 30080 : 10.244.1.2 . 8080 }",
     "protocol/1=6; dport/2 map __map0; dnat map+0 :map+4"},
    {"ip dnat to tcp dport map @am", "protocol/1=6; dport/2 map am; dnat map+0"},
    {"ip dnat to numgen random mod 2 map { 0 : 10.0.0.1, 1 : 10.0.0.2 }",
     "chance/4h map __map0; dnat map+0"},
    {"ip tcp dport 80 redirect to :8080", "protocol/1=6; dport/2=50; redirect :1f90"},
    {"ip tcp dport 81 redirect", "protocol/1=6; dport/2=51; redirect"},
    {"inet meta l4proto tcp redirect to :15001-15009", "protocol/1=6; redirect :3a99-3aa1"},
    {"inet tcp dport 30080 dnat ip6 to [fd00::1]:8080",
     "protocol/1=6; dport/2=7580; family/1=a; dnat fd000000000000000000000000000001 :1f90"},
    {"inet dnat ip to tcp dport map { 30080 : 10.244.1.2 . 8080 }",
     "protocol/1=6; dport/2 map __map0; family/1=2; dnat map+0 :map+4"},
    {"iptables -t filter -A OUTPUT -p tcp --dport 80 -m comment --comment hello -j REJECT",
     "protocol/1=6; dport/2=50; reject"},
    {"iptables -t nat -A OUTPUT -m addrtype --dst-type LOCAL -j ACCEPT", "dtype/4=2; accept"},
    {"iptables -t nat -A OUTPUT -p tcp -d 10.0.0.0/9 -o lo+ -j DNAT --to-destination "
     "10.244.1.2:8080",
     "oname/16&ffff0000000000000000000000000000=6c6f0000000000000000000000000000; protocol/1=6; "
     "destination/4&ff800000=a000000; dnat af40102 :1f90"},
    {"iptables -t nat -A OUTPUT ! -o lo -d 127.0.0.1/32 -m mark --mark 0x4000/0x4000 -j RETURN",
     "oname/16!=6c6f0000000000000000000000000000; destination/4=7f000001; mark/4h&4000=4000; "
     "return"},
    {"iptables -t nat -A OUTPUT -m conntrack --ctstate NEW -j MARK --set-xmark 0x4000/0x4000",
     "state/4&8!=0; mark=mark&ffffbfff^4000"},
    {"ip6tables -t filter -A OUTPUT -p udp -s fd00::/64 -m statistic --mode random --probability "
     "0.5 -j DROP",
     "protocol/1=11; source/16&ffffffffffffffff0000000000000000=fd000000000000000000000000000000; "
     "chance/0=; drop"},
};

class RecordedRuleTest : public ::testing::TestWithParam<RuleCase> {};

TEST_P(RecordedRuleTest, Steps) {
  const auto recorded = Recorded().find(absl::StrCat("rule ", GetParam().rule));
  ASSERT_NE(recorded, Recorded().end()) << GetParam().rule;
  const std::optional<NftRule> rule = DecodeNftRule(MessageOf(NFT_MSG_NEWRULE, recorded->second));
  ASSERT_TRUE(rule.has_value());
  EXPECT_EQ(Describe(rule->rule), GetParam().steps) << GetParam().rule;
  EXPECT_NE(rule->rule.handle, 0U);
}

INSTANTIATE_TEST_SUITE_P(NftRules, RecordedRuleTest, ::testing::ValuesIn(kRules));

std::optional<NftRule> Decode(absl::string_view rule) {
  return DecodeNftRule(MessageOf(NFT_MSG_NEWRULE, Recorded().at(absl::StrCat("rule ", rule))));
}

TEST(NftRuleDecoderTest, NamesTheChain) {
  const std::optional<NftRule> rule = Decode("inet iifname \"lo\" accept");
  ASSERT_TRUE(rule.has_value());
  EXPECT_EQ(rule->chain, (ChainName{{Engine::kNfTables, NFPROTO_INET, "t"}, "r"}));
  EXPECT_EQ(rule->after, 0U);
  const std::optional<NftRule> same = DecodeNftRuleOfChain(
      MessageOf(NFT_MSG_NEWRULE, Recorded().at("rule inet iifname \"lo\" accept")));
  ASSERT_TRUE(same.has_value());
  EXPECT_EQ(same->chain, ChainName{});
  EXPECT_EQ(same->rule.handle, rule->rule.handle);
  EXPECT_EQ(same->rule.steps, rule->rule.steps);
}

TEST(NftRuleDecoderTest, Comments) {
  EXPECT_EQ(Decode("inet accept comment \"web/site:http\"")->rule.comment, "web/site:http");
  EXPECT_EQ(Decode("inet tcp dport 80 counter comment \"a\"")->rule.comment, "a");
  EXPECT_EQ(Decode("iptables -t filter -A OUTPUT -p tcp --dport 80 -m comment --comment hello -j "
                   "REJECT")
                ->rule.comment,
            "hello");
  EXPECT_THAT(Decode("inet notrack")->rule.comment, IsEmpty());
}

TEST(NftRuleDecoderTest, OtherMessagesAreNoRules) {
  const std::string& payload = Recorded().at("rule inet notrack");
  EXPECT_EQ(DecodeNftRule(MessageOf(NFT_MSG_NEWCHAIN, payload)), std::nullopt);
  EXPECT_EQ(DecodeNftRule({NFT_MSG_NEWRULE, 0, 0, payload}), std::nullopt);
  EXPECT_EQ(DecodeNftRule(MessageOf(NFT_MSG_NEWRULE, "")), std::nullopt);
  EXPECT_EQ(DecodeBaseChain(MessageOf(NFT_MSG_NEWRULE, payload)), std::nullopt);
}

// Each is a copy of its own size, so that a sanitizer sees what is read behind its end.
TEST(NftRuleDecoderTest, TruncatedMessagesAreDecodedAsFarAsTheyGo) {
  for (const auto& [name, payload] : Recorded()) {
    const std::optional<NftRule> whole = DecodeNftRule(MessageOf(NFT_MSG_NEWRULE, payload));
    for (size_t size = 0; size < payload.size(); ++size) {
      const std::vector<char> cut(payload.begin(), payload.begin() + static_cast<ptrdiff_t>(size));
      const absl::string_view bytes(cut.data(), cut.size());
      const std::optional<NftRule> rule = DecodeNftRule(MessageOf(NFT_MSG_NEWRULE, bytes));
      if (rule && whole) {
        EXPECT_LE(rule->rule.steps.size(), whole->rule.steps.size()) << name;
      }
      DecodeBaseChain(MessageOf(NFT_MSG_NEWCHAIN, bytes));
    }
  }
}

// Lengths, registers and offsets that no kernel sends: every byte of a message set to others.
TEST(NftRuleDecoderTest, DamagedMessagesAreRead) {
  size_t decoded = 0;
  for (const auto& [name, payload] : Recorded()) {
    std::string damaged = payload;
    for (size_t at = 0; at < payload.size(); ++at) {
      for (const int value : {0, 1, 16, 23, 24, 255}) {
        damaged[at] = static_cast<char>(value);
        if (DecodeNftRule(MessageOf(NFT_MSG_NEWRULE, damaged))) ++decoded;
      }
      damaged[at] = payload[at];
    }
  }
  EXPECT_GT(decoded, 0U);
}

TEST(DecodeBaseChainTest, OutputAndInputOnly) {
  const auto decode = [](absl::string_view name) {
    return DecodeBaseChain(MessageOf(NFT_MSG_NEWCHAIN, Recorded().at(std::string(name))));
  };
  const BaseChain output = {.chain = {{Engine::kNfTables, NFPROTO_IPV4, "t"}, "y"},
                            .hook = NF_INET_LOCAL_OUT,
                            .priority = -100,
                            .nat = true,
                            .drops = false};
  EXPECT_EQ(decode("chain 2 y"), output);
  const BaseChain input = {.chain = {{Engine::kNfTables, NFPROTO_INET, "t"}, "z"},
                           .hook = NF_INET_LOCAL_IN,
                           .priority = 5,
                           .nat = false,
                           .drops = true};
  EXPECT_EQ(decode("chain 1 z"), input);
  EXPECT_EQ(decode("chain 10 f"), std::nullopt);  // forward
  EXPECT_EQ(decode("chain 10 x"), std::nullopt);  // no hook
}

}  // namespace
}  // namespace npg::rules::nft_rule_decoder_test
