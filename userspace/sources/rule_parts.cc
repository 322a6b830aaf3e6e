// SPDX-License-Identifier: Apache-2.0
#include "sources/rule_parts.h"

#include <sys/socket.h>

#include <cstdint>
#include <optional>

#include "absl/strings/string_view.h"
#include "base/netlink_view.h"
#include "node/kube_proxy_table.h"

namespace npg::sources {

RulePartSet PartOfTable(uint8_t family, absl::string_view table) {
  RulePartSet parts;
  if (family != AF_INET && family != AF_INET6) return parts;
  const bool ip4 = family == AF_INET;
  if (table == node::kKubeProxyTable) parts.set(Index(RulePart::kMaps));
  if (table == "nat") parts.set(Index(ip4 ? RulePart::kIp4Nat : RulePart::kIp6Nat));
  if (table == "filter") parts.set(Index(ip4 ? RulePart::kIp4Filter : RulePart::kIp6Filter));
  return parts;
}

RulePartSet ChangedPart(const base::NetlinkMessage& message) {
  const std::optional<base::NftTableRef> table = base::ChangedTable(message);
  return table ? PartOfTable(table->family, table->name) : RulePartSet();
}

}  // namespace npg::sources
