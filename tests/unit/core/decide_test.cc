// SPDX-License-Identifier: Apache-2.0
//
// The decision of bpf/guard_decide.h, compiled for the host: every row and every boundary
// of the table. A row asks for no fact that it does not need.

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <array>
#include <bitset>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "abi/convert.h"
#include "abi/names.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "guard_abi.h"
#include "guard_decide.h"
#include "unit/core/decide_env.h"

namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

// --- Destinations (row 2) ---

enum Where : uint8_t { kElsewhere, kV4, kV6 };

Where WhereOf(npg_destination destination) {
  switch (destination) {
    case NPG_DST_ELSEWHERE4:
    case NPG_DST_ELSEWHERE6:
      return kElsewhere;
    case NPG_DST_LOOPBACK4:
      return kV4;
    case NPG_DST_LOOPBACK6:
      return kV6;
  }
  return kElsewhere;
}

uint32_t V4(const std::string& text) {
  uint32_t address = 0;
  EXPECT_EQ(inet_pton(AF_INET, text.c_str(), &address), 1) << text;
  return address;
}

using Words = std::array<uint32_t, 4>;

Words V6(const std::string& text) {
  Words address{};
  EXPECT_EQ(inet_pton(AF_INET6, text.c_str(), address.data()), 1) << text;
  return address;
}

std::string Text(uint32_t address) {
  std::array<char, INET_ADDRSTRLEN> text{};
  return inet_ntop(AF_INET, &address, text.data(), text.size());
}

std::string Text(const Words& address) {
  std::array<char, INET6_ADDRSTRLEN> text{};
  return inet_ntop(AF_INET6, address.data(), text.data(), text.size());
}

struct DestinationCase {
  const char* address;
  const char* source;  // the address that the socket is bound to
  Where where;
  const char* becomes;  // the address that the kernel will connect to
};

TEST(Destination4, EveryBoundary) {
  const std::vector<DestinationCase> cases = {
      {"126.255.255.255", "0.0.0.0", kElsewhere, "126.255.255.255"},
      {"127.0.0.0", "0.0.0.0", kV4, "127.0.0.0"},
      {"127.0.0.1", "0.0.0.0", kV4, "127.0.0.1"},
      {"127.0.0.5", "0.0.0.0", kV4, "127.0.0.5"},
      {"127.255.255.255", "0.0.0.0", kV4, "127.255.255.255"},
      {"128.0.0.0", "0.0.0.0", kElsewhere, "128.0.0.0"},
      {"0.0.0.1", "0.0.0.0", kElsewhere, "0.0.0.1"},
      {"0.0.0.127", "0.0.0.0", kElsewhere, "0.0.0.127"},
      {"0.255.255.255", "0.0.0.0", kElsewhere, "0.255.255.255"},
      {"1.0.0.127", "0.0.0.0", kElsewhere, "1.0.0.127"},
      {"255.0.0.1", "0.0.0.0", kElsewhere, "255.0.0.1"},
      {"255.255.255.255", "0.0.0.0", kElsewhere, "255.255.255.255"},
      {"10.0.0.1", "127.0.0.1", kElsewhere, "10.0.0.1"},
      // A source changes nothing unless the destination is the wildcard.
      {"127.0.0.1", "127.0.0.5", kV4, "127.0.0.1"},
      {"127.0.0.1", "10.0.0.1", kV4, "127.0.0.1"},
      // The wildcard stands for the address of the socket, or 127.0.0.1 if it has none.
      {"0.0.0.0", "0.0.0.0", kV4, "127.0.0.1"},
      {"0.0.0.0", "127.0.0.1", kV4, "127.0.0.1"},
      {"0.0.0.0", "127.0.0.5", kV4, "127.0.0.5"},
      {"0.0.0.0", "10.0.0.1", kElsewhere, "10.0.0.1"},
      {"0.0.0.0", "126.255.255.255", kElsewhere, "126.255.255.255"},
      {"0.0.0.0", "128.0.0.0", kElsewhere, "128.0.0.0"},
  };
  for (const DestinationCase& c : cases) {
    SCOPED_TRACE(absl::StrCat(c.address, " from ", c.source));
    uint32_t address = V4(c.address);
    EXPECT_EQ(WhereOf(npg_destination4(&address, V4(c.source))), c.where);
    EXPECT_EQ(Text(address), c.becomes);
  }
}

