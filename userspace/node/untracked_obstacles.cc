// SPDX-License-Identifier: Apache-2.0
#include "node/untracked_obstacles.h"

#include <linux/netlink.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "absl/container/btree_map.h"
#include "absl/container/btree_set.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "base/errno_status.h"
#include "base/netlink_socket.h"
#include "base/nft_generation.h"
#include "base/nft_objects.h"
#include "node/loopback_rules.h"
#include "node/nft_tables.h"
#include "node/obstacle_text.h"

namespace npg::node {
namespace {

// Limits for rule sets in which chains jump to each other by the thousand: of all chains that
// are read, and in time.
constexpr size_t kMaxChains = 500;
constexpr absl::Duration kMaxTime = absl::Seconds(1);
constexpr int kMaxDepth = 16;  // the kernel's limit of jumps

// iptables' names of base chains. nft users write their own in lower case.
bool IsIptablesChain(absl::string_view name) {
  constexpr std::array<absl::string_view, 5> kNames = {"PREROUTING", "INPUT", "FORWARD", "OUTPUT",
                                                       "POSTROUTING"};
  return std::find(kNames.begin(), kNames.end(), name) != kNames.end();
}

// Those of iptables-nft: all their base chains have its names. The names of the tables do not
// tell, as people call their own "filter" and "nat", too.
absl::btree_set<NftTableId> TablesOfIptables(const std::vector<NftBaseChain>& bases) {
  absl::btree_set<NftTableId> tables, others;
  for (const NftBaseChain& base : bases) {
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
    const absl::StatusOr<std::vector<NftBaseChain>> bases = ListBaseChains();
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
  absl::Status FindAll(const std::vector<NftBaseChain>& bases) {
    for (const NftBaseChain& base : bases) {
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
  static bool MaySetZone(const NftBaseChain& base) {
    return base.hook == NF_INET_LOCAL_OUT || base.hook == NF_INET_POST_ROUTING ||
           (base.hook == NF_INET_PRE_ROUTING && base.priority < NF_IP_PRI_CONNTRACK);
  }

  // In output, a packet is untracked from the guard's own chain on.
  static bool MayDrop(const NftBaseChain& base) {
    constexpr int32_t kGuardPriority = NF_IP_PRI_RAW - 10;
    return base.hook == NF_INET_PRE_ROUTING || base.hook == NF_INET_LOCAL_IN ||
           base.hook == NF_INET_POST_ROUTING ||
           (base.hook == NF_INET_LOCAL_OUT && base.priority >= kGuardPriority);
  }

  absl::StatusOr<std::vector<NftBaseChain>> ListBaseChains() {
    std::vector<NftBaseChain> bases;
    std::array<char, 512> buffer{};
    nlmsghdr* request = nftnl_nlmsg_build_hdr(buffer.data(), NFT_MSG_GETCHAIN, NFPROTO_UNSPEC,
                                              NLM_F_REQUEST | NLM_F_DUMP, 0);
    const absl::Status status = socket_.AskForEach(
        *request, "list the nftables chains", [&bases] { bases.clear(); },
        [&](const nlmsghdr& message) {
          std::optional<NftBaseChain> base = DecodeBaseChain(message);
          if (!base || base->chain.table == own_ || !IsOfIp(base->chain.table)) return;
          bases.push_back(*std::move(base));
        });
    if (!status.ok()) return status;
    return bases;
  }

  using Rules = std::shared_ptr<const std::vector<LoopbackRule>>;
  // As decoded for hooks on which packets leave, and for those on which they arrive.
  using Decoded = std::array<Rules, 2>;

  absl::StatusOr<Rules> RulesOf(const NftChain& chain, uint32_t hook) {
    const size_t side = Arrives(hook) ? 1 : 0;
    if (const auto it = read_.find(chain); it != read_.end()) return it->second.at(side);
    if (read_.size() >= kMaxChains || Over()) return Limited();
    std::vector<LoopbackRule> leaving, arriving;
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
          std::optional<LoopbackRules> rule = DecodeRule(message, chain.name, states);
          if (!rule) return;
          leaving.push_back(std::move(rule->leaving));
          arriving.push_back(std::move(rule->arriving));
        });
    if (over) return Limited();
    if (!status.ok() && !absl::IsNotFound(status)) return status;
    const Decoded decoded = {
        std::make_shared<const std::vector<LoopbackRule>>(std::move(leaving)),
        std::make_shared<const std::vector<LoopbackRule>>(std::move(arriving))};
    read_[chain] = decoded;
    return decoded.at(side);
  }

  std::string Where(const NftChain& chain) const {
    return WhereText(chain, of_iptables_.contains(chain.table));
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
  absl::StatusOr<bool> FindZones(const NftBaseChain& base, size_t family, const NftChain& chain,
                                 int depth, bool certain) {
    if (depth > kMaxDepth) return false;
    const auto [seen, fresh] = seen_.try_emplace(chain, certain);
    if (!fresh && (seen->second || !certain)) return false;
    seen->second = certain;
    const absl::StatusOr<Rules> rules = RulesOf(chain, base.hook);
    if (!rules.ok()) return rules.status();
    for (const LoopbackRule& rule : **rules) {
      const RuleMatches matches = rule.matches.at(family);
      if (matches == RuleMatches::kNo) continue;
      const bool surely = certain && matches == RuleMatches::kYes;
      if (rule.sets_zone) {
        Add({UntrackedObstacle::Kind::kTracks, Where(chain), ZoneText(rule.handle, surely),
             ZoneFix(chain, base.hook), surely, kPacketFamilies.at(family)});
        if (surely) return false;
      }
      if (!rule.target.empty()) {
        const absl::StatusOr<bool> ended =
            FindZones(base, family, {chain.table, rule.target}, depth + 1, surely);
        if (!ended.ok()) return ended.status();
        if (*ended && matches == RuleMatches::kYes) return true;
      }
      if (matches == RuleMatches::kYes) {
        if (rule.verdict == LoopbackRule::Verdict::kAccept ||
            rule.verdict == LoopbackRule::Verdict::kDrop) {
          return true;
        }
        if (rule.verdict == LoopbackRule::Verdict::kReturn ||
            rule.verdict == LoopbackRule::Verdict::kGoto) {
          break;
        }
      } else if (MayTakeAll(rule)) {
        certain = false;
      }
    }
    return false;
  }

  // Whether a rule that matches some packets may keep all of lo from the rules behind it.
  static bool MayTakeAll(const LoopbackRule& rule) {
    return !rule.narrow && (rule.maps || (rule.verdict != LoopbackRule::Verdict::kNone &&
                                          rule.verdict != LoopbackRule::Verdict::kJump));
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
  absl::StatusOr<Passage> Walk(uint32_t hook, size_t family, const NftChain& chain, int depth) {
    const auto key = std::tuple(Arrives(hook), family, chain);
    if (const auto it = walked_.find(key); it != walked_.end()) return it->second;
    Passage passage;
    if (depth > kMaxDepth) return passage;
    walked_[key] = passage;  // for a circle, which a change during the walk can feign
    const absl::StatusOr<Rules> rules = RulesOf(chain, hook);
    if (!rules.ok()) return rules.status();
    for (const LoopbackRule& rule : **rules) {
      if (rule.asks_state && rule.of_lo.at(family) &&
          rule.verdict == LoopbackRule::Verdict::kAccept) {
        passage.asks_state = true;
      }
      const RuleMatches matches = rule.matches.at(family);
      if (matches == RuleMatches::kNo) continue;
      Passage inner;
      if (!rule.target.empty()) {
        const absl::StatusOr<Passage> walked =
            Walk(hook, family, {chain.table, rule.target}, depth + 1);
        if (!walked.ok()) return walked.status();
        inner = *walked;
      } else if (rule.verdict == LoopbackRule::Verdict::kAccept) {
        inner.fate = Fate::kAccepted;
      } else if (rule.verdict == LoopbackRule::Verdict::kDrop) {
        inner.fate = Fate::kDropped;
        inner.by_state = rule.asks_state;
        inner.dropped_by = RulePlace{chain, rule.handle};
      }
      if (!passage.maybe) passage.maybe = inner.maybe;
      if (matches == RuleMatches::kSome) {
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
      if (passage.fate != Fate::kNext || rule.verdict == LoopbackRule::Verdict::kReturn ||
          rule.verdict == LoopbackRule::Verdict::kGoto) {
        break;
      }
    }
    walked_[key] = passage;
    return passage;
  }

  absl::Status FindDrop(const NftBaseChain& base, size_t family) {
    const absl::StatusOr<Passage> passage = Walk(base.hook, family, base.chain, 0);
    if (!passage.ok()) return passage.status();
    const bool drops =
        passage->fate == Fate::kDropped || (passage->fate == Fate::kNext && base.drops);
    std::string rule;
    bool certain = passage->certain;
    if (drops && passage->by_state) {
      rule = StateDropText(*passage->dropped_by, base, certain);
    } else if (drops && passage->asks_state) {
      // Without a rule about states, tracked packets are dropped as well.
      rule = StateAcceptText(passage->dropped_by, base, certain);
    } else if (passage->maybe) {
      certain = false;
      rule = StateDropText(*passage->maybe, base, certain);
    } else {
      return absl::OkStatus();
    }
    Add({UntrackedObstacle::Kind::kDrops, Where(base.chain), std::move(rule),
         AcceptFix(base, of_iptables_.contains(base.chain.table)), certain,
         kPacketFamilies.at(family)});
    return absl::OkStatus();
  }

  base::NetlinkSocket& socket_;
  const NftTableId own_;
  const ObstacleQuery query_;
  const absl::Time end_ = absl::Now() + kMaxTime;
  absl::btree_set<NftTableId> of_iptables_;
  absl::btree_map<NftChain, Decoded> read_;
  absl::btree_map<std::pair<NftTableId, std::string>, UntrackedElement> states_;  // by set
  // By whether packets arrive on the hook, and the index of the family.
  absl::btree_map<std::tuple<bool, size_t, NftChain>, Passage> walked_;
  // From one base chain: whether a packet comes there for certain.
  absl::btree_map<NftChain, bool> seen_;
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
  if (!tables.ok()) return base::NameCapability(tables.status());
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
