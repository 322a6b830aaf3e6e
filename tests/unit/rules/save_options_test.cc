// SPDX-License-Identifier: Apache-2.0
#include "rules/save_options.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>

// After netinet/in.h.
#include <linux/netfilter.h>

#include <cstddef>
#include <random>
#include <string>
#include <variant>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "rules/rule.h"
#include "rules/save_parser.h"
#include "testing/testdata.h"
#include "unit/rules/save_parsing.h"

namespace npg::rules::save_options_test {
namespace {

using testing::ExpectSameSave;
using testing::ParsedSave;
using testing::ParseSave;
using testing::ReadTestdata;
using testing::SavedRuleText;

using ::testing::ElementsAre;

struct Line {
  std::string words;
  std::string rule;
};

// As iptables-legacy-save 1.8.9 prints them.
const std::vector<Line>& MatchLines() {
  static const auto& lines = *new std::vector<Line>{
      {"-d 10.0.0.0/8 -j RETURN", "dst=a000000-affffff -> return"},
      {"! -s 10.1.2.3/32 -j DROP", "!src=a010203 -> drop"},
      {"-s 10.0.0.3/255.0.0.255 -j DROP", "src&ff0000ff=a000003 -> drop"},
      {"-s 0.0.0.0/0 -j DROP", "src=0-ffffffff -> drop"},
      {"! -i lo -j DROP", "!iif=6c6f0000000000000000000000000000 -> drop"},
      {"-o eth+ -j DROP",
       "oif=65746800000000000000000000000000-657468ffffffffffffffffffffffffff -> drop"},
      {"-p udp -m udp --sport 53 ! --dport 1000:2000 -j ACCEPT",
       "protocol=11 sport=35 !dport=3e8-7d0 -> accept"},
      {"! -p tcp -m state --state NEW -j ACCEPT", "!protocol=6 !state&8=0 -> accept"},
      {"-p all -j DROP", "protocol=0-ff -> drop"},
      {"-p vrrp -j DROP", "protocol=ff -> drop"},
      {"-p 132 -m sctp --dport 5 -j DROP", "protocol=84 ?(match sctp)= -> drop"},
      {"-f -j DROP", "protocol= -> drop"},
      {"! -f -j DROP", "!protocol= -> drop"},
      {"-p tcp -m tcp --tcp-flags FIN,SYN,RST,ACK SYN -j DROP", "protocol=6 tcpflags&17=2 -> drop"},
      {"-m tcp ! --syn -j DROP", "!tcpflags&17=2 -> drop"},
      {"-p tcp -m tcp --sport 1:5 --tcp-option 3 --tcp-flags FIN,SYN,RST,PSH,ACK,URG NONE -g FOO",
       "protocol=6 sport=1-5 tcpflags&3f=0 ?(match tcp)= -> goto FOO"},
      {"-p udp -m multiport ! --dports 1,2,3:5 -j ACCEPT", "protocol=11 !dport=1,2,3-5 -> accept"},
      {"-m multiport --sports 1 -m multiport --ports 7,9", "sport=1 dport|sport=7,9"},
      {"-m addrtype ! --src-type LOCAL --dst-type LOCAL,BROADCAST -j FOO",
       "!srctype=2 dsttype=2,3 -> jump FOO"},
      {"-m addrtype --dst-type LOCAL --limit-iface-out -j FOO",
       "dsttype=2 ?(match addrtype)= -> jump FOO"},
      {"-m mark ! --mark 0x1/0x3 -m connmark --mark 0x5 -j FOO",
       "!mark&3=1 cmark&ffffffff=5 -> jump FOO"},
      {"-m conntrack ! --ctstate RELATED,ESTABLISHED,DNAT -j DROP", "state&6=0 -> drop"},
      {"-m conntrack --ctstate INVALID,UNTRACKED -j DROP", "!state&41=0 -> drop"},
      {"-m conntrack --ctproto 6 --ctorigdst 10.0.0.0/8 ! --ctorigdstport 80:90 --ctdir ORIGINAL",
       "protocol=6 dst=a000000-affffff !dport=50-5a !protocol= state&41=0"},
      {"-m conntrack --ctstate NEW --ctreplsrc 1.2.3.4 --ctdir REPLY",
       "!state&8=0 protocol= ?(match conntrack)="},
      {"-m set ! --match-set A dst,src ! --update-counters", "!dst.src@ipset:A !protocol="},
      {"-m set --match-set A dst --return-nomatch", "dst@ipset:A ?(match set)="},
      {"-m iprange ! --src-range 10.0.0.1-10.0.0.3 --dst-range 10.0.0.4-10.0.0.4",
       "!src=a000001-a000003 dst=a000004"},
      {"-m nfacct --nfacct-name  some_packets -j FOO", "-> jump FOO"},
      {"-m recent --rcheck --seconds 5 --name -j --mask 255.255.255.255 --rsource -j DROP",
       "chance= -> drop"},
      {"-m statistic --mode random ! --probability 0.5 -j FOO", "chance= -> jump FOO"},
      {"-m owner --uid-owner 0-10 ! --gid-owner 5 -j DROP", "?(match owner)= -> drop"},
      {"-m string --string -j --algo bm -j DROP", "?(match string)= -> drop"},
      {"-m policy --dir out --strict --reqid 1 --proto esp --next --reqid 2 -p tcp -j DROP",
       "?(match policy)= protocol=6 -> drop"},
      {"-m x --a -5 b ! --c -j DROP", "?(match x)= -> drop"},
      // Values that are not as documented leave the answer open.
      {"-s 10.0.0.0/33 -j DROP", "?(option -s)= -> drop"},
      {"-m tcp --dport http -j DROP", "?(match tcp)= -> drop"},
      {"-m tcp --dport 65536 -j DROP", "?(match tcp)= -> drop"},
      {"-m addrtype --dst-type HERE -j DROP", "?(match addrtype)= -> drop"},
  };
  return lines;
}

const std::vector<Line>& TargetLines() {
  static const auto& lines = *new std::vector<Line>{
      {"-p tcp -m tcp --dport 80 -j DNAT --to-destination 10.0.0.1:8080",
       "protocol=6 dport=50 -> dnat to a000001 port 1f90"},
      {"-j DNAT --to-destination 10.0.0.1-10.0.0.9:80-90 --random --persistent",
       "-> dnat to a000001-a000009 port 50-5a"},
      {"-j DNAT --to-destination :8080-8090/3000", "-> dnat port 1f90-1f9a"},
      {"-j DNAT --to-destination 10.0.0.2:80 --to-destination 10.0.0.1:81",
       "-> dnat to a000001-a000002 port 50-51"},
      {"-j DNAT --to-destination nowhere", "-> divert target DNAT"},
      {"-j REDIRECT", "-> redirect"},
      {"-j REDIRECT --to-ports 10-20", "-> redirect port a-14"},
      {"-j REDIRECT --to-ports x", "-> divert target REDIRECT"},
      {"-j NETMAP --to 10.1.0.0/16", "-> dnat to a010000-a01ffff"},
      {"-j MARK --set-xmark 0x4000/0x4000", "-> mark &ffffbfff ^4000"},
      {"-j MARK --set-xmark 0x5/0x0", "-> mark &ffffffff ^5"},
      {"-j MARK --set-mark 0x5", "-> mark &0 ^5"},
      {"-j MARK --and-mark 0x5", "-> mark &5 ^0"},
      {"-j MARK --or-mark 0x5", "-> mark &fffffffa ^5"},
      {"-j MARK --xor-mark 0x5", "-> mark &ffffffff ^5"},
      {"-j MARK --set-xmark many", "-> mark ?"},
      {"-j CONNMARK --set-xmark 0x4/0xffffffff", "-> connmark"},
      {"-j CONNMARK --save-mark --nfmask 0xff --ctmask 0xff", "-> connmark"},
      {"-j CONNMARK --restore-mark --nfmask 0xff --ctmask 0xff", "-> mark &ffffff00 ^0 connmark"},
      {"-j NOTRACK", "-> untrack"},
      {"-j CT --notrack", "-> untrack"},
      {"-p tcp -j CT --zone 5", "protocol=6"},
      {"-j REJECT --reject-with tcp-reset", "-> reject"},
      {"-j LOG --log-prefix \"-j DROP\"", ""},
      {"-j MASQUERADE --random-fully", ""},
      {"-j QUEUE", "-> divert target QUEUE"},
      {"-j NFQUEUE --queue-num 3", "-> divert target NFQUEUE"},
      {"-j TPROXY --on-port 5 --on-ip 1.2.3.4 --tproxy-mark 0x1/0x1",
       "-> mark &fffffffe ^1 -> divert target TPROXY"},
      {"-j KUBE-SVC", "-> jump KUBE-SVC"},
      {"-g KUBE-SVC", "-> goto KUBE-SVC"},
      {"-j KUBE-GONE", "-> divert target KUBE-GONE"},
      {"-m comment --comment \"a \\\"b\\\" c\\\\d\" -j RETURN", "-> return # a \"b\" c\\d"},
      {"-m comment --comment -j -j RETURN", "-> return # -j"},
      {"-p tcp", "protocol=6"},
  };
  return lines;
}

TEST(SaveOptionsTest, Matches) {
  for (const Line& line : MatchLines())
    EXPECT_EQ(SavedRuleText(line.words), line.rule) << line.words;
}

TEST(SaveOptionsTest, Targets) {
  for (const Line& line : TargetLines())
    EXPECT_EQ(SavedRuleText(line.words), line.rule) << line.words;
}

TEST(SaveOptionsTest, Ipv6) {
  const std::vector<Line> lines = {
      {"-d ::1/128 -p tcp -j DNAT --to-destination [fd00::1]:80",
       "dst=1 protocol=6 -> dnat to fd000000000000000000000000000001 port 50"},
      {"-j DNAT --to-destination fd00::1-fd00::5",
       "-> dnat to fd000000000000000000000000000001-fd000000000000000000000000000005"},
      {"-j DNAT --to-destination [fd00::1-fd00::5]:80",
       "-> dnat to fd000000000000000000000000000001-fd000000000000000000000000000005 port 50"},
      {"-j DNAT --to-destination :80", "-> dnat port 50"},
      {"-d ::/0 -j NETMAP --to fd00:1::/32",
       "dst=0-ffffffffffffffffffffffffffffffff -> dnat to "
       "fd000001000000000000000000000000-fd000001ffffffffffffffffffffffff"},
      {"-s 10.0.0.1/32 -j DROP", "?(option -s)= -> drop"},
  };
  for (const Line& line : lines) {
    EXPECT_EQ(SavedRuleText(line.words, NFPROTO_IPV6), line.rule) << line.words;
  }
}

TEST(SaveOptionsTest, OperandsHaveTheSizeOfTheirField) {
  const std::vector<absl::string_view> words = absl::StrSplit(
      "-s 10.0.0.1/32 -i lo -p tcp -m tcp --dport 80 -m mark --mark 0x1 -m set --match-set A dst",
      ' ');
  const auto rule = ParseSavedRule(NFPROTO_IPV4, words, [](absl::string_view) { return false; });
  ASSERT_TRUE(rule.has_value());
  std::vector<int> sizes;
  for (const Step& step : rule->steps)
    sizes.push_back(std::get<rules::Test>(step).operands.front().size);
  EXPECT_THAT(sizes, ElementsAre(4, 16, 1, 2, 4, 4));
}

TEST(SaveOptionsTest, DamagedRulesAreSkipped) {
  for (const std::string words :
       {"-j", "-p", "-p tcp !", "-p tcp stray -j DROP", "-m", "-m tcp --dport", "! -j DROP",
        "-m tcp --dport 80 90", "-g NOWHERE", "-j ACCEPT stray", "-j DNAT", "--dport 80",
        "-m set --match-set A", "-m comment --comment \"open", "-m comment --comment"}) {
    EXPECT_EQ(SavedRuleText(words), "skipped") << words;
  }
}

TEST(SaveOptionsTest, DamagedBytesDoNoHarm) {
  const std::string text = ReadTestdata("kube-proxy-1.36-iptables.save");
  std::vector<std::string> lines;
  for (const std::vector<Line>* table : {&MatchLines(), &TargetLines()}) {
    for (const Line& line : *table) lines.push_back(absl::StrCat("-A C ", line.words));
  }
  for (const absl::string_view line : absl::StrSplit(text, '\n')) lines.emplace_back(line);
  std::mt19937 random(1);  // NOLINT(cert-msc32-c,cert-msc51-cpp): the same each time
  const auto below = [&random](size_t end) { return random() % end; };
  constexpr absl::string_view kBytes = " \"\\!-[]:*/,.0+\x80\n";
  size_t skipped = 0;
  for (int round = 0; round < 20000; ++round) {
    std::string line = lines[below(lines.size())];
    for (size_t i = below(3) + 1; i > 0 && !line.empty(); --i) {
      const size_t at = below(line.size());
      if (below(3) == 0) {
        line.erase(at, below(12));
      } else {
        line[at] = kBytes[below(kBytes.size())];
      }
    }
    const std::string table = absl::StrCat("*nat\n:C - [0:0]\n", line, "\n-A C -j ACCEPT\n");
    const ParsedSave parsed = ParseSave(table);
    skipped += parsed.skipped.size();
    ExpectSameSave(ParseSave(table, 1), parsed);
  }
  EXPECT_GT(skipped, 1000U);
}

}  // namespace
}  // namespace npg::rules::save_options_test
