// SPDX-License-Identifier: Apache-2.0
#include "sources/netfilter_source.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <unistd.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "base/event_loop.h"
#include "base/subprocess.h"
#include "core/port.h"
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

constexpr absl::Duration kMustCome = absl::Seconds(20);
constexpr absl::Duration kMustNotCome = absl::Milliseconds(500);

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
  static void NodePortRule(absl::string_view command, absl::string_view action, int port) {
    Shell(absl::StrCat(command, " -w 5 -t nat ", action,
                       " KUBE-NODEPORTS -p tcp -m comment --comment ns/new:x -m tcp --dport ", port,
                       " -j KUBE-MARK-MASQ"));
  }

  static Reading Read() {
    NetfilterSource source;
    absl::StatusOr<Reading> reading = source.Read();
    NPG_EXPECT_OK(reading);
    return reading.ok() ? *std::move(reading) : Reading{};
  }

  void Create(const NetfilterSource::Options& options) {
    NetfilterEdges edges = NetfilterEdges::OfThisNamespace();
    edges.read_maps = [this, read = edges.read_maps]() -> absl::StatusOr<Reading> {
      return ++map_reads_ == empty_map_read_ ? Reading{} : read();
    };
    edges.has_chain = [this, has = edges.has_chain](uint8_t family, absl::string_view table,
                                                    absl::string_view chain) {
      ++chain_reads_;
      return has(family, table, chain);
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
  std::unique_ptr<NetfilterSource> source_;
  int reports_ = 0;
  int map_reads_ = 0;
  int empty_map_read_ = 0;  // the number of the reading that finds nothing, as while rules move
  int chain_reads_ = 0;
  absl::StatusOr<Reading> last_;
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
            absl::StrCat("add element ip6 kube-proxy no-endpoint-nodeports {", elements, "}\n"));
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
  Shell(
      "iptables-legacy -t nat -A CNI-HOSTPORT-DNAT -p tcp -m comment --comment "
      "'dnat name: \"cbr0\" id: \"abc\"' -m multiport --dports 8080,10010 "
      "-j CNI-DN-0123456789abcdef01234");
  Shell("ip6tables-nft -N KUBE-EXTERNAL-SERVICES");
  Shell(
      "ip6tables-nft -A KUBE-EXTERNAL-SERVICES -p udp -m comment --comment "
      "'kube-system/dns:dns has no endpoints' -m addrtype --dst-type LOCAL -m udp --dport 30053 "
      "-j REJECT");
  Shell("ip6tables-legacy -t nat -N KUBE-MARK-MASQ");
  Shell("ip6tables-legacy -t nat -N KUBE-NODEPORTS");
  NodePortRule("ip6tables-legacy", "-A", 30006);
  const Reading reading = Read();
  EXPECT_THAT(reading.ports,
              ElementsAre(Pair(Tcp(8080), ""), Pair(Tcp(10010), ""), Pair(Tcp(30006), "ns/new"),
                          Pair(Udp(30053), "kube-system/dns"), Pair(Tcp(31234), "default/t1"),
                          Pair(Tcp(32588), "default/t5"), Pair(Tcp(34567), "default/web"),
                          Pair(Tcp(49999), "default/t3")));
  EXPECT_THAT(reading.skipped, IsEmpty());
}

TEST_F(NetfilterSourceTest, IgnoresRulesOfOthersThatItCannotRead) {
  // iptables-nft-save fails on such a rule.
  Shell(
      "nft 'add table ip filter; add chain ip filter theirs; "
      "add rule ip filter theirs meta mark set 1'");
  Shell(
      "nft 'add table ip mangle; add chain ip mangle theirs; "
      "add rule ip mangle theirs meta mark set 1'");
  Shell("iptables-nft -t nat -N KUBE-MARK-MASQ; iptables-nft -t nat -N KUBE-NODEPORTS");
  NodePortRule("iptables-nft", "-A", 30001);
  EXPECT_THAT(Read().ports, ElementsAre(Pair(Tcp(30001), "ns/new")));

  // In a chain that the source reads, such a rule makes the reading fail.
  Shell("nft add rule ip nat KUBE-NODEPORTS meta mark set 1");
  NetfilterSource source;
  EXPECT_THAT(std::string(source.Read().status().message()),
              HasSubstr("iptables-nft-save failed with exit code"));
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
  NodePortRule("iptables-nft", "-A", 30001);
  EXPECT_TRUE(ReportsPort(Tcp(30001)));
  EXPECT_EQ(last_->ports.at(Tcp(30001)), "ns/new");
  EXPECT_EQ(last_->ports.size(), 2U);
  NodePortRule("iptables-nft", "-D", 30001);
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
  Create({.min_gap = absl::Milliseconds(10)});
  NPG_ASSERT_OK_AND_ASSIGN(const Reading first, source_->Read());
  ASSERT_TRUE(first.ports.contains(Tcp(34567)));
  empty_map_read_ = 2;
  Follow();
  Linger();
  EXPECT_GE(map_reads_, 3) << "the source reads again when a port is missing";
  EXPECT_EQ(reports_, 0) << last_->ports.size();
  Shell("nft delete table ip kube-proxy; nft delete table ip6 kube-proxy");
  EXPECT_TRUE(ReportsNoPort(Tcp(34567)));
}

