// SPDX-License-Identifier: Apache-2.0
#include "node/loopback_rules.h"

#include <linux/netlink.h>
#include <netinet/in.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <string>
#include <utility>

#include "absl/container/btree_map.h"
#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/string_view.h"
#include "base/nft_objects.h"
#include "node/nft_queries.h"
#include "node/nft_tables.h"

// After the headers of libc, which must precede linux/in.h.
#include <linux/netfilter/xt_conntrack.h>

namespace npg::node {
namespace {

// What `ct state` loads for an untracked packet.
constexpr uint32_t kUntracked = NF_CT_STATE_UNTRACKED_BIT;
constexpr uint32_t kLoopbackIfindex = 1;

std::string OrEmpty(const char* text) { return text == nullptr ? "" : text; }

LoopbackRule::Verdict VerdictOfCode(uint32_t code) {
  switch (static_cast<int32_t>(code)) {
    case NF_ACCEPT:
      return LoopbackRule::Verdict::kAccept;
    case NF_DROP:
      return LoopbackRule::Verdict::kDrop;
    case NFT_RETURN:
      return LoopbackRule::Verdict::kReturn;
    case NFT_JUMP:
      return LoopbackRule::Verdict::kJump;
    case NFT_GOTO:
      return LoopbackRule::Verdict::kGoto;
    default:
      return LoopbackRule::Verdict::kNone;
  }
}

// Goes through a rule's expressions as the kernel does, for a packet on the hook.
class Decoder {
 public:
  // `states` outlives the decoder.
  using States = absl::FunctionRef<UntrackedElement(const std::string& set)>;
  Decoder(uint32_t hook, States states) : hook_(hook), states_(states) {}

  LoopbackRule Decode(const nftnl_rule& rule) {
    rule_.handle = nftnl_rule_get_u64(&rule, NFTNL_RULE_HANDLE);
    // libnftnl's iterators take no const rule, and change none.
    auto* expressions = nftnl_expr_iter_create(const_cast<nftnl_rule*>(&rule));
    if (expressions == nullptr) return rule_;
    for (nftnl_expr* each = nftnl_expr_iter_next(expressions); each != nullptr;
         each = nftnl_expr_iter_next(expressions)) {
      Visit(each);
    }
    nftnl_expr_iter_destroy(expressions);
    return std::move(rule_);
  }

 private:
  struct Register {
    enum class Kind {
      kOther,
      kIndex,
      kName,
      kState,
      kFamily,
      kAddress4,
      kAddress6,
      kPlace,  // what kind of address it is
    } kind = Kind::kOther;
    bool loopback = false;         // kIndex, kName: of lo, rather than of no interface
    uint32_t mask = ~uint32_t{0};  // kState
    uint32_t flip = 0;

    // Rules by such a value may be for all packets of lo.
    bool of_place() const {
      return kind == Kind::kIndex || kind == Kind::kName || kind == Kind::kAddress4 ||
             kind == Kind::kAddress6 || kind == Kind::kPlace;
    }
  };

  void Visit(const nftnl_expr* expression) {
    const std::string name = OrEmpty(nftnl_expr_get_str(expression, NFTNL_EXPR_NAME));
    if (name == "meta") return Meta(expression);
    if (name == "ct") return Ct(expression);
    if (name == "payload") return Payload(expression);
    if (name == "bitwise") return Bitwise(expression);
    if (name == "cmp") return Compare(expression);
    if (name == "lookup") return Lookup(expression);
    if (name == "range") return MatchSome(Of(expression, NFTNL_EXPR_RANGE_SREG));
    if (name == "fib") {
      Of(expression, NFTNL_EXPR_FIB_DREG) = {.kind = Register::Kind::kPlace};
      return;
    }
    if (name == "limit" || name == "socket" || name == "osf" || name == "quota" ||
        name == "connlimit" || name == "numgen" || name == "hash") {
      return MatchSome({});
    }
    if (name == "match") return ExtensionMatch(expression);
    if (name == "immediate") return Immediate(expression);
    if (name == "reject") return Verdict(LoopbackRule::Verdict::kDrop);
    if (name == "target" &&
        OrEmpty(nftnl_expr_get_str(expression, NFTNL_EXPR_TG_NAME)) == "REJECT") {
      Verdict(LoopbackRule::Verdict::kDrop);
    }
  }

