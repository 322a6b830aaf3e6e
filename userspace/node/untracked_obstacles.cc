// SPDX-License-Identifier: Apache-2.0
#include "node/untracked_obstacles.h"

#include <linux/netlink.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/btree_map.h"
#include "absl/container/btree_set.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "base/errno_status.h"
#include "base/netlink_socket.h"
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

struct BaseChain {
  Chain chain;
  uint32_t hook = 0;
  int32_t priority = 0;
  bool drops = false;  // its policy
  bool nat = false;    // its type
};

// Whether a rule applies to an untracked packet on lo.
enum class Matches { kYes, kNo, kSome };

struct Rule {
  Matches matches = Matches::kYes;
  bool asks_state = false;
  bool sets_zone = false;
  enum class Verdict { kNone, kAccept, kDrop, kJump, kGoto, kReturn } verdict = Verdict::kNone;
  std::string target;  // of kJump and kGoto
  uint64_t handle = 0;
};

// Whether packets on the hook have an input interface; otherwise an output interface.
bool Arrives(uint32_t hook) { return hook == NF_INET_PRE_ROUTING || hook == NF_INET_LOCAL_IN; }

// Goes through a rule's expressions as the kernel does, for a packet on the hook.
class Decoder {
 public:
  explicit Decoder(uint32_t hook) : hook_(hook) {}

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
    enum class Kind { kOther, kIndex, kName, kState, kAddress4 } kind = Kind::kOther;
    bool loopback = false;         // kIndex, kName: of lo, rather than of no interface
    uint32_t mask = ~uint32_t{0};  // kState
    uint32_t flip = 0;
  };

  void Visit(const nftnl_expr* expression) {
    const std::string name = OrEmpty(nftnl_expr_get_str(expression, NFTNL_EXPR_NAME));
    if (name == "meta") return Meta(expression);
    if (name == "ct") return Ct(expression);
    if (name == "payload") return Payload(expression);
    if (name == "bitwise") return Bitwise(expression);
    if (name == "cmp") return Compare(expression);
    if (name == "lookup") return Lookup(expression);
    if (name == "range") return Match(Matches::kSome);
    if (name == "limit" || name == "fib" || name == "socket" || name == "osf" || name == "quota" ||
        name == "connlimit" || name == "numgen" || name == "hash") {
      return Match(Matches::kSome);
    }
    if (name == "match") return ExtensionMatch(expression);
    if (name == "immediate") return Immediate(expression);
    if (name == "reject") return Verdict(Rule::Verdict::kDrop);
    if (name == "target" &&
        OrEmpty(nftnl_expr_get_str(expression, NFTNL_EXPR_TG_NAME)) == "REJECT") {
      Verdict(Rule::Verdict::kDrop);
    }
  }

  void Match(Matches matches) {
    if (rule_.matches == Matches::kNo) return;
    if (matches != Matches::kYes) rule_.matches = matches;
  }
  void Match(bool matches) { Match(matches ? Matches::kYes : Matches::kNo); }

  void Verdict(Rule::Verdict verdict) { rule_.verdict = verdict; }

  Register& Of(const nftnl_expr* expression, uint16_t attribute) {
    return registers_[nftnl_expr_get_u32(expression, attribute)];
  }

  void Meta(const nftnl_expr* expression) {
    if (!nftnl_expr_is_set(expression, NFTNL_EXPR_META_DREG)) return;
    Register& to = Of(expression, NFTNL_EXPR_META_DREG);
    to = {};
    const uint32_t key = nftnl_expr_get_u32(expression, NFTNL_EXPR_META_KEY);
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
    if (key != NFT_CT_STATE) Match(Matches::kNo);
  }

  void Payload(const nftnl_expr* expression) {
    if (!nftnl_expr_is_set(expression, NFTNL_EXPR_PAYLOAD_DREG)) return;
    Register& to = Of(expression, NFTNL_EXPR_PAYLOAD_DREG);
    to = {};
    const uint32_t offset = nftnl_expr_get_u32(expression, NFTNL_EXPR_PAYLOAD_OFFSET);
    const bool address = offset == 12 || offset == 16;  // of the source, the destination
    if (nftnl_expr_get_u32(expression, NFTNL_EXPR_PAYLOAD_BASE) == NFT_PAYLOAD_NETWORK_HEADER &&
        address && nftnl_expr_get_u32(expression, NFTNL_EXPR_PAYLOAD_LEN) <= sizeof(uint32_t)) {
      to.kind = Register::Kind::kAddress4;
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
    if (from.kind == Register::Kind::kOther || data == nullptr ||
        (op != NFT_CMP_EQ && op != NFT_CMP_NEQ)) {
      return Match(Matches::kSome);
    }
    bool equal = false;
    if (from.kind == Register::Kind::kName) {
      // Without its NUL, it is a prefix.
      const std::string value = from.loopback ? std::string("lo\0", 3) : std::string(1, '\0');
      equal =
          absl::StartsWith(value, absl::string_view(data, std::min<size_t>(size, value.size())));
    } else if (from.kind == Register::Kind::kAddress4) {
      if (size == 0) return Match(Matches::kSome);
      equal = data[0] == 127;
      if (equal && size == sizeof(uint32_t) && data[3] != 0) return Match(Matches::kSome);
    } else {
      const std::optional<uint32_t> word = Word(expression, NFTNL_EXPR_CMP_DATA);
      if (!word) return Match(Matches::kSome);
      const uint32_t value = from.kind == Register::Kind::kState
                                 ? (kUntracked & from.mask) ^ from.flip
                                 : (from.loopback ? kLoopbackIfindex : 0);
      equal = value == *word;
    }
    Match(equal == (op == NFT_CMP_EQ));
  }

  // The elements are not read. Sets of states that a rule accepts or drops rarely have
  // `untracked` among them.
  void Lookup(const nftnl_expr* expression) {
    const Register& from = Of(expression, NFTNL_EXPR_LOOKUP_SREG);
    const bool state = from.kind == Register::Kind::kState;
    rule_.asks_state = rule_.asks_state || state;
    const bool inverted = nftnl_expr_is_set(expression, NFTNL_EXPR_LOOKUP_FLAGS) &&
                          nftnl_expr_get_u32(expression, NFTNL_EXPR_LOOKUP_FLAGS) != 0;
    if (nftnl_expr_is_set(expression, NFTNL_EXPR_LOOKUP_DREG)) {
      // A map. Its values may be verdicts: of states, none for `untracked`.
      if (state) rule_.verdict = Rule::Verdict::kAccept;
      registers_[nftnl_expr_get_u32(expression, NFTNL_EXPR_LOOKUP_DREG)] = {};
    }
    Match(state ? (inverted ? Matches::kYes : Matches::kNo) : Matches::kSome);
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
      return Match(Matches::kSome);
    }
    std::memcpy(&info, data, sizeof(info));
    const bool asks = (info.match_flags & XT_CONNTRACK_STATE) != 0;
    rule_.asks_state = rule_.asks_state || asks;
    if (asks) {
      const bool listed = (info.state_mask & XT_CONNTRACK_STATE_UNTRACKED) != 0;
      Match(listed != ((info.invert_flags & XT_CONNTRACK_STATE) != 0));
    }
    if ((info.match_flags & ~XT_CONNTRACK_STATE) != 0) Match(Matches::kNo);
  }

  void Immediate(const nftnl_expr* expression) {
    if (!nftnl_expr_is_set(expression, NFTNL_EXPR_IMM_VERDICT)) {
      Of(expression, NFTNL_EXPR_IMM_DREG) = {};
      return;
    }
    switch (static_cast<int32_t>(nftnl_expr_get_u32(expression, NFTNL_EXPR_IMM_VERDICT))) {
      case NF_ACCEPT:
        return Verdict(Rule::Verdict::kAccept);
      case NF_DROP:
        return Verdict(Rule::Verdict::kDrop);
      case NFT_RETURN:
        return Verdict(Rule::Verdict::kReturn);
      case NFT_JUMP:
      case NFT_GOTO:
        Verdict(static_cast<int32_t>(nftnl_expr_get_u32(expression, NFTNL_EXPR_IMM_VERDICT)) ==
                        NFT_JUMP
                    ? Rule::Verdict::kJump
                    : Rule::Verdict::kGoto);
        rule_.target = OrEmpty(nftnl_expr_get_str(expression, NFTNL_EXPR_IMM_CHAIN));
        return;
      default:
        return;
    }
  }

  const uint32_t hook_;
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
  ObstacleReader(base::NetlinkSocket& socket, const std::string& own_table)
      : socket_(socket), own_{NFPROTO_INET, own_table} {}

  absl::StatusOr<std::vector<UntrackedObstacle>> Read() {
    const absl::StatusOr<std::vector<BaseChain>> bases = ListBaseChains();
    if (!bases.ok()) return bases.status();
    of_iptables_ = TablesOfIptables(*bases);
    for (const BaseChain& base : *bases) {
      if (MaySetZone(base)) {
        seen_.clear();
        // iptables has no rule that sets a zone after notrack: its target CT leaves untracked
        // packets alone. So only rules that nft users add to its base chains matter there.
        const bool jumps = !of_iptables_.contains(base.chain.table);
        NPG_RETURN_IF_ERROR(FindZones(base, base.chain, jumps ? 0 : kMaxDepth));
      }
      if (base.hook == NF_INET_LOCAL_IN) NPG_RETURN_IF_ERROR(FindDrop(base));
    }
    if (limited_ && found_.empty()) {
      return absl::UnavailableError(
          absl::StrCat("look for rules in the way of untracked packets: more than ", kMaxChains,
                       " chains, or ", absl::FormatDuration(kMaxTime)));
    }
    return std::move(found_);
  }

 private:
  // In prerouting, conntrack (-200) takes the packet after a template was set; later, and in
  // input, no packet is tracked any more.
  static bool MaySetZone(const BaseChain& base) {
    // Chains of type nat do not see untracked packets.
    if (base.nat) return false;
    return base.hook == NF_INET_LOCAL_OUT || base.hook == NF_INET_POST_ROUTING ||
           (base.hook == NF_INET_PRE_ROUTING && base.priority < NF_IP_PRI_CONNTRACK);
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

  absl::StatusOr<std::vector<Rule>> RulesOf(const Chain& chain, uint32_t hook) {
    const std::pair<bool, Chain> key(Arrives(hook), chain);
    if (const auto it = read_.find(key); it != read_.end()) return it->second;
    if (read_.size() >= kMaxChains || absl::Now() > end_) {
      limited_ = true;
      return std::vector<Rule>();
    }
    std::vector<Rule> rules;
    std::array<char, 1024> buffer{};
    nlmsghdr* request = nftnl_nlmsg_build_hdr(buffer.data(), NFT_MSG_GETRULE, chain.table.first,
                                              NLM_F_REQUEST | NLM_F_DUMP, 0);
    mnl_attr_put_strz(request, NFTA_RULE_TABLE, chain.table.second.c_str());
    mnl_attr_put_strz(request, NFTA_RULE_CHAIN, chain.name.c_str());
    const absl::Status status = socket_.AskForEach(
        *request, absl::StrCat("read the rules of ", Where(chain)), [&rules] { rules.clear(); },
        [&](const nlmsghdr& message) {
          const base::NftnlRule rule(nftnl_rule_alloc());
          if (nftnl_rule_nlmsg_parse(&message, rule.get()) < 0) return;
          // Kernels that do not filter list all chains.
          if (OrEmpty(nftnl_rule_get_str(rule.get(), NFTNL_RULE_CHAIN)) != chain.name) return;
          rules.push_back(Decoder(hook).Decode(*rule));
        });
    if (!status.ok() && !absl::IsNotFound(status)) return status;
    read_[key] = rules;
    return rules;
  }

  std::string Where(const Chain& chain) const {
    return absl::StrCat(of_iptables_.contains(chain.table) ? "iptables-nft table " : "nft table ",
                        TableText(chain.table), ", chain ", chain.name);
  }

  absl::Status FindZones(const BaseChain& base, const Chain& chain, int depth) {
    if (depth > kMaxDepth || !seen_.insert(chain).second) return absl::OkStatus();
    const absl::StatusOr<std::vector<Rule>> rules = RulesOf(chain, base.hook);
    if (!rules.ok()) return rules.status();
    for (const Rule& rule : *rules) {
      if (rule.matches == Matches::kNo) continue;
      if (rule.sets_zone) {
        found_.push_back(
            {UntrackedObstacle::Kind::kTracks, Where(chain),
             absl::StrCat("sets a conntrack zone (handle ", rule.handle, ")"),
             absl::StrCat("nft insert rule ", TableText(chain.table), " ", chain.name,
                          base.hook == NF_INET_LOCAL_OUT ? " oif lo" : "",
                          base.hook == NF_INET_POST_ROUTING ? " oif lo" : "",
                          base.hook == NF_INET_PRE_ROUTING ? " iif lo" : "", " return")});
        return absl::OkStatus();
      }
      if (!rule.target.empty()) {
        NPG_RETURN_IF_ERROR(FindZones(base, {chain.table, rule.target}, depth + 1));
      }
      const bool ends = rule.matches == Matches::kYes && rule.verdict != Rule::Verdict::kNone &&
                        rule.verdict != Rule::Verdict::kJump;
      if (ends) break;
    }
    return absl::OkStatus();
  }

  enum class Fate { kAccepted, kDropped, kNext };
  // What becomes of an untracked packet on lo in a chain.
  struct Passage {
    Fate fate = Fate::kNext;
    bool asks_state = false;  // a rule on the way accepts by state
    std::string dropped_by;
  };

  // Rules that match some packets only are passed over. Walks each chain once, since several
  // jumps may lead to it.
  absl::StatusOr<Passage> Walk(const Chain& chain, int depth) {
    if (const auto it = walked_.find(chain); it != walked_.end()) return it->second;
    Passage passage;
    if (depth > kMaxDepth) return passage;
    walked_[chain] = passage;  // for a circle, which a change during the walk can feign
    const absl::StatusOr<std::vector<Rule>> rules = RulesOf(chain, NF_INET_LOCAL_IN);
    if (!rules.ok()) return rules.status();
    for (const Rule& rule : *rules) {
      passage.asks_state =
          passage.asks_state || (rule.asks_state && rule.verdict == Rule::Verdict::kAccept);
      if (rule.matches != Matches::kYes) continue;
      if (rule.verdict == Rule::Verdict::kAccept) passage.fate = Fate::kAccepted;
      if (rule.verdict == Rule::Verdict::kDrop) {
        passage.dropped_by = absl::StrCat(Where(chain), ", handle ", rule.handle);
        passage.fate = Fate::kDropped;
      }
      if (!rule.target.empty()) {
        const absl::StatusOr<Passage> inner = Walk({chain.table, rule.target}, depth + 1);
        if (!inner.ok()) return inner.status();
        passage.asks_state = passage.asks_state || inner->asks_state;
        passage.fate = inner->fate;
        passage.dropped_by = inner->dropped_by;
      }
      if (passage.fate != Fate::kNext || rule.verdict == Rule::Verdict::kReturn ||
          rule.verdict == Rule::Verdict::kGoto) {
        break;
      }
    }
    walked_[chain] = passage;
    return passage;
  }

  absl::Status FindDrop(const BaseChain& base) {
    const absl::StatusOr<Passage> passage = Walk(base.chain, 0);
    if (!passage.ok()) return passage.status();
    const bool drops =
        passage->fate == Fate::kDropped || (passage->fate == Fate::kNext && base.drops);
    // Without a rule about states, tracked packets are dropped as well.
    if (!drops || !passage->asks_state) return absl::OkStatus();
    const NftTableId& table = base.chain.table;
    const std::string command = table.first == NFPROTO_IPV6 ? "ip6tables" : "iptables";
    found_.push_back(
        {UntrackedObstacle::Kind::kDrops, Where(base.chain),
         absl::StrCat("accepts by connection state and drops untracked packets of lo (",
                      passage->dropped_by.empty() ? "its policy" : passage->dropped_by, ")"),
         of_iptables_.contains(table)
             ? absl::StrCat(command, " -I ", base.chain.name, " -i lo -j ACCEPT")
             : absl::StrCat("nft insert rule ", TableText(table), " ", base.chain.name,
                            " iif lo accept (or ct state untracked accept)")});
    return absl::OkStatus();
  }

  base::NetlinkSocket& socket_;
  const NftTableId own_;
  const absl::Time end_ = absl::Now() + kMaxTime;
  absl::btree_set<NftTableId> of_iptables_;
  // As decoded for hooks on which packets arrive, and for the others.
  absl::btree_map<std::pair<bool, Chain>, std::vector<Rule>> read_;
  absl::btree_map<Chain, Passage> walked_;  // from the input hook
  absl::btree_set<Chain> seen_;             // from one base chain
  bool limited_ = false;                    // something was left out
  std::vector<UntrackedObstacle> found_;
};

}  // namespace

absl::StatusOr<std::vector<UntrackedObstacle>> ReadUntrackedObstacles(
    const std::string& own_table) {
  absl::StatusOr<base::NetlinkSocket> socket = base::NetlinkSocket::Open(NETLINK_NETFILTER);
  if (!socket.ok()) return socket.status();
  const auto tables = ListNftTables(*socket);
  if (absl::IsUnimplemented(tables.status())) return std::vector<UntrackedObstacle>();
  if (!tables.ok()) return NameCapability(tables.status());
  return ObstacleReader(*socket, own_table).Read();
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
