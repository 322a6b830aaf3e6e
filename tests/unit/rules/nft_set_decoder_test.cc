// SPDX-License-Identifier: Apache-2.0
#include "rules/nft_set_decoder.h"

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>
#include <netinet/in.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "base/netlink_view.h"
#include "rules/rule.h"
#include "testing/byte_step.h"
#include "testing/testdata.h"

namespace npg::rules::nft_set_decoder_test {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::Field;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::UnorderedElementsAre;

template <typename Value>
std::string Bytes(Value value) {
  std::string bytes(sizeof(value), '\0');
  std::memcpy(bytes.data(), &value, sizeof(value));
  return bytes;
}

std::string Word(uint32_t value) { return Bytes(htonl(value)); }
std::string Port(uint16_t port) { return Bytes(htons(port)); }

// An attribute with its header and padding.
std::string Attribute(uint16_t type, const std::string& payload) {
  const nlattr header{static_cast<uint16_t>(sizeof(nlattr) + payload.size()), type};
  std::string bytes = Bytes(header) + payload;
  bytes.resize(NLA_ALIGN(bytes.size()));
  return bytes;
}
std::string Text(uint16_t type, const std::string& text) { return Attribute(type, text + '\0'); }

std::string Key(const std::string& value) {
  return Attribute(NFTA_SET_ELEM_KEY, Attribute(NFTA_DATA_VALUE, value));
}
std::string KeyEnd(const std::string& value) {
  return Attribute(NFTA_SET_ELEM_KEY_END, Attribute(NFTA_DATA_VALUE, value));
}
std::string Data(const std::string& value) {
  return Attribute(NFTA_SET_ELEM_DATA, Attribute(NFTA_DATA_VALUE, value));
}
std::string VerdictData(int32_t code, const std::string& chain = "") {
  std::string verdict = Attribute(NFTA_VERDICT_CODE, Word(static_cast<uint32_t>(code)));
  if (!chain.empty()) verdict += Text(NFTA_VERDICT_CHAIN, chain);
  return Attribute(NFTA_SET_ELEM_DATA, Attribute(NFTA_DATA_VERDICT, verdict));
}
std::string Flags(uint32_t flags) { return Attribute(NFTA_SET_ELEM_FLAGS, Word(flags)); }
std::string IntervalEnd(const std::string& value) {
  return Key(value) + Flags(NFT_SET_ELEM_INTERVAL_END);
}
std::string Expression(const std::string& name) { return Text(NFTA_EXPR_NAME, name); }

std::string NftPayload(const std::string& attributes) {
  nfgenmsg header{};
  header.nfgen_family = NFPROTO_IPV4;
  return Bytes(header) + attributes;
}

// A message that holds its payload.
class Message {
 public:
  Message(uint16_t type, const std::string& attributes)
      : type_(static_cast<uint16_t>((NFNL_SUBSYS_NFTABLES << 8) | type)),
        payload_(NftPayload(attributes)) {}
  base::NetlinkMessage View(size_t left_out = 0) const {
    return {type_, 0, 0, {payload_.data(), payload_.size() - left_out}};
  }
  size_t size() const { return payload_.size(); }

