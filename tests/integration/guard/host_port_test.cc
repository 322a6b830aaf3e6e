// SPDX-License-Identifier: Apache-2.0
// Host ports of the CNI plugin portmap, which the guard reads from the rules in the
// kernel. The case occurs in k3s: a runtime streams on the fixed port 10010, and the
// pod of a LoadBalancer Service takes hostPort 10010.
#include <gtest/gtest.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/time/time.h"
#include "guard_abi.h"
#include "testing/client.h"
#include "testing/command.h"
#include "testing/datagram_client.h"
#include "testing/guard_fixture.h"
#include "testing/guard_process.h"
#include "testing/kube_proxy_rules.h"
#include "testing/status_asserts.h"
#include "testing/test_node.h"
#include "testing/transport.h"
#include "testing/wait_until.h"

namespace npg::testing::host_port_test {
namespace {

constexpr uint16_t kPort = 10010;
constexpr uint16_t kNextPort = 10011;
constexpr uint16_t kNodePort = 33589;
constexpr const char* kNodeAddress = "10.244.1.1";

// What portmap writes once, and what it adds for a pod with kPort and kNextPort
// of one protocol: $id, $proto, and $daddr, which is "-d ADDRESS/32 " where the
// pod names a hostIP.
constexpr const char* kFrame = R"(*nat
:CNI-HOSTPORT-DNAT - [0:0]
:CNI-HOSTPORT-MASQ - [0:0]
:CNI-HOSTPORT-SETMARK - [0:0]
-A PREROUTING -m addrtype --dst-type LOCAL -j CNI-HOSTPORT-DNAT
-A OUTPUT -m addrtype --dst-type LOCAL -j CNI-HOSTPORT-DNAT
-A POSTROUTING -m comment --comment "CNI portfwd requiring masquerade" -j CNI-HOSTPORT-MASQ
-A CNI-HOSTPORT-MASQ -m mark --mark 0x2000/0x2000 -j MASQUERADE
-A CNI-HOSTPORT-SETMARK -m comment --comment "CNI portfwd masquerade mark" -j MARK --set-xmark 0x2000/0x2000
COMMIT
)";
constexpr const char* kEntry =
    R"(-A CNI-HOSTPORT-DNAT -p $proto -m comment --comment "dnat name: \"cbr0\" id: \"$id\"" -m multiport --dports 10010,10011 -j $chain
)";
constexpr const char* kMapping =
    R"(-A $chain -s 10.244.1.0/24 $daddr-p $proto -m $proto --dport $port -j CNI-HOSTPORT-SETMARK
-A $chain -s 127.0.0.1/32 $daddr-p $proto -m $proto --dport $port -j CNI-HOSTPORT-SETMARK
-A $chain $daddr-p $proto -m $proto --dport $port -j DNAT --to-destination $target
)";

std::string Fill(const char* text, const std::string& proto, uint16_t port,
                 const std::string& host_ip) {
  return absl::StrReplaceAll(
      text, {{"$chain", absl::StrCat("CNI-DN-", proto, "123456789abcdef012")},
             {"$id", "0c5ae1e5d8f9a5b1c2d3e4f5061728394a5b6c7d8e9f00112233445566778899"},
             {"$proto", proto},
             {"$port", absl::StrCat(port)},
             {"$daddr", host_ip.empty() ? "" : absl::StrCat("-d ", host_ip, "/32 ")},
             {"$target", absl::StrCat(TestNode::kPod, ":", TestNode::kPodPort)}});
}

class GuardHostPortTest : public GuardTest {
 protected:
  // Makes one transaction, as each call of the plugin does; other rules stay.
  static absl::Status Restore(const std::string& rules) {
    const std::string program =
        GetParam().variant == IptablesVariant::kNft ? "iptables-nft" : "iptables-legacy";
    return RunCommand({absl::StrCat(program, "-restore"), "--noflush", "--wait", "30"}, rules)
        .status();
  }

