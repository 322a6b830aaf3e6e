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

// kube-proxy's rules count into these.
constexpr absl::string_view kAccounting =
    "nfacct add localhost_nps_accepted_pkts; nfacct add ct_state_invalid_dropped_pkts; ";

// The tests are in a network namespace of their own, which goes with the process.
class NetfilterSourceTest : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_EQ(unshare(CLONE_NEWNET | CLONE_NEWNS), 0) << "these tests need root";
    absl::StatusOr<std::unique_ptr<base::EventLoop>> loop = base::EventLoop::Create();
    NPG_ASSERT_OK(loop);
    loop_ = *std::move(loop);
  }
  void TearDown() override { source_.reset(); }

  // Runs a line of shell in the namespace; it is to succeed. Gives its output.
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
  // A NodePort rule of kube-proxy's shape. `action` is -A or -D.
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
      ++said_;
      last_ = reading;
      loop_->Stop();
    }));
  }

  // Runs the loop until the source has said something that `fits`.
  bool Says(const std::function<bool(const core::PortSnapshot&)>& fits) {
    bool expired = false;
    const auto timer = loop_->After(kMustCome, [&] {
      expired = true;
      loop_->Stop();
    });
    const auto fitting = [&] { return said_ > 0 && last_.ok() && fits(last_->ports); };
    while (!fitting() && !expired) NPG_EXPECT_OK(loop_->Run());
    loop_->Cancel(timer);
    EXPECT_TRUE(fitting()) << last_.status();
    return fitting();
  }
  bool SaysPort(core::PortKey key) {
    return Says([&](const core::PortSnapshot& ports) { return ports.contains(key); });
  }
  bool SaysNoPort(core::PortKey key) {
    return Says([&](const core::PortSnapshot& ports) { return !ports.contains(key); });
  }
  // Runs the loop for as long as something that must not come may take.
  void Linger() {
    const auto timer = loop_->After(kMustNotCome, [this] { loop_->Stop(); });
    NPG_EXPECT_OK(loop_->Run());
    loop_->Cancel(timer);
  }

  std::unique_ptr<base::EventLoop> loop_;
  std::unique_ptr<NetfilterSource> source_;
  int said_ = 0;
  int map_reads_ = 0;
  int empty_map_read_ = 0;  // which of them finds nothing: rules on the move
  int chain_reads_ = 0;
  absl::StatusOr<Reading> last_;
};