TEST_F(NetfilterSourceTest, PollsLegacyRules) {
  LoadDump("legacy");
  Follow({.min_gap = absl::Milliseconds(100), .poll = absl::Milliseconds(200)});
  EXPECT_TRUE(ReportsPort(Tcp(34567)));
  NodePortRule("iptables-legacy", "-A", 30001);
  EXPECT_TRUE(ReportsPort(Tcp(30001)));
  NodePortRule("iptables-legacy", "-D", 30001);
  EXPECT_TRUE(ReportsNoPort(Tcp(30001)));
  EXPECT_THAT(last_->ports, ElementsAre(Pair(Tcp(34567), "default/web")));
}

TEST_F(NetfilterSourceTest, FindsRulesThatAppearLater) {
  Follow();
  EXPECT_TRUE(Reports([](const core::PortSnapshot& ports) { return ports.empty(); }));
  LoadDump("nft");
  EXPECT_TRUE(ReportsPort(Tcp(34567)));
}

TEST_F(NetfilterSourceTest, ChangesOfUnrelatedTablesCauseNoReading) {
  LoadNftables();
  Follow({.min_gap = absl::Milliseconds(10)});
  ASSERT_TRUE(ReportsPort(Tcp(34567)));
  Linger();
  const int maps = map_reads_, chains = chain_reads_;
  Shell(
      "nft 'add table inet nodeport_guard; add set inet nodeport_guard s "
      "{ type inet_service; }; add element inet nodeport_guard s { 1, 2, 3 }'");
  Shell("nft 'add table ip theirs; add chain ip theirs nat; add rule ip theirs nat accept'");
  Linger();
  EXPECT_EQ(map_reads_, maps);
  EXPECT_EQ(chain_reads_, chains);
  // A change of iptables rules causes a reading of the chains only.
  Shell("iptables-nft -t nat -N KUBE-NODEPORTS");
  Linger();
  EXPECT_EQ(map_reads_, maps);
  EXPECT_GT(chain_reads_, chains);
}

TEST_F(NetfilterSourceTest, LimitsTheRateOfReadings) {
  LoadNftables();
  Follow({.min_gap = absl::Hours(1), .max_gap = absl::Hours(1)});
  ASSERT_TRUE(ReportsPort(Tcp(34567)));
  for (int port = 1; port <= 20; ++port) {
    Shell(absl::StrCat("nft add element ip kube-proxy no-endpoint-nodeports '{ tcp . ", port,
                       " : goto reject-chain }'"));
  }
  Linger();
  EXPECT_EQ(map_reads_, 1);
}

TEST_F(NetfilterSourceTest, ReadsAgainAfterLostNotifications) {
  // This transaction overflows the buffer of the netlink socket.
  Follow();
  EXPECT_TRUE(Reports([](const core::PortSnapshot& ports) { return ports.empty(); }));
  LoadTenThousand("nft");
  EXPECT_TRUE(Reports([](const core::PortSnapshot& ports) { return ports.size() == 10002; }));
}

TEST_F(NetfilterSourceTest, ReportsAnErrorOnceAndRecovers) {
  LoadDump("nft");
  Follow({.min_gap = absl::Milliseconds(10), .poll = absl::Milliseconds(100)});
  ASSERT_TRUE(ReportsPort(Tcp(34567)));
  Shell("nft add rule ip nat KUBE-NODEPORTS meta mark set 1");
  NPG_EXPECT_OK(loop_->Run());
  EXPECT_FALSE(last_.ok());
  const int reports = reports_;
  Linger();  // every poll tries again
  EXPECT_EQ(reports_, reports);
  Shell(
      "nft delete rule ip nat KUBE-NODEPORTS handle $(nft -a list chain ip nat KUBE-NODEPORTS | "
      "sed -n 's/.*mark set.*handle //p')");
  EXPECT_TRUE(ReportsPort(Tcp(34567)));
}

}  // namespace
}  // namespace npg::sources::netfilter_source_test
