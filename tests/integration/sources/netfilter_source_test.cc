// SPDX-License-Identifier: Apache-2.0
#include "sources/netfilter_source.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "base/event_loop.h"
#include "base/subprocess.h"
#include "core/coverage.h"
#include "core/listener.h"
#include "core/port.h"
#include "rules/node_rules.h"
#include "rules/rule_changes.h"
#include "sources/netfilter_reader.h"
#include "sources/source.h"
#include "testing/status_asserts.h"
#include "testing/testdata.h"

namespace npg::sources::netfilter_source_test {
namespace {

using testing::Tcp;
using testing::TempFolder;
using testing::TestdataPath;
using testing::Udp;
using testing::WriteFile;

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Pair;
using ::testing::UnorderedElementsAre;

constexpr absl::Duration kMustCome = absl::Seconds(20);
constexpr absl::Duration kMustNotCome = absl::Milliseconds(500);

// The one address that kube-proxy's nftables rules take NodePorts of. An interface need not have
// it.
core::AddressSet NodeAddress() {
  return {{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 99, 0, 2}};
}

// Of the Service in the dump.
constexpr absl::string_view kServiceChain = "KUBE-EXT-CDGGSHYLG3RE2FKL";

// The nfacct objects that the rules of kube-proxy refer to.
constexpr absl::string_view kAccounting =
    "nfacct add localhost_nps_accepted_pkts; nfacct add ct_state_invalid_dropped_pkts; ";

// Each test runs in its own network namespace, which ends with the process.
class NetfilterSourceTest : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_EQ(unshare(CLONE_NEWNET | CLONE_NEWNS), 0) << "these tests need root";
    absl::StatusOr<std::unique_ptr<base::EventLoop>> loop = base::EventLoop::Create();
    NPG_ASSERT_OK(loop);
    loop_ = *std::move(loop);
  }
  void TearDown() override { source_.reset(); }

  // Runs a line of shell in the namespace, expects success, and returns its output.
  static std::string Shell(absl::string_view line) {
    absl::StatusOr<std::unique_ptr<base::EventLoop>> loop = base::EventLoop::Create();
    NPG_EXPECT_OK(loop);
    absl::StatusOr<std::string> output;
    const auto process = base::Subprocess::Start(
        **loop, {"/bin/sh", "-ec", absl::StrCat("PATH=/usr/sbin:/sbin:$PATH; ", line)}, {},
        [&](absl::StatusOr<std::string> result) {
          output = std::move(result);
          (*loop)->Stop();
        });
    NPG_EXPECT_OK(process);
    NPG_EXPECT_OK((*loop)->Run());
    EXPECT_TRUE(output.ok()) << line << ": " << output.status();
    return output.ok() ? *output : "";
  }

  static void LoadDump(absl::string_view variant) {
    Shell(absl::StrCat(kAccounting, "iptables-", variant, "-restore < ",
                       TestdataPath("kube-proxy-1.36-iptables.save")));
  }
  static void LoadTenThousand(absl::string_view variant) {
    Shell(absl::StrCat(kAccounting, "gunzip -c ",
                       TestdataPath("kube-proxy-1.36-iptables-10k.save.gz"), " | iptables-",
                       variant, "-restore"));
  }
  static void LoadNftables() {
    Shell(absl::StrCat("nft -f ", TestdataPath("kube-proxy-1.36-nftables.nft")));
  }
  // Adds (`action` -A) or deletes (-D) a NodePort rule like those of kube-proxy.
  static void NodePortRule(absl::string_view command, absl::string_view action, int port,
                           absl::string_view chain = "KUBE-EXT-NEW") {
    Shell(absl::StrCat(command, " -w 5 -t nat ", action,
                       " KUBE-NODEPORTS -p tcp -m comment --comment ns/new:x -m tcp --dport ", port,
                       " -j ", chain));
  }

  // The chains of kube-proxy, as far as a NodePort needs them.
  static void NodePortChains(absl::string_view command) {
    Shell(absl::StrCat(command, " -t nat -N KUBE-NODEPORTS; ", command, " -t nat -N KUBE-EXT-NEW; ",
                       command, " -t nat -A KUBE-EXT-NEW -p tcp -j REDIRECT --to-ports 9; ",
                       command,
                       " -t nat -A OUTPUT -m addrtype --dst-type LOCAL -j KUBE-NODEPORTS"));
  }