  void Match(size_t family, RuleMatches matches) {
    if (matches == RuleMatches::kNo) rule_.of_lo.at(family) = false;
    RuleMatches& all = rule_.matches.at(family);
    if (all != RuleMatches::kNo && matches != RuleMatches::kYes) all = matches;
  }
  void Match(bool matches) {
    for (size_t i = 0; i < kPacketFamilies.size(); ++i) {
      Match(i, matches ? RuleMatches::kYes : RuleMatches::kNo);
    }
  }
  void MatchSome(const Register& by) {
    rule_.narrow = rule_.narrow || !by.of_place();
    for (size_t i = 0; i < kPacketFamilies.size(); ++i) Match(i, RuleMatches::kSome);
  }
  // By what conntrack knows of a packet.
  void MatchTracking(bool matches) {
    if (!matches) rule_.matches.fill(RuleMatches::kNo);
  }

  void Verdict(LoopbackRule::Verdict verdict) { rule_.verdict = verdict; }

  Register& Of(const nftnl_expr* expression, uint16_t attribute) {
    return registers_[nftnl_expr_get_u32(expression, attribute)];
  }

  void Meta(const nftnl_expr* expression) {
    if (!nftnl_expr_is_set(expression, NFTNL_EXPR_META_DREG)) return;
    Register& to = Of(expression, NFTNL_EXPR_META_DREG);
    to = {};
    const uint32_t key = nftnl_expr_get_u32(expression, NFTNL_EXPR_META_KEY);
    if (key == NFT_META_NFPROTO) to.kind = Register::Kind::kFamily;
    const bool in = key == NFT_META_IIF || key == NFT_META_IIFNAME;
    const bool out = key == NFT_META_OIF || key == NFT_META_OIFNAME;
    if (!in && !out) return;
    to.kind =
        key == NFT_META_IIF || key == NFT_META_OIF ? Register::Kind::kIndex : Register::Kind::kName;
    to.loopback = in == Arrives(hook_);
  }

  void Ct(const nftnl_expr* expression) {
    const uint32_t key = nftnl_expr_get_u32(expression, NFTNL_EXPR_CT_KEY);
    if (nftnl_expr_is_set(expression, NFTNL_EXPR_CT_SREG)) {
      rule_.sets_zone = rule_.sets_zone || key == NFT_CT_ZONE;
      return;
    }
    Register& to = Of(expression, NFTNL_EXPR_CT_DREG);
    to = {};
    if (key == NFT_CT_STATE) to.kind = Register::Kind::kState;
    // Nothing else of conntrack is known of an untracked packet: the rule does not match.
    if (key != NFT_CT_STATE) MatchTracking(false);
  }

  void Payload(const nftnl_expr* expression) {
    if (!nftnl_expr_is_set(expression, NFTNL_EXPR_PAYLOAD_DREG)) return;
    Register& to = Of(expression, NFTNL_EXPR_PAYLOAD_DREG);
    to = {};
    if (nftnl_expr_get_u32(expression, NFTNL_EXPR_PAYLOAD_BASE) != NFT_PAYLOAD_NETWORK_HEADER) {
      return;
    }
    const uint32_t offset = nftnl_expr_get_u32(expression, NFTNL_EXPR_PAYLOAD_OFFSET);
    const uint32_t size = nftnl_expr_get_u32(expression, NFTNL_EXPR_PAYLOAD_LEN);
    // Of the source, the destination. A prefix of whole bytes is loaded alone.
    if ((offset == 12 || offset == 16) && size <= sizeof(in_addr)) {
      to.kind = Register::Kind::kAddress4;
    } else if ((offset == 8 || offset == 24) && size <= sizeof(in6_addr)) {
      to.kind = Register::Kind::kAddress6;
    }
  }

  static std::optional<uint32_t> Word(const nftnl_expr* expression, uint16_t attribute) {
    uint32_t size = 0, word = 0;
    const void* data = nftnl_expr_get(expression, attribute, &size);
    if (data == nullptr || size != sizeof(word)) return std::nullopt;
    std::memcpy(&word, data, sizeof(word));
    return word;
  }

  void Bitwise(const nftnl_expr* expression) {
    Register from = Of(expression, NFTNL_EXPR_BITWISE_SREG);
    const std::optional<uint32_t> mask = Word(expression, NFTNL_EXPR_BITWISE_MASK);
    const std::optional<uint32_t> flip = Word(expression, NFTNL_EXPR_BITWISE_XOR);
    if (from.kind == Register::Kind::kState && mask && flip) {
      from.mask &= *mask;
      from.flip = (from.flip & *mask) ^ *flip;
    } else if (from.kind != Register::Kind::kAddress4) {
      from = {};
    }
    Of(expression, NFTNL_EXPR_BITWISE_DREG) = from;
  }

