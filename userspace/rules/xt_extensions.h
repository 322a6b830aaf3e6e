// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_RULES_XT_EXTENSIONS_H_
#define NODEPORT_GUARD_RULES_XT_EXTENSIONS_H_

#include <cstdint>
#include <vector>

#include "absl/strings/string_view.h"
#include "rules/rule.h"

namespace npg::rules {

// Extensions of iptables, as iptables-nft puts them into rules of nf_tables (expressions "match"
// and "target"; net/netfilter/nft_compat.c): name, revision and the kernel's binary structure
// (linux/netfilter/xt_*.h). `family` is that of the rule: NFPROTO_IPV4, NFPROTO_IPV6.

// The steps that a match stands for; one Test with an operand kUnknown ("match u32") if it is not
// known, or is known but of a revision or size that is not. None for matches that always hold and
// change nothing (comment, nfacct). Fields of the packet that a match of another protocol than TCP
// and UDP asks for do not exist: its Test never holds.
// The match set has the kernel's index of an ipset (ip_set_id_t) instead of a name: SetName::name
// is then "#" and this index in decimal ("#3"). The reader of ipsets asks the kernel for the name
// (IPSET_CMD_GET_BYINDEX). The size of the operands of a Test on an ipset is 0.
std::vector<Step> DecodeXtMatch(uint8_t family, absl::string_view name, uint32_t revision,
                                absl::string_view info);

// The same for a target; a Verdict kDivert ("target TPROXY") if it is not known. None for targets
// that do not change the way of a packet (LOG, NFLOG, TRACE, CHECKSUM, TCPMSS, CLASSIFY).
std::vector<Step> DecodeXtTarget(uint8_t family, absl::string_view name, uint32_t revision,
                                 absl::string_view info);

}  // namespace npg::rules

#endif  // NODEPORT_GUARD_RULES_XT_EXTENSIONS_H_