  // portmap's ADD for a pod with both ports, TCP and UDP, on `host_ip` (empty:
  // on every address).
  static absl::Status AddPod(const std::string& host_ip = "") {
    std::string rules = "*nat\n";
    for (const char* proto : {"tcp", "udp"}) {
      absl::StrAppend(&rules, Fill(":$chain - [0:0]\n", proto, 0, ""),
                      Fill(kEntry, proto, 0, host_ip), Fill(kMapping, proto, kPort, host_ip),
                      Fill(kMapping, proto, kNextPort, host_ip));
    }
    return Restore(absl::StrCat(rules, "COMMIT\n"));
  }

  // portmap's DEL: the entry first, then the chain.
  static absl::Status DeletePod() {
    std::string rules = "*nat\n";
    for (const char* proto : {"tcp", "udp"}) {
      const std::string entry = Fill(kEntry, proto, 0, "");
      absl::StrAppend(&rules, "-D", entry.substr(2), Fill("-F $chain\n-X $chain\n", proto, 0, ""));
    }
    return Restore(absl::StrCat(rules, "COMMIT\n"));
  }

  bool Knows(uint16_t port, Transport transport) const {
    const auto entry = maps().NodePort(port, transport);
    return entry.ok() && entry->has_value();
  }

  // iptables-legacy sends no notifications: the guard polls its rules.
  bool WaitForRules(bool known) const {
    const absl::Duration deadline =
        GetParam().variant == IptablesVariant::kNft ? absl::Seconds(10) : absl::Seconds(40);
    return WaitUntil(deadline, [&] {
      return Knows(kPort, Transport::kTcp) == known && Knows(kPort, Transport::kUdp) == known;
    });
  }

  static std::vector<Listen> On(const std::string& address) {
    return {{address, kPort, Transport::kTcp}, {address, kPort, Transport::kUdp}};
  }

  // Every way to ask for kPort at an address.
  static void ExpectAnswers(const std::string& address, const std::string& expected) {
    for (const Transport transport : {Transport::kTcp, Transport::kUdp}) {
      const Dial dial{address, kPort, transport};
      EXPECT_EQ(Ask(dial), expected) << ToString(dial);
    }
    EXPECT_EQ(AskByDatagram(address, kPort), expected) << address;
  }

  void SetUp() override {
    GuardTest::SetUp();
    NPG_ASSERT_OK(Restore(kFrame));
  }

 private:
};

TEST_P(GuardHostPortTest, RuntimeWithAFixedPort) {
  NPG_ASSERT_OK_AND_ASSIGN(const auto host, Host(On("127.0.0.1")));
  ExpectAnswers("127.0.0.1", kHost);
  NPG_ASSERT_OK(AddPod());
  ExpectAnswers("127.0.0.1", "pod");

  NPG_ASSERT_OK(StartNetfilterGuard());
  ExpectAnswers("127.0.0.1", kHost);
  EXPECT_EQ(Counted(NPG_COUNTER_EXEMPTED), 2U);
  // The other port has no listener on the host, so the pod answers.
  EXPECT_EQ(Ask({"127.0.0.1", kNextPort}), "pod");
  EXPECT_EQ(Counted(NPG_COUNTER_NO_LISTENER), 1U);
  // The pod also answers on the address of the node, with the default scope.
  ExpectAnswers(kNodeAddress, "pod");

  host->StopListening();
  EXPECT_EQ(Ask({"127.0.0.1", kPort}), "pod");
  // The exemption of datagrams ends within milliseconds, not at once.
  EXPECT_TRUE(
      WaitUntil(absl::Seconds(10), [] { return AskByDatagram("127.0.0.1", kPort) == "pod"; }));
  ExpectAnswers("127.0.0.1", "pod");
}

