// SPDX-License-Identifier: Apache-2.0
#include "node/untracked_obstacles.h"

#include <linux/netlink.h>
#include <netinet/in.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "absl/container/btree_map.h"
#include "absl/container/btree_set.h"
#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "base/errno_status.h"
#include "base/netlink_socket.h"
#include "base/nft_generation.h"
#include "base/nft_objects.h"
#include "node/nft_marks.h"
#include "node/nft_queries.h"

// After the headers of libc, which must precede linux/in.h.
#include <linux/netfilter/xt_conntrack.h>

namespace npg::node {
namespace {

// What `ct state` loads for an untracked packet.
constexpr uint32_t kUntracked = NF_CT_STATE_UNTRACKED_BIT;
constexpr uint32_t kLoopbackIfindex = 1;
// Limits for rule sets in which chains jump to each other by the thousand: of all chains that
// are read, and in time.
constexpr size_t kMaxChains = 500;
constexpr absl::Duration kMaxTime = absl::Seconds(1);
constexpr int kMaxDepth = 16;  // the kernel's limit of jumps

std::string OrEmpty(const char* text) { return text == nullptr ? "" : text; }

struct Chain {
  NftTableId table;
  std::string name;

  auto operator<=>(const Chain&) const = default;
};

struct RulePlace {
  Chain chain;
  uint64_t handle = 0;
};

struct BaseChain {
  Chain chain;
  uint32_t hook = 0;
  int32_t priority = 0;
  bool drops = false;  // its policy
  bool nat = false;    // its type
};

// Whether a rule applies to an untracked packet of a connect over lo.
enum class Matches { kYes, kNo, kSome };

// The rules are looked at for packets of IPv4 and of IPv6.
constexpr std::array<uint8_t, 2> kPacketFamilies = {NFPROTO_IPV4, NFPROTO_IPV6};

struct Rule {
  // By index in kPacketFamilies.
  std::array<Matches, kPacketFamilies.size()> matches = {Matches::kYes, Matches::kYes};
  // Whether it can match a tracked packet on lo.
  std::array<bool, kPacketFamilies.size()> of_lo = {true, true};
  // It asks for more than interfaces and addresses (a port, a mark): if it matches some packets,
  // it does not match all of lo.
  bool narrow = false;
  bool asks_state = false;
  bool maps = false;  // looks up a verdict that is not known
  bool sets_zone = false;
  enum class Verdict { kNone, kAccept, kDrop, kJump, kGoto, kReturn } verdict = Verdict::kNone;
  std::string target;  // of kJump and kGoto
  uint64_t handle = 0;
};

Rule::Verdict VerdictOfCode(uint32_t code) {
  switch (static_cast<int32_t>(code)) {
    case NF_ACCEPT:
      return Rule::Verdict::kAccept;
    case NF_DROP:
      return Rule::Verdict::kDrop;
    case NFT_RETURN:
      return Rule::Verdict::kReturn;
    case NFT_JUMP:
      return Rule::Verdict::kJump;
    case NFT_GOTO:
      return Rule::Verdict::kGoto;
    default:
      return Rule::Verdict::kNone;
  }
}

// What a set of states, or a map from states to verdicts, has for `untracked`.
struct UntrackedElement {
  bool listed = false;
  Rule::Verdict verdict = Rule::Verdict::kNone;
  std::string target;
};

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
  // Without it, `untracked` is taken for not listed, as is usual.
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

// Whether packets on the hook have an input interface; otherwise an output interface.
bool Arrives(uint32_t hook) { return hook == NF_INET_PRE_ROUTING || hook == NF_INET_LOCAL_IN; }

// Goes through a rule's expressions as the kernel does, for a packet on the hook.
class Decoder {
 public:
  // Asks `states` what the set of that name has for `untracked`. It outlives the decoder.
  using States = absl::FunctionRef<UntrackedElement(const std::string& set)>;
  Decoder(uint32_t hook, States states) : hook_(hook), states_(states) {}

  Rule Decode(const nftnl_rule& rule) {
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
    if (name == "reject") return Verdict(Rule::Verdict::kDrop);
    if (name == "target" &&
        OrEmpty(nftnl_expr_get_str(expression, NFTNL_EXPR_TG_NAME)) == "REJECT") {
      Verdict(Rule::Verdict::kDrop);
    }
  }

