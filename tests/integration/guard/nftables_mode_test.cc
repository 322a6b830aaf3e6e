// SPDX-License-Identifier: Apache-2.0
// kube-proxy's nftables mode, which takes NodePorts on the node's addresses and
// leaves loopback alone.
#include <gtest/gtest.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/time/time.h"
#include "guard_abi.h"
#include "testing/client.h"
#include "testing/command.h"
#include "testing/datagram_client.h"
#include "testing/guard_fixture.h"
#include "testing/guard_process.h"
#include "testing/status_asserts.h"
#include "testing/test_node.h"
#include "testing/transport.h"
#include "testing/wait_until.h"

namespace npg::testing::nftables_mode_test {
namespace {

constexpr uint16_t kPort = 33589;
constexpr uint16_t kNextPort = 33590;
constexpr uint16_t kQuietPort = 33591;  // a NodePort without a listener
constexpr const char* kNodeAddress = "10.244.1.1";
constexpr const char* kLoopback = "127.0.0.1";

// The table of kube-proxy 1.36 (tests/testdata has a full dump), without the parts for
// ClusterIPs and load balancers.
constexpr const char* kTable = R"(table ip kube-proxy
delete table ip kube-proxy
table ip kube-proxy {
	comment "rules for kube-proxy"
	set nodeport-ips {
		type ipv4_addr
		comment "IPs that accept NodePort traffic"
		elements = { 10.244.1.1 }
	}
	map no-endpoint-nodeports {
		type inet_proto . inet_service : verdict
		comment "vmap to drop or reject packets to service nodeports with no endpoints"
		$rejected
	}
	map service-nodeports {
		type inet_proto . inet_service : verdict
		comment "NodePort traffic"
		$taken
	}
	chain filter-input {
		type filter hook input priority filter; policy accept;
		ct state new jump nodeport-endpoints-check
	}
	chain nat-prerouting {
		type nat hook prerouting priority dstnat; policy accept;
		jump services
	}
	chain nat-output {
		type nat hook output priority -100; policy accept;
		jump services
	}
	chain nat-postrouting {
		type nat hook postrouting priority srcnat; policy accept;
		jump masquerading
	}
	chain nodeport-endpoints-check {
		ip daddr @nodeport-ips meta l4proto . th dport vmap @no-endpoint-nodeports
	}
	chain services {
		ip daddr @nodeport-ips meta l4proto . th dport vmap @service-nodeports
	}
	chain masquerading {
		meta mark & 0x00004000 != 0x00000000 meta mark set meta mark ^ 0x00004000 masquerade fully-random
	}
	chain reject-chain {
		comment "helper for @no-endpoint-services / @no-endpoint-nodeports"
		reject
	}
	chain service-SUSTUHLJ-default/web/tcp/http {
		meta l4proto tcp dnat ip to numgen random mod 1 map { 0 : 10.244.1.2 . 8080 }
	}
	chain external-SUSTUHLJ-default/web/tcp/http {
		meta mark set meta mark | 0x00004000 comment "masquerade"
		goto service-SUSTUHLJ-default/web/tcp/http
	}
	chain service-SUSTUHLJ-default/web/udp/http {
		meta l4proto udp dnat ip to numgen random mod 1 map { 0 : 10.244.1.2 . 8080 }
	}
	chain external-SUSTUHLJ-default/web/udp/http {
		meta mark set meta mark | 0x00004000 comment "masquerade"
		goto service-SUSTUHLJ-default/web/udp/http
	}
}
)";

class GuardNftablesModeTest : public GuardTest {
 protected:
  // Makes exactly `ports` NodePorts, for TCP and UDP, with an endpoint or without.
  static absl::Status ApplyNftables(const std::vector<uint16_t>& ports) {
    std::vector<std::string> elements;
    for (const uint16_t port : ports) {
      for (const char* proto : {"tcp", "udp"}) {
        elements.push_back(GetParam().endpoint
                               ? absl::StrCat(proto, " . ", port,
                                              " : goto external-SUSTUHLJ-default/web/", proto,
                                              "/http")
                               : absl::StrCat(proto, " . ", port,
                                              " comment \"default/web:http\" : goto reject-chain"));
      }
    }
    const std::string all = absl::StrCat("elements = { ", absl::StrJoin(elements, ", "), " }");
    return RunCommand({"nft", "-f", "-"},
                      absl::StrReplaceAll(kTable, {{"$rejected", GetParam().endpoint ? "" : all},
                                                   {"$taken", GetParam().endpoint ? all : ""}}))
        .status();
  }

  static std::vector<Listen> On(const std::string& address, uint16_t port = kPort) {
    return {{address, port, Transport::kTcp}, {address, port, Transport::kUdp}};
  }

  // Every way to ask for a port at an address.
  static void ExpectAnswers(const std::string& address, uint16_t port,
                            const std::string& expected) {
    std::vector<std::function<std::string()>> asks;
    for (const Transport transport : {Transport::kTcp, Transport::kUdp, Transport::kMptcp}) {
      asks.emplace_back([=] { return Ask({address, port, transport}); });
    }
    asks.emplace_back([=] { return AskByDatagram(address, port); });
    EXPECT_EQ(AskAll(asks), std::vector<std::string>(asks.size(), expected))
        << address << " port " << port;
  }

  // The state of kube-proxy in the JSON of `status`.
  std::string KubeProxyStatus() const { return StatusPart("/guard/kube_proxy"); }
  // How much the only source sees.
  std::string Coverage() const { return StatusPart("/sources/0/coverage"); }

