// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_TESTS_UNIT_DATAPLANE_NFT_INTERPRETER_H_
#define NODEPORT_GUARD_TESTS_UNIT_DATAPLANE_NFT_INTERPRETER_H_

#include <gtest/gtest.h>
#include <netinet/in.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <map>
#include <ostream>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "base/nft_objects.h"
#include "core/port_blocks.h"
#include "dataplane/nft/nft_rule_builder.h"
#include "dataplane/nft/nft_rules.h"

// Evaluates the rules of the table for a packet, and counts what that costs.
namespace npg::dataplane::nft_cost_test {

inline constexpr uint32_t kLo = 1;
inline constexpr uint32_t kEth = 2;
inline constexpr uint32_t kMark = 0x1000;
inline constexpr char kEchoRequest = 8;  // of ICMP

struct Packet {
  uint8_t family = NFPROTO_IPV4;
  uint8_t protocol = IPPROTO_TCP;
  uint32_t output = kLo;
  uint32_t mark = 0;
  std::string network;    // header
  std::string transport;  // header
};

inline std::string Bytes16(uint16_t value) {
  return {static_cast<char>(value >> 8), static_cast<char>(value & 0xff)};
}

// As a part of a key: padded to a word.
inline std::string PaddedPort(uint16_t port) { return Bytes16(port) + std::string(2, '\0'); }

// Both addresses are the loopback address.
inline Packet Ip(uint8_t family, uint8_t protocol, std::string transport) {
  Packet packet;
  packet.family = family;
  packet.protocol = protocol;
  packet.transport = std::move(transport);
  if (family == NFPROTO_IPV4) {
    packet.network = std::string(12, '\0');
    for (int i = 0; i < 2; ++i) packet.network += std::string{127, 0, 0, 1};
  } else {
    packet.network = std::string(8, '\0');
    for (int i = 0; i < 2; ++i) packet.network += std::string(15, '\0') + '\1';
  }
  return packet;
}

inline Packet Tcp(uint8_t family, uint16_t source, uint16_t destination, uint8_t flags) {
  std::string header = Bytes16(source) + Bytes16(destination) + std::string(16, '\x5a');
  header[13] = static_cast<char>(flags);
  return Ip(family, IPPROTO_TCP, header);
}

inline Packet Udp(uint8_t family, uint16_t source, uint16_t destination) {
  return Ip(family, IPPROTO_UDP, Bytes16(source) + Bytes16(destination) + std::string(4, '\x5a'));
}

// An echo request: the checksum is where other protocols have the destination port.
inline Packet Icmp(uint16_t checksum) {
  return Ip(NFPROTO_IPV4, IPPROTO_ICMP,
            std::string{kEchoRequest, 0} + Bytes16(checksum) + std::string(4, '\0'));
}

inline Packet Marked(Packet packet) {
  packet.mark = kMark;
  return packet;
}

inline Packet ToOtherHost(Packet packet) {
  packet.output = kEth;
  return packet;
}

// The expressions that were evaluated for a packet, those included that ended a rule.
struct Cost {
  // By nft_do_chain() itself, without a function call.
  int inlined = 0;
  // Others, without those that follow.
  int called = 0;
  int lookups = 0;
  // Of sets, by `add` or `update`.
  int updates = 0;

  bool operator==(const Cost&) const = default;
};

inline std::ostream& operator<<(std::ostream& out, const Cost& cost) {
  return out << "{" << cost.inlined << ", " << cost.called << ", " << cost.lookups << ", "
             << cost.updates << "}";
}

struct Outcome {
  Cost cost;
  // "accept" or "drop"; then in their order: "notrack", "counted", and the sets that were updated.
  std::string effect;
};

// Evaluates the chain of the hook as the kernel does (net/netfilter/nf_tables_core.c), with sets
// that keep what the rules add. Entries do not expire.
class Table {
 public:
  explicit Table(const core::PortBlocks& blocks) {
    NftRuleFacts facts;
    facts.mark = {kMark, kMark};
    facts.blocks = blocks;
    for (NftChain& chain : MakeChains(facts)) chains_[chain.name] = std::move(chain.rules);
  }

  void Add(const std::string& set, const std::string& key) { sets_[set].insert(key); }

  Outcome Send(const Packet& packet) {
    packet_ = packet;
    cost_ = Cost();
    effect_.clear();
    const bool dropped = Run(std::string(kHookChain)) == Verdict::kDrop;
    return {cost_, (dropped ? "drop" : "accept") + effect_};
  }

 private:
  enum class Verdict { kContinue, kBreak, kAccept, kDrop, kJump, kGoto };

