// SPDX-License-Identifier: Apache-2.0
// Expressions that load what the kernel knows about a packet.
#include <netinet/in.h>

#include <linux/netfilter.h>
#include <linux/netfilter/nf_conntrack_common.h>
#include <linux/netfilter/nf_tables.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "rules/nft_attributes.h"
#include "rules/nft_expressions.h"
#include "rules/nft_registers.h"
#include "rules/rule.h"

namespace npg::rules {
namespace {

struct NftMetaKey {
  uint32_t key = 0;
  uint8_t size = 0;
  Field field = Field::kUnknown;
  bool host_order = false;
  absl::string_view name;  // kUnknown: nft's
};

// By key.
constexpr std::array kNftMetaKeys = {
    NftMetaKey{NFT_META_LEN, 4, Field::kUnknown, true, "meta length"},
    NftMetaKey{NFT_META_PROTOCOL, 2, Field::kFamily, false, ""},
    NftMetaKey{NFT_META_PRIORITY, 4, Field::kUnknown, true, "meta priority"},
    NftMetaKey{NFT_META_MARK, 4, Field::kMark, true, ""},
    NftMetaKey{NFT_META_IIF, 4, Field::kInIndex, true, ""},
    NftMetaKey{NFT_META_OIF, 4, Field::kOutIndex, true, ""},
    NftMetaKey{NFT_META_IIFNAME, 16, Field::kInName, false, ""},
    NftMetaKey{NFT_META_OIFNAME, 16, Field::kOutName, false, ""},
    NftMetaKey{NFT_META_IFTYPE, 2, Field::kUnknown, true, "meta iiftype"},
    NftMetaKey{NFT_META_OIFTYPE, 2, Field::kUnknown, true, "meta oiftype"},
    NftMetaKey{NFT_META_SKUID, 4, Field::kUnknown, true, "meta skuid"},
    NftMetaKey{NFT_META_SKGID, 4, Field::kUnknown, true, "meta skgid"},
    NftMetaKey{NFT_META_NFTRACE, 1, Field::kUnknown, true, "meta nftrace"},
    NftMetaKey{NFT_META_RTCLASSID, 4, Field::kUnknown, true, "meta rtclassid"},
    NftMetaKey{NFT_META_SECMARK, 4, Field::kUnknown, true, "meta secmark"},
    NftMetaKey{NFT_META_NFPROTO, 1, Field::kFamily, false, ""},
    NftMetaKey{NFT_META_L4PROTO, 1, Field::kProtocol, false, ""},
    NftMetaKey{NFT_META_BRI_IIFNAME, 16, Field::kUnknown, false, "meta ibrname"},
    NftMetaKey{NFT_META_BRI_OIFNAME, 16, Field::kUnknown, false, "meta obrname"},
    NftMetaKey{NFT_META_PKTTYPE, 1, Field::kUnknown, false, "meta pkttype"},
    NftMetaKey{NFT_META_CPU, 4, Field::kChance, true, ""},
    NftMetaKey{NFT_META_IIFGROUP, 4, Field::kUnknown, true, "meta iifgroup"},
    NftMetaKey{NFT_META_OIFGROUP, 4, Field::kUnknown, true, "meta oifgroup"},
    NftMetaKey{NFT_META_CGROUP, 4, Field::kUnknown, true, "meta cgroup"},
    NftMetaKey{NFT_META_PRANDOM, 4, Field::kChance, true, ""},
    NftMetaKey{NFT_META_SECPATH, 1, Field::kUnknown, true, "meta ipsec"},
    NftMetaKey{NFT_META_IIFKIND, 16, Field::kUnknown, false, "meta iifkind"},
    NftMetaKey{NFT_META_OIFKIND, 16, Field::kUnknown, false, "meta oifkind"},
    NftMetaKey{NFT_META_BRI_IIFPVID, 2, Field::kUnknown, true, "meta ibrpvid"},
    NftMetaKey{NFT_META_BRI_IIFVPROTO, 2, Field::kUnknown, true, "meta ibrvproto"},
    NftMetaKey{NFT_META_TIME_NS, 8, Field::kChance, true, ""},
    NftMetaKey{NFT_META_TIME_DAY, 1, Field::kChance, true, ""},
    NftMetaKey{NFT_META_TIME_HOUR, 4, Field::kChance, true, ""},
    NftMetaKey{NFT_META_SDIF, 4, Field::kUnknown, true, "meta sdif"},
    NftMetaKey{NFT_META_SDIFNAME, 16, Field::kUnknown, false, "meta sdifname"},
};

consteval bool NftMetaKeysAreInOrder() {
  for (size_t key = 0; key < kNftMetaKeys.size(); ++key) {
    if (kNftMetaKeys.at(key).key != key) return false;
  }
  return true;
}
static_assert(NftMetaKeysAreInOrder());

// By key, for those that are not known.
constexpr std::array<absl::string_view, 24> kNftConntrackKeys = {
    "state",     "direction", "status",   "mark",      "secmark",   "expiration",
    "helper",    "l3proto",   "saddr",    "daddr",     "protocol",  "proto-src",
    "proto-dst", "label",     "packets",  "bytes",     "avgpkt",    "zone",
    "event",     "ip saddr",  "ip daddr", "ip6 saddr", "ip6 daddr", "id",
};
static_assert(NFT_CT_ID == kNftConntrackKeys.size() - 1);

Operand NftConntrackOperand(uint32_t key) {
  switch (key) {
    case NFT_CT_STATE:
      return FieldOperand(Field::kState, 4, true);
    case NFT_CT_MARK:
      return FieldOperand(Field::kConnectionMark, 4, true);
    case NFT_CT_PROTOCOL:
      return FieldOperand(Field::kProtocol, 1);
    case NFT_CT_L3PROTOCOL:
      return FieldOperand(Field::kFamily, 1);
    case NFT_CT_DIRECTION:  // IP_CT_DIR_ORIGINAL
      return FixedOperand(1);
    default:
      break;
  }
  const absl::string_view name = key < kNftConntrackKeys.size() ? kNftConntrackKeys.at(key) : "key";
  Operand operand = UnknownOperand(absl::StrCat("ct ", name), key == NFT_CT_ZONE ? 2 : 4);
  operand.host_order = key == NFT_CT_STATUS;
  return operand;
}

}  // namespace

bool NftExpressions::LoadUnknown(std::optional<uint32_t> destination, size_t size,
                                 absl::string_view name) {
  const std::optional<uint8_t> start = NftRegisters::Start(destination);
  if (!start || size == 0 || *start + size > NftRegisters::kSize) return false;
  registers_.Set(
      {.start = *start, .size = static_cast<uint8_t>(size), .operand = UnknownOperand(name, size)});
  return true;
}

bool NftExpressions::Meta(const NftAttributes& attributes) {
  if (attributes.Has(NFTA_META_SREG)) return SetMeta(attributes);
  const std::optional<uint32_t> key = attributes.Number(NFTA_META_KEY);
  const std::optional<uint32_t> number = attributes.Number(NFTA_META_DREG);
  if (!key) return false;
  if (*key >= kNftMetaKeys.size()) return LoadUnknown(number, 4, absl::StrCat("meta key ", *key));
  const NftMetaKey& meta = kNftMetaKeys.at(*key);
  if (meta.field == Field::kUnknown && *key != NFT_META_PKTTYPE) {
    return LoadUnknown(number, meta.size, meta.name);
  }
  const std::optional<uint8_t> start = NftRegisters::Start(number);
  if (!start) return false;
  NftLoad load;
  load.start = *start;
  load.size = meta.size;
  if (*key == NFT_META_PKTTYPE) {
    load.operand = FixedOperand(meta.size);  // PACKET_HOST, at the output and on lo
  } else {
    load.operand = FieldOperand(meta.field, meta.size, meta.host_order);
  }
  if (*key == NFT_META_PROTOCOL) load.kind = NftLoad::Kind::kEtherType;
  registers_.Set(std::move(load));
  return true;
}

bool NftExpressions::SetMeta(const NftAttributes& attributes) {
  if (attributes.Number(NFTA_META_KEY) != uint32_t{NFT_META_MARK}) return true;
  const std::optional<uint8_t> start = NftRegisters::Start(attributes.Number(NFTA_META_SREG));
  if (!start) return false;
  const NftLoad* load = registers_.Find(*start);
  MarkChange change{.known = false};
  if (load != nullptr && load->size == sizeof(uint32_t)) {
    const Operand& operand = load->operand;
    if (load->kind == NftLoad::Kind::kConstant) {
      change = {true, 0, static_cast<uint32_t>(ToValue(load->constant, true))};
    } else if (operand.host_order && operand.field == Field::kConnectionMark) {
      change = {.keep = 0, .flip = static_cast<uint32_t>(operand.flip), .from_connection = true};
    } else if (operand.host_order && (operand.field == Field::kMark || operand.mask == 0)) {
      change = {true, static_cast<uint32_t>(operand.mask), static_cast<uint32_t>(operand.flip)};
    }
  }
  rule_.steps.emplace_back(change);
  registers_.MarkChanged();
  return true;
}

bool NftExpressions::Conntrack(const NftAttributes& attributes) {
  const std::optional<uint32_t> key = attributes.Number(NFTA_CT_KEY);
  if (!key) return false;
  if (attributes.Has(NFTA_CT_SREG)) {
    if (*key == NFT_CT_MARK) rule_.steps.emplace_back(ConnectionMarkChange{});
    return true;
  }
  const std::optional<uint8_t> start = NftRegisters::Start(attributes.Number(NFTA_CT_DREG));
  if (!start) return false;
  // The rest does not exist without a connection: nft_ct_get_eval() ends the rule.
  if (*key != NFT_CT_STATE) {
    Operand untracked = FieldOperand(Field::kState, 4, true);
    untracked.mask = NF_CT_STATE_INVALID_BIT | NF_CT_STATE_UNTRACKED_BIT;
    AddTest(untracked, Interval{0, 0}, false);
  }
  NftLoad load;
  load.start = *start;
  load.operand = NftConntrackOperand(*key);
  load.size = load.operand.size;
  registers_.Set(std::move(load));
  return true;
}

bool NftExpressions::Fib(const NftAttributes& attributes) {
  const std::optional<uint8_t> start = NftRegisters::Start(attributes.Number(NFTA_FIB_DREG));
  const std::optional<uint32_t> flags = attributes.Number(NFTA_FIB_FLAGS);
  if (!start || !flags) return false;
  // A name is longer, but nothing depends on that.
  Operand operand = UnknownOperand("fib", 4);
  if (attributes.Number(NFTA_FIB_RESULT) == uint32_t{NFT_FIB_RESULT_ADDRTYPE}) {
    // Types of addresses that depend on an interface are not known; a mark does not matter.
    const uint32_t significant = *flags & ~uint32_t{NFTA_FIB_F_MARK};
    if (significant == NFTA_FIB_F_SADDR) operand = FieldOperand(Field::kSourceType, 4, true);
    if (significant == NFTA_FIB_F_DADDR) operand = FieldOperand(Field::kDestinationType, 4, true);
  }
  registers_.Set({.start = *start, .size = operand.size, .operand = operand});
  return true;
}

bool NftExpressions::ExtensionHeader(const NftAttributes& attributes) {
  if (attributes.Has(NFTA_EXTHDR_SREG)) return true;   // TCP options, such as the maximum segment
  if (!attributes.Has(NFTA_EXTHDR_DREG)) return true;  // removes a TCP option
  const uint32_t size = attributes.Number(NFTA_EXTHDR_LEN).value_or(0);
  return LoadUnknown(attributes.Number(NFTA_EXTHDR_DREG), size == 0 ? 1 : size, "exthdr");
}

bool NftExpressions::Inner(const NftAttributes& attributes) {
  // linux/netfilter/nf_tables.h of 6.2: NFTA_INNER_EXPR, a payload or meta expression.
  constexpr uint16_t kInnerExpression = 4;
  static_assert(int{NFTA_PAYLOAD_DREG} == int{NFTA_META_DREG});
  const NftAttributes expression(attributes.Bytes(kInnerExpression));
  const NftAttributes data(expression.Bytes(NFTA_EXPR_DATA));
  const uint32_t size = data.Number(NFTA_PAYLOAD_LEN).value_or(4);
  return LoadUnknown(data.Number(NFTA_PAYLOAD_DREG), size, "inner");
}

bool NftExpressions::Socket(const NftAttributes& attributes) {
  const uint32_t key = attributes.Number(NFTA_SOCKET_KEY).value_or(0);
  const size_t size = key == NFT_SOCKET_CGROUPV2 ? 8 : key == NFT_SOCKET_MARK ? 4 : 1;
  return LoadUnknown(attributes.Number(NFTA_SOCKET_DREG), size, "socket");
}

bool NftExpressions::OsFingerprint(const NftAttributes& attributes) {
  return LoadUnknown(attributes.Number(NFTA_OSF_DREG), 16, "osf");
}

bool NftExpressions::Route(const NftAttributes& attributes) {
  const uint32_t key = attributes.Number(NFTA_RT_KEY).value_or(0);
  return LoadUnknown(attributes.Number(NFTA_RT_DREG), key == NFT_RT_NEXTHOP6 ? 16 : 4, "rt");
}

bool NftExpressions::Xfrm(const NftAttributes& attributes) {
  return LoadUnknown(attributes.Number(NFTA_XFRM_DREG), 4, "xfrm");
}

bool NftExpressions::Tunnel(const NftAttributes& attributes) {
  return LoadUnknown(attributes.Number(NFTA_TUNNEL_DREG), 4, "tunnel");
}

bool NftExpressions::NumberGenerator(const NftAttributes& attributes) {
  const std::optional<uint8_t> start = NftRegisters::Start(attributes.Number(NFTA_NG_DREG));
  if (!start) return false;
  registers_.Set({.start = *start, .size = 4, .operand = FieldOperand(Field::kChance, 4, true)});
  return true;
}

bool NftExpressions::Hash(const NftAttributes& attributes) {
  const std::optional<uint8_t> start = NftRegisters::Start(attributes.Number(NFTA_HASH_DREG));
  if (!start) return false;
  registers_.Set({.start = *start, .size = 4, .operand = FieldOperand(Field::kChance, 4, true)});
  return true;
}

}  // namespace npg::rules
