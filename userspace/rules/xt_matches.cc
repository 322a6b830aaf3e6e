// SPDX-License-Identifier: Apache-2.0
#include <netinet/in.h>

#include <linux/netfilter.h>
#include <linux/netfilter/ipset/ip_set.h>
#include <linux/netfilter/xt_addrtype.h>
#include <linux/netfilter/xt_connmark.h>
#include <linux/netfilter/xt_iprange.h>
#include <linux/netfilter/xt_mark.h>
#include <linux/netfilter/xt_multiport.h>
#include <linux/netfilter/xt_set.h>
#include <linux/netfilter/xt_tcpudp.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "rules/rule.h"
#include "rules/xt_address_types.h"
#include "rules/xt_extensions.h"
#include "rules/xt_info.h"

namespace npg::rules {
namespace {

using XtSteps = std::optional<std::vector<Step>>;

// Always hold, and have no effect on the packet.
constexpr std::array<absl::string_view, 2> kXtMatchesWithoutEffect = {"comment", "nfacct"};

constexpr std::array<absl::string_view, 11> kXtChanceMatches = {
    "connbytes", "connlimit", "cpu",    "hashlimit", "limit", "nth",
    "quota",     "random",    "recent", "statistic", "time"};

// Of protocols that are neither TCP nor UDP.
constexpr std::array<absl::string_view, 9> kXtMatchesOfOtherProtocols = {
    "ah", "dccp", "esp", "icmp", "icmp6", "ipcomp", "mh", "sctp", "udplite"};

// Appends nothing for all ports.
void AppendXtPorts(Field field, absl::Span<const uint16_t> range, bool negated,
                   std::vector<Step>& steps) {
  const uint16_t first = range.front();
  const uint16_t last = range.back();
  if (!negated && first == 0 && last == std::numeric_limits<uint16_t>::max()) return;
  std::vector<Interval> intervals;
  if (first <= last) intervals.push_back({.first = first, .last = last});
  steps.emplace_back(XtTest(XtOperand(field, 2), std::move(intervals), negated));
}

XtSteps DecodeXtTcp(const XtExtension& match) {
  const std::optional<xt_tcp> info = XtInfo<xt_tcp>(match.info);
  if (match.revision != 0 || !info.has_value()) return std::nullopt;
  std::vector<Step> steps;
  AppendXtPorts(Field::kSourcePort, info->spts, (info->invflags & XT_TCP_INV_SRCPT) != 0, steps);
  AppendXtPorts(Field::kDestinationPort, info->dpts, (info->invflags & XT_TCP_INV_DSTPT) != 0,
                steps);
  const bool flags_negated = (info->invflags & XT_TCP_INV_FLAGS) != 0;
  if (info->flg_mask != 0 || info->flg_cmp != 0 || flags_negated) {
    steps.emplace_back(XtTest(XtOperand(Field::kTcpFlags, 1, info->flg_mask),
                              {{.first = info->flg_cmp, .last = info->flg_cmp}}, flags_negated));
  }
  if (info->option != 0) steps.emplace_back(XtUnknownTest("match tcp --tcp-option"));
  return steps;
}

XtSteps DecodeXtUdp(const XtExtension& match) {
  const std::optional<xt_udp> info = XtInfo<xt_udp>(match.info);
  if (match.revision != 0 || !info.has_value()) return std::nullopt;
  std::vector<Step> steps;
  AppendXtPorts(Field::kSourcePort, info->spts, (info->invflags & XT_UDP_INV_SRCPT) != 0, steps);
  AppendXtPorts(Field::kDestinationPort, info->dpts, (info->invflags & XT_UDP_INV_DSTPT) != 0,
                steps);
  return steps;
}

// The ports of a rule; pflags marks the first one of a range. nullopt if a range has no end.
std::optional<std::vector<Interval>> IntervalsOfXtMultiport(const xt_multiport_v1& info) {
  if (info.count > XT_MULTI_PORTS) return std::nullopt;
  const absl::Span<const uint16_t> ports = absl::MakeConstSpan(info.ports).first(info.count);
  const absl::Span<const uint8_t> ranges = absl::MakeConstSpan(info.pflags).first(info.count);
  std::vector<Interval> intervals;
  for (size_t i = 0; i < ports.size(); ++i) {
    const uint16_t first = ports[i];
    if (ranges[i] != 0 && ++i == ports.size()) return std::nullopt;
    if (first <= ports[i]) intervals.push_back({.first = first, .last = ports[i]});
  }
  return intervals;
}

XtSteps DecodeXtMultiport(const XtExtension& match) {
  const std::optional<xt_multiport_v1> info = XtInfo<xt_multiport_v1>(match.info);
  if (match.revision != 1 || !info.has_value() || info->flags > XT_MULTIPORT_EITHER) {
    return std::nullopt;
  }
  std::optional<std::vector<Interval>> intervals = IntervalsOfXtMultiport(*info);
  if (!intervals.has_value()) return std::nullopt;
  const Field field =
      info->flags == XT_MULTIPORT_SOURCE ? Field::kSourcePort : Field::kDestinationPort;
  Test test = XtTest(XtOperand(field, 2), *std::move(intervals), info->invert != 0);
  test.or_source_port = info->flags == XT_MULTIPORT_EITHER;
  return std::vector<Step>{std::move(test)};
}

// A rule that asks for no type of an end has a mask of 0.
void AppendXtAddressType(uint8_t family, Field field, uint16_t mask, bool negated,
                         std::vector<Step>& steps) {
  if (mask == 0) return;
  steps.emplace_back(XtTest(XtOperand(field, 4), AddressTypeIntervals(family, mask), negated));
}

XtSteps DecodeXtAddressType0(const XtExtension& match) {
  const std::optional<xt_addrtype_info> info = XtInfo<xt_addrtype_info>(match.info);
  if (!info.has_value()) return std::nullopt;
  std::vector<Step> steps;
  AppendXtAddressType(match.family, Field::kSourceType, info->source, info->invert_source != 0,
                      steps);
  AppendXtAddressType(match.family, Field::kDestinationType, info->dest, info->invert_dest != 0,
                      steps);
  return steps;
}

XtSteps DecodeXtAddressType(const XtExtension& match) {
  if (match.revision == 0) return DecodeXtAddressType0(match);
  const std::optional<xt_addrtype_info_v1> info = XtInfo<xt_addrtype_info_v1>(match.info);
  if (match.revision != 1 || !info.has_value()) return std::nullopt;
  // With an interface, the type is that of the address on this interface only.
  if ((info->flags & (XT_ADDRTYPE_LIMIT_IFACE_IN | XT_ADDRTYPE_LIMIT_IFACE_OUT)) != 0) {
    return std::vector<Step>{XtUnknownTest("match addrtype with an interface")};
  }
  std::vector<Step> steps;
  AppendXtAddressType(match.family, Field::kSourceType, info->source,
                      (info->flags & XT_ADDRTYPE_INVERT_SOURCE) != 0, steps);
  AppendXtAddressType(match.family, Field::kDestinationType, info->dest,
                      (info->flags & XT_ADDRTYPE_INVERT_DEST) != 0, steps);
  return steps;
}

XtSteps DecodeXtMark(const XtExtension& match) {
  const std::optional<xt_mark_mtinfo1> info = XtInfo<xt_mark_mtinfo1>(match.info);
  if (match.revision != 1 || !info.has_value()) return std::nullopt;
  return std::vector<Step>{XtTest(XtOperand(Field::kMark, 4, info->mask),
                                  {{.first = info->mark, .last = info->mark}}, info->invert != 0)};
}

XtSteps DecodeXtConnmark(const XtExtension& match) {
  const std::optional<xt_connmark_mtinfo1> info = XtInfo<xt_connmark_mtinfo1>(match.info);
  if (match.revision != 1 || !info.has_value()) return std::nullopt;
  // Does not hold for an untracked packet, negated or not.
  return std::vector<Step>{XtTrackedTest(),
                           XtTest(XtOperand(Field::kConnectionMark, 4, info->mask),
                                  {{.first = info->mark, .last = info->mark}}, info->invert != 0)};
}

void AppendXtAddressRange(uint8_t family, Field field, const nf_inet_addr& min,
                          const nf_inet_addr& max, bool negated, std::vector<Step>& steps) {
  const Interval interval{.first = XtAddress(family, min), .last = XtAddress(family, max)};
  std::vector<Interval> intervals;
  if (interval.first <= interval.last) intervals.push_back(interval);
  steps.emplace_back(
      XtTest(XtOperand(field, XtAddressSize(family)), std::move(intervals), negated));
}

XtSteps DecodeXtIprange(const XtExtension& match) {
  const std::optional<xt_iprange_mtinfo> info = XtInfo<xt_iprange_mtinfo>(match.info);
  if (match.revision != 1 || !info.has_value()) return std::nullopt;
  std::vector<Step> steps;
  if ((info->flags & IPRANGE_SRC) != 0) {
    AppendXtAddressRange(match.family, Field::kSource, info->src_min, info->src_max,
                         (info->flags & IPRANGE_SRC_INV) != 0, steps);
  }
  if ((info->flags & IPRANGE_DST) != 0) {
    AppendXtAddressRange(match.family, Field::kDestination, info->dst_min, info->dst_max,
                         (info->flags & IPRANGE_DST_INV) != 0, steps);
  }
  return steps;
}

// Of all revisions of the match set.
struct XtSetLookup {
  xt_set_info set{};
  bool counters = false;  // holds only for values of the element's counters
};

// Revision 0 has flags IPSET_SRC, IPSET_DST for each dimension, up to one without either.
XtSetLookup ConvertXtSet0(const xt_set_info_v0& old) {
  XtSetLookup lookup;
  lookup.set.index = old.index;
  const absl::Span<const uint32_t> flags = absl::MakeConstSpan(old.u.flags);
  uint32_t result = (flags.front() & IPSET_MATCH_INV) != 0 ? IPSET_INV_MATCH : 0;
  for (const uint32_t flag : flags.first(IPSET_DIM_MAX - 1)) {
    if (flag == 0) break;
    ++lookup.set.dim;
    if ((flag & IPSET_SRC) != 0) result |= 1U << lookup.set.dim;
  }
  lookup.set.flags = static_cast<uint8_t>(result);
  return lookup;
}

template <typename Info>
std::optional<XtSetLookup> ConvertXtSetWithCounters(absl::string_view bytes) {
  const std::optional<Info> info = XtInfo<Info>(bytes);
  if (!info.has_value()) return std::nullopt;
  return XtSetLookup{
      .set = info->match_set,
      .counters = info->packets.op != IPSET_COUNTER_NONE || info->bytes.op != IPSET_COUNTER_NONE};
}

std::optional<XtSetLookup> ReadXtSet(const XtExtension& match) {
  switch (match.revision) {
    case 0: {
      const auto info = XtInfo<xt_set_info_match_v0>(match.info);
      if (!info.has_value()) return std::nullopt;
      return ConvertXtSet0(info->match_set);
    }
    case 1:
    case 2: {  // the same structure; 2 has one more flag
      const auto info = XtInfo<xt_set_info_match_v1>(match.info);
      if (!info.has_value()) return std::nullopt;
      return XtSetLookup{.set = info->match_set};
    }
    case 3:
      return ConvertXtSetWithCounters<xt_set_info_match_v3>(match.info);
    case 4:
      return ConvertXtSetWithCounters<xt_set_info_match_v4>(match.info);
    default:
      return std::nullopt;
  }
}

XtSteps DecodeXtSet(const XtExtension& match) {
  const std::optional<XtSetLookup> lookup = ReadXtSet(match);
  if (!lookup.has_value()) return std::nullopt;
  const xt_set_info& set = lookup->set;
  if (set.dim == 0 || set.dim > IPSET_DIM_MAX) return std::nullopt;
  Test test;
  test.negated = (set.flags & IPSET_INV_MATCH) != 0;
  if ((set.flags & IPSET_RETURN_NOMATCH) != 0) {
    return std::vector<Step>{XtUnknownTest("match set --return-nomatch")};
  }
  if (lookup->counters && test.negated) {
    return std::vector<Step>{XtUnknownTest("match set with counters")};
  }
  for (uint32_t dimension = 1; dimension <= set.dim; ++dimension) {
    const bool source = (set.flags & (1U << dimension)) != 0;
    test.operands.push_back(XtOperand(source ? Field::kSource : Field::kDestination, 0));
  }
  test.set = SetName{.name = absl::StrCat("#", set.index), .ip_set = true};
  std::vector<Step> steps{std::move(test)};
  if (lookup->counters) steps.emplace_back(XtTest(XtOperand(Field::kChance, 0), {}, false));
  return steps;
}

struct XtMatchDecoder {
  absl::string_view name;
  XtSteps (*decode)(const XtExtension& match);
};

constexpr std::array<XtMatchDecoder, 10> kXtMatchDecoders = {{
    {"addrtype", DecodeXtAddressType},
    {"connmark", DecodeXtConnmark},
    {"conntrack", DecodeXtConntrack},
    {"iprange", DecodeXtIprange},
    {"mark", DecodeXtMark},
    {"multiport", DecodeXtMultiport},
    {"set", DecodeXtSet},
    {"state", DecodeXtState},
    {"tcp", DecodeXtTcp},
    {"udp", DecodeXtUdp},
}};

bool IsXtMatchOf(absl::Span<const absl::string_view> names, absl::string_view name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

}  // namespace

std::vector<Step> DecodeXtMatch(uint8_t family, absl::string_view name, uint32_t revision,
                                absl::string_view info) {
  if (IsXtMatchOf(kXtMatchesWithoutEffect, name)) return {};
  if (IsXtMatchOf(kXtChanceMatches, name)) return {XtTest(XtOperand(Field::kChance, 0), {}, false)};
  if (IsXtMatchOf(kXtMatchesOfOtherProtocols, name)) {
    return {XtTest(XtOperand(Field::kProtocol, 1), {}, false)};
  }
  const XtExtension match{.family = family, .name = name, .revision = revision, .info = info};
  for (const XtMatchDecoder& decoder : kXtMatchDecoders) {
    if (decoder.name != name) continue;
    if (XtSteps steps = decoder.decode(match); steps.has_value()) return *std::move(steps);
  }
  return {XtUnknownTest(absl::StrCat("match ", name))};
}

}  // namespace npg::rules