TEST(Destination4, OfAllNetworksOnly127IsLoopback) {
  for (uint32_t net = 0; net < 256; ++net) {
    for (const char* host : {"0.0.1", "0.0.0", "255.255.255", "127.0.1"}) {
      const std::string text = absl::StrCat(net, ".", host);
      if (text == "0.0.0.0") continue;
      uint32_t address = V4(text);
      EXPECT_EQ(WhereOf(npg_destination4(&address, 0)), net == 127 ? kV4 : kElsewhere) << text;
      EXPECT_EQ(Text(address), text);
    }
  }
}

TEST(Destination6, EveryBoundary) {
  const std::vector<DestinationCase> cases = {
      {"::1", "::", kV6, "::1"},
      {"::2", "::", kElsewhere, "::2"},
      {"::3", "::", kElsewhere, "::3"},
      {"::101", "::", kElsewhere, "::101"},
      {"::100:0", "::", kElsewhere, "::100:0"},  // ::1 with its last word swapped
      {"1::", "::", kElsewhere, "1::"},
      {"1::1", "::", kElsewhere, "1::1"},
      {"::1:0:0:1", "::", kElsewhere, "::1:0:0:1"},
      {"0:0:0:1::1", "::", kElsewhere, "0:0:0:1::1"},
      {"::1:0:1", "::", kElsewhere, "::1:0:1"},
      {"fe80::1", "::", kElsewhere, "fe80::1"},
      {"ff02::1", "::", kElsewhere, "ff02::1"},
      {"2001:db8::1", "::", kElsewhere, "2001:db8::1"},
      {"64:ff9b::127.0.0.1", "::", kElsewhere, "64:ff9b::7f00:1"},
      // IPv4-compatible: an address like any other, and not IPv4.
      {"::127.0.0.1", "::", kElsewhere, "::127.0.0.1"},
      // IPv4-mapped: IPv4, with the boundaries of IPv4.
      {"::ffff:126.255.255.255", "::", kElsewhere, "::ffff:126.255.255.255"},
      {"::ffff:127.0.0.0", "::", kV4, "::ffff:127.0.0.0"},
      {"::ffff:127.0.0.1", "::", kV4, "::ffff:127.0.0.1"},
      {"::ffff:127.255.255.255", "::", kV4, "::ffff:127.255.255.255"},
      {"::ffff:128.0.0.0", "::", kElsewhere, "::ffff:128.0.0.0"},
      {"::ffff:255.0.0.1", "::", kElsewhere, "::ffff:255.0.0.1"},
      {"::ffff:0.0.0.1", "::", kElsewhere, "::ffff:0.0.0.1"},
      {"::ffff:127.0.0.1", "::ffff:127.0.0.5", kV4, "::ffff:127.0.0.1"},
      // ... and its wildcard.
      {"::ffff:0.0.0.0", "::", kV4, "::ffff:127.0.0.1"},
      {"::ffff:0.0.0.0", "::ffff:0.0.0.0", kV4, "::ffff:127.0.0.1"},
      {"::ffff:0.0.0.0", "::ffff:127.0.0.5", kV4, "::ffff:127.0.0.5"},
      {"::ffff:0.0.0.0", "::ffff:10.0.0.1", kElsewhere, "::ffff:10.0.0.1"},
      // (The kernel refuses this one, but ::1 must not be read as 0.0.0.1.)
      {"::ffff:0.0.0.0", "::1", kV4, "::ffff:127.0.0.1"},
      // The IPv6 wildcard is ::1, but 127.0.0.1 from any v4-mapped source.
      {"::", "::", kV6, "::1"},
      {"::", "::1", kV6, "::1"},
      {"::", "2001:db8::1", kV6, "::1"},
      {"::", "::127.0.0.1", kV6, "::1"},
      {"::", "1::ffff:127.0.0.1", kV6, "::1"},
      {"::", "0:0:0:1:0:ffff:127.0.0.1", kV6, "::1"},
      {"::", "::ffff:0.0.0.0", kV4, "::ffff:127.0.0.1"},
      {"::", "::ffff:127.0.0.1", kV4, "::ffff:127.0.0.1"},
      {"::", "::ffff:127.0.0.5", kV4, "::ffff:127.0.0.1"},
      {"::", "::ffff:10.0.0.1", kV4, "::ffff:127.0.0.1"},
      // The source does not change any other destination.
      {"::1", "::ffff:127.0.0.1", kV6, "::1"},
      {"::2", "::ffff:127.0.0.1", kElsewhere, "::2"},
  };
  for (const DestinationCase& c : cases) {
    SCOPED_TRACE(absl::StrCat(c.address, " from ", c.source));
    Words address = V6(c.address);
    const Words source = V6(c.source);
    EXPECT_EQ(WhereOf(npg_destination6(address.data(), source.data())), c.where);
    EXPECT_EQ(Text(address), Text(V6(c.becomes)));
  }
}