  static Reading Read() {
    NetfilterSource source(NetfilterEdges::OfThisNamespace(NodeAddress), {});
    absl::StatusOr<Reading> reading = source.Read();
    NPG_EXPECT_OK(reading);
    return reading.ok() ? *std::move(reading) : Reading{};
  }

  void Create(const NetfilterSource::Options& options) {
    NetfilterEdges edges = NetfilterEdges::OfThisNamespace(NodeAddress);
    edges.read = [this, read = edges.read](const rules::RuleChanges& changes, int tries) {
      const int number = ++readings_;
      absl::StatusOr<rules::NodeRules::Reading> reading = read(changes, tries);
      if (reading.ok() && number == empty_reading_) reading->evaluation = {};
      return reading;
    };
    source_ = std::make_unique<NetfilterSource>(std::move(edges), options);
  }
  void Follow(const NetfilterSource::Options& options = {}) {
    if (source_ == nullptr) Create(options);
    NPG_ASSERT_OK(source_->Follow(*loop_, [this](const absl::StatusOr<Reading>& reading) {
      ++reports_;
      last_ = reading;
      loop_->Stop();
    }));
  }

  // Runs the loop until the source has reported ports for which `fits` is true.
  bool Reports(const std::function<bool(const core::PortSnapshot&)>& fits) {
    bool expired = false;
    const auto timer = loop_->After(kMustCome, [&] {
      expired = true;
      loop_->Stop();
    });
    const auto fitting = [&] { return reports_ > 0 && last_.ok() && fits(last_->ports); };
    while (!fitting() && !expired) NPG_EXPECT_OK(loop_->Run());
    loop_->Cancel(timer);
    EXPECT_TRUE(fitting()) << last_.status();
    return fitting();
  }
  bool ReportsPort(core::PortKey key) {
    return Reports([&](const core::PortSnapshot& ports) { return ports.contains(key); });
  }
  bool ReportsNoPort(core::PortKey key) {
    return Reports([&](const core::PortSnapshot& ports) { return !ports.contains(key); });
  }
  // Runs the loop for as long as an unexpected report could take.
  void Linger() {
    const auto timer = loop_->After(kMustNotCome, [this] { loop_->Stop(); });
    NPG_EXPECT_OK(loop_->Run());
    loop_->Cancel(timer);
  }

  std::unique_ptr<base::EventLoop> loop_;
  int reports_ = 0;
  std::atomic<int> readings_ = 0;
  // The number of the reading that finds nothing, as while rules move.
  std::atomic<int> empty_reading_ = 0;
  absl::StatusOr<Reading> last_;
  std::unique_ptr<NetfilterSource> source_;  // its thread uses the members above
};

TEST_F(NetfilterSourceTest, ReadsNothingAndChangesNothingInAnEmptyNamespace) {
  const Reading reading = Read();
  EXPECT_THAT(reading.ports, IsEmpty());
  EXPECT_THAT(reading.skipped, IsEmpty());
  EXPECT_EQ(Shell("nft list tables"), "");
  EXPECT_EQ(Shell("cat /proc/net/ip_tables_names /proc/net/ip6_tables_names"), "");
}

TEST_F(NetfilterSourceTest, ReadsKubeProxysIptablesRules) {
  LoadDump("nft");
  const Reading reading = Read();
  EXPECT_THAT(reading.ports, ElementsAre(Pair(Tcp(34567), "default/web")));
  EXPECT_THAT(reading.skipped, IsEmpty());
}

TEST_F(NetfilterSourceTest, ReadsKubeProxysLegacyRules) {
  LoadDump("legacy");
  const Reading reading = Read();
  EXPECT_THAT(reading.ports, ElementsAre(Pair(Tcp(34567), "default/web")));
  EXPECT_THAT(reading.skipped, IsEmpty());
}

TEST_F(NetfilterSourceTest, ReadsTenThousandServices) {
  LoadTenThousand("nft");
  const Reading reading = Read();
  EXPECT_EQ(reading.ports.size(), 10002U);
  EXPECT_THAT(reading.skipped, IsEmpty());
}

TEST_F(NetfilterSourceTest, ReadsTenThousandServicesOfLegacyRules) {
  LoadTenThousand("legacy");
  const Reading reading = Read();
  EXPECT_EQ(reading.ports.size(), 10002U);
  EXPECT_THAT(reading.skipped, IsEmpty());
}

