// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_TESTS_INTEGRATION_RULES_KNOWN_RULES_H_
#define NODEPORT_GUARD_TESTS_INTEGRATION_RULES_KNOWN_RULES_H_

#include <map>
#include <string>
#include <vector>

// Rules in the shapes in which programs write them, with names and addresses of our own.

namespace npg::rules::known_rules {

// A port, as "30001/tcp", and what the text of its owner begins with: a Service, or a chain, as
// "$nat, chain DOCKER", where $nat and $filter are tables of iptables.
using Taken = std::map<std::string, std::string>;

// The node has the addresses 192.0.2.7 and fd00::7.
struct KnownRules {
  std::string name;        // letters and digits
  std::string nft{};       // for nft -f
  std::string ipset{};     // for ipset restore
  std::string iptables{};  // for iptables-restore: both of iptables-nft and iptables-legacy
  Taken loopback{};
  Taken node{};
};

std::vector<KnownRules> OfKubeProxy();
std::vector<KnownRules> OfHostPorts();  // container runtimes and the plugins of CNI
std::vector<KnownRules> OfOthers();     // networks of clusters, and of administrators
std::vector<KnownRules> ThatTakeNothing();

// A table nat of iptables: chains of its own, by name, and its rules.
std::string NatTable(const std::vector<std::string>& chains, const std::string& rules);

}  // namespace npg::rules::known_rules

#endif  // NODEPORT_GUARD_TESTS_INTEGRATION_RULES_KNOWN_RULES_H_
