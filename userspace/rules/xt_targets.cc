// SPDX-License-Identifier: Apache-2.0
#include <arpa/inet.h>

#include <linux/netfilter.h>
#include <linux/netfilter/ipset/ip_set.h>
#include <linux/netfilter/nf_conntrack_tuple_common.h>
#include <linux/netfilter/nf_nat.h>
#include <linux/netfilter/xt_CT.h>
#include <linux/netfilter/xt_TPROXY.h>
#include <linux/netfilter/xt_connmark.h>
#include <linux/netfilter/xt_mark.h>
#include <linux/netfilter/xt_set.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "rules/rule.h"
#include "rules/xt_extensions.h"
#include "rules/xt_info.h"

namespace npg::rules {
namespace {

using XtTargetSteps = std::optional<std::vector<Step>>;

// Do not change the way of a packet, or what later rules ask about it.
constexpr std::array<absl::string_view, 22> kXtTargetsWithoutEffect = {
    "AUDIT",   "CHECKSUM",  "CLASSIFY", "CONNSECMARK", "DSCP",        "ECN",
    "HL",      "IDLETIMER", "LED",      "LOG",         "MASQUERADE",  "NFLOG",
    "RATEEST", "SECMARK",   "SNAT",     "TCPMSS",      "TCPOPTSTRIP", "TEE",
    "TOS",     "TRACE",     "TTL",      "ULOG"};

uint16_t XtNatPort(const nf_conntrack_man_proto& port) { return ntohs(port.all); }

// All structures as the newest one, which is the same up to a field at its end.
std::optional<nf_nat_range2> ConvertXtNat4(absl::string_view bytes) {
  const auto old = XtInfo<nf_nat_ipv4_multi_range_compat>(bytes);
  if (!old.has_value() || old->rangesize != 1) return std::nullopt;
  const nf_nat_ipv4_range& range = old->range[0];
  nf_nat_range2 result{};
  result.flags = range.flags;
  result.min_addr.ip = range.min_ip;
  result.max_addr.ip = range.max_ip;
  result.min_proto = range.min;
  result.max_proto = range.max;
  return result;
}

std::optional<nf_nat_range2> ConvertXtNat(absl::string_view bytes) {
  const auto old = XtInfo<nf_nat_range>(bytes);
  if (!old.has_value()) return std::nullopt;
  nf_nat_range2 result{};
  result.flags = old->flags;
  result.min_addr = old->min_addr;
  result.max_addr = old->max_addr;
  result.min_proto = old->min_proto;
  result.max_proto = old->max_proto;
  return result;
}

// Revision 0 of NETMAP, REDIRECT.
std::optional<nf_nat_range2> ReadXtNat0(const XtExtension& target) {
  if (target.revision != 0) return std::nullopt;
  return target.family == NFPROTO_IPV6 ? ConvertXtNat(target.info) : ConvertXtNat4(target.info);
}

std::optional<nf_nat_range2> ReadXtDnat(const XtExtension& target) {
  switch (target.revision) {
    case 0:
      return target.family == NFPROTO_IPV6 ? std::nullopt : ConvertXtNat4(target.info);
    case 1:
      return ConvertXtNat(target.info);
    case 2:
      return XtInfo<nf_nat_range2>(target.info);
    default:
      return std::nullopt;
  }
}

std::optional<Interval> XtNatPorts(const nf_nat_range2& range) {
  if ((range.flags & NF_NAT_RANGE_PROTO_SPECIFIED) == 0) return std::nullopt;
  return Interval{.first = XtNatPort(range.min_proto), .last = XtNatPort(range.max_proto)};
}

XtTargetSteps DecodeXtDnat(const XtExtension& target) {
  const std::optional<nf_nat_range2> range = ReadXtDnat(target);
  if (!range.has_value()) return std::nullopt;
  Nat nat;
  if ((range->flags & NF_NAT_RANGE_MAP_IPS) != 0) {
    nat.address = Interval{.first = XtAddress(target.family, range->min_addr),
                           .last = XtAddress(target.family, range->max_addr)};
  }
  nat.port = XtNatPorts(*range);
  return std::vector<Step>{nat};
}

// The kernel keeps the bits of the address in which the ends of the range differ.
XtTargetSteps DecodeXtNetmap(const XtExtension& target) {
  const std::optional<nf_nat_range2> range = ReadXtNat0(target);
  if (!range.has_value()) return std::nullopt;
  Nat nat;
  nat.address = Interval{.first = XtAddress(target.family, range->min_addr),
                         .last = XtAddress(target.family, range->max_addr)};
  return std::vector<Step>{nat};
}

XtTargetSteps DecodeXtRedirect(const XtExtension& target) {
  const std::optional<nf_nat_range2> range = ReadXtNat0(target);
  if (!range.has_value()) return std::nullopt;
  Nat nat;
  nat.redirect = true;
  nat.port = XtNatPorts(*range);
  return std::vector<Step>{nat};
}

XtTargetSteps DecodeXtMarkTarget(const XtExtension& target) {
  const std::optional<xt_mark_tginfo2> info = XtInfo<xt_mark_tginfo2>(target.info);
  if (target.revision != 2 || !info.has_value()) return std::nullopt;
  return std::vector<Step>{MarkChange{.keep = ~info->mask, .flip = info->mark}};
}

struct XtConnmarkTarget {
  uint8_t mode = 0;
  uint32_t packet_mask = 0;  // bits of the packet's mark that are replaced
};

std::optional<XtConnmarkTarget> ReadXtConnmark(const XtExtension& target) {
  if (target.revision == 1) {
    const auto info = XtInfo<xt_connmark_tginfo1>(target.info);
    if (info.has_value()) return XtConnmarkTarget{info->mode, info->nfmask};
  }
  if (target.revision == 2) {
    const auto info = XtInfo<xt_connmark_tginfo2>(target.info);
    if (info.has_value()) return XtConnmarkTarget{info->mode, info->nfmask};
  }
  return std::nullopt;
}

XtTargetSteps DecodeXtConnmarkTarget(const XtExtension& target) {
  const std::optional<XtConnmarkTarget> info = ReadXtConnmark(target);
  if (!info.has_value()) return std::nullopt;
  switch (info->mode) {
    case XT_CONNMARK_SET:
    case XT_CONNMARK_SAVE:
      return std::vector<Step>{ConnectionMarkChange{}};
    case XT_CONNMARK_RESTORE:
      return std::vector<Step>{
          MarkChange{.keep = ~info->packet_mask, .flip = 0, .from_connection = true}};
    default:
      return std::nullopt;
  }
}

std::optional<uint16_t> FlagsOfXtCt(const XtExtension& target) {
  if (target.revision == 0) {
    const auto info = XtInfo<xt_ct_target_info>(target.info);
    if (info.has_value()) return info->flags;
  }
  if (target.revision == 1 || target.revision == 2) {
    const auto info = XtInfo<xt_ct_target_info_v1>(target.info);
    if (info.has_value()) return info->flags;
  }
  return std::nullopt;
}

XtTargetSteps DecodeXtCt(const XtExtension& target) {
  const std::optional<uint16_t> flags = FlagsOfXtCt(target);
  if (!flags.has_value()) return std::nullopt;
  if ((*flags & XT_CT_NOTRACK) == 0) return std::vector<Step>{};
  return std::vector<Step>{Untrack{}};
}

XtTargetSteps DecodeXtNotrack(const XtExtension& /*target*/) {
  return std::vector<Step>{Untrack{}};
}

XtTargetSteps DecodeXtReject(const XtExtension& /*target*/) {
  Verdict verdict;
  verdict.kind = VerdictKind::kReject;
  return std::vector<Step>{std::move(verdict)};
}

XtTargetSteps DecodeXtHmark(const XtExtension& /*target*/) {
  return std::vector<Step>{MarkChange{.known = false}};
}

// Adds the packet's addresses to an ipset; revision 3 can also take its mark from there.
XtTargetSteps DecodeXtSetTarget(const XtExtension& target) {
  if (target.revision < 3) return std::vector<Step>{};
  const auto info = XtInfo<xt_set_info_target_v3>(target.info);
  if (target.revision != 3 || !info.has_value()) return std::nullopt;
  if ((info->flags & IPSET_FLAG_MAP_SKBMARK) == 0) return std::vector<Step>{};
  return std::vector<Step>{MarkChange{.known = false}};
}

std::optional<MarkChange> MarkOfXtTproxy(const XtExtension& target) {
  if (target.revision == 0) {
    const auto info = XtInfo<xt_tproxy_target_info>(target.info);
    if (info.has_value()) return MarkChange{.keep = ~info->mark_mask, .flip = info->mark_value};
  }
  if (target.revision == 1) {
    const auto info = XtInfo<xt_tproxy_target_info_v1>(target.info);
    if (info.has_value()) return MarkChange{.keep = ~info->mark_mask, .flip = info->mark_value};
  }
  return std::nullopt;
}

// Sets the mark, and gives the packet to a socket: what happens then cannot be known.
XtTargetSteps DecodeXtTproxy(const XtExtension& target) {
  const std::optional<MarkChange> mark = MarkOfXtTproxy(target);
  if (!mark.has_value()) return std::nullopt;
  Verdict verdict;
  verdict.kind = VerdictKind::kDivert;
  verdict.unknown = "target TPROXY";
  return std::vector<Step>{*mark, std::move(verdict)};
}

struct XtTargetDecoder {
  absl::string_view name;
  XtTargetSteps (*decode)(const XtExtension& target);
};

constexpr std::array<XtTargetDecoder, 11> kXtTargetDecoders = {{
    {"CONNMARK", DecodeXtConnmarkTarget},
    {"CT", DecodeXtCt},
    {"DNAT", DecodeXtDnat},
    {"HMARK", DecodeXtHmark},
    {"MARK", DecodeXtMarkTarget},
    {"NETMAP", DecodeXtNetmap},
    {"NOTRACK", DecodeXtNotrack},
    {"REDIRECT", DecodeXtRedirect},
    {"REJECT", DecodeXtReject},
    {"SET", DecodeXtSetTarget},
    {"TPROXY", DecodeXtTproxy},
}};

}  // namespace

std::vector<Step> DecodeXtTarget(uint8_t family, absl::string_view name, uint32_t revision,
                                 absl::string_view info) {
  if (std::find(kXtTargetsWithoutEffect.begin(), kXtTargetsWithoutEffect.end(), name) !=
      kXtTargetsWithoutEffect.end()) {
    return {};
  }
  const XtExtension target{.family = family, .name = name, .revision = revision, .info = info};
  for (const XtTargetDecoder& decoder : kXtTargetDecoders) {
    if (decoder.name != name) continue;
    if (XtTargetSteps steps = decoder.decode(target); steps.has_value()) return *std::move(steps);
  }
  Verdict verdict;
  verdict.kind = VerdictKind::kDivert;
  verdict.unknown = absl::StrCat("target ", name);
  return {std::move(verdict)};
}

}  // namespace npg::rules