TEST_F(NetfilterSourceTest, ReadsKubeProxysNftablesMaps) {
  LoadNftables();
  const Reading reading = Read();
  EXPECT_THAT(reading.ports,
              ElementsAre(Pair(Tcp(31234), "default/t1"), Pair(Tcp(32588), "default/t5"),
                          Pair(Tcp(34567), "default/web"), Pair(Tcp(49999), "default/t3")));
  EXPECT_THAT(reading.skipped, IsEmpty());
}

TEST_F(NetfilterSourceTest, ReadsALargeMap) {
  LoadNftables();
  std::string elements;
  for (int port = 1; port <= 20000; ++port) {
    absl::StrAppend(&elements, port > 1 ? "," : "", port % 2 == 0 ? "tcp" : "udp", " . ", port,
                    " comment \"ns/s", port, ":p\" : goto reject-chain");
  }
  const TempFolder folder;
  WriteFile(folder / "map.nft",
            absl::StrCat("add element ip kube-proxy no-endpoint-nodeports {", elements, "}\n"));
  Shell(absl::StrCat("nft -f ", folder / "map.nft"));
  const Reading reading = Read();
  EXPECT_EQ(reading.ports.size(), 20004U);
  ASSERT_TRUE(reading.ports.contains(Udp(19999)));
  EXPECT_EQ(reading.ports.at(Udp(19999)), "ns/s19999");
}

TEST_F(NetfilterSourceTest, ReadsEveryKindOfRules) {
  LoadDump("nft");
  LoadNftables();
  Shell("iptables-legacy -t nat -N CNI-DN-0123456789abcdef01234");
  Shell("iptables-legacy -t nat -N CNI-HOSTPORT-DNAT");
  Shell("iptables-legacy -t nat -A OUTPUT -m addrtype --dst-type LOCAL -j CNI-HOSTPORT-DNAT");
  Shell(
      "iptables-legacy -t nat -A CNI-HOSTPORT-DNAT -p tcp -m comment --comment "
      "'dnat name: \"cbr0\" id: \"abc\"' -m multiport --dports 8080,10010 "
      "-j CNI-DN-0123456789abcdef01234");
  for (const int port : {8080, 10010}) {
    Shell(absl::StrCat(
        "iptables-legacy -t nat -A CNI-DN-0123456789abcdef01234 -p tcp -m tcp --dport ", port,
        " -j DNAT --to-destination 10.88.0.2:80"));
  }
  Shell("ip6tables-nft -N KUBE-EXTERNAL-SERVICES");
  Shell(
      "ip6tables-nft -A INPUT -m conntrack --ctstate NEW -j KUBE-EXTERNAL-SERVICES; "
      "ip6tables-nft -A KUBE-EXTERNAL-SERVICES -p udp -m comment --comment "
      "'kube-system/dns:dns has no endpoints' -m addrtype --dst-type LOCAL -m udp --dport 30053 "
      "-j REJECT");
  NodePortChains("ip6tables-legacy");
  NodePortRule("ip6tables-legacy", "-A", 30006);
  const Reading reading = Read();
  std::vector<core::PortKey> ports;
  for (const auto& [key, owner] : reading.ports) ports.push_back(key);
  EXPECT_THAT(ports, UnorderedElementsAre(Tcp(8080), Tcp(10010), Tcp(30006), Udp(30053), Tcp(31234),
                                          Tcp(32588), Tcp(34567), Tcp(49999)));
  ASSERT_EQ(ports.size(), 8U);
  EXPECT_EQ(reading.ports.at(Tcp(30006)), "ns/new");
  EXPECT_EQ(reading.ports.at(Udp(30053)), "kube-system/dns");
  EXPECT_THAT(reading.skipped, IsEmpty());
  EXPECT_EQ(reading.coverage, core::Coverage::kAll);
}

// iptables-nft-save refuses to print such tables.
TEST_F(NetfilterSourceTest, ReadsTablesThatIptablesCannotPrint) {
  Shell(
      "nft 'add table ip mangle; add chain ip mangle theirs; "
      "add rule ip mangle theirs meta mark set 1'");
  NodePortChains("iptables-nft");
  NodePortRule("iptables-nft", "-A", 30001);
  Shell("nft insert rule ip nat KUBE-NODEPORTS meta mark set 1");
  const Reading reading = Read();
  EXPECT_THAT(reading.ports, ElementsAre(Pair(Tcp(30001), "ns/new")));
  EXPECT_THAT(reading.skipped, IsEmpty());
}

