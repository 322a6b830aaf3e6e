// SPDX-License-Identifier: Apache-2.0
// What the table's rules cost each kind of packet, as a number of expressions that the kernel
// evaluates for it. A timing would depend on the machine; scripts/bench has timings.
#include <gtest/gtest.h>
#include <netinet/in.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <map>
#include <memory>
#include <ostream>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "base/nft_objects.h"
#include "core/port_blocks.h"
#include "dataplane/nft/nft_rule_builder.h"
#include "dataplane/nft/nft_rules.h"
#include "unit/dataplane/nft_interpreter.h"

namespace npg::dataplane::nft_cost_test {
namespace {

constexpr absl::string_view kThink =
    "The rules cost this packet more or less than before. Consider what that means at 100,000 "
    "such packets per second, measure it (scripts/bench), and then change the number here.";

constexpr uint16_t kNodePort = 31589;    // in the default block
constexpr uint16_t kClientPort = 40000;  // in another one
constexpr uint16_t kServicePort = 8080;
// Each in a block of its own, with no other port here, and not adjacent to another one's.
constexpr std::array<uint16_t, 3> kMorePorts{13000, 21000, 57344};

void ExpectCost(Table& table, const Packet& packet, const Cost& cost, const std::string& effect) {
  const Outcome outcome = table.Send(packet);
  EXPECT_EQ(outcome.effect, effect);
  EXPECT_EQ(outcome.cost, cost) << kThink;
}

std::vector<Packet> Unrelated() {
  std::vector<Packet> packets{Icmp(kServicePort)};
  for (const uint8_t family : {NFPROTO_IPV4, NFPROTO_IPV6}) {
    for (const uint32_t mark : {0U, kMark}) {
      for (const uint32_t output : {kLo, kEth}) {
        for (Packet packet : {Tcp(family, kClientPort, kServicePort, TH_SYN),
                              Tcp(family, kServicePort, kClientPort, TH_SYN | TH_ACK),
                              Tcp(family, kClientPort, kServicePort, TH_ACK),
                              Tcp(family, kClientPort, kServicePort, TH_FIN | TH_ACK),
                              Udp(family, kClientPort, kServicePort)}) {
          packet.mark = mark;
          packet.output = output;
          packets.push_back(packet);
        }
      }
    }
  }
  return packets;
}

// Nearly all packets of a node. A function call or a lookup for each of them would cost more than
// all the rest.
TEST(NftCostTest, UnrelatedPacketsNeedNoCall) {
  constexpr int kPerPrefix = 6;  // payload, bitwise, cmp, for either port
  core::PortBlocks blocks = core::PortBlocks::Default();
  for (int prefixes = 1;; ++prefixes) {
    SCOPED_TRACE(prefixes);
    ASSERT_EQ(blocks.Prefixes().size(), static_cast<size_t>(prefixes));
    Table table(blocks);
    for (const Packet& packet : Unrelated()) {
      ExpectCost(table, packet, {prefixes * kPerPrefix, 0, 0, 0}, "accept");
    }
    // A port of the block that was added last is related.
    const uint16_t last = prefixes == 1 ? kNodePort : kMorePorts[static_cast<size_t>(prefixes) - 2];
    const Packet related = Marked(Tcp(NFPROTO_IPV4, kClientPort, last, TH_SYN));
    EXPECT_EQ(table.Send(related).effect, "accept counted notrack tcp4");
    if (prefixes > static_cast<int>(kMorePorts.size())) break;
    blocks.Add(kMorePorts[static_cast<size_t>(prefixes) - 1]);
  }
}

class NftCostFamilyTest : public ::testing::TestWithParam<uint8_t> {
 protected:
  static bool ipv4() { return GetParam() == NFPROTO_IPV4; }
  static std::string Set(absl::string_view name) { return absl::StrCat(name, ipv4() ? 4 : 6); }
  // Rules come in pairs for the address families: that for IPv6 is the second one.
  static Cost ByFamily(const Cost& of_ipv4, const Cost& of_ipv6) {
    return ipv4() ? of_ipv4 : of_ipv6;
  }
  static Packet TcpOf(uint16_t source, uint16_t destination, uint8_t flags) {
    return Tcp(GetParam(), source, destination, flags);
  }
  static Packet UdpOf(uint16_t source, uint16_t destination) {
    return Udp(GetParam(), source, destination);
  }

