// SPDX-License-Identifier: Apache-2.0
#include "sources/nft_maps.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <libmnl/libmnl.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <utility>

#include "absl/strings/string_view.h"
#include "base/netlink_view.h"
#include "core/port.h"
#include "sources/rule_parts.h"
#include "sources/source.h"
#include "testing/byte_step.h"
#include "testing/testdata.h"

namespace npg::sources::nft_maps_test {
namespace {

using testing::ReadTestdata;
using testing::Tcp;
using testing::Udp;

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::Pair;

// NFPROTO_INET, whose header conflicts with <netinet/in.h>.
constexpr uint8_t kInet = 1;

// Netlink messages as the kernel makes them.
class Messages {
 public:
  Messages& Add(uint16_t type, uint16_t flags = 0) {
    header_ = mnl_nlmsg_put_header(buffer_.data() + size_);
    header_->nlmsg_type = type;
    header_->nlmsg_flags = flags;
    return *this;
  }
  Messages& AddNft(uint8_t type, uint8_t family = AF_INET, const char* table = kTable) {
    Add(static_cast<uint16_t>((NFNL_SUBSYS_NFTABLES << 8) | type));
    auto* nft = static_cast<nfgenmsg*>(mnl_nlmsg_put_extra_header(header_, sizeof(nfgenmsg)));
    nft->nfgen_family = family;
    if (table != nullptr) mnl_attr_put_strz(header_, NFTA_TABLE_NAME, table);
    return *this;
  }
  // One element of the message's list.
  Messages& Element(absl::string_view key, const char* chain, absl::string_view user_data = "") {
    if (list_ == nullptr) list_ = mnl_attr_nest_start(header_, NFTA_SET_ELEM_LIST_ELEMENTS);
    nlattr* const element = mnl_attr_nest_start(header_, NFTA_LIST_ELEM);
    nlattr* const key_nest = mnl_attr_nest_start(header_, NFTA_SET_ELEM_KEY);
    mnl_attr_put(header_, NFTA_DATA_VALUE, key.size(), key.data());
    mnl_attr_nest_end(header_, key_nest);
    nlattr* const data = mnl_attr_nest_start(header_, NFTA_SET_ELEM_DATA);
    nlattr* const verdict = mnl_attr_nest_start(header_, NFTA_DATA_VERDICT);
    mnl_attr_put_u32(header_, NFTA_VERDICT_CODE, htonl(static_cast<uint32_t>(NFT_GOTO)));
    if (chain != nullptr) mnl_attr_put_strz(header_, NFTA_VERDICT_CHAIN, chain);
    mnl_attr_nest_end(header_, verdict);
    mnl_attr_nest_end(header_, data);
    if (!user_data.empty()) {
      mnl_attr_put(header_, NFTA_SET_ELEM_USERDATA, user_data.size(), user_data.data());
    }
    mnl_attr_nest_end(header_, element);
    return *this;
  }
  Messages& End() {
    if (list_ != nullptr) mnl_attr_nest_end(header_, list_);
    list_ = nullptr;
    size_ += MNL_ALIGN(header_->nlmsg_len);
    return *this;
  }
  absl::string_view bytes() const { return {buffer_.data(), size_}; }

 private:
  static constexpr const char* kTable = "kube-proxy";

