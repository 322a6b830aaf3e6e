// SPDX-License-Identifier: Apache-2.0
#include "node/obstacle_text.h"

#include <cstdint>
#include <optional>
#include <string>

#include "absl/strings/str_cat.h"
#include "base/nft_objects.h"
#include "node/loopback_rules.h"
#include "node/nft_tables.h"

namespace npg::node {
namespace {

std::string PlaceText(const RulePlace& place, const NftBaseChain& base) {
  return absl::StrCat(
      place.chain == base.chain ? "" : absl::StrCat("chain ", place.chain.name, ", "), "handle ",
      place.handle);
}

}  // namespace

std::string WhereText(const NftChain& chain, bool of_iptables) {
  return absl::StrCat(of_iptables ? "iptables-nft table " : "nft table ", TableText(chain.table),
                      ", chain ", chain.name);
}

std::string ZoneText(uint64_t handle, bool surely) {
  return absl::StrCat(surely ? "sets" : "may set", " a conntrack zone (handle ", handle, ")");
}

std::string ZoneFix(const NftChain& chain, uint32_t hook) {
  return absl::StrCat("nft insert rule ", TableText(chain.table), " ", chain.name,
                      Arrives(hook) ? " iif lo" : " oif lo", " return");
}

std::string StateDropText(const RulePlace& place, const NftBaseChain& base, bool certain) {
  return absl::StrCat(certain ? "drops" : "may drop", " untracked packets (",
                      PlaceText(place, base), ")");
}

std::string StateAcceptText(const std::optional<RulePlace>& dropped_by, const NftBaseChain& base,
                            bool certain) {
  return absl::StrCat("accepts by connection state and ", certain ? "drops" : "may drop",
                      " untracked packets of lo (",
                      dropped_by ? PlaceText(*dropped_by, base) : std::string("its policy"), ")");
}

std::string AcceptFix(const NftBaseChain& base, bool of_iptables) {
  const NftTableId& table = base.chain.table;
  const bool in = Arrives(base.hook);
  if (!of_iptables) {
    return absl::StrCat("nft insert rule ", TableText(table), " ", base.chain.name,
                        in ? " iif lo" : " oif lo", " accept (or ct state untracked accept)");
  }
  return absl::StrCat(table.first == NFPROTO_IPV6 ? "ip6tables" : "iptables",
                      table.second == "filter" ? "" : absl::StrCat(" -t ", table.second), " -I ",
                      base.chain.name, in ? " -i lo" : " -o lo", " -j ACCEPT");
}

}  // namespace npg::node