TEST_F(NetfilterSourceTest, AnEmptyNamespaceIsEmptyAndStaysSo) {
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

TEST_F(NetfilterSourceTest, ReadsEveryPlaceThereIs) {
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

TEST_F(NetfilterSourceTest, OtherPeoplesTablesAreInNobodysWay) {
  // A rule that iptables-nft-save gives up on.
  Shell(
      "nft 'add table ip filter; add chain ip filter theirs; "
      "add rule ip filter theirs meta mark set 1'");
  Shell(
      "nft 'add table ip mangle; add chain ip mangle theirs; "
      "add rule ip mangle theirs meta mark set 1'");
  Shell("iptables-nft -t nat -N KUBE-MARK-MASQ; iptables-nft -t nat -N KUBE-NODEPORTS");
  NodePortRule("iptables-nft", "-A", 30001);
  EXPECT_THAT(Read().ports, ElementsAre(Pair(Tcp(30001), "ns/new")));

  // In a chain of ours it makes the reading fail: the rest would be lost.
  Shell("nft add rule ip nat KUBE-NODEPORTS meta mark set 1");
  NetfilterSource source;
  EXPECT_THAT(std::string(source.Read().status().message()),
              HasSubstr("iptables-nft-save failed with exit code"));
}

TEST_F(NetfilterSourceTest, WithoutTheRightsItSaysSo) {
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
  EXPECT_TRUE(SaysPort(Tcp(34567)));
  NodePortRule("iptables-nft", "-A", 30001);
  EXPECT_TRUE(SaysPort(Tcp(30001)));
  EXPECT_EQ(last_->ports.at(Tcp(30001)), "ns/new");
  EXPECT_EQ(last_->ports.size(), 2U);
  NodePortRule("iptables-nft", "-D", 30001);
  EXPECT_TRUE(SaysNoPort(Tcp(30001)));
  EXPECT_THAT(last_->ports, ElementsAre(Pair(Tcp(34567), "default/web")));
  Shell("nft flush ruleset");
  EXPECT_TRUE(SaysNoPort(Tcp(34567)));
}

TEST_F(NetfilterSourceTest, FollowsNftables) {
  LoadNftables();
  Follow();
  EXPECT_TRUE(SaysPort(Tcp(34567)));
  Shell(
      "nft add element ip kube-proxy no-endpoint-nodeports "
      "'{ udp . 30053 comment \"kube-system/dns:dns\" : goto reject-chain }'");
  EXPECT_TRUE(SaysPort(Udp(30053)));
  EXPECT_EQ(last_->ports.at(Udp(30053)), "kube-system/dns");
  Shell("nft delete element ip kube-proxy no-endpoint-nodeports '{ udp . 30053 }'");
  EXPECT_TRUE(SaysNoPort(Udp(30053)));
  Shell("nft delete table ip kube-proxy");
  EXPECT_TRUE(SaysNoPort(Tcp(34567)));
  EXPECT_THAT(last_->ports, IsEmpty());
}

// What Read() has found is not taken for gone by the first look after it.
TEST_F(NetfilterSourceTest, WhatWasReadGoesWhenTwoReadingsLackIt) {
  LoadNftables();
  Create({.min_gap = absl::Milliseconds(10)});
  NPG_ASSERT_OK_AND_ASSIGN(const Reading first, source_->Read());
  ASSERT_TRUE(first.ports.contains(Tcp(34567)));
  empty_map_read_ = 2;
  Follow();
  Linger();
  EXPECT_GE(map_reads_, 3) << "what was missing is looked for again";
  EXPECT_EQ(said_, 0) << last_->ports.size();
  Shell("nft delete table ip kube-proxy; nft delete table ip6 kube-proxy");
  EXPECT_TRUE(SaysNoPort(Tcp(34567)));
}

TEST_F(NetfilterSourceTest, FollowsLegacyByPolling) {
  LoadDump("legacy");
  Follow({.min_gap = absl::Milliseconds(100), .poll = absl::Milliseconds(200)});
  EXPECT_TRUE(SaysPort(Tcp(34567)));
  NodePortRule("iptables-legacy", "-A", 30001);
  EXPECT_TRUE(SaysPort(Tcp(30001)));
  NodePortRule("iptables-legacy", "-D", 30001);
  EXPECT_TRUE(SaysNoPort(Tcp(30001)));
  EXPECT_THAT(last_->ports, ElementsAre(Pair(Tcp(34567), "default/web")));
}

TEST_F(NetfilterSourceTest, RulesMayComeLater) {
  Follow();
  EXPECT_TRUE(Says([](const core::PortSnapshot& ports) { return ports.empty(); }));
  LoadDump("nft");
  EXPECT_TRUE(SaysPort(Tcp(34567)));
}

TEST_F(NetfilterSourceTest, OurOwnTableAndForeignOnesAreNoReasonToRead) {
  LoadNftables();
  Follow({.min_gap = absl::Milliseconds(10)});
  ASSERT_TRUE(SaysPort(Tcp(34567)));
  Linger();
  const int maps = map_reads_, chains = chain_reads_;
  Shell(
      "nft 'add table inet nodeport_guard; add set inet nodeport_guard s "
      "{ type inet_service; }; add element inet nodeport_guard s { 1, 2, 3 }'");
  Shell("nft 'add table ip theirs; add chain ip theirs nat; add rule ip theirs nat accept'");
  Linger();
  EXPECT_EQ(map_reads_, maps);
  EXPECT_EQ(chain_reads_, chains);
  // What does concern us is read alone.
  Shell("iptables-nft -t nat -N KUBE-NODEPORTS");
  Linger();
  EXPECT_EQ(map_reads_, maps);
  EXPECT_GT(chain_reads_, chains);
}

TEST_F(NetfilterSourceTest, AStormOfChangesIsReadNowAndThen) {
  LoadNftables();
  Follow({.min_gap = absl::Hours(1), .max_gap = absl::Hours(1)});
  ASSERT_TRUE(SaysPort(Tcp(34567)));
  for (int port = 1; port <= 20; ++port) {
    Shell(absl::StrCat("nft add element ip kube-proxy no-endpoint-nodeports '{ tcp . ", port,
                       " : goto reject-chain }'"));
  }
  Linger();
  EXPECT_EQ(map_reads_, 1);
}

TEST_F(NetfilterSourceTest, LostNotificationsAreMadeUpFor) {
  // More in one transaction than a netlink socket holds.
  Follow();
  EXPECT_TRUE(Says([](const core::PortSnapshot& ports) { return ports.empty(); }));
  LoadTenThousand("nft");
  EXPECT_TRUE(Says([](const core::PortSnapshot& ports) { return ports.size() == 10002; }));
}

TEST_F(NetfilterSourceTest, AnErrorIsSaidOnceAndOvercome) {
  LoadDump("nft");
  Follow({.min_gap = absl::Milliseconds(10), .poll = absl::Milliseconds(100)});
  ASSERT_TRUE(SaysPort(Tcp(34567)));
  Shell("nft add rule ip nat KUBE-NODEPORTS meta mark set 1");
  NPG_EXPECT_OK(loop_->Run());
  EXPECT_FALSE(last_.ok());
  const int said = said_;
  Linger();  // it is tried again with every poll
  EXPECT_EQ(said_, said);
  Shell(
      "nft delete rule ip nat KUBE-NODEPORTS handle $(nft -a list chain ip nat KUBE-NODEPORTS | "
      "sed -n 's/.*mark set.*handle //p')");
  EXPECT_TRUE(SaysPort(Tcp(34567)));
}

}  // namespace
}  // namespace npg::sources::netfilter_source_test