  alignas(nlmsghdr) std::array<char, 8192> buffer_{};
  size_t size_ = 0;
  nlmsghdr* header_ = nullptr;
  nlattr* list_ = nullptr;
};

std::string Key(uint8_t protocol, uint16_t port) {
  std::string key(8, '\0');
  key[0] = static_cast<char>(protocol);
  port = htons(port);
  std::memcpy(key.data() + 4, &port, sizeof(port));
  return key;
}

std::string Comment(const std::string& text) {
  return std::string(1, '\0') + static_cast<char>(text.size() + 1) + text + '\0';
}

// Decodes `bytes` as the answer to a dump, as NetlinkSocket does. `reply` has its end.
Reading Decode(absl::string_view bytes, base::NetlinkReply& reply) {
  MapDecoder decoder;
  reply.Take(bytes, [&decoder](const nlmsghdr& message) { decoder.Add(base::ViewOf(message)); });
  return std::move(decoder).Take();
}

// The sequence number of the first message.
uint32_t SequenceOf(absl::string_view bytes) {
  base::NetlinkMessage message;
  return base::NextMessage(bytes, message) ? message.sequence : 0;
}

Reading Decode(absl::string_view bytes) {
  base::NetlinkReply reply(SequenceOf(bytes), /*dump=*/true);
  Reading reading = Decode(bytes, reply);
  EXPECT_TRUE(reply.ended());
  EXPECT_FALSE(reply.interrupted());
  EXPECT_EQ(reply.error(), 0);
  return reading;
}

RulePartSet ChangedParts(absl::string_view messages) {
  RulePartSet parts;
  for (base::NetlinkMessage message; base::NextMessage(messages, message);) {
    parts |= ChangedPart(message);
  }
  return parts;
}

TEST(NftMapsTest, DecodesTheKernelsDumpOfServiceNodeports) {
  const Reading reading = Decode(ReadTestdata("kube-proxy-1.36-service-nodeports.bin"));
  EXPECT_THAT(reading.ports, ElementsAre(Pair(Tcp(34567), "default/web")));
  EXPECT_THAT(reading.skipped, IsEmpty());
}

TEST(NftMapsTest, DecodesTheKernelsDumpOfNoEndpointNodeports) {
  const Reading reading = Decode(ReadTestdata("kube-proxy-1.36-no-endpoint-nodeports.bin"));
  EXPECT_THAT(reading.ports,
              ElementsAre(Pair(Tcp(31234), "default/t1"), Pair(Tcp(32588), "default/t5"),
                          Pair(Tcp(49999), "default/t3")));
  EXPECT_THAT(reading.skipped, IsEmpty());
}

TEST(NftMapsTest, ServicesComeFromChainOrComment) {
  Messages messages;
  messages.AddNft(NFT_MSG_NEWSETELEM)
      .Element(Key(IPPROTO_TCP, 1), "external-AAAAAAAA-my-ns/my-svc/tcp/")
      .Element(Key(IPPROTO_UDP, 2), "external-AAAAAAAA-ns/svc/udp/dns")
      .Element(Key(IPPROTO_TCP, 3), "reject-chain", Comment("ns/svc"))
      .Element(Key(IPPROTO_TCP, 4), "external-AAAAAAAA-nonsense", Comment("ns/svc:p"))
      .Element(Key(IPPROTO_TCP, 5), nullptr)
      .Element(Key(IPPROTO_TCP, 6), "drop-chain", std::string("\1\2xx", 4) + Comment("a/b:c"))
      .Element(Key(IPPROTO_SCTP, 7), "external-AAAAAAAA-ns/svc/sctp/x")
      .End()
      .Add(NLMSG_DONE)
      .End();
  const Reading reading = Decode(messages.bytes());
  EXPECT_THAT(reading.ports, ElementsAre(Pair(Tcp(1), "my-ns/my-svc"), Pair(Udp(2), "ns/svc"),
                                         Pair(Tcp(3), "ns/svc"), Pair(Tcp(4), "ns/svc"),
                                         Pair(Tcp(5), ""), Pair(Tcp(6), "a/b")));
  EXPECT_THAT(reading.skipped, IsEmpty());
}

TEST(NftMapsTest, NamesElementsOfAnotherShape) {
  Messages messages;
  messages.AddNft(NFT_MSG_NEWSETELEM)
      .Element("abcd", "x")
      .Element(Key(IPPROTO_TCP, 0), "x")
      .Element(Key(IPPROTO_GRE, 9), "x")
      .Element(Key(IPPROTO_TCP, 8), "x")
      .End()
      .Add(NLMSG_DONE)
      .End();
  const Reading reading = Decode(messages.bytes());
  EXPECT_THAT(reading.ports, ElementsAre(Pair(Tcp(8), "")));
  EXPECT_THAT(reading.skipped,
              ElementsAre("element with a key of 4 bytes", "port 0 is outside 1-65535",
                          "port 9 of protocol number 47"));
}

TEST(NftMapsTest, SurvivesDamage) {
  for (const char* name :
       {"kube-proxy-1.36-service-nodeports.bin", "kube-proxy-1.36-no-endpoint-nodeports.bin"}) {
    std::string bytes = ReadTestdata(name);
    for (size_t length = 0; length < bytes.size(); ++length) {
      base::NetlinkReply reply(SequenceOf(bytes), /*dump=*/true);
      (void)Decode({bytes.data(), length}, reply);
      EXPECT_FALSE(reply.ended()) << length;
    }
    for (char& byte : bytes) {
      const char old = byte;
      for (size_t value = 0; value < 256; value += testing::kByteStep) {
        byte = static_cast<char>(value);
        base::NetlinkReply reply(SequenceOf(bytes), /*dump=*/true);
        (void)Decode(bytes, reply);
        (void)ChangedParts(bytes);
      }
      byte = old;
    }
  }
}

TEST(ChangedPartsTest, DistinguishesTables) {
  const auto parts = [](uint8_t type, uint8_t family, const char* table) {
    Messages messages;
    messages.AddNft(type, family, table).End();
    return ChangedParts(messages.bytes());
  };
  const auto only = [](RulePart part) { return RulePartSet().set(Index(part)); };
  EXPECT_EQ(parts(NFT_MSG_NEWRULE, AF_INET, "nat"), only(RulePart::kIp4Nat));
  EXPECT_EQ(parts(NFT_MSG_DELRULE, AF_INET6, "nat"), only(RulePart::kIp6Nat));
  EXPECT_EQ(parts(NFT_MSG_NEWCHAIN, AF_INET, "filter"), only(RulePart::kIp4Filter));
  EXPECT_EQ(parts(NFT_MSG_DELTABLE, AF_INET6, "filter"), only(RulePart::kIp6Filter));
  EXPECT_EQ(parts(NFT_MSG_NEWSETELEM, AF_INET, "kube-proxy"), only(RulePart::kMaps));
  EXPECT_EQ(parts(NFT_MSG_DELSETELEM, AF_INET6, "kube-proxy"), only(RulePart::kMaps));
  // The guard's own table, foreign ones, and the end of a transaction.
  EXPECT_TRUE(parts(NFT_MSG_NEWRULE, kInet, "nodeport_guard").none());
  EXPECT_TRUE(parts(NFT_MSG_NEWRULE, kInet, "nat").none());
  EXPECT_TRUE(parts(NFT_MSG_NEWRULE, AF_INET, "mangle").none());
  EXPECT_TRUE(parts(NFT_MSG_NEWGEN, AF_UNSPEC, nullptr).none());
  EXPECT_TRUE(ChangedParts("").none());
}

TEST(ChangedPartsTest, GathersATransaction) {
  Messages messages;
  messages.AddNft(NFT_MSG_NEWRULE, AF_INET, "nat").End();
  messages.AddNft(NFT_MSG_NEWRULE, AF_INET, "filter").End();
  messages.AddNft(NFT_MSG_NEWGEN, AF_UNSPEC, nullptr).End();
  EXPECT_EQ(ChangedParts(messages.bytes()),
            RulePartSet().set(Index(RulePart::kIp4Nat)).set(Index(RulePart::kIp4Filter)));
}

}  // namespace
}  // namespace npg::sources::nft_maps_test
