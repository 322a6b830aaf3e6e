// SPDX-License-Identifier: Apache-2.0
#include "rules/rule.h"

#include <netinet/in.h>
// After netinet/in.h, with which the kernel's headers agree only in this order.
#include <linux/netfilter.h>

#include <cstdint>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

namespace npg::rules {
namespace {

absl::string_view TableFamilyName(uint8_t family) {
  switch (family) {
    case NFPROTO_IPV4:
      return "ip";
    case NFPROTO_IPV6:
      return "ip6";
    case NFPROTO_INET:
      return "inet";
    default:
      return "other";
  }
}

}  // namespace

std::string ToString(const TableId& table) {
  if (table.engine == Engine::kNfTables) {
    return absl::StrCat("nft table ", TableFamilyName(table.family), " ", table.name);
  }
  return absl::StrCat(table.family == NFPROTO_IPV6 ? "ip6tables" : "iptables", "-legacy table ",
                      table.name);
}

std::string ToString(const ChainName& chain) {
  return absl::StrCat(ToString(chain.table), ", chain ", chain.name);
}

}  // namespace npg::rules
