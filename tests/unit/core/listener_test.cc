// SPDX-License-Identifier: Apache-2.0
#include "core/listener.h"

#include <arpa/inet.h>
#include <sys/socket.h>

#include <array>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "gtest/gtest.h"

namespace npg::core::listener_test {
namespace {

std::array<uint8_t, 16> Address(const std::string& text) {
  std::array<uint8_t, 16> address{};
  EXPECT_EQ(inet_pton(AF_INET6, text.c_str(), address.data()), 1) << text;
  return address;
}

Listener BoundTo(const std::string& address, uint32_t ifindex = 0) {
  Listener listener;
  listener.address = Address(address);
  listener.ifindex = ifindex;
  return listener;
}

TEST(AddressText, AsPeopleWriteIt) {
  const std::vector<std::pair<const char*, const char*>> cases = {
      {"::ffff:127.0.0.1", "127.0.0.1"},
      {"::ffff:0.0.0.0", "0.0.0.0"},
      {"::ffff:255.255.255.255", "255.255.255.255"},
      {"::1", "[::1]"},
      {"::", "[::]"},
      {"2001:db8:1111:2222:3333:4444:5555:6666", "[2001:db8:1111:2222:3333:4444:5555:6666]"},
      // IPv4-compatible is not IPv4.
      {"::127.0.0.1", "[::127.0.0.1]"},
  };
  for (const auto& [address, text] : cases) EXPECT_EQ(AddressText(Address(address)), text);
}

TEST(ReachableOverLoopback, WildcardsAndLoopbackAddresses) {
  for (const char* address : {"::", "::1", "::ffff:0.0.0.0", "::ffff:127.0.0.0", "::ffff:127.0.0.1",
                              "::ffff:127.0.0.5", "::ffff:127.255.255.255"}) {
    EXPECT_TRUE(ReachableOverLoopback(BoundTo(address))) << address;
  }
}

TEST(ReachableOverLoopback, OtherAddresses) {
  for (const char* address :
       {"::2", "::127.0.0.1", "fe80::1", "2001:db8::1", "::ffff:126.255.255.255",
        "::ffff:128.0.0.0", "::ffff:0.0.0.1", "::ffff:10.0.0.1", "::ffff:224.0.0.1"}) {
    EXPECT_FALSE(ReachableOverLoopback(BoundTo(address))) << address;
  }
}

TEST(IsLoopbackTest, ExactlyTheRange) {
  for (const char* address : {"::1", "::ffff:127.0.0.0", "::ffff:127.255.255.255"}) {
    EXPECT_TRUE(IsLoopback(Address(address))) << address;
  }
  for (const char* address : {"::", "::2", "::127.0.0.1", "1::1", "::ffff:0.0.0.0",
                              "::ffff:126.255.255.255", "::ffff:128.0.0.0", "::fffe:127.0.0.1"}) {
    EXPECT_FALSE(IsLoopback(Address(address))) << address;
  }
}

TEST(IsWildcardTest, OneForEachFamily) {
  EXPECT_TRUE(IsWildcard(Address("::")));
  EXPECT_TRUE(IsWildcard(Address("::ffff:0.0.0.0")));
  for (const char* address : {"::1", "::ffff:0.0.0.1", "::fffe:0.0.0.0", "::0.0.255.255", "1::"}) {
    EXPECT_FALSE(IsWildcard(Address(address))) << address;
  }
}

TEST(ReachableOverLoopbackOr, OwnAddressesToo) {
  const AddressSet own = {Address("::ffff:10.0.0.5"), Address("2001:db8::5")};
  for (const char* address : {"::ffff:10.0.0.5", "2001:db8::5", "::", "::ffff:127.0.0.1"}) {
    EXPECT_TRUE(ReachableOverLoopbackOr(own, BoundTo(address))) << address;
  }
  EXPECT_FALSE(ReachableOverLoopbackOr(own, BoundTo("::ffff:10.0.0.6")));
  // Packets to an own address arrive on lo.
  EXPECT_TRUE(ReachableOverLoopbackOr(own, BoundTo("::ffff:10.0.0.5", 1)));
  EXPECT_FALSE(ReachableOverLoopbackOr(own, BoundTo("::ffff:10.0.0.5", 2)));
}

TEST(ReachableOverLoopback, OnlyOnNoDeviceOrOnLo) {
  for (const char* address : {"::", "::1", "::ffff:0.0.0.0", "::ffff:127.0.0.1"}) {
    EXPECT_TRUE(ReachableOverLoopback(BoundTo(address, 1))) << address;
    EXPECT_FALSE(ReachableOverLoopback(BoundTo(address, 2))) << address;
  }
}

}  // namespace
}  // namespace npg::core::listener_test
