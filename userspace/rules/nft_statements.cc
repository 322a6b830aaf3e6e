// SPDX-License-Identifier: Apache-2.0
// Expressions that decide about the packet.
#include <netinet/in.h>

#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nf_tables_compat.h>

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "base/netlink_view.h"
#include "rules/nft_attributes.h"
#include "rules/nft_expressions.h"
#include "rules/nft_registers.h"
#include "rules/rule.h"
#include "rules/xt_extensions.h"

namespace npg::rules {
namespace {

bool IsNftLimit(absl::string_view expression) {
  return expression == "limit" || expression == "quota" || expression == "connlimit";
}

// One expression, or a list of them.
bool HasNftLimit(absl::string_view expression, absl::string_view list) {
  if (IsNftLimit(NftAttributes(expression).Text(NFTA_EXPR_NAME))) return true;
  for (base::NetlinkAttribute element; base::NextAttribute(list, element);) {
    if (IsNftLimit(NftAttributes(element.payload).Text(NFTA_EXPR_NAME))) return true;
  }
  return false;
}

}  // namespace

Verdict DecodeNftVerdict(absl::string_view data, bool& breaks) {
  breaks = false;
  const NftAttributes attributes(data);
  const std::optional<uint32_t> code = attributes.Number(NFTA_VERDICT_CODE);
  const auto to_chain = [&](VerdictKind kind) {
    return Verdict{kind, std::string(attributes.Text(NFTA_VERDICT_CHAIN)), ""};
  };
  if (!code) return {VerdictKind::kDivert, "", "verdict"};
  switch (static_cast<int32_t>(*code)) {
    case NFT_CONTINUE:
      return {VerdictKind::kContinue, "", ""};
    case NFT_BREAK:
      breaks = true;
      return {VerdictKind::kContinue, "", ""};
    case NFT_JUMP:
      return to_chain(VerdictKind::kJump);
    case NFT_GOTO:
      return to_chain(VerdictKind::kGoto);
    case NFT_RETURN:
      return {VerdictKind::kReturn, "", ""};
    case NF_ACCEPT:
      return {VerdictKind::kAccept, "", ""};
    case NF_DROP:
      return {VerdictKind::kDrop, "", ""};
    default:
      // The upper half of NF_QUEUE is the number of the queue.
      const bool queue = (*code & NF_VERDICT_MASK) == NF_QUEUE;
      return {VerdictKind::kDivert, "", queue ? "queue" : absl::StrCat("verdict ", *code)};
  }
}

void NftExpressions::End(Verdict verdict) {
  rule_.steps.emplace_back(std::move(verdict));
  ended_ = true;
}

bool NftExpressions::Divert(absl::string_view unknown) {
  End({VerdictKind::kDivert, "", std::string(unknown)});
  return true;
}

bool NftExpressions::Immediate(const NftAttributes& attributes) {
  const std::optional<uint32_t> destination = attributes.Number(NFTA_IMMEDIATE_DREG);
  const NftAttributes data(attributes.Bytes(NFTA_IMMEDIATE_DATA));
  if (destination == uint32_t{NFT_REG_VERDICT}) {
    bool breaks = false;
    Verdict verdict = DecodeNftVerdict(data.Bytes(NFTA_DATA_VERDICT), breaks);
    if (breaks) {
      ended_ = true;
    } else if (verdict.kind != VerdictKind::kContinue) {
      End(std::move(verdict));
    }
    return true;
  }
  const std::optional<uint8_t> start = NftRegisters::Start(destination);
  const absl::string_view value = data.Bytes(NFTA_DATA_VALUE);
  if (!start || value.empty() || value.size() > NftRegisters::kSize - *start) return false;
  registers_.Set({.kind = NftLoad::Kind::kConstant,
                  .start = *start,
                  .size = static_cast<uint8_t>(value.size()),
                  .constant = value});
  return true;
}

std::optional<Value> NftExpressions::ConstantIn(std::optional<uint32_t> number) const {
  const std::optional<uint8_t> start = NftRegisters::Start(number);
  if (!start) return std::nullopt;
  const NftLoad* load = registers_.Find(*start);
  if (load == nullptr || load->kind != NftLoad::Kind::kConstant) return std::nullopt;
  return ToValue(load->constant, false);
}

bool NftExpressions::NatValues(std::optional<uint32_t> min, std::optional<uint32_t> max,
                               std::optional<Interval>& value, int8_t& offset) const {
  if (!min) return true;  // unchanged
  const std::optional<Value> first = ConstantIn(min);
  const std::optional<Value> last = max ? ConstantIn(max) : first;
  if (first && last) {
    value = Interval{*first, *last};
    return true;
  }
  const std::optional<uint8_t> start = NftRegisters::Start(min);
  if (start) offset = registers_.MapOffset(*start);
  return offset >= 0;
}

bool NftExpressions::Nat(const NftAttributes& attributes) {
  if (attributes.Number(NFTA_NAT_TYPE) != uint32_t{NFT_NAT_DNAT}) return true;
  rules::Nat nat;
  if (!NatValues(attributes.Number(NFTA_NAT_REG_ADDR_MIN), attributes.Number(NFTA_NAT_REG_ADDR_MAX),
                 nat.address, nat.address_offset) ||
      !NatValues(attributes.Number(NFTA_NAT_REG_PROTO_MIN),
                 attributes.Number(NFTA_NAT_REG_PROTO_MAX), nat.port, nat.port_offset)) {
    return Divert("dnat to a computed destination");
  }
  // In tables of both families, packets of the other one are left alone (nft_nat_inet_eval()).
  const auto family = static_cast<uint8_t>(attributes.Number(NFTA_NAT_FAMILY).value_or(0));
  if (family != network_family_ && (family == NFPROTO_IPV4 || family == NFPROTO_IPV6)) {
    AddTest(FieldOperand(Field::kFamily, 1), Interval{family, family}, false);
  }
  rule_.steps.emplace_back(nat);
  ended_ = true;
  return true;
}

bool NftExpressions::Redirect(const NftAttributes& attributes) {
  rules::Nat nat;
  nat.redirect = true;
  if (!NatValues(attributes.Number(NFTA_REDIR_REG_PROTO_MIN),
                 attributes.Number(NFTA_REDIR_REG_PROTO_MAX), nat.port, nat.port_offset)) {
    return Divert("redirect to a computed port");
  }
  rule_.steps.emplace_back(nat);
  ended_ = true;
  return true;
}

bool NftExpressions::ObjectReference(const NftAttributes& attributes) {
  if (!attributes.Has(NFTA_OBJREF_IMM_TYPE)) return Limited(attributes);  // from a map: any type
  switch (attributes.Number(NFTA_OBJREF_IMM_TYPE).value_or(0)) {
    case NFT_OBJECT_QUOTA:
    case NFT_OBJECT_LIMIT:
    case NFT_OBJECT_CONNLIMIT:
      return Limited(attributes);
    case NFT_OBJECT_SYNPROXY:
      return Divert("synproxy");
    default:
      return true;
  }
}

bool NftExpressions::Dynset(const NftAttributes& attributes) {
  if (HasNftLimit(attributes.Bytes(NFTA_DYNSET_EXPR), attributes.Bytes(NFTA_DYNSET_EXPRESSIONS))) {
    AddOpenTest(Field::kChance, "");
  }
  return true;
}

bool NftExpressions::Match(const NftAttributes& attributes) {
  const absl::string_view name = attributes.Text(NFTA_MATCH_NAME);
  const absl::string_view info = attributes.Bytes(NFTA_MATCH_INFO);
  if (name.empty()) return false;
  if (name == "comment") {
    if (rule_.comment.empty()) rule_.comment = std::string(base::TextOf(info));
    return true;
  }
  for (Step& step :
       DecodeXtMatch(network_family_, name, attributes.Number(NFTA_MATCH_REV).value_or(0), info)) {
    rule_.steps.push_back(std::move(step));
  }
  return true;
}

bool NftExpressions::Target(const NftAttributes& attributes) {
  const absl::string_view name = attributes.Text(NFTA_TARGET_NAME);
  if (name.empty()) return false;
  for (Step& step :
       DecodeXtTarget(network_family_, name, attributes.Number(NFTA_TARGET_REV).value_or(0),
                      attributes.Bytes(NFTA_TARGET_INFO))) {
    rule_.steps.push_back(std::move(step));
  }
  return true;
}

bool NftExpressions::Reject(const NftAttributes& /*attributes*/) {
  End({VerdictKind::kReject, "", ""});
  return true;
}

bool NftExpressions::Untracked(const NftAttributes& /*attributes*/) {
  rule_.steps.emplace_back(Untrack{});
  return true;
}

bool NftExpressions::Limited(const NftAttributes& /*attributes*/) {
  AddOpenTest(Field::kChance, "");
  return true;
}

bool NftExpressions::Queue(const NftAttributes& /*attributes*/) { return Divert("queue"); }
bool NftExpressions::Tproxy(const NftAttributes& /*attributes*/) { return Divert("tproxy"); }
bool NftExpressions::Forward(const NftAttributes& /*attributes*/) { return Divert("fwd"); }
bool NftExpressions::Synproxy(const NftAttributes& /*attributes*/) { return Divert("synproxy"); }

}  // namespace npg::rules
