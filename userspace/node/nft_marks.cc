// SPDX-License-Identifier: Apache-2.0
#include "node/nft_marks.h"

#include <linux/netfilter/xt_mark.h>
#include <linux/netlink.h>

#include <array>
#include <cstdint>
#include <cstring>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/btree_map.h"
#include "absl/container/btree_set.h"
#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "base/netlink_socket.h"
#include "base/nft_objects.h"
#include "core/mark.h"
#include "node/mark_use.h"
#include "node/nft_queries.h"

namespace npg::node {
namespace {

constexpr uint32_t kAllBits = ~uint32_t{0};

std::string TextOr(const char* text, const char* fallback) {
  return text == nullptr ? fallback : text;
}

// What a register holds, as far as marks are concerned: (mark & mask) ^ flip, or
// a number.
struct Register {
  bool mark = false;
  uint32_t mask = kAllBits;
  uint32_t flip = 0;
};

std::optional<uint32_t> Word(const nftnl_expr* expression, uint16_t attribute) {
  uint32_t size = 0, word = 0;
  const void* data = nftnl_expr_get(expression, attribute, &size);
  if (data == nullptr || size != sizeof(word)) return std::nullopt;
  std::memcpy(&word, data, sizeof(word));
  return word;
}

// Goes through a rule's expressions as the kernel does.
class Walk {
 public:
  explicit Walk(const nftnl_rule& rule) {
    where_ = absl::StrCat(
        "nft table ", TableText({static_cast<uint8_t>(nftnl_rule_get_u32(&rule, NFTNL_RULE_FAMILY)),
                                 TextOr(nftnl_rule_get_str(&rule, NFTNL_RULE_TABLE), "")}));
    place_ = absl::StrCat("chain ", TextOr(nftnl_rule_get_str(&rule, NFTNL_RULE_CHAIN), ""),
                          " handle ", nftnl_rule_get_u64(&rule, NFTNL_RULE_HANDLE));
  }

  void Visit(const nftnl_expr* expression) {
    const absl::string_view name = nftnl_expr_get_str(expression, NFTNL_EXPR_NAME);
    if (name == "meta") return Meta(expression);
    if (name == "immediate") return Immediate(expression);
    if (name == "bitwise") return Bitwise(expression);
    if (name == "cmp") return Compare(expression);
    if (name == "range") return Lookup(expression, NFTNL_EXPR_RANGE_SREG);
    if (name == "lookup") return Lookup(expression, NFTNL_EXPR_LOOKUP_SREG);
    if (name == "match") return Match(expression);
    if (name == "target") return Target(expression);
    // Of the others, those that load say nothing of marks.
    if (name == "payload") Forget(expression, NFTNL_EXPR_PAYLOAD_DREG);
    if (name == "ct") Forget(expression, NFTNL_EXPR_CT_DREG);
  }

  std::vector<MarkUse> Take() { return std::move(uses_); }

 private:
  void Forget(const nftnl_expr* expression, uint16_t attribute) {
    if (nftnl_expr_is_set(expression, attribute)) {
      registers_.erase(nftnl_expr_get_u32(expression, attribute));
    }
  }

  void Meta(const nftnl_expr* expression) {
    const bool mark = nftnl_expr_get_u32(expression, NFTNL_EXPR_META_KEY) == NFT_META_MARK;
    if (nftnl_expr_is_set(expression, NFTNL_EXPR_META_DREG)) {
      Forget(expression, NFTNL_EXPR_META_DREG);
      if (mark) registers_[nftnl_expr_get_u32(expression, NFTNL_EXPR_META_DREG)] = {.mark = true};
      return;
    }
    if (!mark) return;
    const auto it = registers_.find(nftnl_expr_get_u32(expression, NFTNL_EXPR_META_SREG));
    // A mark that comes from elsewhere (conntrack, a map) is not known.
    if (it == registers_.end()) return;
    const Register& from = it->second;
    Add(MarkUse::Kind::kSet, from.flip, from.mark ? ~from.mask | from.flip : kAllBits,
        from.mark ? absl::StrCat("meta mark set meta mark & ", core::HexText(from.mask), " ^ ",
                                 core::HexText(from.flip))
                  : absl::StrCat("meta mark set ", core::HexText(from.flip)));
  }

