// SPDX-License-Identifier: Apache-2.0
#include "core/port.h"

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "gtest/gtest.h"

namespace npg::core::port_test {
namespace {

TEST(ParsePort, TakesEveryPort) {
  for (uint32_t port = 1; port <= UINT16_MAX; ++port) {
    const absl::StatusOr<uint16_t> parsed = ParsePort(std::to_string(port));
    ASSERT_TRUE(parsed.ok()) << parsed.status();
    ASSERT_EQ(*parsed, port);
  }
}

TEST(ParsePort, LeadingZerosAreDecimal) {
  const absl::StatusOr<uint16_t> parsed = ParsePort("00080");
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  EXPECT_EQ(*parsed, 80);
}

TEST(ParsePort, NamesANumberOutOfRange) {
  for (const absl::string_view text : {"0", "65536", "70000", "4294967295"}) {
    const absl::Status status = ParsePort(text).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_EQ(status.message(), "port " + std::string(text) + " is outside 1-65535");
  }
}

TEST(ParsePort, RefusesTextThatIsNoNumber) {
  using namespace std::string_literals;  // NOLINT(google-build-using-namespace): for the NUL
  for (const std::string& text :
       std::vector<std::string>{"", " ", "http", "80 ", " 80", "+80", "-80", "80.0", "0x50", "8e1",
                                "80/tcp", "80,81", "1_000", "80\n", "80\0"s, "٣٣", "4294967296",
                                "18446744073709551696", std::string(1000, '9')}) {
    const absl::Status status = ParsePort(text).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << text;
    EXPECT_EQ(status.message(), "\"" + text.substr(0, 64) + "\" is not a port number");
  }
}

TEST(ParsePortAndProtocol, TheProtocolMayBeLeftOut) {
  EXPECT_EQ(*ParsePortAndProtocol("33589"), (PortAndProtocol{33589, std::nullopt}));
  EXPECT_EQ(*ParsePortAndProtocol("33589/UDP"), (PortAndProtocol{33589, Protocol::kUdp}));
  for (const auto& [text, why] : {std::pair{"/tcp", "\"\" is not a port number"},
                                  {"0/tcp", "port 0 is outside 1-65535"},
                                  {"80/", "\"\" is not a protocol (tcp, udp)"},
                                  {"80/sctp", "protocol SCTP is not guarded"},
                                  {"80/tcp/x", "\"tcp/x\" is not a protocol (tcp, udp)"},
                                  {"", "\"\" is not a port number"}}) {
    EXPECT_EQ(ParsePortAndProtocol(text).status().message(), why) << text;
  }
}

TEST(ParseProtocol, InAnyCase) {
  for (const absl::string_view text : {"tcp", "TCP", "Tcp"}) {
    const absl::StatusOr<Protocol> parsed = ParseProtocol(text);
    ASSERT_TRUE(parsed.ok()) << parsed.status();
    EXPECT_EQ(*parsed, Protocol::kTcp);
  }
  for (const absl::string_view text : {"udp", "UDP", "uDp"}) {
    const absl::StatusOr<Protocol> parsed = ParseProtocol(text);
    ASSERT_TRUE(parsed.ok()) << parsed.status();
    EXPECT_EQ(*parsed, Protocol::kUdp);
  }
}

TEST(ParseProtocol, NamesSctpAsNotGuarded) {
  EXPECT_EQ(ParseProtocol("SCTP").status(),
            absl::InvalidArgumentError("protocol SCTP is not guarded"));
}

TEST(ParseProtocol, RefusesOtherProtocols) {
  for (const absl::string_view text : {"", " tcp", "tcp ", "tcp6", "http", "6"}) {
    EXPECT_EQ(ParseProtocol(text).status().message(),
              "\"" + std::string(text) + "\" is not a protocol (tcp, udp)");
  }
  // The error stays one printable line for any input.
  EXPECT_LT(ParseProtocol(std::string(1000, 'x')).status().message().size(), 120U);
}

TEST(PortKey, Text) {
  EXPECT_EQ(ToString({.port = 33589, .protocol = Protocol::kTcp}), "33589/tcp");
  EXPECT_EQ(ToString({.port = 1, .protocol = Protocol::kUdp}), "1/udp");
  EXPECT_EQ(ProtocolName(static_cast<Protocol>(132)), "unknown");
}

TEST(PortKey, SortsByPortThenProtocol) {
  EXPECT_LT((PortKey{1, Protocol::kUdp}), (PortKey{2, Protocol::kTcp}));
  EXPECT_LT((PortKey{2, Protocol::kTcp}), (PortKey{2, Protocol::kUdp}));
  EXPECT_EQ((PortKey{2, Protocol::kUdp}), (PortKey{2, Protocol::kUdp}));
}

TEST(PortKey, AsKeyOfAHashContainer) {
  absl::flat_hash_set<PortKey> keys;
  for (uint16_t port = 1; port <= 1000; ++port) {
    EXPECT_TRUE(keys.insert({port, Protocol::kTcp}).second);
    EXPECT_TRUE(keys.insert({port, Protocol::kUdp}).second);
    EXPECT_FALSE(keys.insert({port, Protocol::kTcp}).second);
  }
  EXPECT_EQ(keys.size(), 2000U);
}

}  // namespace
}  // namespace npg::core::port_test