// What no connect reaches takes no port.
TEST_F(NetfilterSourceTest, IgnoresChainsWithoutAHook) {
  NodePortChains("iptables-nft");
  NodePortRule("iptables-nft", "-A", 30001);
  Shell("iptables-nft -t nat -F OUTPUT");
  EXPECT_THAT(Read().ports, IsEmpty());
}

TEST_F(NetfilterSourceTest, NamesARuleThatCannotBeEvaluated) {
  NodePortChains("iptables-nft");
  NodePortRule("iptables-nft", "-A", 30001);
  Shell(
      "iptables-nft -t nat -A OUTPUT -p tcp -m u32 --u32 '0=0' -m tcp --dport 31000:31009 "
      "-j REDIRECT --to-ports 9");
  const Reading reading = Read();
  EXPECT_THAT(reading.ports, ElementsAre(Pair(Tcp(30001), "ns/new")));
  EXPECT_THAT(reading.skipped, ElementsAre(HasSubstr("u32")));
  EXPECT_EQ(reading.coverage, core::Coverage::kPart);
}

// kube-proxy's nftables rules take no NodePort of 127.0.0.1.
TEST_F(NetfilterSourceTest, ReadsRulesForGuardedAddresses) {
  LoadNftables();
  EXPECT_EQ(Read().ports.size(), 4U);
  NetfilterSource source;
  NPG_ASSERT_OK_AND_ASSIGN(const Reading reading, source.Read());
  EXPECT_THAT(reading.ports, IsEmpty());
  EXPECT_EQ(reading.coverage, core::Coverage::kAll);
}

TEST_F(NetfilterSourceTest, ReportsMissingPrivileges) {
  ASSERT_EQ(seteuid(65534), 0);
  NetfilterSource source;
  const absl::Status read = source.Read().status();
  const absl::Status follow = source.Follow(*loop_, [](const absl::StatusOr<Reading>&) {});
  ASSERT_EQ(seteuid(0), 0);
  for (const absl::Status& status : {read, follow}) {
    EXPECT_EQ(status.code(), absl::StatusCode::kPermissionDenied);
    EXPECT_THAT(std::string(status.message()), HasSubstr("run as root or with"));
  }
}

TEST_F(NetfilterSourceTest, FollowsIptables) {
  LoadDump("nft");
  Follow();
  EXPECT_TRUE(ReportsPort(Tcp(34567)));
  NodePortRule("iptables-nft", "-A", 30001, kServiceChain);
  EXPECT_TRUE(ReportsPort(Tcp(30001)));
  EXPECT_EQ(last_->ports.at(Tcp(30001)), "ns/new");
  EXPECT_EQ(last_->ports.size(), 2U);
  NodePortRule("iptables-nft", "-D", 30001, kServiceChain);
  EXPECT_TRUE(ReportsNoPort(Tcp(30001)));
  EXPECT_THAT(last_->ports, ElementsAre(Pair(Tcp(34567), "default/web")));
  Shell("nft flush ruleset");
  EXPECT_TRUE(ReportsNoPort(Tcp(34567)));
}

TEST_F(NetfilterSourceTest, FollowsNftables) {
  LoadNftables();
  Follow();
  EXPECT_TRUE(ReportsPort(Tcp(34567)));
  Shell(
      "nft add element ip kube-proxy no-endpoint-nodeports "
      "'{ udp . 30053 comment \"kube-system/dns:dns\" : goto reject-chain }'");
  EXPECT_TRUE(ReportsPort(Udp(30053)));
  EXPECT_EQ(last_->ports.at(Udp(30053)), "kube-system/dns");
  Shell("nft delete element ip kube-proxy no-endpoint-nodeports '{ udp . 30053 }'");
  EXPECT_TRUE(ReportsNoPort(Udp(30053)));
  Shell("nft delete table ip kube-proxy");
  EXPECT_TRUE(ReportsNoPort(Tcp(34567)));
  EXPECT_THAT(last_->ports, IsEmpty());
}