  void Compare(const nftnl_expr* expression) {
    const Register& from = Of(expression, NFTNL_EXPR_CMP_SREG);
    const uint32_t op = nftnl_expr_get_u32(expression, NFTNL_EXPR_CMP_OP);
    rule_.asks_state = rule_.asks_state || from.kind == Register::Kind::kState;
    uint32_t size = 0;
    const auto* data =
        static_cast<const char*>(nftnl_expr_get(expression, NFTNL_EXPR_CMP_DATA, &size));
    if (from.kind == Register::Kind::kOther || from.kind == Register::Kind::kPlace ||
        data == nullptr || size == 0 || (op != NFT_CMP_EQ && op != NFT_CMP_NEQ)) {
      return MatchSome(from);
    }
    if (from.kind == Register::Kind::kFamily) {
      for (size_t i = 0; i < kPacketFamilies.size(); ++i) {
        const bool same = static_cast<uint8_t>(data[0]) == kPacketFamilies.at(i);
        Match(i, same == (op == NFT_CMP_EQ) ? RuleMatches::kYes : RuleMatches::kNo);
      }
      return;
    }
    bool equal = false;
    if (from.kind == Register::Kind::kName) {
      // Without its NUL, it is a prefix.
      const std::string value = from.loopback ? std::string("lo\0", 3) : std::string(1, '\0');
      equal =
          absl::StartsWith(value, absl::string_view(data, std::min<size_t>(size, value.size())));
    } else if (from.kind == Register::Kind::kAddress4) {
      equal = data[0] == 127;
      if (equal && size == sizeof(uint32_t) && data[3] != 0) return MatchSome(from);
    } else if (from.kind == Register::Kind::kAddress6) {
      const absl::string_view loopback(reinterpret_cast<const char*>(&in6addr_loopback),
                                       sizeof(in6addr_loopback));
      equal = absl::StartsWith(loopback, absl::string_view(data, size));
    } else {
      const std::optional<uint32_t> word = Word(expression, NFTNL_EXPR_CMP_DATA);
      if (!word) return MatchSome(from);
      const bool state = from.kind == Register::Kind::kState;
      const uint32_t value =
          state ? (kUntracked & from.mask) ^ from.flip : (from.loopback ? kLoopbackIfindex : 0);
      equal = value == *word;
      if (state) return MatchTracking(equal == (op == NFT_CMP_EQ));
    }
    Match(equal == (op == NFT_CMP_EQ));
  }

  // Of the elements, only those of sets of states are read.
  void Lookup(const nftnl_expr* expression) {
    const Register from = Of(expression, NFTNL_EXPR_LOOKUP_SREG);
    const bool state = from.kind == Register::Kind::kState;
    rule_.asks_state = rule_.asks_state || state;
    const bool inverted = nftnl_expr_is_set(expression, NFTNL_EXPR_LOOKUP_FLAGS) &&
                          nftnl_expr_get_u32(expression, NFTNL_EXPR_LOOKUP_FLAGS) != 0;
    const UntrackedElement untracked =
        state ? states_(OrEmpty(nftnl_expr_get_str(expression, NFTNL_EXPR_LOOKUP_SET)))
              : UntrackedElement();
    if (nftnl_expr_is_set(expression, NFTNL_EXPR_LOOKUP_DREG)) {
      const uint32_t to = nftnl_expr_get_u32(expression, NFTNL_EXPR_LOOKUP_DREG);
      rule_.maps = rule_.maps || to == NFT_REG_VERDICT;
      if (state && to == NFT_REG_VERDICT) {
        // Some other state is accepted.
        rule_.verdict = untracked.listed ? untracked.verdict : LoopbackRule::Verdict::kAccept;
        rule_.target = untracked.target;
      }
      registers_[to] = {};
    }
    if (state) {
      MatchTracking(untracked.listed != inverted);
    } else {
      MatchSome(from);
    }
  }

  // Of iptables-nft.
  void ExtensionMatch(const nftnl_expr* expression) {
    const std::string name = OrEmpty(nftnl_expr_get_str(expression, NFTNL_EXPR_MT_NAME));
    if (name == "comment") return;
    constexpr uint32_t kRevision = 3;
    uint32_t size = 0;
    const void* data = nftnl_expr_get(expression, NFTNL_EXPR_MT_INFO, &size);
    xt_conntrack_mtinfo3 info{};
    if (name != "conntrack" || data == nullptr || size < sizeof(info) ||
        nftnl_expr_get_u32(expression, NFTNL_EXPR_MT_REV) != kRevision) {
      const bool place = name == "addrtype" || name == "set";
      return MatchSome({.kind = place ? Register::Kind::kPlace : Register::Kind::kOther});
    }
    std::memcpy(&info, data, sizeof(info));
    const bool asks = (info.match_flags & XT_CONNTRACK_STATE) != 0;
    rule_.asks_state = rule_.asks_state || asks;
    // As in conntrack_mt(): of an untracked packet, only the state is looked at.
    const bool listed = (info.state_mask & XT_CONNTRACK_STATE_UNTRACKED) != 0;
    MatchTracking(asks && listed != ((info.invert_flags & XT_CONNTRACK_STATE) != 0));
  }