TEST_P(GuardHostPortTest, FollowsPodsWhileTheGuardRuns) {
  NPG_ASSERT_OK_AND_ASSIGN(const auto host, Host(On("127.0.0.1")));
  node().HurryGuards();
  NPG_ASSERT_OK(StartNetfilterGuard());
  EXPECT_FALSE(Knows(kPort, Transport::kTcp));
  NPG_ASSERT_OK(AddPod());
  EXPECT_TRUE(WaitForRules(true)) << guard().Log();
  EXPECT_EQ(Ask({"127.0.0.1", kNextPort}), "pod") << "the rules are in force";
  // Datagrams are exempt one step after the port has its entry.
  EXPECT_TRUE(
      WaitUntil(absl::Seconds(10), [] { return AskByDatagram("127.0.0.1", kPort) == kHost; }));
  ExpectAnswers("127.0.0.1", kHost);
  NPG_ASSERT_OK(DeletePod());
  EXPECT_TRUE(WaitForRules(false)) << guard().Log();
  EXPECT_EQ(Ask({"127.0.0.1", kNextPort}), "refused");
  ExpectAnswers("127.0.0.1", kHost);
}

TEST_P(GuardHostPortTest, BesideKubeProxy) {
  const Dial node_port{"127.0.0.1", kNodePort};
  NPG_ASSERT_OK(rules().Apply(NodePorts({kNodePort})));
  NPG_ASSERT_OK(Restore(kFrame));  // kube-proxy's first sync removed it
  NPG_ASSERT_OK(AddPod());
  std::vector<Listen> sockets = On("127.0.0.1");
  sockets.push_back({"127.0.0.1", kNodePort});
  NPG_ASSERT_OK_AND_ASSIGN(const auto host, Host(sockets));
  ExpectAnswers("127.0.0.1", "pod");
  EXPECT_EQ(Ask(node_port), "pod");
  NPG_ASSERT_OK(StartNetfilterGuard());
  ExpectAnswers("127.0.0.1", kHost);
  EXPECT_EQ(Ask(node_port), kHost);
}

// A hostIP of 127.0.0.1 takes loopback, and nothing else.
TEST_P(GuardHostPortTest, HostIpOfLoopback) {
  NPG_ASSERT_OK_AND_ASSIGN(const auto host, Host(On("0.0.0.0")));
  NPG_ASSERT_OK(AddPod("127.0.0.1"));
  ExpectAnswers("127.0.0.1", "pod");
  ExpectAnswers(kNodeAddress, kHost);
  NPG_ASSERT_OK(StartNetfilterGuard());
  ExpectAnswers("127.0.0.1", kHost);
  ExpectAnswers(kNodeAddress, kHost);
}

// A hostIP that is the address of the node takes nothing on loopback. There the guard
// changes no answer, and the address of the node needs --scope local.
TEST_P(GuardHostPortTest, HostIpOfTheNode) {
  NPG_ASSERT_OK_AND_ASSIGN(const auto host, Host(On("0.0.0.0")));
  NPG_ASSERT_OK(AddPod(kNodeAddress));
  ExpectAnswers("127.0.0.1", kHost);
  ExpectAnswers(kNodeAddress, "pod");
  NPG_ASSERT_OK(StartNetfilterGuard());
  ExpectAnswers("127.0.0.1", kHost);
  ExpectAnswers(kNodeAddress, "pod");
  NPG_ASSERT_OK(guard().Stop());

  NPG_ASSERT_OK(StartNetfilterGuard({"--scope", "local"}));
  ExpectAnswers("127.0.0.1", kHost);
  ExpectAnswers(kNodeAddress, kHost);
}

INSTANTIATE_TEST_SUITE_P(Rules, GuardHostPortTest,
                         ::testing::Values(RuleShape{IptablesVariant::kNft},
                                           RuleShape{IptablesVariant::kLegacy}),
                         RuleShapeName);

}  // namespace
}  // namespace npg::testing::host_port_test