  void Immediate(const nftnl_expr* expression) {
    Forget(expression, NFTNL_EXPR_IMM_DREG);
    const std::optional<uint32_t> word = Word(expression, NFTNL_EXPR_IMM_DATA);
    if (!word) return;
    registers_[nftnl_expr_get_u32(expression, NFTNL_EXPR_IMM_DREG)] = {.mask = 0, .flip = *word};
  }

  void Bitwise(const nftnl_expr* expression) {
    const auto it = registers_.find(nftnl_expr_get_u32(expression, NFTNL_EXPR_BITWISE_SREG));
    std::optional<Register> from;
    if (it != registers_.end()) from = it->second;
    Forget(expression, NFTNL_EXPR_BITWISE_DREG);
    const std::optional<uint32_t> mask = Word(expression, NFTNL_EXPR_BITWISE_MASK);
    const std::optional<uint32_t> flip = Word(expression, NFTNL_EXPR_BITWISE_XOR);
    if (!from || !mask || !flip) return;
    registers_[nftnl_expr_get_u32(expression, NFTNL_EXPR_BITWISE_DREG)] = {
        from->mark, from->mask & *mask, (from->flip & *mask) ^ *flip};
  }

  void Compare(const nftnl_expr* expression) {
    const auto it = registers_.find(nftnl_expr_get_u32(expression, NFTNL_EXPR_CMP_SREG));
    if (it == registers_.end() || !it->second.mark) return;
    const uint32_t op = nftnl_expr_get_u32(expression, NFTNL_EXPR_CMP_OP);
    if (op != NFT_CMP_EQ && op != NFT_CMP_NEQ) return Lookup(expression, NFTNL_EXPR_CMP_SREG);
    const std::optional<uint32_t> word = Word(expression, NFTNL_EXPR_CMP_DATA);
    if (!word) return;
    const Register& from = it->second;
    Add(MarkUse::Kind::kMatch, *word ^ from.flip, from.mask,
        absl::StrCat("meta mark",
                     from.mask == kAllBits ? "" : absl::StrCat(" & ", core::HexText(from.mask)),
                     op == NFT_CMP_EQ ? " == " : " != ", core::HexText(*word)));
  }

  void Lookup(const nftnl_expr* expression, uint16_t attribute) {
    const auto it = registers_.find(nftnl_expr_get_u32(expression, attribute));
    if (it == registers_.end() || !it->second.mark) return;
    Add(MarkUse::Kind::kLookup, 0, it->second.mask, "meta mark among several values");
  }

  // Of iptables-nft.
  void Match(const nftnl_expr* expression) {
    if (TextOr(nftnl_expr_get_str(expression, NFTNL_EXPR_MT_NAME), "") != "mark") return;
    uint32_t size = 0;
    xt_mark_mtinfo1 info{};
    const void* data = nftnl_expr_get(expression, NFTNL_EXPR_MT_INFO, &size);
    if (data == nullptr || size < sizeof(info)) return;
    std::memcpy(&info, data, sizeof(info));
    Add(MarkUse::Kind::kMatch, info.mark, info.mask,
        absl::StrCat("-m mark ", info.invert != 0 ? "! " : "", "--mark ", core::HexText(info.mark),
                     "/", core::HexText(info.mask)));
  }

  void Target(const nftnl_expr* expression) {
    if (TextOr(nftnl_expr_get_str(expression, NFTNL_EXPR_TG_NAME), "") != "MARK") return;
    uint32_t size = 0;
    xt_mark_tginfo2 info{};
    const void* data = nftnl_expr_get(expression, NFTNL_EXPR_TG_INFO, &size);
    if (data == nullptr || size < sizeof(info)) return;
    std::memcpy(&info, data, sizeof(info));
    Add(MarkUse::Kind::kSet, info.mark, info.mask,
        absl::StrCat("-j MARK --set-xmark ", core::HexText(info.mark), "/",
                     core::HexText(info.mask)));
  }