  static constexpr size_t kWord = NFT_REG32_SIZE;

  // The offset of a register in registers_, which leave out that of the verdict.
  static size_t At(uint32_t reg) {
    if (reg < NFT_REG32_00) return (reg - NFT_REG_1) * size_t{NFT_REG_SIZE};
    return (reg - NFT_REG32_00) * kWord;
  }

  static std::string Data(const nftnl_expr* expression, uint16_t attribute) {
    uint32_t size = 0;
    const void* data = nftnl_expr_get(expression, attribute, &size);
    return {static_cast<const char*>(data), size};
  }

  // The kernel clears the rest of the last word.
  void Store(uint32_t reg, const std::string& bytes) {
    const size_t whole = (bytes.size() + kWord - 1) / kWord * kWord;
    std::string padded = bytes;
    padded.resize(whole, '\0');
    registers_.replace(At(reg), whole, padded);
  }

  template <typename T>
  void StoreValue(uint32_t reg, T value) {
    Store(reg, std::string(reinterpret_cast<const char*>(&value), sizeof(value)));
  }

  std::string Load(uint32_t reg, size_t size) const { return registers_.substr(At(reg), size); }

  std::string Key(const std::string& set, uint32_t reg) const {
    const auto* spec = std::find_if(kNftSets.begin(), kNftSets.end(),
                                    [&](const NftSetSpec& each) { return each.name == set; });
    EXPECT_NE(spec, kNftSets.end()) << set;
    return Load(reg, spec->key_length());
  }

  Verdict Run(const std::string& name) {
    const auto chain = chains_.find(name);
    EXPECT_NE(chain, chains_.end()) << name;
    if (chain == chains_.end()) return Verdict::kContinue;
    for (const base::NftnlRule& rule : chain->second) {
      Verdict verdict = EvaluateRule(*rule);
      if (verdict == Verdict::kGoto) return Run(next_);
      if (verdict == Verdict::kJump) verdict = Run(next_);
      if (verdict == Verdict::kAccept || verdict == Verdict::kDrop) return verdict;
    }
    return Verdict::kContinue;
  }

  Verdict EvaluateRule(const nftnl_rule& rule) {
    const std::unique_ptr<nftnl_expr_iter, base::NftnlFree<nftnl_expr_iter_destroy>> expressions(
        nftnl_expr_iter_create(&rule));
    while (const nftnl_expr* expression = nftnl_expr_iter_next(expressions.get())) {
      const Verdict verdict = Evaluate(expression);
      if (verdict != Verdict::kContinue) return verdict;
    }
    return Verdict::kContinue;
  }

  Verdict Evaluate(const nftnl_expr* expression) {
    const absl::string_view name = nftnl_expr_get_str(expression, NFTNL_EXPR_NAME);
    if (name == "payload") return Payload(expression);
    if (name == "bitwise") return Bitwise(expression);
    if (name == "cmp") return Compare(expression);
    if (name == "lookup") return Lookup(expression);
    if (name == "dynset") return Update(expression);
    ++cost_.called;
    if (name == "meta") return Meta(expression);
    if (name == "immediate") return Immediate(expression);
    if (name == "objref") {
      effect_ += " counted";
    } else if (name == "notrack") {
      effect_ += " notrack";
    } else {
      ADD_FAILURE() << "the test does not know the expression " << name;
    }
    return Verdict::kContinue;
  }

  void CountInlinedIf(bool fast) { ++(fast ? cost_.inlined : cost_.called); }

  // nft_payload_fast_ops.
  Verdict Payload(const nftnl_expr* expression) {
    const uint32_t base = nftnl_expr_get_u32(expression, NFTNL_EXPR_PAYLOAD_BASE);
    const uint32_t offset = nftnl_expr_get_u32(expression, NFTNL_EXPR_PAYLOAD_OFFSET);
    const uint32_t size = nftnl_expr_get_u32(expression, NFTNL_EXPR_PAYLOAD_LEN);
    CountInlinedIf((size == 1 || size == 2 || size == 4) && offset % size == 0);
    EXPECT_TRUE(base == NFT_PAYLOAD_NETWORK_HEADER || base == NFT_PAYLOAD_TRANSPORT_HEADER);
    const std::string& header =
        base == NFT_PAYLOAD_NETWORK_HEADER ? packet_.network : packet_.transport;
    if (offset + size > header.size()) return Verdict::kBreak;
    Store(nftnl_expr_get_u32(expression, NFTNL_EXPR_PAYLOAD_DREG), header.substr(offset, size));
    return Verdict::kContinue;
  }