// One reading that lacks a port does not remove it.
TEST_F(NetfilterSourceTest, RemovesAPortWhenTwoReadingsLackIt) {
  LoadNftables();
  Create({});
  NPG_ASSERT_OK_AND_ASSIGN(const Reading first, source_->Read());
  ASSERT_TRUE(first.ports.contains(Tcp(34567)));
  // Read(), and the first reading of Follow(), have two steps each.
  empty_reading_ = 4;
  Follow();
  Linger();
  EXPECT_GE(readings_, 5) << "the source reads again when a port is missing";
  EXPECT_EQ(reports_, 0) << last_->ports.size();
  Shell("nft delete table ip kube-proxy; nft delete table ip6 kube-proxy");
  EXPECT_TRUE(ReportsNoPort(Tcp(34567)));
}

TEST_F(NetfilterSourceTest, PollsLegacyRules) {
  LoadDump("legacy");
  Follow({.poll = absl::Milliseconds(200)});
  EXPECT_TRUE(ReportsPort(Tcp(34567)));
  NodePortRule("iptables-legacy", "-A", 30001, kServiceChain);
  EXPECT_TRUE(ReportsPort(Tcp(30001)));
  NodePortRule("iptables-legacy", "-D", 30001, kServiceChain);
  EXPECT_TRUE(ReportsNoPort(Tcp(30001)));
  EXPECT_THAT(last_->ports, ElementsAre(Pair(Tcp(34567), "default/web")));
}

TEST_F(NetfilterSourceTest, FindsRulesThatAppearLater) {
  Follow();
  EXPECT_TRUE(Reports([](const core::PortSnapshot& ports) { return ports.empty(); }));
  LoadDump("nft");
  EXPECT_TRUE(ReportsPort(Tcp(34567)));
}

TEST_F(NetfilterSourceTest, ChangesOfItsOwnTableCauseNoReading) {
  LoadNftables();
  Follow();
  ASSERT_TRUE(ReportsPort(Tcp(34567)));
  Linger();
  const int readings = readings_;
  Shell(
      "nft 'add table inet nodeport_guard; add set inet nodeport_guard s "
      "{ type inet_service; }; add element inet nodeport_guard s { 1, 2, 3 }'");
  Shell("nft 'add table arp theirs; add chain arp theirs nat; add rule arp theirs nat accept'");
  Linger();
  EXPECT_EQ(readings_, readings);
  Shell("nft add chain ip kube-proxy another");
  Linger();
  EXPECT_GT(readings_, readings);
}

TEST_F(NetfilterSourceTest, AppliesAChangeWithinATenthOfASecond) {
  LoadDump("nft");
  Follow();
  ASSERT_TRUE(ReportsPort(Tcp(34567)));
  // The fastest of several: another process may have the processor.
  absl::Duration best = absl::InfiniteDuration();
  for (int port = 30001; port <= 30010; ++port) {
    NodePortRule("iptables-nft", "-A", port, kServiceChain);
    const absl::Time added = absl::Now();
    ASSERT_TRUE(ReportsPort(Tcp(static_cast<uint16_t>(port))));
    best = std::min(best, absl::Now() - added);
  }
  EXPECT_LT(best, absl::Milliseconds(100));
}

TEST_F(NetfilterSourceTest, LimitsTheTimeOfReadings) {
  LoadNftables();
  Follow({.change_budget = {.share = 1e-6, .burst = absl::Microseconds(1)},
          .max_gap = absl::Hours(1),
          .poll = absl::Hours(1)});
  ASSERT_TRUE(ReportsPort(Tcp(34567)));
  const int readings = readings_;
  for (int port = 1; port <= 20; ++port) {
    Shell(absl::StrCat("nft add element ip kube-proxy no-endpoint-nodeports '{ tcp . ", port,
                       " : goto reject-chain }'"));
  }
  Linger();
  EXPECT_LE(readings_, readings + 1) << "which uses up the budget";
}

TEST_F(NetfilterSourceTest, ReadsAgainAfterLostNotifications) {
  // This transaction overflows the buffer of the netlink socket.
  Follow();
  EXPECT_TRUE(Reports([](const core::PortSnapshot& ports) { return ports.empty(); }));
  LoadTenThousand("nft");
  EXPECT_TRUE(Reports([](const core::PortSnapshot& ports) { return ports.size() == 10002; }));
}

}  // namespace
}  // namespace npg::sources::netfilter_source_test