  void Match(size_t family, Matches matches) {
    if (matches == Matches::kNo) rule_.of_lo.at(family) = false;
    Matches& all = rule_.matches.at(family);
    if (all != Matches::kNo && matches != Matches::kYes) all = matches;
  }
  void Match(bool matches) {
    for (size_t i = 0; i < kPacketFamilies.size(); ++i) {
      Match(i, matches ? Matches::kYes : Matches::kNo);
    }
  }
  void MatchSome(const Register& by) {
    rule_.narrow = rule_.narrow || !by.of_place();
    for (size_t i = 0; i < kPacketFamilies.size(); ++i) Match(i, Matches::kSome);
  }
  // By what conntrack knows of a packet.
  void MatchTracking(bool matches) {
    if (!matches) rule_.matches.fill(Matches::kNo);
  }

  void Verdict(Rule::Verdict verdict) { rule_.verdict = verdict; }

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
        Match(i, same == (op == NFT_CMP_EQ) ? Matches::kYes : Matches::kNo);
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
        rule_.verdict = untracked.listed ? untracked.verdict : Rule::Verdict::kAccept;
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
    const Rule::Verdict verdict =
        VerdictOfCode(nftnl_expr_get_u32(expression, NFTNL_EXPR_IMM_VERDICT));
    if (verdict == Rule::Verdict::kNone) return;
    Verdict(verdict);
    if (verdict == Rule::Verdict::kJump || verdict == Rule::Verdict::kGoto) {
      rule_.target = OrEmpty(nftnl_expr_get_str(expression, NFTNL_EXPR_IMM_CHAIN));
    }
  }

  const uint32_t hook_;
  const States states_;
  Rule rule_;
  absl::btree_map<uint32_t, Register> registers_;
};

// iptables' names of base chains. nft users write their own in lower case.
bool IsIptablesChain(absl::string_view name) {
  constexpr std::array<absl::string_view, 5> kNames = {"PREROUTING", "INPUT", "FORWARD", "OUTPUT",
                                                       "POSTROUTING"};
  return std::find(kNames.begin(), kNames.end(), name) != kNames.end();
}

// Those of iptables-nft: all their base chains have its names. The names of the tables do not
// tell, as people call their own "filter" and "nat", too.
absl::btree_set<NftTableId> TablesOfIptables(const std::vector<BaseChain>& bases) {
  absl::btree_set<NftTableId> tables, others;
  for (const BaseChain& base : bases) {
    const uint8_t family = base.chain.table.first;
    const bool its_own =
        (family == NFPROTO_IPV4 || family == NFPROTO_IPV6) && IsIptablesChain(base.chain.name);
    (its_own ? tables : others).insert(base.chain.table);
  }
  absl::erase_if(tables, [&others](const NftTableId& table) { return others.contains(table); });
  return tables;
}

class ObstacleReader {
 public:
  ObstacleReader(base::NetlinkSocket& socket, const std::string& own_table,
                 const ObstacleQuery& query)
      : socket_(socket), own_{NFPROTO_INET, own_table}, query_(query) {}

  absl::StatusOr<std::vector<UntrackedObstacle>> Read() {
    const absl::StatusOr<std::vector<BaseChain>> bases = ListBaseChains();
    if (!bases.ok()) return bases.status();
    of_iptables_ = TablesOfIptables(*bases);
    const absl::Status status = FindAll(*bases);
    if (!status.ok() && (!limited_ || found_.empty())) return status;
    std::stable_partition(found_.begin(), found_.end(),
                          [](const UntrackedObstacle& obstacle) { return obstacle.certain; });
    return std::move(found_);
  }

  // Whether something was left out.
  bool limited() const { return limited_; }

 private:
  absl::Status FindAll(const std::vector<BaseChain>& bases) {
    for (const BaseChain& base : bases) {
      // Chains of type nat do not see untracked packets.
      if (base.nat) continue;
      for (size_t i = 0; i < kPacketFamilies.size(); ++i) {
        const uint8_t family = base.chain.table.first;
        if (family != NFPROTO_INET && family != kPacketFamilies.at(i)) continue;
        if (query_.tracks && MaySetZone(base)) {
          seen_.clear();
          // iptables has no rule that sets a zone after notrack: its target CT leaves untracked
          // packets alone. So only rules that nft users add to its base chains matter there.
          const bool jumps = !of_iptables_.contains(base.chain.table);
          const absl::StatusOr<bool> ended =
              FindZones(base, i, base.chain, jumps ? 0 : kMaxDepth, true);
          if (!ended.ok()) return ended.status();
        }
        if (query_.drops && MayDrop(base)) NPG_RETURN_IF_ERROR(FindDrop(base, i));
      }
    }
    return absl::OkStatus();
  }

