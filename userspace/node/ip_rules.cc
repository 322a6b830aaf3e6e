// SPDX-License-Identifier: Apache-2.0
#include "node/ip_rules.h"

#include <linux/fib_rules.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <sys/socket.h>

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "base/netlink_socket.h"
#include "base/netlink_view.h"
#include "core/mark.h"
#include "node/mark_use.h"

namespace npg::node {
namespace {

struct RuleRequest {
  nlmsghdr header;
  fib_rule_hdr rule;
};

// What a rule does with a packet, as `ip rule` says it.
std::string ActionText(const fib_rule_hdr& header, uint32_t table) {
  switch (header.action) {
    case FR_ACT_TO_TBL:
      return absl::StrCat("lookup ", table);
    case FR_ACT_BLACKHOLE:
      return "blackhole";
    case FR_ACT_UNREACHABLE:
      return "unreachable";
    case FR_ACT_PROHIBIT:
      return "prohibit";
    default:
      return absl::StrCat("action ", static_cast<uint32_t>(header.action));
  }
}

}  // namespace

std::optional<MarkUse> DecodeIpRule(const nlmsghdr& message) {
  const absl::string_view payload = base::ViewOf(message).payload;
  const auto header = base::HeaderOf<fib_rule_hdr>(payload);
  if (message.nlmsg_type != RTM_NEWRULE || !header) return std::nullopt;
  std::optional<uint32_t> mark, mask;
  uint32_t priority = 0, table = header->table;
  absl::string_view rest = base::AttributesBehind<fib_rule_hdr>(payload);
  for (base::NetlinkAttribute attribute; base::NextAttribute(rest, attribute);) {
    const auto number = base::ValueOf<uint32_t>(attribute.payload);
    if (!number) continue;
    if (attribute.type == FRA_FWMARK) mark = *number;
    if (attribute.type == FRA_FWMASK) mask = *number;
    if (attribute.type == FRA_PRIORITY) priority = *number;
    if (attribute.type == FRA_TABLE) table = *number;
  }
  // The kernel states a mark of 0 by its mask alone.
  if (mask.value_or(mark.value_or(0)) == 0) return std::nullopt;
  MarkUse use;
  use.value = mark.value_or(0);
  use.mask = mask.value_or(~uint32_t{0});
  use.where = header->family == AF_INET6 ? "ip -6 rule" : "ip rule";
  use.rule = absl::StrCat(priority, ": ", (header->flags & FIB_RULE_INVERT) != 0 ? "not " : "",
                          "fwmark ", core::ToString(core::Mark{use.value, use.mask}), " ",
                          ActionText(*header, table));
  return use;
}

absl::StatusOr<std::vector<MarkUse>> ReadIpRuleMarks() {
  auto netlink = base::NetlinkSocket::Open(NETLINK_ROUTE);
  if (!netlink.ok()) return netlink.status();
  std::vector<MarkUse> uses;
  for (const int family : {AF_INET, AF_INET6}) {
    RuleRequest request{};
    request.header.nlmsg_len = sizeof(request);
    request.header.nlmsg_type = RTM_GETRULE;
    request.header.nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
    request.rule.family = static_cast<uint8_t>(family);
    const auto answer = netlink->Ask(request.header, "list the routing rules");
    // A node without IPv6 has no such rules.
    if (!answer.ok() && family == AF_INET6) continue;
    if (!answer.ok()) return answer.status();
    answer->ForEach([&uses](const nlmsghdr& message) {
      if (std::optional<MarkUse> use = DecodeIpRule(message)) uses.push_back(*std::move(use));
    });
  }
  return uses;
}

}  // namespace npg::node
