// SPDX-License-Identifier: Apache-2.0
#include "rules/ip_set_reader.h"

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/netlink.h>
#include <sched.h>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "base/netlink_socket.h"
#include "rules/rule.h"
#include "testing/command.h"
#include "testing/status_asserts.h"

namespace npg::rules::ip_set_reader_test {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::Field;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::UnorderedElementsAre;

constexpr char kTcp = 6;
constexpr char kUdp = 17;

std::string Address(const std::string& text) {
  std::string bytes(16, '\0');
  if (inet_pton(AF_INET, text.c_str(), bytes.data()) == 1) {
    bytes.resize(4);
  } else {
    EXPECT_EQ(inet_pton(AF_INET6, text.c_str(), bytes.data()), 1) << text;
  }
  return bytes;
}

std::string Port(uint16_t port) {
  return {static_cast<char>(port >> 8), static_cast<char>(port & 0xff), '\0', '\0'};
}
std::string Protocol(char protocol) { return {protocol, '\0', '\0', '\0'}; }

auto Is(const std::string& first, const std::string& last) {
  return AllOf(Field("first", &Element::first, first), Field("last", &Element::last, last));
}
auto Is(const std::string& key) { return Is(key, key); }

// Each test runs in its own network namespace, which ends with the process.
class IpSetReaderTest : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_EQ(unshare(CLONE_NEWNET), 0) << "these tests need root";
    NPG_ASSERT_OK_AND_ASSIGN(base::NetlinkSocket socket,
                             base::NetlinkSocket::Open(NETLINK_NETFILTER));
    socket_.emplace(std::move(socket));
  }

  static void Make(absl::string_view lines) {
    NPG_ASSERT_OK(testing::RunCommand({"ipset", "restore"}, lines));
  }

  Set Read(const std::string& name) {
    absl::StatusOr<Set> set = ReadIpSet(*socket_, name);
    NPG_EXPECT_OK(set);
    return set.ok() ? *std::move(set) : Set{};
  }

  std::optional<base::NetlinkSocket> socket_;
};

TEST_F(IpSetReaderTest, ASetThatDoesNotExistIsEmpty) {
  const Set set = Read("none");
  EXPECT_THAT(set.elements, IsEmpty());
  EXPECT_EQ(set.unknown, "");
  EXPECT_THAT(Read("#7").elements, IsEmpty());
  EXPECT_THAT(Read(std::string(300, 'x')).elements, IsEmpty());
}

TEST_F(IpSetReaderTest, TypesOfKubeProxy) {
  Make(
      "create ports bitmap:port range 0-65535\n"
      "add ports 30000-30002\nadd ports 32767\n"
      "create vips hash:ip,port\n"
      "add vips 10.96.0.1,tcp:443\nadd vips 10.96.0.10,udp:53\n"
      "create back hash:ip,port,ip\n"
      "add back 10.0.0.1,tcp:80,10.0.0.2\n"
      "create from hash:ip,port,net\n"
      "add from 10.0.0.1,tcp:80,10.1.0.0/16\n");
  const Set ports = Read("ports");
  EXPECT_THAT(ports.parts, ElementsAre(IpSetPart::kPort));
  EXPECT_THAT(ports.elements, ElementsAre(Is(Port(30000), Port(30002)), Is(Port(32767))));
  const Set vips = Read("vips");
  EXPECT_THAT(vips.parts, ElementsAre(IpSetPart::kAddress, IpSetPart::kProtocolAndPort));
  EXPECT_THAT(vips.elements,
              UnorderedElementsAre(Is(Address("10.96.0.1") + Protocol(kTcp) + Port(443)),
                                   Is(Address("10.96.0.10") + Protocol(kUdp) + Port(53))));
  const std::string service = Address("10.0.0.1") + Protocol(kTcp) + Port(80);
  EXPECT_THAT(Read("back").elements, ElementsAre(Is(service + Address("10.0.0.2"))));
  EXPECT_THAT(Read("from").elements,
              ElementsAre(Is(service + Address("10.1.0.0"), service + Address("10.1.255.255"))));
}