  bool Over() const {
    return absl::Now() > end_ ||
           (query_.stop != nullptr && query_.stop->load(std::memory_order_relaxed));
  }

  absl::Status Limited() {
    limited_ = true;
    return absl::UnavailableError(
        absl::StrCat("look for rules in the way of untracked packets: more than ", kMaxChains,
                     " chains, or ", absl::FormatDuration(kMaxTime)));
  }

  // In prerouting, conntrack (-200) takes the packet after a template was set; later, and in
  // input, no packet is tracked any more.
  static bool MaySetZone(const BaseChain& base) {
    return base.hook == NF_INET_LOCAL_OUT || base.hook == NF_INET_POST_ROUTING ||
           (base.hook == NF_INET_PRE_ROUTING && base.priority < NF_IP_PRI_CONNTRACK);
  }

  // In output, a packet is untracked from the guard's own chain on.
  static bool MayDrop(const BaseChain& base) {
    constexpr int32_t kGuardPriority = NF_IP_PRI_RAW - 10;
    return base.hook == NF_INET_PRE_ROUTING || base.hook == NF_INET_LOCAL_IN ||
           base.hook == NF_INET_POST_ROUTING ||
           (base.hook == NF_INET_LOCAL_OUT && base.priority >= kGuardPriority);
  }

  absl::StatusOr<std::vector<BaseChain>> ListBaseChains() {
    std::vector<BaseChain> bases;
    std::array<char, 512> buffer{};
    nlmsghdr* request = nftnl_nlmsg_build_hdr(buffer.data(), NFT_MSG_GETCHAIN, NFPROTO_UNSPEC,
                                              NLM_F_REQUEST | NLM_F_DUMP, 0);
    const absl::Status status = socket_.AskForEach(
        *request, "list the nftables chains", [&bases] { bases.clear(); },
        [&](const nlmsghdr& message) {
          const base::NftnlChain chain(nftnl_chain_alloc());
          if (nftnl_chain_nlmsg_parse(&message, chain.get()) < 0 ||
              !nftnl_chain_is_set(chain.get(), NFTNL_CHAIN_HOOKNUM)) {
            return;
          }
          BaseChain base;
          base.chain = {{static_cast<uint8_t>(nftnl_chain_get_u32(chain.get(), NFTNL_CHAIN_FAMILY)),
                         OrEmpty(nftnl_chain_get_str(chain.get(), NFTNL_CHAIN_TABLE))},
                        OrEmpty(nftnl_chain_get_str(chain.get(), NFTNL_CHAIN_NAME))};
          const uint8_t family = base.chain.table.first;
          if (base.chain.table == own_ ||
              (family != NFPROTO_INET && family != NFPROTO_IPV4 && family != NFPROTO_IPV6)) {
            return;
          }
          base.hook = nftnl_chain_get_u32(chain.get(), NFTNL_CHAIN_HOOKNUM);
          base.priority = nftnl_chain_get_s32(chain.get(), NFTNL_CHAIN_PRIO);
          base.drops = nftnl_chain_get_u32(chain.get(), NFTNL_CHAIN_POLICY) == NF_DROP;
          base.nat = OrEmpty(nftnl_chain_get_str(chain.get(), NFTNL_CHAIN_TYPE)) == "nat";
          bases.push_back(std::move(base));
        });
    if (!status.ok()) return status;
    return bases;
  }

  using Rules = std::shared_ptr<const std::vector<Rule>>;
  // As decoded for hooks on which packets leave, and for those on which they arrive.
  using Decoded = std::array<Rules, 2>;