// Changes each of the 128 bits of ::1 and of ::ffff:127.0.0.1 in turn.
TEST(Destination6, OneWrongBitIsElsewhere) {
  const auto flipped = [](Words address, size_t bit) {
    std::array<uint8_t, 16> bytes{};
    std::memcpy(bytes.data(), address.data(), bytes.size());
    bytes.at(bit / 8) ^= static_cast<uint8_t>(0x80U >> (bit % 8));
    std::memcpy(address.data(), bytes.data(), bytes.size());
    return address;
  };
  const Words none{};
  for (size_t bit = 0; bit < 128; ++bit) {
    Words v6 = flipped(V6("::1"), bit);
    EXPECT_EQ(WhereOf(npg_destination6(v6.data(), none.data())), bit == 127 ? kV6 : kElsewhere)
        << Text(v6);
    Words v4 = flipped(V6("::ffff:127.0.0.1"), bit);
    // 96 bits of prefix, 8 of the network; the rest is the host.
    EXPECT_EQ(WhereOf(npg_destination6(v4.data(), none.data())), bit < 104 ? kElsewhere : kV4)
        << Text(v4);
  }
}

// --- Protocols (row 1) ---

TEST(Protocol, OnlyTcpUdpAndMptcp) {
  EXPECT_EQ(npg_protocol(IPPROTO_TCP), IPPROTO_TCP);
  EXPECT_EQ(npg_protocol(IPPROTO_UDP), IPPROTO_UDP);
  EXPECT_EQ(npg_protocol(262), IPPROTO_TCP);  // IPPROTO_MPTCP
  for (uint32_t protocol = 0; protocol < 1024; ++protocol) {
    if (protocol == IPPROTO_TCP || protocol == IPPROTO_UDP || protocol == 262) continue;
    EXPECT_EQ(npg_protocol(protocol), 0) << protocol;
  }
  EXPECT_EQ(npg_protocol(0x10000 + IPPROTO_TCP), 0);
  EXPECT_EQ(npg_protocol(UINT32_MAX), 0);
}

// --- The rows, in their order ---

struct Row {
  const char* call;       // the fact that it asks for
  bool npg_env::*holds;   // true: continue with the next row
  npg_verdict otherwise;  // the verdict when it does not hold
};