TEST_F(IpSetReaderTest, Networks) {
  Make(
      "create a hash:net\nadd a 10.0.0.0/9\nadd a 192.168.1.1\n"
      "create b hash:net family inet6\nadd b fd00:1::/32\n"
      "create c hash:net,port\nadd c 10.0.0.0/8,tcp:80\n"
      "create d hash:ip netmask 24\nadd d 10.1.2.3\n"
      "create e bitmap:ip range 10.0.0.0/24\nadd e 10.0.0.9-10.0.0.11\n");
  EXPECT_THAT(Read("a").elements,
              UnorderedElementsAre(Is(Address("10.0.0.0"), Address("10.127.255.255")),
                                   Is(Address("192.168.1.1"))));
  EXPECT_THAT(Read("b").elements, ElementsAre(Is(Address("fd00:1::"),
                                                 Address("fd00:1:ffff:ffff:ffff:ffff:ffff:ffff"))));
  EXPECT_THAT(Read("c").elements,
              ElementsAre(Is(Address("10.0.0.0") + Protocol(kTcp) + Port(80),
                             Address("10.255.255.255") + Protocol(kTcp) + Port(80))));
  EXPECT_THAT(Read("d").elements, ElementsAre(Is(Address("10.1.2.0"), Address("10.1.2.255"))));
  EXPECT_THAT(Read("e").elements, ElementsAre(Is(Address("10.0.0.9"), Address("10.0.0.11"))));
}

TEST_F(IpSetReaderTest, LongSetsComeWhole) {
  constexpr size_t kElements = 5000;
  std::string lines = "create long hash:ip\n";
  for (size_t i = 0; i < kElements; ++i) {
    // Every second address, so that no two are one range.
    absl::StrAppend(&lines, "add long 10.0.", 2 * i / 256, ".", 2 * i % 256, "\n");
  }
  Make(lines);
  EXPECT_EQ(Read("long").elements.size(), kElements);
}

TEST_F(IpSetReaderTest, ByTheNumberOfTheKernel) {
  Make("create a hash:ip\nadd a 10.0.0.1\ncreate b hash:ip\nadd b 10.0.0.2\n");
  EXPECT_THAT(Read("#0").elements, ElementsAre(Is(Address("10.0.0.1"))));
  EXPECT_THAT(Read("#1").elements, ElementsAre(Is(Address("10.0.0.2"))));
  EXPECT_THAT(Read("#2").elements, IsEmpty());
}

TEST_F(IpSetReaderTest, SetsOfSetsAreTheirUnion) {
  Make(
      "create a hash:ip\nadd a 10.0.0.1\n"
      "create b hash:net family inet6\nadd b fd00::1\n"
      "create c hash:net\nadd c 10.1.0.0/16\n"
      "create p bitmap:port range 1-100\nadd p 7\n"
      "create same list:set\nadd same a\nadd same b\nadd same c\n"
      "create mixed list:set\nadd mixed a\nadd mixed p\n"
      "create empty list:set\n");
  const Set same = Read("same");
  EXPECT_THAT(same.parts, ElementsAre(IpSetPart::kAddress));
  EXPECT_THAT(same.elements,
              UnorderedElementsAre(Is(Address("10.0.0.1")), Is(Address("fd00::1")),
                                   Is(Address("10.1.0.0"), Address("10.1.255.255"))));
  EXPECT_EQ(same.unknown, "");
  EXPECT_THAT(Read("mixed").unknown, HasSubstr("several types"));
  EXPECT_THAT(Read("empty").elements, IsEmpty());
  EXPECT_EQ(Read("empty").unknown, "");
}

TEST_F(IpSetReaderTest, WhatCannotBeEvaluatedIsUnknown) {
  Make(
      "create links hash:net,iface\nadd links 10.0.0.0/8,lo\n"
      "create except hash:net\nadd except 10.0.0.0/8\nadd except 10.1.0.0/16 nomatch\n");
  EXPECT_EQ(Read("links").unknown, "ipset of the type hash:net,iface");
  EXPECT_THAT(Read("except").unknown, HasSubstr("nomatch"));
}

TEST_F(IpSetReaderTest, CommentsAndTimeouts) {
  Make(
      "create notes hash:ip comment\nadd notes 10.0.0.1 comment \"ns/web\"\n"
      "create soon hash:ip timeout 600\nadd soon 10.0.0.1\n"
      "create never hash:ip timeout 0\nadd never 10.0.0.1\n");
  EXPECT_THAT(Read("notes").elements, ElementsAre(Field(&Element::comment, "ns/web")));
  EXPECT_FALSE(Read("notes").chance);
  EXPECT_TRUE(Read("soon").chance);
  EXPECT_FALSE(Read("never").chance);
}

TEST_F(IpSetReaderTest, NeedsTheCapability) {
  Make("create a hash:ip\n");
  const absl::StatusOr<std::string> message = testing::RunInFork([this] {
    if (!testing::BecomeNobody().ok()) return std::string("not nobody");
    return std::string(ReadIpSet(*socket_, "a").status().ToString());
  });
  NPG_ASSERT_OK(message);
  EXPECT_THAT(*message, AllOf(HasSubstr("PERMISSION_DENIED"), HasSubstr("read the ipset a"),
                              HasSubstr("CAP_NET_ADMIN")));
}

}  // namespace
}  // namespace npg::rules::ip_set_reader_test