  void Immediate(const nftnl_expr* expression) {
    if (!nftnl_expr_is_set(expression, NFTNL_EXPR_IMM_VERDICT)) {
      Of(expression, NFTNL_EXPR_IMM_DREG) = {};
      return;
    }
    const LoopbackRule::Verdict verdict =
        VerdictOfCode(nftnl_expr_get_u32(expression, NFTNL_EXPR_IMM_VERDICT));
    if (verdict == LoopbackRule::Verdict::kNone) return;
    Verdict(verdict);
    if (verdict == LoopbackRule::Verdict::kJump || verdict == LoopbackRule::Verdict::kGoto) {
      rule_.target = OrEmpty(nftnl_expr_get_str(expression, NFTNL_EXPR_IMM_CHAIN));
    }
  }

  const uint32_t hook_;
  const States states_;
  LoopbackRule rule_;
  absl::btree_map<uint32_t, Register> registers_;
};

}  // namespace

bool IsOfIp(const NftTableId& table) {
  return table.first == NFPROTO_INET || table.first == NFPROTO_IPV4 || table.first == NFPROTO_IPV6;
}

UntrackedElement ReadUntrackedElement(const NftTableId& table, const std::string& set) {
  UntrackedElement found;
  const auto visit = [](nftnl_set_elem* element, void* data) {
    uint32_t size = 0, state = 0;
    const void* key = nftnl_set_elem_get(element, NFTNL_SET_ELEM_KEY, &size);
    if (key == nullptr || size != sizeof(state)) return 0;
    std::memcpy(&state, key, sizeof(state));
    if (state != kUntracked) return 0;
    auto* to = static_cast<UntrackedElement*>(data);
    to->listed = true;
    if (nftnl_set_elem_is_set(element, NFTNL_SET_ELEM_VERDICT)) {
      to->verdict = VerdictOfCode(nftnl_set_elem_get_u32(element, NFTNL_SET_ELEM_VERDICT));
      to->target = OrEmpty(nftnl_set_elem_get_str(element, NFTNL_SET_ELEM_CHAIN));
    }
    return 0;
  };
  ListMap(
      table.first, table.second, set, [&found] { found = {}; },
      [&](const nlmsghdr& message) {
        const base::NftnlSet elements(nftnl_set_alloc());
        if (nftnl_set_elems_nlmsg_parse(&message, elements.get()) < 0) return;
        nftnl_set_elem_foreach(elements.get(), visit, &found);
      })
      .IgnoreError();
  return found;
}

bool Arrives(uint32_t hook) { return hook == NF_INET_PRE_ROUTING || hook == NF_INET_LOCAL_IN; }

std::optional<NftBaseChain> DecodeBaseChain(const nlmsghdr& message) {
  const base::NftnlChain chain(nftnl_chain_alloc());
  if (nftnl_chain_nlmsg_parse(&message, chain.get()) < 0 ||
      !nftnl_chain_is_set(chain.get(), NFTNL_CHAIN_HOOKNUM)) {
    return std::nullopt;
  }
  NftBaseChain base;
  base.chain = {{static_cast<uint8_t>(nftnl_chain_get_u32(chain.get(), NFTNL_CHAIN_FAMILY)),
                 OrEmpty(nftnl_chain_get_str(chain.get(), NFTNL_CHAIN_TABLE))},
                OrEmpty(nftnl_chain_get_str(chain.get(), NFTNL_CHAIN_NAME))};
  base.hook = nftnl_chain_get_u32(chain.get(), NFTNL_CHAIN_HOOKNUM);
  base.priority = nftnl_chain_get_s32(chain.get(), NFTNL_CHAIN_PRIO);
  base.drops = nftnl_chain_get_u32(chain.get(), NFTNL_CHAIN_POLICY) == NF_DROP;
  base.nat = OrEmpty(nftnl_chain_get_str(chain.get(), NFTNL_CHAIN_TYPE)) == "nat";
  return base;
}

std::optional<LoopbackRules> DecodeRule(
    const nlmsghdr& message, const std::string& chain,
    absl::FunctionRef<UntrackedElement(const std::string& set)> states) {
  const base::NftnlRule rule(nftnl_rule_alloc());
  if (nftnl_rule_nlmsg_parse(&message, rule.get()) < 0 ||
      OrEmpty(nftnl_rule_get_str(rule.get(), NFTNL_RULE_CHAIN)) != chain) {
    return std::nullopt;
  }
  return LoopbackRules{.leaving = Decoder(NF_INET_LOCAL_OUT, states).Decode(*rule),
                       .arriving = Decoder(NF_INET_LOCAL_IN, states).Decode(*rule)};
}

}  // namespace npg::node
