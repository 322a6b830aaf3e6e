// SPDX-License-Identifier: Apache-2.0
#include "rules/ip_set_decoder.h"

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/netfilter/ipset/ip_set.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include "base/netlink_view.h"
#include "rules/rule.h"

namespace npg::rules::ip_set_decoder_test {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::Field;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr char kTcp = 6;

template <typename Value>
std::string Bytes(Value value) {
  std::string bytes(sizeof(value), '\0');
  std::memcpy(bytes.data(), &value, sizeof(value));
  return bytes;
}

std::string Word(uint32_t value) { return Bytes(htonl(value)); }
std::string Ones(size_t size) { return std::string(size, '\xff'); }
std::string Zeros(size_t size) { return std::string(size, '\0'); }

// An attribute with its header and padding.
std::string Attribute(uint16_t type, const std::string& payload) {
  const nlattr header{static_cast<uint16_t>(sizeof(nlattr) + payload.size()), type};
  std::string bytes = Bytes(header) + payload;
  bytes.resize(NLA_ALIGN(bytes.size()));
  return bytes;
}
std::string Nested(uint16_t type, const std::string& attributes) {
  return Attribute(static_cast<uint16_t>(type | NLA_F_NESTED), attributes);
}
std::string Text(uint16_t type, const std::string& text) { return Attribute(type, text + '\0'); }

std::string Ipv4(uint32_t address, uint16_t type = IPSET_ATTR_IP) {
  return Nested(type, Attribute(IPSET_ATTR_IPADDR_IPV4 | NLA_F_NET_BYTEORDER, Word(address)));
}
std::string Ipv6(const std::string& address) {
  return Nested(IPSET_ATTR_IP, Attribute(IPSET_ATTR_IPADDR_IPV6 | NLA_F_NET_BYTEORDER, address));
}
std::string Bits(uint8_t bits, uint16_t type = IPSET_ATTR_CIDR) {
  return Attribute(type, std::string(1, static_cast<char>(bits)));
}
std::string Port(uint16_t port, uint16_t type = IPSET_ATTR_PORT) {
  return Attribute(static_cast<uint16_t>(type | NLA_F_NET_BYTEORDER), Bytes(htons(port)));
}
std::string Protocol(char protocol) {
  return Attribute(IPSET_ATTR_PROTO, std::string(1, protocol));
}
// A port in a key.
std::string KeyPort(uint16_t port) { return Bytes(htons(port)) + Zeros(2); }
std::string KeyProtocol(char protocol) { return protocol + Zeros(3); }

// The attributes of a message about a set.
std::string List(const std::string& type, const std::vector<std::string>& elements,
                 const std::string& header = "") {
  std::string list;
  for (const std::string& element : elements) list += Nested(IPSET_ATTR_DATA, element);
  std::string attributes =
      Attribute(IPSET_ATTR_PROTOCOL, std::string(1, '\x06')) + Text(IPSET_ATTR_SETNAME, "s");
  if (!type.empty()) {
    attributes += Text(IPSET_ATTR_TYPENAME, type) + Nested(IPSET_ATTR_DATA, header);
  }
  return attributes + Nested(IPSET_ATTR_ADT, list);
}

constexpr uint16_t kListMessage = (NFNL_SUBSYS_IPSET << 8) | IPSET_CMD_LIST;

void Add(IpSetDecoder& decoder, const std::string& attributes) {
  const std::string payload = Bytes(nfgenmsg{}) + attributes;
  decoder.Add({kListMessage, 0, 0, payload});
}

Set Decode(const std::string& type, const std::vector<std::string>& elements,
           const std::string& header = "") {
  IpSetDecoder decoder;
  Add(decoder, List(type, elements, header));
  return std::move(decoder).Take();
}

auto Is(const std::string& first, const std::string& last) {
  return AllOf(Field("first", &Element::first, first), Field("last", &Element::last, last));
}

TEST(IpSetDecoder, Addresses) {
  const Set set = Decode("hash:ip", {Ipv4(0x0a010203), Ipv4(0x0a010201)});
  EXPECT_THAT(set.parts, ElementsAre(IpSetPart::kAddress));
  EXPECT_THAT(set.elements, ElementsAre(Is(Word(0x0a010203), Word(0x0a010203)),
                                        Is(Word(0x0a010201), Word(0x0a010201))));
  EXPECT_EQ(set.unknown, "");
  EXPECT_FALSE(set.chance);
}

TEST(IpSetDecoder, Networks) {
  const Set set = Decode("hash:net", {Ipv4(0x0a010000) + Bits(15), Ipv4(0xc0a80001)});
  EXPECT_THAT(set.elements, ElementsAre(Is(Word(0x0a000000), Word(0x0a01ffff)),
                                        Is(Word(0xc0a80001), Word(0xc0a80001))));
}

TEST(IpSetDecoder, NetworksOfIpv6) {
  const std::string prefix = {'\xfd', '\0', '\0', '\x01'};
  const Set set = Decode("hash:net", {Ipv6(prefix + Zeros(12)) + Bits(32)});
  EXPECT_THAT(set.elements, ElementsAre(Is(prefix + Zeros(12), prefix + Ones(12))));
}

TEST(IpSetDecoder, ANetmaskHoldsForAllAddresses) {
  const Set set = Decode("hash:ip", {Ipv4(0x0a010200)}, Bits(24, IPSET_ATTR_NETMASK));
  EXPECT_THAT(set.elements, ElementsAre(Is(Word(0x0a010200), Word(0x0a0102ff))));
}

TEST(IpSetDecoder, PortsOfABitmapAreJoined) {
  const Set set = Decode("bitmap:port", {Port(255), Port(256), Port(257), Port(30000)});
  EXPECT_THAT(set.parts, ElementsAre(IpSetPart::kPort));
  EXPECT_THAT(set.elements,
              ElementsAre(Is(KeyPort(255), KeyPort(257)), Is(KeyPort(30000), KeyPort(30000))));
}

TEST(IpSetDecoder, TheLastKeyIsNotBeforeTheFirst) {
  const Set set = Decode("bitmap:port", {Port(65535), Port(0)});
  EXPECT_EQ(set.elements.size(), 2U);
}

TEST(IpSetDecoder, CommentsKeepPortsApart) {
  const Set set = Decode("bitmap:port", {Port(1) + Text(IPSET_ATTR_COMMENT, "a"),
                                         Port(2) + Text(IPSET_ATTR_COMMENT, "b")});
  EXPECT_THAT(set.elements,
              ElementsAre(Field(&Element::comment, "a"), Field(&Element::comment, "b")));
}

TEST(IpSetDecoder, AddressAndPort) {
  const Set set = Decode("hash:ip,port", {Ipv4(0x0a000001) + Port(80) + Protocol(kTcp)});
  EXPECT_THAT(set.parts, ElementsAre(IpSetPart::kAddress, IpSetPart::kProtocolAndPort));
  const std::string key = Word(0x0a000001) + KeyProtocol(kTcp) + KeyPort(80);
  EXPECT_THAT(set.elements, ElementsAre(Is(key, key)));
}

TEST(IpSetDecoder, AddressPortAndNetwork) {
  const Set set =
      Decode("hash:ip,port,net", {Ipv4(0x0a000001) + Port(80) + Protocol(kTcp) +
                                  Ipv4(0xc0a80000, IPSET_ATTR_IP2) + Bits(16, IPSET_ATTR_CIDR2)});
  EXPECT_THAT(set.parts,
              ElementsAre(IpSetPart::kAddress, IpSetPart::kProtocolAndPort, IpSetPart::kAddress));
  const std::string before = Word(0x0a000001) + KeyProtocol(kTcp) + KeyPort(80);
  EXPECT_THAT(set.elements, ElementsAre(Is(before + Word(0xc0a80000), before + Word(0xc0a8ffff))));
}

TEST(IpSetDecoder, ANetmaskShortensLongerPrefixes) {
  const std::string networks =
      Ipv4(0x0a000000) + Bits(8) + Ipv4(0xc0a80100, IPSET_ATTR_IP2) + Bits(24, IPSET_ATTR_CIDR2);
  EXPECT_THAT(
      Decode("hash:net,net", {networks}, Bits(16, IPSET_ATTR_NETMASK)).elements,
      ElementsAre(Is(Word(0x0a000000) + Word(0xc0a80000), Word(0x0affffff) + Word(0xc0a8ffff))));
  const std::string ports = KeyProtocol(kTcp) + KeyPort(80);
  EXPECT_THAT(Decode("hash:net,port,net", {networks + Port(80) + Protocol(kTcp)}).elements,
              ElementsAre(Is(Word(0x0a000000) + ports + Word(0xc0a80100),
                             Word(0x0affffff) + ports + Word(0xc0a801ff))));
}

TEST(IpSetDecoder, ABitmaskIsUnknown) {
  constexpr uint16_t kBitmask = 12;
  EXPECT_THAT(Decode("hash:ip", {Ipv4(1)}, Ipv4(0xffff00ff, kBitmask)).unknown,
              HasSubstr("bitmask"));
}

TEST(IpSetDecoder, RangesOfAddresses) {
  const Set set = Decode("bitmap:ip", {Ipv4(0x0a000001) + Ipv4(0x0a000005, IPSET_ATTR_IP_TO)});
  EXPECT_THAT(set.elements, ElementsAre(Is(Word(0x0a000001), Word(0x0a000005))));
}

TEST(IpSetDecoder, LaterMessagesHaveNoType) {
  IpSetDecoder decoder;
  Add(decoder, List("hash:ip", {Ipv4(0x0a000001)}));
  Add(decoder, List("", {Ipv4(0x0a000009)}));
  EXPECT_EQ(std::move(decoder).Take().elements.size(), 2U);
}

TEST(IpSetDecoder, SetsOfSetsHaveMembers) {
  IpSetDecoder decoder;
  Add(decoder, List("list:set", {Text(IPSET_ATTR_NAME, "a"), Text(IPSET_ATTR_NAME, "b")}));
  EXPECT_TRUE(decoder.is_list());
  EXPECT_THAT(decoder.members(), ElementsAre("a", "b"));
  EXPECT_THAT(std::move(decoder).Take().elements, IsEmpty());
}

TEST(IpSetDecoder, OtherTypesAreUnknown) {
  for (const std::string type :
       {"hash:mac", "hash:ip,mark", "hash:net,iface", "bitmap:ip,mac", "other:ip", "hash"}) {
    const Set set = Decode(type, {Ipv4(0x0a000001) + Port(1)});
    EXPECT_EQ(set.unknown, "ipset of the type " + type);
    EXPECT_THAT(set.elements, IsEmpty()) << type;
  }
}

TEST(IpSetDecoder, ExcludedElementsAreUnknown) {
  const std::string nomatch = Attribute(IPSET_ATTR_CADT_FLAGS, Word(IPSET_FLAG_NOMATCH));
  EXPECT_THAT(Decode("hash:net", {Ipv4(0x0a000000) + Bits(8), Ipv4(0x0a000001) + nomatch}).unknown,
              HasSubstr("nomatch"));
}

TEST(IpSetDecoder, WhatExpiresChanges) {
  const auto timeout = [](uint32_t seconds) {
    return Attribute(IPSET_ATTR_TIMEOUT, Word(seconds));
  };
  EXPECT_TRUE(Decode("hash:ip", {}, timeout(600)).chance);
  EXPECT_TRUE(Decode("hash:ip", {Ipv4(1) + timeout(5)}, timeout(0)).chance);
  EXPECT_FALSE(Decode("hash:ip", {Ipv4(1) + timeout(0)}, timeout(0)).chance);
}

TEST(IpSetDecoder, IncompleteElementsAreUnknown) {
  EXPECT_THAT(Decode("hash:ip", {Port(1)}).unknown, HasSubstr("damaged"));
  EXPECT_THAT(Decode("hash:ip,port", {Ipv4(1) + Port(1)}).unknown, HasSubstr("damaged"));
  EXPECT_THAT(Decode("bitmap:port", {Attribute(IPSET_ATTR_PORT, "abc")}).unknown,
              HasSubstr("damaged"));
}

TEST(IpSetDecoder, CutMessagesAddNoMoreThanWholeOnes) {
  const std::string payload =
      Bytes(nfgenmsg{}) + List("hash:ip,port", {Ipv4(1) + Port(1) + Protocol(kTcp),
                                                Ipv4(2) + Port(1) + Protocol(kTcp)});
  for (size_t size = 0; size <= payload.size(); ++size) {
    IpSetDecoder decoder;
    decoder.Add({kListMessage, 0, 0, {payload.data(), size}});
    EXPECT_LE(std::move(decoder).Take().elements.size(), 2U) << size;
  }
}

}  // namespace
}  // namespace npg::rules::ip_set_decoder_test
