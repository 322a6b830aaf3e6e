// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_TESTS_INTEGRATION_RULES_RANDOM_IPTABLES_H_
#define NODEPORT_GUARD_TESTS_INTEGRATION_RULES_RANDOM_IPTABLES_H_

#include <string>

#include "integration/rules/random_rules.h"

namespace npg::rules::random_rules {

// The ipsets that the rules name, for ipset restore.
extern const char kIpSets[];

// The tables raw, mangle, nat and filter, for iptables-restore, or ip6tables-restore if `v6`.
std::string RandomIptables(Dice& dice, Spice spice, bool v6);

}  // namespace npg::rules::random_rules

#endif  // NODEPORT_GUARD_TESTS_INTEGRATION_RULES_RANDOM_IPTABLES_H_
