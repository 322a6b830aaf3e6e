// SPDX-License-Identifier: Apache-2.0
#include "sources/iptables_save.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "core/port.h"
#include "sources/source.h"
#include "testing/byte_step.h"
#include "testing/status_asserts.h"
#include "testing/testdata.h"

namespace npg::sources::iptables_save_test {
namespace {

using testing::GunzipTestdata;
using testing::ReadTestdata;
using testing::Tcp;
using testing::Udp;
using testing::WithoutLines;

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Pair;

SavedRules Parse(absl::string_view text) {
  absl::StatusOr<SavedRules> saved = ParseIptablesSave(text);
  NPG_EXPECT_OK(saved);
  return saved.ok() ? *std::move(saved) : SavedRules{};
}

Reading Nat(absl::string_view rules) {
  return Parse(absl::StrCat("*nat\n:PREROUTING ACCEPT [0:0]\n", rules, "\nCOMMIT\n")).reading;
}

Reading Filter(absl::string_view rules) {
  return Parse(absl::StrCat("*filter\n", rules, "\nCOMMIT\n")).reading;
}

TEST(IptablesSaveTest, OneServiceOfKubeProxy) {
  // Two rules for one port, a REJECT for a ClusterIP, and the chain for health checks of
  // the same name in the table filter.
  const SavedRules saved = Parse(ReadTestdata("kube-proxy-1.36-iptables.save"));
  EXPECT_THAT(saved.reading.ports, ElementsAre(Pair(Tcp(34567), "default/web")));
  EXPECT_THAT(saved.reading.skipped, IsEmpty());
  EXPECT_TRUE(saved.has_nat);
  EXPECT_TRUE(saved.has_filter);
}

TEST(IptablesSaveTest, TenThousandServicesOfKubeProxy) {
  const SavedRules saved = Parse(GunzipTestdata("kube-proxy-1.36-iptables-10k.save.gz"));
  const core::PortSnapshot& ports = saved.reading.ports;
  EXPECT_EQ(ports.size(), 10002U);
  EXPECT_THAT(saved.reading.skipped, IsEmpty());
  ASSERT_TRUE(ports.contains(Tcp(34567)));
  EXPECT_EQ(ports.at(Tcp(34567)), "default/web");
  ASSERT_TRUE(ports.contains(Tcp(49002)));
  EXPECT_EQ(ports.at(Tcp(49002)), "default/lat-2");
  ASSERT_TRUE(ports.contains(Tcp(35994)));
  EXPECT_EQ(ports.at(Tcp(35994)), "default/load-5686");
  std::set<std::string> services;
  for (const auto& [key, service] : ports) services.emplace(service.text());
  for (int i = 0; i < 10000; ++i) {
    EXPECT_TRUE(services.contains(absl::StrCat("default/load-", i))) << i;
  }
}

TEST(IptablesSaveTest, EitherOfTheTwoRulesOfAPortIsEnough) {
  const std::string web = ReadTestdata("kube-proxy-1.36-iptables.save");
  EXPECT_THAT(Parse(WithoutLines(web, "nfacct")).reading.ports,
              ElementsAre(Pair(Tcp(34567), "default/web")));
  EXPECT_THAT(Parse(WithoutLines(web, "-A KUBE-NODEPORTS -p")).reading.ports,
              ElementsAre(Pair(Tcp(34567), "default/web")));
}

TEST(IptablesSaveTest, NodePortsOfEveryProtocolAndNotation) {
  const Reading reading = Nat(
      "-A KUBE-NODEPORTS -p udp -m comment --comment \"kube-system/dns:dns\" -m udp --dport 30053 "
      "-j KUBE-EXT-A\n"
      "-A KUBE-NODEPORTS -p 6 -m comment --comment a/b -m tcp --dport 30001 -j KUBE-SVC-B\n"
      "-A KUBE-NODEPORTS -p 17 -m udp --dport 30002 -g KUBE-XLB-B\n"
      "-A KUBE-NODEPORTS -p sctp -m sctp --dport 30003 -j KUBE-EXT-C\n"
      "-A KUBE-NODEPORTS -p 132 -m sctp --dport 30004 -j KUBE-EXT-C\n"
      "[12:3456] -A KUBE-NODEPORTS -p tcp -m tcp --dport 30005 -j KUBE-EXT-D");
  EXPECT_THAT(reading.ports,
              ElementsAre(Pair(Tcp(30001), "a/b"), Pair(Udp(30002), ""), Pair(Tcp(30005), ""),
                          Pair(Udp(30053), "kube-system/dns")));
  EXPECT_THAT(reading.skipped, IsEmpty());
}

TEST(IptablesSaveTest, OnlyRejectsOfNodePorts) {
  const Reading reading = Filter(
      "-A KUBE-EXTERNAL-SERVICES -p tcp -m comment --comment \"default/a:http has no endpoints\" "
      "-m addrtype --dst-type LOCAL -m tcp --dport 30001 -j REJECT --reject-with "
      "icmp-port-unreachable\n"
      "-A KUBE-EXTERNAL-SERVICES -p udp -m comment --comment \"default/b has no local endpoints\" "
      "-m addrtype --dst-type LOCAL -m udp --dport 30002 -j DROP\n"
      "-A KUBE-EXTERNAL-SERVICES -d 192.0.2.1/32 -p tcp -m comment --comment "
      "\"default/c has no endpoints\" -m tcp --dport 80 -j REJECT --reject-with "
      "icmp-port-unreachable");
  EXPECT_THAT(reading.ports,
              ElementsAre(Pair(Tcp(30001), "default/a"), Pair(Udp(30002), "default/b")));
  EXPECT_THAT(reading.skipped, IsEmpty());
}

TEST(IptablesSaveTest, HostPortsOfPortmap) {
  const Reading reading =
      Nat("-A OUTPUT -m addrtype --dst-type LOCAL -j CNI-HOSTPORT-DNAT\n"
          "-A CNI-DN-0123456789abcdef01234 -p tcp -m tcp --dport 8080 -j DNAT --to-destination "
          "10.88.0.2:80\n"
          "-A CNI-HOSTPORT-DNAT -p tcp -m comment --comment \"dnat name: \\\"cbr0\\\" id: "
          "\\\"abc\\\"\" -m multiport --dports 8080,10010 -j CNI-DN-0123456789abcdef01234\n"
          "-A CNI-HOSTPORT-DNAT -p udp -m udp --dport 53 -j CNI-DN-abcdef0123456789abcde");
  EXPECT_THAT(reading.ports,
              ElementsAre(Pair(Udp(53), ""), Pair(Tcp(8080), ""), Pair(Tcp(10010), "")));
  EXPECT_THAT(reading.skipped, IsEmpty());
}

TEST(IptablesSaveTest, ChainsCountInTheirOwnTableOnly) {
  const std::string rule = "-p tcp -m comment --comment a/b:c -m tcp --dport 30001 -j KUBE-EXT-A";
  EXPECT_THAT(Filter("-A KUBE-NODEPORTS " + rule).ports, IsEmpty());
  EXPECT_THAT(Filter("-A CNI-HOSTPORT-DNAT -p tcp -m tcp --dport 1 -j CNI-DN-A").ports, IsEmpty());
  EXPECT_THAT(Nat("-A KUBE-EXTERNAL-SERVICES -p tcp -m addrtype --dst-type LOCAL -m tcp "
                  "--dport 1 -j REJECT")
                  .ports,
              IsEmpty());
  EXPECT_THAT(Nat("-A KUBE-NODEPORTS-2 " + rule).ports, IsEmpty());
  EXPECT_THAT(Nat("-A KUBE-SERVICES " + rule).ports, IsEmpty());
  EXPECT_THAT(Parse("*mangle\n-A KUBE-NODEPORTS " + rule + "\nCOMMIT\n").reading.ports, IsEmpty());
  EXPECT_THAT(Nat("-A KUBE-NODEPORTS " + rule).ports, ElementsAre(Pair(Tcp(30001), "a/b")));
}

TEST(IptablesSaveTest, WordsInCommentsAreNotOptions) {
  const Reading reading = Nat(
      "-A KUBE-NODEPORTS -p tcp -m comment --comment \"a/b:c --dport 1 -j RETURN \\\"-p udp\\\" "
      "\\\\\" -m tcp --dport 30001 -j KUBE-EXT-A");
  EXPECT_THAT(reading.ports, ElementsAre(Pair(Tcp(30001), "a/b")));
}

TEST(IptablesSaveTest, ACommentThatNamesNoServiceGivesNone) {
  for (const char* comment : {"no slash", "/x", "a/", "a/b/c", "a_\\\"/b", "\xc3\xa4/b"}) {
    EXPECT_THAT(Nat(absl::StrCat("-A KUBE-NODEPORTS -p tcp -m comment --comment \"", comment,
                                 "\" -m tcp --dport 30001 -j KUBE-EXT-A"))
                    .ports,
                ElementsAre(Pair(Tcp(30001), "")))
        << comment;
  }
}

TEST(IptablesSaveTest, NamesRulesThatItCannotParse) {
  const Reading reading = Parse(
                              "junk\n*nat\n"
                              "-A KUBE-NODEPORTS -p tcp -j KUBE-EXT-A\n"
                              "-A KUBE-NODEPORTS -p tcp -m tcp --dport 70000 -j KUBE-EXT-A\n"
                              "-A KUBE-NODEPORTS -p tcp -m tcp --dport 0 -j KUBE-EXT-A\n"
                              "-A KUBE-NODEPORTS -p tcp -m tcp --dport 80:90 -j KUBE-EXT-A\n"
                              "-A KUBE-NODEPORTS -p tcp -m tcp ! --dport 80 -j KUBE-EXT-A\n"
                              "-A KUBE-NODEPORTS -p tcp -m tcp --dport 80 -j RETURN\n"
                              "-A KUBE-NODEPORTS -m tcp --dport 80 -j KUBE-EXT-A\n"
                              "-A KUBE-NODEPORTS -p gre -m tcp --dport 80 -j KUBE-EXT-A\n"
                              "-A KUBE-NODEPORTS -p 47 -m tcp --dport 80 -j KUBE-EXT-A\n"
                              "-A KUBE-NODEPORTS -p tcp -m comment --comment \"open -j KUBE-EXT-A\n"
                              "-A KUBE-NODEPORTS -p tcp -m tcp --dport\n"
                              "-A KUBE-NODEPORTS\n"
                              "-A CNI-HOSTPORT-DNAT -p tcp -m multiport --dports 1,,2 -j CNI-DN-A\n"
                              "something\n[1:2]\n"
                              "-A KUBE-NODEPORTS -p tcp -m tcp --dport 30001 -j KUBE-EXT-A\n"
                              "COMMIT\n")
                              .reading;
  EXPECT_THAT(reading.ports, ElementsAre(Pair(Tcp(30001), "")));
  EXPECT_THAT(
      reading.skipped,
      ElementsAre("line 1: \"junk\" is in no table",
                  "line 3: no --dport in a rule of KUBE-NODEPORTS",
                  "line 4: port 70000 is outside 1-65535 in a rule of KUBE-NODEPORTS",
                  "line 5: port 0 is outside 1-65535 in a rule of KUBE-NODEPORTS",
                  "line 6: \"80:90\" is not a port number in a rule of KUBE-NODEPORTS",
                  "line 7: negated --dport in a rule of KUBE-NODEPORTS",
                  "line 8: target \"RETURN\" in a rule of KUBE-NODEPORTS",
                  "line 9: \"\" is not a protocol (tcp, udp) in a rule of KUBE-NODEPORTS",
                  "line 10: \"gre\" is not a protocol (tcp, udp) in a rule of KUBE-NODEPORTS",
                  "line 11: 47 is not a protocol (tcp, udp) in a rule of KUBE-NODEPORTS",
                  "line 12: an open quote in a rule of KUBE-NODEPORTS",
                  "line 13: --dport without a value in a rule of KUBE-NODEPORTS",
                  "line 14: target \"\" in a rule of KUBE-NODEPORTS",
                  "line 15: \"\" is not a port number in a rule of CNI-HOSTPORT-DNAT",
                  "line 16: \"something\" is not a rule", "line 17: \"[1:2]\" is not a rule"));
}

TEST(IptablesSaveTest, EmptyOutputHasNoRules) {
  for (const char* text : {"", "\n\n", "# Warning: iptables-legacy tables present\n"}) {
    const SavedRules saved = Parse(text);
    EXPECT_THAT(saved.reading.ports, IsEmpty());
    EXPECT_THAT(saved.reading.skipped, IsEmpty());
    EXPECT_FALSE(saved.has_nat);
    EXPECT_FALSE(saved.has_filter);
  }
}

TEST(IptablesSaveTest, TruncatedOutputIsAnError) {
  const std::string whole = ReadTestdata("kube-proxy-1.36-iptables.save");
  const size_t end = whole.rfind("COMMIT");
  for (const size_t length : {end, end / 2 + 1500, end + 3}) {
    const absl::StatusOr<SavedRules> saved = ParseIptablesSave(whole.substr(0, length));
    EXPECT_EQ(saved.status().code(), absl::StatusCode::kInvalidArgument) << length;
    EXPECT_THAT(std::string(saved.status().message()), HasSubstr("ends within table "));
  }
}

TEST(IptablesSaveTest, SurvivesDamage) {
  // Changes every byte of a dump, as a fuzzer would do first.
  std::string text = WithoutLines(ReadTestdata("kube-proxy-1.36-iptables.save"), "KUBE-SVC");
  for (size_t i = 0; i < text.size(); i += testing::kByteStep) {
    for (const char c : {'\0', '"', '\\', '\n', ' ', '\xff', '9'}) {
      const char old = text[i];
      text[i] = c;
      (void)ParseIptablesSave(text);
      text[i] = old;
    }
  }
}

}  // namespace
}  // namespace npg::sources::iptables_save_test