  absl::StatusOr<Rules> RulesOf(const Chain& chain, uint32_t hook) {
    const size_t side = Arrives(hook) ? 1 : 0;
    if (const auto it = read_.find(chain); it != read_.end()) return it->second.at(side);
    if (read_.size() >= kMaxChains || Over()) return Limited();
    std::vector<Rule> leaving, arriving;
    bool over = false;
    const auto states = [&](const std::string& set) {
      const std::pair<NftTableId, std::string> key(chain.table, set);
      const auto [it, fresh] = states_.try_emplace(key);
      if (fresh) it->second = ReadUntrackedElement(chain.table, set);
      return it->second;
    };
    std::array<char, 1024> buffer{};
    nlmsghdr* request = nftnl_nlmsg_build_hdr(buffer.data(), NFT_MSG_GETRULE, chain.table.first,
                                              NLM_F_REQUEST | NLM_F_DUMP, 0);
    mnl_attr_put_strz(request, NFTA_RULE_TABLE, chain.table.second.c_str());
    mnl_attr_put_strz(request, NFTA_RULE_CHAIN, chain.name.c_str());
    const absl::Status status = socket_.AskForEach(
        *request, absl::StrCat("read the rules of ", Where(chain)),
        [&] {
          leaving.clear();
          arriving.clear();
        },
        [&](const nlmsghdr& message) {
          // A chain that keeps changing is sent again and again.
          over = over || Over();
          if (over) return;
          const base::NftnlRule rule(nftnl_rule_alloc());
          if (nftnl_rule_nlmsg_parse(&message, rule.get()) < 0) return;
          // Kernels that do not filter list all chains.
          if (OrEmpty(nftnl_rule_get_str(rule.get(), NFTNL_RULE_CHAIN)) != chain.name) return;
          leaving.push_back(Decoder(NF_INET_LOCAL_OUT, states).Decode(*rule));
          arriving.push_back(Decoder(NF_INET_LOCAL_IN, states).Decode(*rule));
        });
    if (over) return Limited();
    if (!status.ok() && !absl::IsNotFound(status)) return status;
    const Decoded decoded = {std::make_shared<const std::vector<Rule>>(std::move(leaving)),
                             std::make_shared<const std::vector<Rule>>(std::move(arriving))};
    read_[chain] = decoded;
    return decoded.at(side);
  }

  std::string Where(const Chain& chain) const {
    return absl::StrCat(of_iptables_.contains(chain.table) ? "iptables-nft table " : "nft table ",
                        TableText(chain.table), ", chain ", chain.name);
  }

  // Adds what was found, one of a kind for a chain.
  void Add(UntrackedObstacle obstacle) {
    for (UntrackedObstacle& each : found_) {
      if (each.kind != obstacle.kind || each.where != obstacle.where || each.fix != obstacle.fix) {
        continue;
      }
      if (each.family != obstacle.family) each.family = NFPROTO_INET;
      if (obstacle.certain && !each.certain) {
        each.rule = std::move(obstacle.rule);
        each.certain = true;
      }
      return;
    }
    found_.push_back(std::move(obstacle));
  }

  // True: after the chain, the packet meets no other rule of the hook and priority. `certain`: it
  // comes to the chain for certain.
  absl::StatusOr<bool> FindZones(const BaseChain& base, size_t family, const Chain& chain,
                                 int depth, bool certain) {
    if (depth > kMaxDepth) return false;
    const auto [seen, fresh] = seen_.try_emplace(chain, certain);
    if (!fresh && (seen->second || !certain)) return false;
    seen->second = certain;
    const absl::StatusOr<Rules> rules = RulesOf(chain, base.hook);
    if (!rules.ok()) return rules.status();
    for (const Rule& rule : **rules) {
      const Matches matches = rule.matches.at(family);
      if (matches == Matches::kNo) continue;
      const bool surely = certain && matches == Matches::kYes;
      if (rule.sets_zone) {
        Add({UntrackedObstacle::Kind::kTracks, Where(chain),
             absl::StrCat(surely ? "sets" : "may set", " a conntrack zone (handle ", rule.handle,
                          ")"),
             absl::StrCat("nft insert rule ", TableText(chain.table), " ", chain.name,
                          Arrives(base.hook) ? " iif lo" : " oif lo", " return"),
             surely, kPacketFamilies.at(family)});
        if (surely) return false;
      }
      if (!rule.target.empty()) {
        const absl::StatusOr<bool> ended =
            FindZones(base, family, {chain.table, rule.target}, depth + 1, surely);
        if (!ended.ok()) return ended.status();
        if (*ended && matches == Matches::kYes) return true;
      }
      if (matches == Matches::kYes) {
        if (rule.verdict == Rule::Verdict::kAccept || rule.verdict == Rule::Verdict::kDrop) {
          return true;
        }
        if (rule.verdict == Rule::Verdict::kReturn || rule.verdict == Rule::Verdict::kGoto) break;
      } else if (MayTakeAll(rule)) {
        certain = false;
      }
    }
    return false;
  }