  // nft_bitwise_fast_ops.
  Verdict Bitwise(const nftnl_expr* expression) {
    const std::string mask = Data(expression, NFTNL_EXPR_BITWISE_MASK);
    const std::string flip = Data(expression, NFTNL_EXPR_BITWISE_XOR);
    CountInlinedIf(mask.size() == kWord);
    std::string bytes = Load(nftnl_expr_get_u32(expression, NFTNL_EXPR_BITWISE_SREG), mask.size());
    for (size_t i = 0; i < bytes.size(); ++i) {
      bytes[i] = static_cast<char>((bytes[i] & mask[i]) ^ flip[i]);
    }
    Store(nftnl_expr_get_u32(expression, NFTNL_EXPR_BITWISE_DREG), bytes);
    return Verdict::kContinue;
  }

  // nft_cmp_fast_ops.
  Verdict Compare(const nftnl_expr* expression) {
    const std::string data = Data(expression, NFTNL_EXPR_CMP_DATA);
    const uint32_t op = nftnl_expr_get_u32(expression, NFTNL_EXPR_CMP_OP);
    CountInlinedIf(data.size() <= kWord);
    EXPECT_TRUE(op == NFT_CMP_EQ || op == NFT_CMP_NEQ);
    const bool equal =
        Load(nftnl_expr_get_u32(expression, NFTNL_EXPR_CMP_SREG), data.size()) == data;
    return equal == (op == NFT_CMP_EQ) ? Verdict::kContinue : Verdict::kBreak;
  }

  Verdict Lookup(const nftnl_expr* expression) {
    ++cost_.lookups;
    EXPECT_EQ(nftnl_expr_get_u32(expression, NFTNL_EXPR_LOOKUP_FLAGS), 0U);
    const std::string set = nftnl_expr_get_str(expression, NFTNL_EXPR_LOOKUP_SET);
    const std::string key = Key(set, nftnl_expr_get_u32(expression, NFTNL_EXPR_LOOKUP_SREG));
    return sets_[set].count(key) != 0 ? Verdict::kContinue : Verdict::kBreak;
  }

  Verdict Update(const nftnl_expr* expression) {
    ++cost_.updates;
    const std::string set = nftnl_expr_get_str(expression, NFTNL_EXPR_DYNSET_SET_NAME);
    Add(set, Key(set, nftnl_expr_get_u32(expression, NFTNL_EXPR_DYNSET_SREG_KEY)));
    absl::StrAppend(&effect_, " ", set);
    return Verdict::kContinue;
  }

  Verdict Meta(const nftnl_expr* expression) {
    const uint32_t reg = nftnl_expr_get_u32(expression, NFTNL_EXPR_META_DREG);
    switch (nftnl_expr_get_u32(expression, NFTNL_EXPR_META_KEY)) {
      case NFT_META_OIF:
        StoreValue(reg, packet_.output);
        break;
      case NFT_META_MARK:
        StoreValue(reg, packet_.mark);
        break;
      case NFT_META_L4PROTO:
        StoreValue(reg, packet_.protocol);
        break;
      case NFT_META_NFPROTO:
        StoreValue(reg, packet_.family);
        break;
      default:
        ADD_FAILURE() << "the test does not know this meta key";
    }
    return Verdict::kContinue;
  }

  Verdict Immediate(const nftnl_expr* expression) {
    switch (static_cast<int>(nftnl_expr_get_u32(expression, NFTNL_EXPR_IMM_VERDICT))) {
      case NF_ACCEPT:
        return Verdict::kAccept;
      case NF_DROP:
        return Verdict::kDrop;
      case NFT_JUMP:
        next_ = nftnl_expr_get_str(expression, NFTNL_EXPR_IMM_CHAIN);
        return Verdict::kJump;
      case NFT_GOTO:
        next_ = nftnl_expr_get_str(expression, NFTNL_EXPR_IMM_CHAIN);
        return Verdict::kGoto;
      default:
        ADD_FAILURE() << "the test does not know this verdict";
        return Verdict::kDrop;
    }
  }

  std::map<std::string, std::vector<base::NftnlRule>> chains_;
  std::map<std::string, std::set<std::string>> sets_;

  // Of the packet that is sent.
  Packet packet_;
  Cost cost_;
  std::string effect_;
  std::string next_;  // the chain of the last jump or goto
  std::string registers_ = std::string(4 * NFT_REG_SIZE, '\0');
};

}  // namespace npg::dataplane::nft_cost_test

#endif  // NODEPORT_GUARD_TESTS_UNIT_DATAPLANE_NFT_INTERPRETER_H_