  Table table_{core::PortBlocks::Default()};
};

INSTANTIATE_TEST_SUITE_P(Families, NftCostFamilyTest, ::testing::Values(NFPROTO_IPV4, NFPROTO_IPV6),
                         [](const auto& family) {
                           return family.param == NFPROTO_IPV4 ? "ipv4" : "ipv6";
                         });

TEST_P(NftCostFamilyTest, OtherHosts) {
  ExpectCost(table_, ToOtherHost(TcpOf(kClientPort, kNodePort, TH_SYN)), {4, 3, 0, 0}, "accept");
  ExpectCost(table_, ToOtherHost(TcpOf(kNodePort, kClientPort, TH_ACK)), {7, 3, 0, 0}, "accept");
  ExpectCost(table_, ToOtherHost(UdpOf(kClientPort, kNodePort)), {4, 3, 0, 0}, "accept");
}

TEST_P(NftCostFamilyTest, NotExempt) {
  // A connect to a Service, and an answer of a server to a client that is not exempt.
  ExpectCost(table_, TcpOf(kClientPort, kNodePort, TH_SYN), ByFamily({16, 7, 1, 0}, {14, 9, 1, 0}),
             "accept");
  ExpectCost(table_, TcpOf(kNodePort, kClientPort, TH_SYN | TH_ACK),
             ByFamily({14, 6, 1, 0}, {12, 8, 1, 0}), "accept");
  ExpectCost(table_, UdpOf(kClientPort, kNodePort), {12, 6, 1, 0}, "accept");
  ExpectCost(table_, UdpOf(kNodePort, kClientPort), ByFamily({21, 9, 2, 0}, {17, 13, 2, 0}),
             "accept");
  // Both ports among NodePorts.
  ExpectCost(table_, TcpOf(kNodePort + 1, kNodePort, TH_SYN),
             ByFamily({22, 10, 2, 0}, {18, 14, 2, 0}), "accept");
  ExpectCost(table_, UdpOf(kNodePort + 1, kNodePort), ByFamily({24, 11, 3, 0}, {20, 15, 3, 0}),
             "accept");
}

// In the order of a connection.
TEST_P(NftCostFamilyTest, ExemptTcp) {
  const auto client = [](uint8_t flags) { return Marked(TcpOf(kClientPort, kNodePort, flags)); };
  const auto server = [](uint8_t flags) { return TcpOf(kNodePort, kClientPort, flags); };
  const std::string tcp = " " + Set("tcp");
  const std::string half = " " + Set("half");
  ExpectCost(table_, client(TH_SYN), ByFamily({31, 14, 2, 1}, {25, 20, 2, 1}),
             "accept counted notrack" + tcp);
  ExpectCost(table_, server(TH_SYN | TH_ACK), ByFamily({22, 7, 1, 0}, {21, 10, 1, 0}),
             "accept notrack");
  ExpectCost(table_, client(TH_ACK), ByFamily({15, 11, 0, 1}, {14, 14, 0, 1}),
             "accept counted notrack" + tcp);
  ExpectCost(table_, client(TH_PUSH | TH_ACK), ByFamily({15, 11, 0, 1}, {14, 14, 0, 1}),
             "accept counted notrack" + tcp);
  ExpectCost(table_, server(TH_PUSH | TH_ACK), ByFamily({16, 8, 1, 0}, {15, 11, 1, 0}),
             "accept notrack");
  // A client that has changed its mark.
  ExpectCost(table_, TcpOf(kClientPort, kNodePort, TH_PUSH | TH_ACK),
             ByFamily({15, 9, 1, 0}, {14, 12, 1, 0}), "accept notrack");
  ExpectCost(table_, client(TH_FIN | TH_ACK), ByFamily({44, 17, 4, 1}, {34, 27, 4, 1}),
             "accept counted notrack" + half);
  ExpectCost(table_, server(TH_FIN | TH_ACK), ByFamily({62, 18, 6, 2}, {48, 36, 6, 2}),
             "accept notrack" + tcp + half);
  ExpectCost(table_, client(TH_ACK), ByFamily({15, 11, 0, 1}, {14, 14, 0, 1}),
             "accept counted notrack" + tcp);
  // A new connect from the same port, which is not exempt.
  ExpectCost(table_, TcpOf(kClientPort, kNodePort, TH_SYN),
             ByFamily({50, 17, 5, 2}, {37, 32, 5, 2}), "drop" + tcp + half);
}

TEST_P(NftCostFamilyTest, ResetOfTheServer) {
  table_.Send(Marked(TcpOf(kClientPort, kNodePort, TH_SYN)));
  ExpectCost(table_, TcpOf(kNodePort, kClientPort, TH_RST | TH_ACK),
             ByFamily({53, 17, 5, 1}, {42, 30, 5, 1}), "accept notrack " + Set("tcp"));
}

TEST_P(NftCostFamilyTest, ExemptUdp) {
  const std::string udp = " " + Set("udp");
  const Packet packet = Marked(UdpOf(kClientPort, kNodePort));
  ExpectCost(table_, packet, ByFamily({13, 11, 0, 1}, {12, 14, 0, 1}),
             "accept counted notrack" + udp);
  ExpectCost(table_, packet, ByFamily({13, 11, 0, 1}, {12, 14, 0, 1}),
             "accept counted notrack" + udp);
  ExpectCost(table_, UdpOf(kNodePort, kClientPort), ByFamily({20, 10, 1, 1}, {17, 15, 1, 1}),
             "accept notrack" + udp);
}

// Replies to a client whose own port is among NodePorts.
TEST_P(NftCostFamilyTest, BothPortsAmongNodePorts) {
  table_.Send(Marked(TcpOf(kNodePort + 1, kNodePort, TH_SYN)));
  ExpectCost(table_, TcpOf(kNodePort, kNodePort + 1, TH_ACK),
             ByFamily({24, 12, 2, 0}, {21, 17, 2, 0}), "accept notrack");
  table_.Send(Marked(UdpOf(kNodePort + 1, kNodePort)));
  ExpectCost(table_, UdpOf(kNodePort, kNodePort + 1), ByFamily({23, 12, 2, 1}, {20, 17, 2, 1}),
             "accept notrack " + Set("udp"));
}

TEST_P(NftCostFamilyTest, DatagramsToTargets) {
  const std::string datagrams = " " + Set("datagrams");
  const Packet packet = UdpOf(kClientPort, kNodePort);
  const std::string address = ipv4() ? packet.network.substr(16) : packet.network.substr(24);
  table_.Add("target_ports", Bytes16(kNodePort));
  // So far, on another address.
  ExpectCost(table_, packet, ByFamily({26, 12, 4, 0}, {20, 15, 3, 0}), "accept");
  table_.Add(Set("targets"), address + PaddedPort(kNodePort));
  ExpectCost(table_, packet, ByFamily({28, 17, 4, 1}, {21, 23, 3, 1}),
             "accept counted notrack" + datagrams);
  ExpectCost(table_, UdpOf(kNodePort, kClientPort), ByFamily({26, 12, 2, 1}, {21, 19, 2, 1}),
             "accept notrack" + datagrams);
  // The answer of a Service that the target's listener has asked. Both addresses are the same.
  table_.Add(Set("asked"), address + PaddedPort(kClientPort) + address + PaddedPort(kNodePort));
  ExpectCost(table_, packet, ByFamily({18, 9, 2, 1}, {15, 14, 2, 1}), "accept " + Set("asked"));
}

TEST(NftCostTest, DatagramsToAnyLoopbackAddress) {
  Table table(core::PortBlocks::Default());
  table.Add("target_ports", Bytes16(kNodePort));
  table.Add("targets_any4", Bytes16(kNodePort));
  ExpectCost(table, Udp(NFPROTO_IPV4, kClientPort, kNodePort), {25, 16, 3, 1},
             "accept counted notrack datagrams4");
}

// What has no ports may look as if it had one.
TEST(NftCostTest, IcmpWhoseChecksumLooksLikeANodePort) {
  Table table(core::PortBlocks::Default());
  ExpectCost(table, Icmp(kNodePort), {6, 4, 0, 0}, "accept");
}

// The last of four prefixes: those before it cost a few inlined expressions more.
TEST(NftCostTest, FourPrefixes) {
  core::PortBlocks blocks = core::PortBlocks::Default();
  for (const uint16_t port : {kMorePorts[0], kMorePorts[1], kMorePorts[2]}) blocks.Add(port);
  Table table(blocks);
  const uint16_t last = kMorePorts[2];
  ExpectCost(table, ToOtherHost(Tcp(NFPROTO_IPV4, kClientPort, last, TH_ACK)), {13, 3, 0, 0},
             "accept");
  ExpectCost(table, Tcp(NFPROTO_IPV4, kClientPort, last, TH_SYN), {34, 7, 1, 0}, "accept");
  ExpectCost(table, Marked(Tcp(NFPROTO_IPV4, kClientPort, last, TH_SYN)), {40, 14, 2, 1},
             "accept counted notrack tcp4");
  ExpectCost(table, Tcp(NFPROTO_IPV4, last, kClientPort, TH_ACK), {34, 8, 1, 0}, "accept notrack");
}

// Without a condition for ports: a table that has been adopted.
TEST(NftCostTest, AllPorts) {
  Table table(core::PortBlocks::All());
  ExpectCost(table, ToOtherHost(Tcp(NFPROTO_IPV4, kClientPort, kServicePort, TH_ACK)), {1, 3, 0, 0},
             "accept");
  ExpectCost(table, Tcp(NFPROTO_IPV4, kClientPort, kServicePort, TH_ACK), {16, 10, 2, 0}, "accept");
  ExpectCost(table, Udp(NFPROTO_IPV4, kClientPort, kServicePort), {18, 11, 3, 0}, "accept");
  ExpectCost(table, Marked(Tcp(NFPROTO_IPV4, kClientPort, kServicePort, TH_SYN)), {28, 14, 2, 1},
             "accept counted notrack tcp4");
  ExpectCost(table, Tcp(NFPROTO_IPV4, kServicePort, kClientPort, TH_SYN | TH_ACK), {24, 11, 2, 0},
             "accept notrack");
}

}  // namespace
}  // namespace npg::dataplane::nft_cost_test