constexpr std::array<Row, 8> kRows = {{
    {"nodeport", &npg_env::nodeport, NPG_PASS_NOT_NODEPORT},
    {"guarded_netns", &npg_env::guarded_netns, NPG_PASS_FOREIGN_NETNS},
    {"listener", &npg_env::listener, NPG_PASS_NO_LISTENER},
    {"trusted", &npg_env::trusted, NPG_PASS_UNTRUSTED_OWNER},
    {"ignored", &npg_env::not_ignored, NPG_PASS_IGNORED_OWNER},
    {"enforce", &npg_env::enforce, NPG_PASS_OBSERVED},
    {"stands_aside", &npg_env::not_aside, NPG_PASS_STANDING_ASIDE},
    {"mark", &npg_env::mark, NPG_PASS_MARK_FAILED},
}};

npg_verdict Decide(npg_env& env, uint32_t protocol = IPPROTO_TCP,
                   npg_destination destination = NPG_DST_LOOPBACK4, uint16_t port = 33589) {
  npg_port_key key{};
  npg_listener_key listener{};
  return npg_decide(&env, protocol, destination, port, &key, &listener);
}

TEST(Decide, ExemptsWhenEveryRowHolds) {
  npg_env env;
  EXPECT_EQ(Decide(env), NPG_EXEMPT);
  EXPECT_THAT(env.calls, ElementsAre("nodeport", "guarded_netns", "listener", "trusted", "ignored",
                                     "enforce", "stands_aside", "mark"));
}

TEST(Decide, DestinationElsewhereAsksOnlyWhatIsInScope) {
  for (const npg_destination destination : {NPG_DST_ELSEWHERE4, NPG_DST_ELSEWHERE6}) {
    npg_env env;
    EXPECT_EQ(Decide(env, IPPROTO_TCP, destination), NPG_PASS_OUT_OF_SCOPE);
    EXPECT_THAT(env.calls, ElementsAre("guards_local"));
  }
}

// With the node's own addresses in scope, a connect to another address than loopback asks
// whether local addresses count and, after the port, whether the address is local.
TEST(Decide, DestinationElsewhereWithLocalScope) {
  for (const npg_destination destination : {NPG_DST_ELSEWHERE4, NPG_DST_ELSEWHERE6}) {
    npg_env env;
    env.guards_local = true;
    EXPECT_EQ(Decide(env, IPPROTO_TCP, destination), NPG_EXEMPT);
    EXPECT_THAT(env.calls,
                ElementsAre("guards_local", "nodeport", "own_address", "guarded_netns", "listener",
                            "trusted", "ignored", "enforce", "stands_aside", "mark"));
    npg_env no_nodeport;
    no_nodeport.guards_local = true;
    no_nodeport.nodeport = false;
    EXPECT_EQ(Decide(no_nodeport, IPPROTO_TCP, destination), NPG_PASS_NOT_NODEPORT);
    EXPECT_THAT(no_nodeport.calls, ElementsAre("guards_local", "nodeport"));
    npg_env foreign;
    foreign.guards_local = true;
    foreign.own_address = false;
    EXPECT_EQ(Decide(foreign, IPPROTO_TCP, destination), NPG_PASS_OUT_OF_SCOPE);
    EXPECT_THAT(foreign.calls, ElementsAre("guards_local", "nodeport", "own_address"));
    npg_env sctp;
    sctp.guards_local = true;
    EXPECT_EQ(Decide(sctp, IPPROTO_SCTP, destination), NPG_PASS_PROTOCOL);
  }
}

// Loopback is always in scope, so its address needs no lookup.
TEST(Decide, LoopbackAsksNoMoreWithLocalScope) {
  for (const npg_destination destination : {NPG_DST_LOOPBACK4, NPG_DST_LOOPBACK6}) {
    npg_env env;
    env.guards_local = true;
    env.own_address = false;
    EXPECT_EQ(Decide(env, IPPROTO_TCP, destination), NPG_EXEMPT);
    EXPECT_THAT(env.calls, ElementsAre("nodeport", "guarded_netns", "listener", "trusted",
                                       "ignored", "enforce", "stands_aside", "mark"));
  }
}