 private:
  uint16_t type_;
  std::string payload_;
};

Message Elements(const std::vector<std::string>& elements) {
  std::string list;
  for (const std::string& element : elements) list += Attribute(NFTA_LIST_ELEM, element);
  return {NFT_MSG_NEWSETELEM, Text(NFTA_SET_ELEM_LIST_TABLE, "t") +
                                  Text(NFTA_SET_ELEM_LIST_SET, "s") +
                                  Attribute(NFTA_SET_ELEM_LIST_ELEMENTS, list)};
}

Set Decode(const NftSetInfo& info, const std::vector<std::string>& elements) {
  NftSetDecoder decoder(info);
  decoder.Add(Elements(elements).View());
  return std::move(decoder).Take();
}

NftSetInfo Ports(uint32_t flags = 0) { return {.name = "s", .flags = flags, .key_size = 2}; }

auto Is(const std::string& first, const std::string& last) {
  return AllOf(Field("first", &Element::first, first), Field("last", &Element::last, last),
               Field("catchall", &Element::catchall, false));
}

TEST(DecodeNftSet, HasNameFlagsAndSize) {
  const Message message(NFT_MSG_NEWSET, Text(NFTA_SET_TABLE, "t") + Text(NFTA_SET_NAME, "__set0") +
                                            Attribute(NFTA_SET_FLAGS, Word(NFT_SET_INTERVAL)) +
                                            Attribute(NFTA_SET_KEY_LEN, Word(8)));
  const std::optional<NftSetInfo> info = DecodeNftSet(message.View());
  ASSERT_TRUE(info.has_value());
  EXPECT_EQ(info->name, "__set0");
  EXPECT_EQ(info->flags, uint32_t{NFT_SET_INTERVAL});
  EXPECT_EQ(info->key_size, 8U);
  EXPECT_FALSE(info->expires);
}

TEST(DecodeNftSet, ATimeoutExpires) {
  const Message message(NFT_MSG_NEWSET, Text(NFTA_SET_NAME, "s") +
                                            Attribute(NFTA_SET_KEY_LEN, Word(4)) +
                                            Attribute(NFTA_SET_TIMEOUT, Word(0) + Word(1000)));
  const std::optional<NftSetInfo> info = DecodeNftSet(message.View());
  ASSERT_TRUE(info.has_value());
  EXPECT_TRUE(info->expires);
}

TEST(DecodeNftSet, OtherMessagesAreNone) {
  const std::string name = Text(NFTA_SET_NAME, "s");
  const std::string size = Attribute(NFTA_SET_KEY_LEN, Word(4));
  EXPECT_TRUE(DecodeNftSet(Message(NFT_MSG_NEWSET, name + size).View()).has_value());
  EXPECT_FALSE(DecodeNftSet(Message(NFT_MSG_NEWCHAIN, name + size).View()).has_value());
  EXPECT_FALSE(DecodeNftSet(Message(NFT_MSG_NEWSET, name).View()).has_value());
  EXPECT_FALSE(DecodeNftSet(Message(NFT_MSG_NEWSET, size).View()).has_value());
  EXPECT_FALSE(
      DecodeNftSet(
          Message(NFT_MSG_NEWSET, name + Attribute(NFTA_SET_KEY_LEN, Word(1U << 30))).View())
          .has_value());
}

TEST(NftSetDecoder, SingleValues) {
  const Set set = Decode(Ports(), {Key(Port(80)), Key(Port(443))});
  EXPECT_THAT(set.elements, ElementsAre(Is(Port(80), Port(80)), Is(Port(443), Port(443))));
  EXPECT_EQ(set.unknown, "");
  EXPECT_FALSE(set.chance);
}

TEST(NftSetDecoder, SeveralMessagesAddUp) {
  NftSetDecoder decoder(Ports());
  decoder.Add(Elements({Key(Port(1))}).View());
  decoder.Add(Elements({Key(Port(2))}).View());
  decoder.Add(Message(NFT_MSG_NEWGEN, "").View());
  EXPECT_THAT(std::move(decoder).Take().elements,
              ElementsAre(Is(Port(1), Port(1)), Is(Port(2), Port(2))));
}

TEST(NftSetDecoder, JoinsTheEndsOfRangesInAnyOrder) {
  const Set set = Decode(Ports(NFT_SET_INTERVAL),
                         {IntervalEnd(Port(0x0300)), Key(Port(1000)), IntervalEnd(Port(0)),
                          Key(Port(10)), IntervalEnd(Port(1001))});
  EXPECT_THAT(set.elements, ElementsAre(Is(Port(10), Port(0x02ff)), Is(Port(1000), Port(1000))));
}

TEST(NftSetDecoder, ARangeMayBeginWhereAnotherEnds) {
  const NftSetInfo info = Ports(NFT_SET_INTERVAL | NFT_SET_MAP);
  const auto first = AllOf(Is(Port(10), Port(19)), Field(&Element::data, "a"));
  const auto second = AllOf(Is(Port(20), Port(29)), Field(&Element::data, "b"));
  EXPECT_THAT(Decode(info, {Key(Port(10)) + Data("a"), Key(Port(20)) + Data("b"),
                            IntervalEnd(Port(20)), IntervalEnd(Port(30))})
                  .elements,
              ElementsAre(first, second));
  // The end in between may be missing.
  EXPECT_THAT(
      Decode(info, {Key(Port(10)) + Data("a"), Key(Port(20)) + Data("b"), IntervalEnd(Port(30))})
          .elements,
      ElementsAre(first, second));
}

TEST(NftSetDecoder, ARangeWithoutEndGoesToTheLastKey) {
  const Set set = Decode(Ports(NFT_SET_INTERVAL), {Key(Port(60000)), IntervalEnd(Port(0))});
  EXPECT_THAT(set.elements, ElementsAre(Is(Port(60000), Port(65535))));
}

TEST(NftSetDecoder, AnEndWithoutStartIsNoRange) {
  EXPECT_THAT(Decode(Ports(NFT_SET_INTERVAL), {IntervalEnd(Port(7))}).elements, IsEmpty());
}

TEST(NftSetDecoder, ConcatenatedRangesHaveBothEnds) {
  const std::string first = Word(0x0a000000) + Word(80U << 16);
  const std::string last = Word(0x0affffff) + Word(90U << 16);
  const NftSetInfo info{.name = "s", .flags = NFT_SET_INTERVAL | NFT_SET_CONCAT, .key_size = 8};
  EXPECT_THAT(Decode(info, {Key(first) + KeyEnd(last), Key(last)}).elements,
              ElementsAre(Is(first, last), Is(last, last)));
}

TEST(NftSetDecoder, VerdictsOfMaps) {
  struct Case {
    int32_t code;
    std::string chain;
    Verdict verdict;
  };
  const std::vector<Case> cases = {
      {NFT_JUMP, "a", {VerdictKind::kJump, "a", ""}},
      {NFT_GOTO, "b", {VerdictKind::kGoto, "b", ""}},
      {NFT_RETURN, "", {VerdictKind::kReturn, "", ""}},
      {NFT_CONTINUE, "", {VerdictKind::kContinue, "", ""}},
      {NFT_BREAK, "", {VerdictKind::kBreak, "", ""}},
      {NF_ACCEPT, "", {VerdictKind::kAccept, "", ""}},
      {NF_DROP, "", {VerdictKind::kDrop, "", ""}},
      {NF_QUEUE | (5 << 16), "", {VerdictKind::kDivert, "", "queue"}},
      {77, "", {VerdictKind::kDivert, "", "verdict 77"}},
  };
  for (const Case& each : cases) {
    const Set set = Decode(Ports(), {Key(Port(1)) + VerdictData(each.code, each.chain)});
    ASSERT_EQ(set.elements.size(), 1U) << each.code;
    EXPECT_EQ(set.elements.front().verdict, each.verdict) << each.code;
  }
}

TEST(NftSetDecoder, TheElementForAllOthersIsTheLast) {
  const Set set = Decode(Ports(), {Flags(NFT_SET_ELEM_CATCHALL) + VerdictData(NF_DROP),
                                   Key(Port(1)) + VerdictData(NF_ACCEPT)});
  ASSERT_EQ(set.elements.size(), 2U);
  EXPECT_THAT(set.elements.front(), Is(Port(1), Port(1)));
  const Element& other = set.elements.back();
  EXPECT_TRUE(other.catchall);
  EXPECT_EQ(other.first, Port(0));
  EXPECT_EQ(other.last, Port(65535));
  EXPECT_EQ(other.verdict.kind, VerdictKind::kDrop);
}

TEST(NftSetDecoder, Comments) {
  const std::string other = {'\x05', '\x02', 'x', '\0'};
  const std::string comment = {'\0', '\x03', 'n', 's', '\0'};
  const std::string cut = {'\0', '\x7f', 'n'};
  const Set set =
      Decode(Ports(), {Key(Port(1)) + Attribute(NFTA_SET_ELEM_USERDATA, other + comment),
                       Key(Port(2)) + Attribute(NFTA_SET_ELEM_USERDATA, cut), Key(Port(3))});
  EXPECT_THAT(set.elements,
              ElementsAre(Field(&Element::comment, "ns"), Field(&Element::comment, ""),
                          Field(&Element::comment, "")));
}

TEST(NftSetDecoder, WhatPacketsOrTimeChange) {
  const std::string key = Key(Port(1));
  EXPECT_TRUE(Decode(Ports(NFT_SET_EVAL), {}).chance);
  EXPECT_TRUE(Decode({.name = "s", .key_size = 2, .expires = true}, {}).chance);
  EXPECT_TRUE(
      Decode(Ports(), {key + Attribute(NFTA_SET_ELEM_EXPIRATION, Word(0) + Word(9))}).chance);
  EXPECT_TRUE(Decode(Ports(), {key + Attribute(NFTA_SET_ELEM_EXPR, Expression("limit"))}).chance);
  const auto expressions = [&](const std::string& name) {
    return key +
           Attribute(NFTA_SET_ELEM_EXPRESSIONS, Attribute(NFTA_LIST_ELEM, Expression("counter")) +
                                                    Attribute(NFTA_LIST_ELEM, Expression(name)));
  };
  EXPECT_TRUE(Decode(Ports(), {expressions("quota")}).chance);
  EXPECT_TRUE(Decode(Ports(), {expressions("connlimit")}).chance);
  EXPECT_FALSE(Decode(Ports(), {expressions("counter")}).chance);
  EXPECT_FALSE(
      Decode(Ports(), {key + Attribute(NFTA_SET_ELEM_EXPR, Expression("counter"))}).chance);
}

TEST(NftSetDecoder, AKeyOfAnotherSizeIsUnknown) {
  EXPECT_THAT(Decode(Ports(), {Key("abc")}).unknown, HasSubstr("damaged"));
  EXPECT_THAT(Decode(Ports(NFT_SET_INTERVAL), {Flags(0)}).unknown, HasSubstr("damaged"));
}

// The kernel's answers for the maps of a real kube-proxy (tests/testdata/README.md).
Set DecodeRecording(absl::string_view bytes) {
  // A protocol and a port, each padded to 4 bytes.
  NftSetDecoder decoder({.name = "nodeports", .flags = NFT_SET_MAP, .key_size = 8});
  for (base::NetlinkMessage message; base::NextMessage(bytes, message);) decoder.Add(message);
  return std::move(decoder).Take();
}

constexpr std::array<const char*, 2> kRecordings = {"kube-proxy-1.36-service-nodeports.bin",
                                                    "kube-proxy-1.36-no-endpoint-nodeports.bin"};

auto NodePortTo(uint16_t port, const std::string& chain, const std::string& comment) {
  const std::string key = std::string{IPPROTO_TCP, 0, 0, 0} + Port(port) + std::string(2, '\0');
  return AllOf(Is(key, key), Field(&Element::verdict, Verdict{VerdictKind::kGoto, chain, ""}),
               Field(&Element::comment, comment));
}

TEST(NftSetDecoder, MapsOfKubeProxy) {
  const Set taken = DecodeRecording(testing::ReadTestdata(kRecordings[0]));
  EXPECT_THAT(taken.elements,
              ElementsAre(NodePortTo(34567, "external-SUSTUHLJ-default/web/tcp/http", "")));
  const Set rejected = DecodeRecording(testing::ReadTestdata(kRecordings[1]));
  EXPECT_THAT(rejected.elements,
              UnorderedElementsAre(NodePortTo(31234, "reject-chain", "default/t1:80-8080"),
                                   NodePortTo(32588, "reject-chain", "default/t5:80-8080"),
                                   NodePortTo(49999, "reject-chain", "default/t3:80-8080")));
  for (const Set* set : {&taken, &rejected}) {
    EXPECT_EQ(set->unknown, "");
    EXPECT_FALSE(set->chance);
  }
}

TEST(NftSetDecoder, SurvivesDamagedMapsOfKubeProxy) {
  for (const char* name : kRecordings) {
    std::string bytes = testing::ReadTestdata(name);
    for (char& byte : bytes) {
      const char old = byte;
      for (size_t value = 0; value < 256; value += testing::kByteStep) {
        byte = static_cast<char>(value);
        // An element has a header, a key and a verdict with its header each.
        EXPECT_LE(DecodeRecording(bytes).elements.size(), bytes.size() / 32);
      }
      byte = old;
    }
  }
}

TEST(NftSetDecoder, CutMessagesAddNoMoreThanWholeOnes) {
  const Message whole = Elements(
      {Key(Port(1)) + VerdictData(NFT_GOTO, "chain"), Key(Port(2)) + KeyEnd(Port(3)) + Flags(0)});
  for (size_t left_out = 0; left_out <= whole.size(); ++left_out) {
    NftSetDecoder decoder(Ports());
    decoder.Add(whole.View(left_out));
    EXPECT_LE(std::move(decoder).Take().elements.size(), 2U) << absl::StrCat(left_out);
  }
}

}  // namespace
}  // namespace npg::rules::nft_set_decoder_test
