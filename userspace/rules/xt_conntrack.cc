// SPDX-License-Identifier: Apache-2.0
#include <arpa/inet.h>

#include <linux/netfilter.h>
#include <linux/netfilter/nf_conntrack_common.h>
#include <linux/netfilter/xt_conntrack.h>
#include <linux/netfilter/xt_state.h>

#include <array>
#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "rules/rule.h"
#include "rules/xt_info.h"

// The matches conntrack and state (net/netfilter/xt_conntrack.c, xt_state.c).

namespace npg::rules {
namespace {

// Bits that xt_conntrack, xt_state and nf_tables share.
constexpr uint32_t kXtCommonStates = NF_CT_STATE_INVALID_BIT | NF_CT_STATE_BIT(IP_CT_ESTABLISHED) |
                                     NF_CT_STATE_BIT(IP_CT_RELATED) | NF_CT_STATE_BIT(IP_CT_NEW);
constexpr uint32_t kXtStatesWithoutEntry = NF_CT_STATE_INVALID_BIT | NF_CT_STATE_UNTRACKED_BIT;

// Options that ask for what only the entry of conntrack, or the answer, can tell.
constexpr std::array<std::pair<uint16_t, absl::string_view>, 6> kXtUnknownConntrackOptions = {{
    {XT_CONNTRACK_REPLSRC, "--ctreplsrc"},
    {XT_CONNTRACK_REPLDST, "--ctrepldst"},
    {XT_CONNTRACK_STATUS, "--ctstatus"},
    {XT_CONNTRACK_EXPIRES, "--ctexpire"},
    {XT_CONNTRACK_REPLSRC_PORT, "--ctreplsrcport"},
    {XT_CONNTRACK_REPLDST_PORT, "--ctrepldstport"},
}};

// States SNAT and DNAT do not hold for a packet that has met no nat, and one that has goes another
// way anyway.
uint32_t StatesOfXtConntrack(uint32_t mask) {
  uint32_t states = mask & kXtCommonStates;
  if ((mask & XT_CONNTRACK_STATE_UNTRACKED) != 0) states |= NF_CT_STATE_UNTRACKED_BIT;
  return states;
}

// The last revision's structure, with the ports of the older ones as ranges in host order.
template <typename Info>
std::optional<xt_conntrack_mtinfo3> ConvertXtConntrack(absl::string_view bytes) {
  const std::optional<Info> info = XtInfo<Info>(bytes);
  if (!info.has_value()) return std::nullopt;
  xt_conntrack_mtinfo3 result{};
  result.origsrc_addr = info->origsrc_addr;
  result.origsrc_mask = info->origsrc_mask;
  result.origdst_addr = info->origdst_addr;
  result.origdst_mask = info->origdst_mask;
  result.l4proto = info->l4proto;
  result.origsrc_port = result.origsrc_port_high = ntohs(info->origsrc_port);
  result.origdst_port = result.origdst_port_high = ntohs(info->origdst_port);
  result.match_flags = info->match_flags;
  result.invert_flags = info->invert_flags;
  result.state_mask = info->state_mask;
  return result;
}

std::optional<xt_conntrack_mtinfo3> ReadXtConntrack(const XtExtension& match) {
  switch (match.revision) {
    case 1:
      return ConvertXtConntrack<xt_conntrack_mtinfo1>(match.info);
    case 2:
      return ConvertXtConntrack<xt_conntrack_mtinfo2>(match.info);
    case 3:
      return XtInfo<xt_conntrack_mtinfo3>(match.info);
    default:
      return std::nullopt;
  }
}

Test XtOriginalAddressTest(uint8_t family, Field field, const nf_inet_addr& address,
                           const nf_inet_addr& mask, bool negated) {
  const Value bits = XtAddress(family, mask);
  const Value value = XtAddress(family, address) & bits;
  return XtTest(XtOperand(field, XtAddressSize(family), bits), {{.first = value, .last = value}},
                negated);
}

Test XtOriginalPortTest(Field field, uint16_t first, uint16_t last, bool negated) {
  std::vector<Interval> intervals;
  if (first <= last) intervals.push_back({.first = first, .last = last});
  return XtTest(XtOperand(field, 2), std::move(intervals), negated);
}

// Conditions other than that on the state.
std::vector<Step> XtEntryTests(uint8_t family, const xt_conntrack_mtinfo3& info) {
  std::vector<Step> steps;
  const auto asked = [&info](uint16_t flag) { return (info.match_flags & flag) != 0; };
  const auto negated = [&info](uint16_t flag) { return (info.invert_flags & flag) != 0; };
  // The packet's direction is ORIGINAL.
  if (asked(XT_CONNTRACK_DIRECTION) && negated(XT_CONNTRACK_DIRECTION)) {
    steps.emplace_back(XtTest(XtOperand(Field::kState, 4), {}, false));
  }
  if (asked(XT_CONNTRACK_PROTO)) {
    steps.emplace_back(XtTest(XtOperand(Field::kProtocol, 1),
                              {{.first = info.l4proto, .last = info.l4proto}},
                              negated(XT_CONNTRACK_PROTO)));
  }
  if (asked(XT_CONNTRACK_ORIGSRC)) {
    steps.emplace_back(XtOriginalAddressTest(family, Field::kSource, info.origsrc_addr,
                                             info.origsrc_mask, negated(XT_CONNTRACK_ORIGSRC)));
  }
  if (asked(XT_CONNTRACK_ORIGDST)) {
    steps.emplace_back(XtOriginalAddressTest(family, Field::kDestination, info.origdst_addr,
                                             info.origdst_mask, negated(XT_CONNTRACK_ORIGDST)));
  }
  if (asked(XT_CONNTRACK_ORIGSRC_PORT)) {
    steps.emplace_back(XtOriginalPortTest(Field::kSourcePort, info.origsrc_port,
                                          info.origsrc_port_high,
                                          negated(XT_CONNTRACK_ORIGSRC_PORT)));
  }
  if (asked(XT_CONNTRACK_ORIGDST_PORT)) {
    steps.emplace_back(XtOriginalPortTest(Field::kDestinationPort, info.origdst_port,
                                          info.origdst_port_high,
                                          negated(XT_CONNTRACK_ORIGDST_PORT)));
  }
  for (const auto& [flag, option] : kXtUnknownConntrackOptions) {
    if (asked(flag)) {
      steps.emplace_back(XtUnknownTest(absl::StrCat("match conntrack ", option)));
    }
  }
  return steps;
}

}  // namespace

std::optional<std::vector<Step>> DecodeXtConntrack(const XtExtension& match) {
  const std::optional<xt_conntrack_mtinfo3> info = ReadXtConntrack(match);
  if (!info.has_value()) return std::nullopt;
  std::vector<Step> steps = XtEntryTests(match.family, *info);
  if ((info->match_flags & XT_CONNTRACK_STATE) == 0) {
    steps.insert(steps.begin(), XtTrackedTest());
    return steps;
  }
  const uint32_t states = StatesOfXtConntrack(info->state_mask);
  const bool negated = (info->invert_flags & XT_CONNTRACK_STATE) != 0;
  // For a packet that has no entry and whose state is one of these, the kernel skips the other
  // conditions.
  const uint32_t accepted = negated ? ~states : states;
  if (!steps.empty() && (accepted & kXtStatesWithoutEntry) != 0) {
    steps.assign(1, XtUnknownTest("match conntrack --ctstate with other options"));
  }
  steps.insert(steps.begin(), XtStateTest(states, negated));
  return steps;
}

std::optional<std::vector<Step>> DecodeXtState(const XtExtension& match) {
  const std::optional<xt_state_info> info = XtInfo<xt_state_info>(match.info);
  if (match.revision != 0 || !info.has_value()) return std::nullopt;
  uint32_t states = info->statemask & kXtCommonStates;
  if ((info->statemask & XT_STATE_UNTRACKED) != 0) states |= NF_CT_STATE_UNTRACKED_BIT;
  return std::vector<Step>{XtStateTest(states, false)};
}

}  // namespace npg::rules