TEST(Decide, OtherProtocolAsksNothing) {
  for (const uint32_t protocol :
       std::vector<uint32_t>{0, IPPROTO_ICMP, IPPROTO_ICMPV6, IPPROTO_SCTP, IPPROTO_DCCP,
                             IPPROTO_UDPLITE, IPPROTO_RAW, 256 + IPPROTO_UDP, 512 + IPPROTO_TCP}) {
    npg_env env;
    EXPECT_EQ(Decide(env, protocol), NPG_PASS_PROTOCOL) << protocol;
    EXPECT_THAT(env.calls, IsEmpty()) << protocol;
  }
}

TEST(Decide, EachRowGivesItsVerdict) {
  for (size_t failing = 0; failing < kRows.size(); ++failing) {
    const Row& row = kRows.at(failing);
    npg_env env;
    env.*row.holds = false;
    EXPECT_EQ(Decide(env), row.otherwise) << row.call;
    EXPECT_EQ(env.calls.size(), failing + 1) << row.call;
    EXPECT_EQ(env.calls.back(), row.call);
  }
}

// All 256 combinations of facts, for every kind of destination and protocol. The first row
// that does not hold gives the verdict, and no fact after it is asked for.
TEST(Decide, FirstRowThatFailsGivesTheVerdict) {
  for (const npg_destination destination :
       {NPG_DST_ELSEWHERE4, NPG_DST_ELSEWHERE6, NPG_DST_LOOPBACK4, NPG_DST_LOOPBACK6}) {
    for (const uint32_t protocol :
         std::vector<uint32_t>{0, IPPROTO_ICMP, IPPROTO_TCP, IPPROTO_UDP, IPPROTO_SCTP, 262}) {
      for (unsigned facts = 0; facts < 256; ++facts) {
        const std::bitset<8> holds(facts);
        npg_env env;
        for (size_t i = 0; i < kRows.size(); ++i) env.*kRows.at(i).holds = holds[i];

        npg_verdict want = NPG_EXEMPT;
        std::vector<std::string> calls;
        if (destination == NPG_DST_ELSEWHERE4 || destination == NPG_DST_ELSEWHERE6) {
          want = NPG_PASS_OUT_OF_SCOPE;
          calls = {"guards_local"};
        } else if (protocol != IPPROTO_TCP && protocol != IPPROTO_UDP && protocol != 262) {
          want = NPG_PASS_PROTOCOL;
        } else {
          for (size_t i = 0; i < kRows.size() && want == NPG_EXEMPT; ++i) {
            calls.emplace_back(kRows.at(i).call);
            if (!holds[i]) want = kRows.at(i).otherwise;
          }
        }
        SCOPED_TRACE(absl::StrCat("destination ", WhereOf(destination), " protocol ", protocol,
                                  " facts ", holds.to_string()));
        EXPECT_EQ(Decide(env, protocol, destination), want);
        EXPECT_EQ(env.calls, calls);
      }
    }
  }
}

// --- Arguments of the questions ---

TEST(Decide, AsksAboutThePortInHostOrderAndTheProtocolItIsAllocatedFor) {
  for (const uint16_t port : std::vector<uint16_t>{0, 1, 255, 256, 0x1234, 33589, 65534, 65535}) {
    for (const auto& [protocol, allocated] : std::vector<std::pair<uint32_t, uint8_t>>{
             {IPPROTO_TCP, IPPROTO_TCP}, {IPPROTO_UDP, IPPROTO_UDP}, {262, IPPROTO_TCP}}) {
      SCOPED_TRACE(absl::StrCat(port, "/", protocol));
      npg_env env;
      // A hash map compares every byte, so all of them must be set.
      npg_port_key key;
      npg_listener_key listener;
      std::memset(&key, 0xff, sizeof(key));
      std::memset(&listener, 0xff, sizeof(listener));
      EXPECT_EQ(npg_decide(&env, protocol, NPG_DST_LOOPBACK4, port, &key, &listener), NPG_EXEMPT);
      const npg_port_key want = {.port = port, .protocol = allocated, .reserved = 0};
      EXPECT_TRUE(key == want);
      ASSERT_EQ(env.keys.size(), 4U);  // of the NodePort, the listener, and its owner twice
      for (const npg_port_key& asked : env.keys) EXPECT_TRUE(asked == want);
    }
  }
}

