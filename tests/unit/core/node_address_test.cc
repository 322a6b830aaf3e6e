// SPDX-License-Identifier: Apache-2.0
#include "core/node_address.h"

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "core/listener.h"
#include "testing/status_asserts.h"

namespace npg::core::node_address_test {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::UnorderedElementsAre;

std::array<uint8_t, 16> Address(const std::string& text) {
  std::array<uint8_t, 16> address{};
  if (inet_pton(AF_INET, text.c_str(), &address[12]) == 1) {
    address[10] = address[11] = 0xff;
  } else {
    EXPECT_EQ(inet_pton(AF_INET6, text.c_str(), address.data()), 1) << text;
  }
  return address;
}

// Interfaces have the index of their place in this list.
NodeAddress On(const std::string& interface, const std::string& address, uint8_t prefix,
               const std::string& kind = "") {
  NodeAddress result;
  result.address = Address(address);
  result.prefix = prefix;
  result.interface = interface;
  result.kind = kind;
  result.loopback = interface == "lo";
  for (const char letter : interface) result.ifindex = result.ifindex * 31 + uint32_t(letter);
  return result;
}

NodeAddress Deprecated(NodeAddress address) {
  address.deprecated = true;
  return address;
}

NodeAddress Tentative(NodeAddress address) {
  address.tentative = true;
  return address;
}

std::vector<std::string> Own(const std::vector<NodeAddress>& addresses,
                             const AddressChoice& choice = {}) {
  std::vector<std::string> own;
  for (const LocalAddress& local : JudgeAddresses(addresses, choice).own) {
    own.push_back(AddressText(local.address));
  }
  return own;
}

AddressChoice Choice(const std::vector<std::string>& values) {
  const auto choice = ParseAddressChoice(values);
  NPG_EXPECT_OK(choice.status());
  return choice.ok() ? *choice : AddressChoice();
}

TEST(NodeAddressTest, SubnetAddressesAreTheNodes) {
  const std::vector<NodeAddress> node = {
      On("eth0", "10.0.0.5", 24), On("eth0", "10.0.0.6", 24),  // secondary
      On("eth0", "2001:db8::5", 64), On("cni0", "10.244.1.1", 24, "bridge"),
      On("bond0.7", "198.51.100.4", 31, "vlan")};
  EXPECT_THAT(RolesOf(node), ::testing::Each(AddressRole::kNode));
  EXPECT_EQ(Own(node).size(), node.size());
  EXPECT_THAT(JudgeAddresses(node, {}).left_out, IsEmpty());
}

TEST(NodeAddressTest, DummyInterfacesUnderAnyName) {
  EXPECT_THAT(
      RolesOf({On("eth0", "10.0.0.5", 24), On("vips", "10.96.0.1", 32, "dummy"),
               On("vips", "192.0.2.1", 24, "dummy"), On("vips", "2001:db8::1", 64, "dummy")}),
      ElementsAre(AddressRole::kNode, AddressRole::kDummy, AddressRole::kDummy,
                  AddressRole::kDummy));
}

TEST(NodeAddressTest, InterfacesForServicesOfAnyKind) {
  for (const std::string name : {"kube-ipvs0", "kube-dummy-if", "nodelocaldns", "kube-lb0"}) {
    for (const std::string kind : {"dummy", "veth", ""}) {
      EXPECT_THAT(RolesOf({On(name, "10.96.0.10", 32, kind), On(name, "2001:db8::a", 128, kind)}),
                  ElementsAre(AddressRole::kServiceInterface, AddressRole::kServiceInterface))
          << name << kind;
    }
  }
  EXPECT_THAT(Own({On("nodelocaldns", "169.254.20.10", 32), On("eth0", "10.0.0.5", 24)}),
              ElementsAre("10.0.0.5"));
}

TEST(NodeAddressTest, AddressesOnLo) {
  EXPECT_THAT(RolesOf({On("lo", "192.0.2.77", 32), On("lo", "2001:db8::77", 128),
                       On("lo", "198.51.100.1", 24)}),
              ElementsAre(AddressRole::kLoopback, AddressRole::kLoopback, AddressRole::kLoopback));
}

TEST(NodeAddressTest, AHostPrefixBesideASubnetAddress) {
  EXPECT_THAT(RolesOf({On("eth0", "10.0.0.9", 32), On("eth0", "10.0.0.5", 24)}),
              ElementsAre(AddressRole::kBesideSubnet, AddressRole::kNode));
  EXPECT_THAT(RolesOf({On("eth0", "2001:db8::5", 64), On("eth0", "2001:db8::9", 128)}),
              ElementsAre(AddressRole::kNode, AddressRole::kBesideSubnet));
  // The subnet address may be on its way out.
  EXPECT_THAT(RolesOf({On("eth0", "10.0.0.9", 32), Deprecated(On("eth0", "10.0.0.5", 24))}),
              ElementsAre(AddressRole::kBesideSubnet, AddressRole::kDeprecated));
}

TEST(NodeAddressTest, ASoleHostPrefixIsTheNodes) {
  // As in clouds; a subnet address of the other family or of another interface does not matter.
  EXPECT_THAT(RolesOf({On("ens4", "10.128.0.7", 32), On("cni0", "10.244.1.1", 24, "bridge"),
                       On("ens4", "2001:db8::5", 64)}),
              ElementsAre(AddressRole::kNode, AddressRole::kNode, AddressRole::kNode));
  EXPECT_THAT(RolesOf({On("ens4", "2001:db8::5", 128), On("ens4", "fe80::1", 64),
                       On("ens4", "10.0.0.5", 24)}),
              ElementsAre(AddressRole::kNode, AddressRole::kLinkLocal, AddressRole::kNode));
  EXPECT_THAT(RolesOf({On("ens4", "10.128.0.7", 32), On("ens4", "169.254.7.7", 16)}),
              ElementsAre(AddressRole::kNode, AddressRole::kNode));
}

TEST(NodeAddressTest, SeveralHostPrefixesCannotBeToldApart) {
  EXPECT_THAT(RolesOf({On("ens4", "10.128.0.7", 32), On("ens4", "192.0.2.7", 32)}),
              ElementsAre(AddressRole::kSeveralHosts, AddressRole::kSeveralHosts));
  // kube-vip adds IPv6 VIPs as deprecated, so that they become no source address.
  EXPECT_THAT(RolesOf({On("ens4", "2001:db8::5", 128), Deprecated(On("ens4", "2001:db8::9", 128))}),
              ElementsAre(AddressRole::kNode, AddressRole::kDeprecated));
}

TEST(NodeAddressTest, AddressesThatAreNotInUse) {
  NodeAddress gone = On("eth9", "10.9.0.5", 24);
  gone.interface.clear();
  EXPECT_THAT(
      RolesOf({Deprecated(On("eth0", "2001:db8::5", 64)), Tentative(On("eth0", "2001:db8::6", 64)),
               gone}),
      ElementsAre(AddressRole::kDeprecated, AddressRole::kTentative, AddressRole::kTentative));
}

TEST(NodeAddressTest, LinkLocalOnesAreNeitherGuardedNorListed) {
  const std::vector<NodeAddress> node = {On("eth0", "fe80::1", 64)};
  for (const AddressChoice& choice : {AddressChoice(), Choice({"::/0"}), Choice({"+::/0"})}) {
    const JudgedAddresses judged = JudgeAddresses(node, choice);
    EXPECT_TRUE(judged.own.empty());
    EXPECT_THAT(judged.left_out, IsEmpty());
  }
}

// The programs see the address, not its interface.
TEST(NodeAddressTest, AnAddressOnTwoInterfacesIsLeftOutWhereOneIsDoubtful) {
  const std::vector<NodeAddress> node = {On("eth0", "10.0.0.5", 24), On("eth1", "192.0.2.7", 24),
                                         On("lo", "192.0.2.7", 32)};
  EXPECT_THAT(Own(node), ElementsAre("10.0.0.5"));
  EXPECT_EQ(JudgeAddresses(node, {}).left_out.size(), 1U);
}

TEST(NodeAddressTest, TheFlagReplacesOrAdds) {
  const std::vector<NodeAddress> node = {On("eth0", "10.0.0.5", 24), On("lo", "192.0.2.77", 32),
                                         On("lo", "192.0.2.78", 32), On("eth0", "2001:db8::5", 64),
                                         On("lo", "2001:db8:1::77", 128)};
  EXPECT_THAT(Own(node), UnorderedElementsAre("[2001:db8::5]", "10.0.0.5"));
  EXPECT_THAT(Own(node, Choice({"192.0.2.77"})), UnorderedElementsAre("192.0.2.77"));
  EXPECT_THAT(Own(node, Choice({"192.0.2.0/24", "2001:db8:1::/48"})),
              UnorderedElementsAre("[2001:db8:1::77]", "192.0.2.77", "192.0.2.78"));
  EXPECT_THAT(Own(node, Choice({"+192.0.2.77"})),
              UnorderedElementsAre("[2001:db8::5]", "10.0.0.5", "192.0.2.77"));
  EXPECT_THAT(Own(node, Choice({"+192.0.2.77", "+2001:db8:1::77"})),
              UnorderedElementsAre("[2001:db8::5]", "[2001:db8:1::77]", "10.0.0.5", "192.0.2.77"));
  EXPECT_THAT(Own(node, Choice({"+192.0.2.77", "192.0.2.78"})),
              UnorderedElementsAre("[2001:db8::5]", "10.0.0.5", "192.0.2.77", "192.0.2.78"));
  EXPECT_THAT(Own(node, Choice({"0.0.0.0/0"})),
              UnorderedElementsAre("10.0.0.5", "192.0.2.77", "192.0.2.78"));
  // Only addresses that the node has: a wildcard listener receives no connect to another one.
  EXPECT_THAT(Own(node, Choice({"203.0.113.1"})), IsEmpty());
}

TEST(NodeAddressTest, NamesWhatIsLeftOutAndWhy) {
  const std::vector<NodeAddress> node = {On("eth0", "10.0.0.5", 24), On("eth0", "10.0.0.9", 32),
                                         On("lo", "192.0.2.77", 32)};
  EXPECT_EQ(LeftOutText(JudgeAddresses(node, {}).left_out, 10),
            "10.0.0.9 on eth0 (a host prefix beside a subnet address of the interface, as a VIP "
            "has it), 192.0.2.77 on lo (the interface is lo)");
  EXPECT_EQ(LeftOutText(JudgeAddresses(node, Choice({"10.0.0.9", "192.0.2.77"})).left_out, 10),
            "10.0.0.5 on eth0 (--local-address does not name it)");
  EXPECT_THAT(LeftOutText(JudgeAddresses(node, {}).left_out, 1), HasSubstr("has it), and 1 more"));
  EXPECT_EQ(LeftOutText({}, 1), "");
}

// What a guard has, also by a flag that other commands do not know.
TEST(NodeAddressTest, ComparesWithTheAddressesOfAGuard) {
  const std::vector<NodeAddress> node = {On("eth0", "10.0.0.5", 24), On("lo", "192.0.2.77", 32)};
  EXPECT_EQ(LeftOutText(LeftOutOf(node, {Address("10.0.0.5")}), 10),
            "192.0.2.77 on lo (the interface is lo)");
  EXPECT_EQ(LeftOutText(LeftOutOf(node, {Address("192.0.2.77")}), 10),
            "10.0.0.5 on eth0 (--local-address does not name it)");
  EXPECT_THAT(LeftOutOf(node, {Address("192.0.2.77"), Address("10.0.0.5")}), IsEmpty());
}

TEST(AddressRangeTest, Contains) {
  const auto contains = [](const std::string& range, const std::string& address) {
    const auto parsed = ParseAddressRange(range);
    NPG_EXPECT_OK(parsed.status());
    return parsed.ok() && parsed->Contains(Address(address));
  };
  EXPECT_TRUE(contains("192.0.2.7", "192.0.2.7"));
  EXPECT_FALSE(contains("192.0.2.7", "192.0.2.6"));
  EXPECT_TRUE(contains("192.0.2.7/24", "192.0.2.255"));
  EXPECT_FALSE(contains("192.0.2.0/24", "192.0.3.0"));
  EXPECT_TRUE(contains("192.0.2.0/23", "192.0.3.0"));
  EXPECT_FALSE(contains("192.0.2.0/23", "192.0.4.0"));
  EXPECT_TRUE(contains("0.0.0.0/0", "203.0.113.9"));
  EXPECT_FALSE(contains("0.0.0.0/0", "2001:db8::1"));
  EXPECT_TRUE(contains("::/0", "2001:db8::1"));
  EXPECT_FALSE(contains("::/0", "192.0.2.7"));
  EXPECT_FALSE(contains("::/64", "192.0.2.7"));
  EXPECT_TRUE(contains("2001:db8::/33", "2001:db8:7fff::1"));
  EXPECT_FALSE(contains("2001:db8::/33", "2001:db8:8000::1"));
  EXPECT_TRUE(contains("::ffff:192.0.2.7", "192.0.2.7"));
}

TEST(AddressRangeTest, Refuses) {
  for (const auto& [text, why] : std::vector<std::pair<std::string, std::string>>{
           {"", "is not an IP address or CIDR"},
           {"eth0", "is not an IP address or CIDR"},
           {"192.0.2.7:80", "is not an IP address or CIDR"},
           {"[2001:db8::1]", "is not an IP address or CIDR"},
           {"192.0.2.0/33", "has no prefix length from 0 to 32"},
           {"192.0.2.0/", "has no prefix length from 0 to 32"},
           {"192.0.2.0/4294967295", "has no prefix length from 0 to 32"},
           {"2001:db8::/129", "has no prefix length from 0 to 128"},
           {"fe80::1", "is link-local"},
           {"127.0.0.1", "is loopback"},
           {"127.0.0.0/8", "is loopback"},
           {"::1", "is loopback"}}) {
    const auto range = ParseAddressRange(text);
    EXPECT_TRUE(absl::IsInvalidArgument(range.status())) << text;
    EXPECT_THAT(std::string(range.status().message()), HasSubstr(why)) << text;
  }
}

TEST(AddressChoiceTest, RefusesAListThatReplacesAndAdds) {
  EXPECT_EQ(ParseAddressChoice({"192.0.2.7", "+192.0.2.8"}).status().message(),
            "\"+192.0.2.8\" is to be added to the addresses that are found, but \"192.0.2.7\" "
            "replaces them: begin the list with +, or write none");
  EXPECT_EQ(ParseAddressChoice({}).status().message(), "names no address");
  EXPECT_THAT(std::string(ParseAddressChoice({"+"}).status().message()), HasSubstr("\"\""));
}

}  // namespace
}  // namespace npg::core::node_address_test