  void Add(MarkUse::Kind kind, uint32_t value, uint32_t mask, const std::string& text) {
    uses_.push_back({where_, absl::StrCat(place_, ": ", text), kind, value, mask});
  }

  std::string where_, place_;
  absl::btree_map<uint32_t, Register> registers_;
  std::vector<MarkUse> uses_;
};

absl::StatusOr<base::NetlinkMessages> ListAll(base::NetlinkSocket& socket, uint16_t type,
                                              absl::string_view what) {
  std::array<char, 512> buffer{};
  nlmsghdr* request =
      nftnl_nlmsg_build_hdr(buffer.data(), type, NFPROTO_UNSPEC, NLM_F_REQUEST | NLM_F_DUMP, 0);
  absl::StatusOr<base::NetlinkMessages> answer = socket.Ask(*request, what);
  // nfnetlink's word for a subsystem that it neither has nor can load.
  if (absl::IsInvalidArgument(answer.status())) {
    return absl::UnimplementedError("this kernel has no nf_tables");
  }
  return answer;
}

}  // namespace

std::string TableText(const NftTableId& table) {
  return absl::StrCat(NftFamilyName(table.first), " ", table.second);
}

absl::StatusOr<absl::btree_set<NftTableId>> ListNftTables(base::NetlinkSocket& socket) {
  const auto answer = ListAll(socket, NFT_MSG_GETTABLE, "list the nftables tables");
  if (!answer.ok()) return answer.status();
  absl::btree_set<NftTableId> tables;
  answer->ForEach([&tables](const nlmsghdr& message) {
    const base::NftnlTable table(nftnl_table_alloc());
    if (nftnl_table_nlmsg_parse(&message, table.get()) < 0) return;
    tables.emplace(static_cast<uint8_t>(nftnl_table_get_u32(table.get(), NFTNL_TABLE_FAMILY)),
                   TextOr(nftnl_table_get_str(table.get(), NFTNL_TABLE_NAME), ""));
  });
  return tables;
}

std::vector<MarkUse> DecodeNftRule(const nftnl_rule& rule) {
  Walk walk(rule);
  // libnftnl's iterators take no const rule, and change none.
  auto* expressions = nftnl_expr_iter_create(const_cast<nftnl_rule*>(&rule));
  if (expressions == nullptr) return {};
  for (nftnl_expr* each = nftnl_expr_iter_next(expressions); each != nullptr;
       each = nftnl_expr_iter_next(expressions)) {
    walk.Visit(each);
  }
  nftnl_expr_iter_destroy(expressions);
  return walk.Take();
}

absl::StatusOr<std::vector<MarkUse>> ReadNftMarks(
    base::NetlinkSocket& socket, absl::FunctionRef<bool(const NftTableId&)> wanted) {
  std::vector<MarkUse> uses;
  std::array<char, 512> buffer{};
  nlmsghdr* request = nftnl_nlmsg_build_hdr(buffer.data(), NFT_MSG_GETRULE, NFPROTO_UNSPEC,
                                            NLM_F_REQUEST | NLM_F_DUMP, 0);
  const absl::Status status = socket.AskForEach(
      *request, "read the nftables rules", [&uses] { uses.clear(); },
      [&](const nlmsghdr& message) {
        const base::NftnlRule rule(nftnl_rule_alloc());
        if (nftnl_rule_nlmsg_parse(&message, rule.get()) < 0) return;
        if (!wanted({static_cast<uint8_t>(nftnl_rule_get_u32(rule.get(), NFTNL_RULE_FAMILY)),
                     TextOr(nftnl_rule_get_str(rule.get(), NFTNL_RULE_TABLE), "")})) {
          return;
        }
        std::vector<MarkUse> found = DecodeNftRule(*rule);
        uses.insert(uses.end(), found.begin(), found.end());
      });
  if (!status.ok()) return status;
  return uses;
}

}  // namespace npg::node