TEST(Decide, ReturnsTheListenerThatWasFound) {
  npg_env env;
  std::memcpy(env.live.address, V6("::ffff:127.0.0.5").data(), 16);
  env.live.port = 33589;
  env.live.protocol = IPPROTO_TCP;
  npg_port_key key{};
  npg_listener_key listener{};
  EXPECT_EQ(npg_decide(&env, IPPROTO_TCP, NPG_DST_LOOPBACK4, 33589, &key, &listener), NPG_EXEMPT);
  EXPECT_TRUE(listener == env.live);
}

TEST(Decide, AsksWhetherTheGuardStandsAsideForThePacketsThatWouldLeave) {
  const std::vector<std::tuple<npg_destination, uint32_t, uint32_t>> cases = {
      {NPG_DST_LOOPBACK4, IPPROTO_TCP, NPG_TRAFFIC_TCP4},
      {NPG_DST_LOOPBACK4, 262, NPG_TRAFFIC_TCP4},
      {NPG_DST_ELSEWHERE4, IPPROTO_UDP, NPG_TRAFFIC_UDP4},
      {NPG_DST_LOOPBACK6, IPPROTO_TCP, NPG_TRAFFIC_TCP6},
      {NPG_DST_LOOPBACK6, IPPROTO_UDP, NPG_TRAFFIC_UDP6},
      {NPG_DST_ELSEWHERE6, 262, NPG_TRAFFIC_TCP6},
  };
  for (const auto& [destination, protocol, traffic] : cases) {
    npg_env env;
    env.guards_local = true;
    EXPECT_EQ(Decide(env, protocol, destination), NPG_EXEMPT);
    EXPECT_EQ(env.traffic, traffic) << WhereOf(destination) << " protocol " << protocol;
  }
}

// --- The rows together, from an address to a verdict ---

TEST(Decide, FromAddressToVerdict) {
  const std::vector<std::pair<const char*, npg_verdict>> cases = {
      {"126.255.255.255", NPG_PASS_OUT_OF_SCOPE},
      {"127.0.0.0", NPG_EXEMPT},
      {"127.0.0.1", NPG_EXEMPT},
      {"127.255.255.255", NPG_EXEMPT},
      {"128.0.0.0", NPG_PASS_OUT_OF_SCOPE},
      {"0.0.0.0", NPG_EXEMPT},
      {"255.0.0.1", NPG_PASS_OUT_OF_SCOPE},
      {"::", NPG_EXEMPT},
      {"::1", NPG_EXEMPT},
      {"::2", NPG_PASS_OUT_OF_SCOPE},
      {"::ffff:127.0.0.1", NPG_EXEMPT},
      {"::ffff:0.0.0.0", NPG_EXEMPT},
      {"::127.0.0.1", NPG_PASS_OUT_OF_SCOPE},
  };
  for (const auto& [text, want] : cases) {
    npg_env env;
    npg_destination destination = NPG_DST_ELSEWHERE4;
    if (std::strchr(text, ':') == nullptr) {
      uint32_t address = V4(text);
      destination = npg_destination4(&address, 0);
    } else {
      Words address = V6(text);
      const Words source{};
      destination = npg_destination6(address.data(), source.data());
    }
    EXPECT_EQ(Decide(env, IPPROTO_TCP, destination), want) << text;
    EXPECT_EQ(env.calls.front() == "guards_local", want != NPG_EXEMPT) << text;
  }
}

}  // namespace