  // Whether a rule that matches some packets may keep all of lo from the rules behind it.
  static bool MayTakeAll(const Rule& rule) {
    return !rule.narrow && (rule.maps || (rule.verdict != Rule::Verdict::kNone &&
                                          rule.verdict != Rule::Verdict::kJump));
  }

  enum class Fate { kAccepted, kDropped, kNext };
  // What becomes of an untracked packet on lo in a chain.
  struct Passage {
    Fate fate = Fate::kNext;
    bool asks_state = false;  // a rule on the way accepts by state
    bool by_state = false;    // the rule that drops it asks for the state
    bool certain = true;      // no rule before may have accepted it
    std::optional<RulePlace> dropped_by;
    std::optional<RulePlace> maybe;  // the first rule that drops some packets by their state
  };

  // Walks each chain once, since several jumps may lead to it.
  absl::StatusOr<Passage> Walk(uint32_t hook, size_t family, const Chain& chain, int depth) {
    const auto key = std::tuple(Arrives(hook), family, chain);
    if (const auto it = walked_.find(key); it != walked_.end()) return it->second;
    Passage passage;
    if (depth > kMaxDepth) return passage;
    walked_[key] = passage;  // for a circle, which a change during the walk can feign
    const absl::StatusOr<Rules> rules = RulesOf(chain, hook);
    if (!rules.ok()) return rules.status();
    for (const Rule& rule : **rules) {
      if (rule.asks_state && rule.of_lo.at(family) && rule.verdict == Rule::Verdict::kAccept) {
        passage.asks_state = true;
      }
      const Matches matches = rule.matches.at(family);
      if (matches == Matches::kNo) continue;
      Passage inner;
      if (!rule.target.empty()) {
        const absl::StatusOr<Passage> walked =
            Walk(hook, family, {chain.table, rule.target}, depth + 1);
        if (!walked.ok()) return walked.status();
        inner = *walked;
      } else if (rule.verdict == Rule::Verdict::kAccept) {
        inner.fate = Fate::kAccepted;
      } else if (rule.verdict == Rule::Verdict::kDrop) {
        inner.fate = Fate::kDropped;
        inner.by_state = rule.asks_state;
        inner.dropped_by = RulePlace{chain, rule.handle};
      }
      if (!passage.maybe) passage.maybe = inner.maybe;
      if (matches == Matches::kSome) {
        if (!passage.maybe && inner.by_state) passage.maybe = inner.dropped_by;
        // A rule by interfaces may not be for lo at all.
        if (rule.narrow) passage.asks_state = passage.asks_state || inner.asks_state;
        if (MayTakeAll(rule) || (!rule.narrow && inner.fate == Fate::kAccepted)) {
          passage.certain = false;
        }
        continue;
      }
      passage.asks_state = passage.asks_state || inner.asks_state;
      passage.certain = passage.certain && inner.certain;
      passage.fate = inner.fate;
      passage.by_state = inner.by_state;
      passage.dropped_by = inner.dropped_by;
      if (passage.fate != Fate::kNext || rule.verdict == Rule::Verdict::kReturn ||
          rule.verdict == Rule::Verdict::kGoto) {
        break;
      }
    }
    walked_[key] = passage;
    return passage;
  }

  static std::string Named(const RulePlace& place, const BaseChain& base) {
    return absl::StrCat(
        place.chain == base.chain ? "" : absl::StrCat("chain ", place.chain.name, ", "), "handle ",
        place.handle);
  }

  absl::Status FindDrop(const BaseChain& base, size_t family) {
    const absl::StatusOr<Passage> passage = Walk(base.hook, family, base.chain, 0);
    if (!passage.ok()) return passage.status();
    const bool drops =
        passage->fate == Fate::kDropped || (passage->fate == Fate::kNext && base.drops);
    std::string rule;
    bool certain = passage->certain;
    if (drops && passage->by_state) {
      rule = absl::StrCat(certain ? "drops" : "may drop", " untracked packets (",
                          Named(*passage->dropped_by, base), ")");
    } else if (drops && passage->asks_state) {
      // Without a rule about states, tracked packets are dropped as well.
      rule = absl::StrCat(
          "accepts by connection state and ", certain ? "drops" : "may drop",
          " untracked packets of lo (",
          passage->dropped_by ? Named(*passage->dropped_by, base) : std::string("its policy"), ")");
    } else if (passage->maybe) {
      certain = false;
      rule = absl::StrCat("may drop untracked packets (", Named(*passage->maybe, base), ")");
    } else {
      return absl::OkStatus();
    }
    Add({UntrackedObstacle::Kind::kDrops, Where(base.chain), std::move(rule), AcceptFix(base),
         certain, kPacketFamilies.at(family)});
    return absl::OkStatus();
  }