  // NPG_SOURCE_... of the NodePort; 0: it is not known.
  uint32_t SourcesOf(uint16_t port) const {
    const auto entry = maps().NodePort(port, Transport::kTcp);
    EXPECT_TRUE(entry.ok()) << entry.status();
    return entry.ok() && entry->has_value() ? (*entry)->sources : 0;
  }

 private:
  // A member of the JSON of `status`.
  std::string StatusPart(const std::string& pointer) const {
    const auto said = RunCommand(GuardCommand(node(), {"status", "-o", "json"}));
    if (!said.ok()) return std::string(said.status().message());
    const nlohmann::json status = nlohmann::json::parse(*said, nullptr, false);
    const nlohmann::json::json_pointer part(pointer);
    return status.is_object() && status.contains(part) ? status.at(part).dump() : *said;
  }
};

TEST_P(GuardNftablesModeTest, LeavesLoopbackToTheHost) {
  NPG_ASSERT_OK(ApplyNftables({kPort, kQuietPort}));
  NPG_ASSERT_OK_AND_ASSIGN(const auto host, Host(On("0.0.0.0")));
  const auto expect_all = [] {
    ExpectAnswers(kLoopback, kPort, kHost);
    ExpectAnswers(kLoopback, kQuietPort, "refused");
    ExpectAnswers(kNodeAddress, kPort, Hijacked());
    ExpectAnswers(kNodeAddress, kQuietPort, Hijacked());
  };
  {
    SCOPED_TRACE("no guard");
    expect_all();
  }
  NPG_ASSERT_OK(StartNetfilterGuard());
  {
    SCOPED_TRACE("guard");
    expect_all();
  }
  // No rule takes a port on an address that is guarded, and the guard could tell.
  EXPECT_EQ(SourcesOf(kPort), 0U);
  EXPECT_EQ(Coverage(), "\"all\"");

  NPG_ASSERT_OK(guard().Stop());
  NPG_ASSERT_OK(StartNetfilterGuard({"--scope", "local"}));
  EXPECT_EQ(SourcesOf(kPort), uint32_t{NPG_SOURCE_NETFILTER});
  EXPECT_EQ(SourcesOf(kQuietPort), uint32_t{NPG_SOURCE_NETFILTER});
  EXPECT_EQ(Coverage(), "\"all\"");
  ExpectAnswers(kLoopback, kPort, kHost);
  ExpectAnswers(kLoopback, kQuietPort, "refused");
}

TEST_P(GuardNftablesModeTest, RescuesOnNodeAddressesWithScopeLocal) {
  NPG_ASSERT_OK(ApplyNftables({kPort, kQuietPort}));
  for (const char* bound : {"0.0.0.0", kNodeAddress}) {
    SCOPED_TRACE(bound);
    NPG_ASSERT_OK_AND_ASSIGN(auto host, Host(On(bound)));
    ExpectAnswers(kNodeAddress, kPort, Hijacked());
    NPG_ASSERT_OK(StartNetfilterGuard({"--scope", "local"}));
    ExpectAnswers(kNodeAddress, kPort, kHost);
    ExpectAnswers(kNodeAddress, kQuietPort, Hijacked());
    EXPECT_EQ(Counted(NPG_COUNTER_EXEMPTED), 3U);

    host->StopListening();
    EXPECT_EQ(Ask({kNodeAddress, kPort}), Hijacked());
    host.reset();
    NPG_ASSERT_OK(Unload());
  }
}

TEST_P(GuardNftablesModeTest, FollowsTheMaps) {
  NPG_ASSERT_OK(ApplyNftables({kPort}));
  std::vector<Listen> sockets = On("0.0.0.0");
  for (const Listen& socket : On("0.0.0.0", kNextPort)) sockets.push_back(socket);
  NPG_ASSERT_OK_AND_ASSIGN(const auto host, Host(sockets));
  NPG_ASSERT_OK(StartNetfilterGuard({"--scope", "local"}));
  NPG_ASSERT_OK(ApplyNftables({kNextPort}));
  EXPECT_TRUE(WaitUntil(absl::Seconds(10), [&] {
    const auto freed = maps().NodePort(kPort, Transport::kUdp);
    const auto allocated = maps().NodePort(kNextPort, Transport::kUdp);
    return freed.ok() && !freed->has_value() && allocated.ok() && allocated->has_value() &&
           AskByDatagram(kNodeAddress, kNextPort) == kHost;
  })) << guard().Log();
  ExpectAnswers(kNodeAddress, kNextPort, kHost);
  ExpectAnswers(kNodeAddress, kPort, kHost);
}

TEST_P(GuardNftablesModeTest, StatusReportsWhatIsHijacked) {
  NPG_ASSERT_OK(StartNetfilterGuard());
  EXPECT_EQ(KubeProxyStatus(), "null");
  NPG_ASSERT_OK(ApplyNftables({kPort}));
  EXPECT_EQ(KubeProxyStatus(),
            R"({"hijacks_loopback":false,"mode":"nftables","node_addresses_guarded":false})");
  NPG_ASSERT_OK(guard().Stop());
  NPG_ASSERT_OK(StartNetfilterGuard({"--scope", "local"}));
  // status needs no controller for this.
  NPG_ASSERT_OK(guard().Kill());
  EXPECT_EQ(KubeProxyStatus(),
            R"({"hijacks_loopback":false,"mode":"nftables","node_addresses_guarded":true})");
}

INSTANTIATE_TEST_SUITE_P(Rules, GuardNftablesModeTest,
                         ::testing::Values(RuleShape{IptablesVariant::kNft, true},
                                           RuleShape{IptablesVariant::kNft, false}),
                         RuleShapeName);

}  // namespace
}  // namespace npg::testing::nftables_mode_test
