// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_TESTS_INTEGRATION_RULES_RANDOM_NFT_H_
#define NODEPORT_GUARD_TESTS_INTEGRATION_RULES_RANDOM_NFT_H_

#include <string>
#include <vector>

#include "integration/rules/random_rules.h"

namespace npg::rules::random_rules {

// One to three tables of the families ip, ip6 and inet, for nft -f. The priorities of its base
// chains are not those of iptables, and differ between tables, so that their order is defined.
std::string RandomNft(Dice& dice, Spice spice);

// One change of a table that RandomNft() made: `table` is "ip t0" and the like. Valid at any time.
std::string RandomNftChange(Dice& dice, const std::string& table, int number);

// The tables in `text`, as "ip t0".
std::vector<std::string> TablesOf(const std::string& text);

}  // namespace npg::rules::random_rules

#endif  // NODEPORT_GUARD_TESTS_INTEGRATION_RULES_RANDOM_NFT_H_