  // A rule that accepts packets of lo.
  std::string AcceptFix(const BaseChain& base) const {
    const NftTableId& table = base.chain.table;
    const bool in = Arrives(base.hook);
    if (!of_iptables_.contains(table)) {
      return absl::StrCat("nft insert rule ", TableText(table), " ", base.chain.name,
                          in ? " iif lo" : " oif lo", " accept (or ct state untracked accept)");
    }
    return absl::StrCat(table.first == NFPROTO_IPV6 ? "ip6tables" : "iptables",
                        table.second == "filter" ? "" : absl::StrCat(" -t ", table.second), " -I ",
                        base.chain.name, in ? " -i lo" : " -o lo", " -j ACCEPT");
  }

  base::NetlinkSocket& socket_;
  const NftTableId own_;
  const ObstacleQuery query_;
  const absl::Time end_ = absl::Now() + kMaxTime;
  absl::btree_set<NftTableId> of_iptables_;
  absl::btree_map<Chain, Decoded> read_;
  absl::btree_map<std::pair<NftTableId, std::string>, UntrackedElement> states_;  // by set
  // By whether packets arrive on the hook, and the index of the family.
  absl::btree_map<std::tuple<bool, size_t, Chain>, Passage> walked_;
  // From one base chain: whether a packet comes there for certain.
  absl::btree_map<Chain, bool> seen_;
  bool limited_ = false;
  std::vector<UntrackedObstacle> found_;
};

}  // namespace

absl::StatusOr<std::vector<UntrackedObstacle>> ReadUntrackedObstacles(
    const std::string& own_table) {
  return ObstacleCache().Read(own_table, {});
}

absl::StatusOr<std::vector<UntrackedObstacle>> ObstacleCache::Read(const std::string& own_table,
                                                                   const ObstacleQuery& query) {
  absl::StatusOr<base::NetlinkSocket> socket = base::NetlinkSocket::Open(NETLINK_NETFILTER);
  if (!socket.ok()) return socket.status();
  const auto tables = ListNftTables(*socket);
  if (absl::IsUnimplemented(tables.status())) return std::vector<UntrackedObstacle>();
  if (!tables.ok()) return NameCapability(tables.status());
  const absl::StatusOr<uint32_t> before = base::NftGeneration(*socket);
  if (last_ && before.ok() && last_->generation == *before && last_->tracks == query.tracks &&
      last_->drops == query.drops) {
    return last_->obstacles;
  }
  last_.reset();
  ObstacleReader reader(*socket, own_table, query);
  absl::StatusOr<std::vector<UntrackedObstacle>> found = reader.Read();
  if (!found.ok() || reader.limited() || !before.ok()) return found;
  // The rules may have changed meanwhile.
  const absl::StatusOr<uint32_t> after = base::NftGeneration(*socket);
  if (after.ok() && *after == *before) last_ = Found{*before, query.tracks, query.drops, *found};
  return found;
}

std::vector<UntrackedObstacle> OfFamilies(std::vector<UntrackedObstacle> obstacles, bool v4,
                                          bool v6) {
  std::erase_if(obstacles, [v4, v6](const UntrackedObstacle& obstacle) {
    return (obstacle.family == NFPROTO_IPV4 && !v4) || (obstacle.family == NFPROTO_IPV6 && !v6);
  });
  return obstacles;
}

void LastObstacles::Set(std::vector<UntrackedObstacle> obstacles) {
  const std::lock_guard lock(mutex_);
  obstacles_ = std::move(obstacles);
}

std::vector<UntrackedObstacle> LastObstacles::Get() const {
  const std::lock_guard lock(mutex_);
  return obstacles_;
}

std::string ToString(const UntrackedObstacle& obstacle) {
  return absl::StrCat(obstacle.where, " ", obstacle.rule);
}

}  // namespace npg::node
