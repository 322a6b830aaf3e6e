// SPDX-License-Identifier: Apache-2.0
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "doctor/facts.h"
#include "doctor/finding.h"
#include "doctor/findings.h"

namespace npg::doctor {
namespace {

std::vector<std::string> Modes(const node::RulesSeen& rules) {
  std::vector<std::string> modes;
  if (rules.iptables_nft) modes.emplace_back("iptables (in nf_tables)");
  if (rules.iptables_legacy) modes.emplace_back("iptables (legacy)");
  if (rules.nftables) modes.emplace_back("nftables");
  if (rules.ipvs) modes.emplace_back("ipvs");
  return modes;
}

bool Iptables(const node::RulesSeen& rules) { return rules.iptables_nft || rules.iptables_legacy; }

void JudgeMode(const Facts& facts, std::vector<Finding>& findings) {
  const node::RulesSeen& rules = facts.rules;
  const std::vector<std::string> modes = Modes(rules);
  std::string text = modes.empty()
                         ? std::string("no rules of kube-proxy were found")
                         : absl::StrCat("kube-proxy's mode: ", absl::StrJoin(modes, " and "));
  if (modes.empty() || (rules.nftables && !Iptables(rules))) {
    if (rules.nftables) {
      absl::StrAppend(
          &text,
          ", in which connects to loopback are not taken away, only those to "
          "node addresses",
          facts.local_scope ? "" : ": with --scope loopback the guard has nothing to do");
    }
    findings.push_back({FindingId::kKubeProxyMode, Severity::kNote, text,
                        modes.empty() ? "nothing, if another program does NodePorts here (the API "
                                        "server is asked with --kubeconfig FILE); else start "
                                        "kube-proxy"
                        : facts.local_scope ? ""
                                            : "nodeport-guard run --scope local guards the node's "
                                              "addresses"});
  } else {
    findings.push_back({FindingId::kKubeProxyMode, Severity::kOk, text, ""});
  }
  if (modes.size() < 2) {
    findings.push_back(
        {FindingId::kKubeProxyLeftovers, Severity::kOk, "there are rules of one mode at most", ""});
    return;
  }
  findings.push_back(
      {FindingId::kKubeProxyLeftovers, Severity::kWarn,
       absl::StrCat("kube-proxy has left rules in several modes: ", absl::StrJoin(modes, ", ")),
       "kube-proxy --cleanup, then restart kube-proxy (in a pod: kubectl -n "
       "kube-system delete pod -l k8s-app=kube-proxy), or reboot the node"});
}

Finding JudgeLocalhost(const Facts& facts) {
  const node::RulesSeen& rules = facts.rules;
  const bool routed = facts.route_localnet.value_or(false);
  if (!Iptables(rules)) {
    if (!routed) {
      return {FindingId::kKubeProxyLocalhost, Severity::kOk,
              "no iptables rules of kube-proxy take loopback", ""};
    }
    return {
        FindingId::kKubeProxyLocalhost, Severity::kNote,
        "net.ipv4.conf.all.route_localnet is 1 and no iptables rules of kube-proxy need it: it "
        "lets neighbours reach what listens on 127.0.0.1 unless a firewall drops that",
        "sysctl -w net.ipv4.conf.all.route_localnet=0, unless something else (portmap) needs it"};
  }
  if (!rules.loopback_too) {
    return {FindingId::kKubeProxyLocalhost, Severity::kNote,
            "kube-proxy leaves loopback alone (--iptables-localhost-nodeports=false), but still "
            "refuses connects to NodePorts without endpoints there: the guard is for these",
            ""};
  }
  if (!routed) {
    return {
        FindingId::kKubeProxyLocalhost, Severity::kNote,
        "kube-proxy's rules take loopback, but net.ipv4.conf.all.route_localnet is 0: "
        "unguarded connects to 127.0.0.1 on a NodePort time out",
        "kube-proxy --iptables-localhost-nodeports=false (or iptables.localhostNodePorts: false "
        "in its configuration), if no client needs NodePorts on localhost"};
  }
  return {FindingId::kKubeProxyLocalhost, Severity::kOk,
          absl::StrCat("kube-proxy's rules take connects to loopback",
                       rules.localhost_nfacct ? " (and count them: nfacct list)" : "",
                       ", which is what the guard is for"),
          ""};
}

Finding JudgeNodeAddresses(const Facts& facts) {
  if (facts.local_scope && !facts.left_out_addresses.empty()) {
    return {FindingId::kNodeAddressesUnguarded, Severity::kNote,
            absl::StrCat("the node's addresses are guarded, too (--scope local), but for those "
                         "that may belong to Services: ",
                         facts.left_out_addresses),
            "nothing, unless the node's own clients use one of them: nodeport-guard run "
            "--scope local --local-address +ADDRESS guards it, too"};
  }
  if (facts.local_scope || facts.ports.exposed_listeners.empty()) {
    return {FindingId::kNodeAddressesUnguarded, Severity::kOk,
            facts.local_scope ? "the node's addresses are guarded, too (--scope local)"
                              : "no listener on a NodePort is reached by a node address",
            ""};
  }
  return {FindingId::kNodeAddressesUnguarded, Severity::kWarn,
          absl::StrCat("node addresses are not guarded (--scope loopback), and listeners on "
                       "NodePorts have them: ",
                       absl::StrJoin(facts.ports.exposed_listeners, ", ")),
          "nodeport-guard run --scope local (in /etc/default/nodeport-guard: "
          "NODEPORT_GUARD_SCOPE=local)"};
}

Finding JudgeListens(const Facts& facts) {
  if (facts.ports.kube_proxy.empty()) {
    return {FindingId::kKubeProxyListens, Severity::kOk, "kube-proxy itself listens on no NodePort",
            ""};
  }
  return {FindingId::kKubeProxyListens, Severity::kNote,
          absl::StrCat("kube-proxy itself listens on NodePorts: ",
                       absl::StrJoin(facts.ports.kube_proxy, ", ")),
          "nothing, as long as --ignore-process names kube-proxy, which it does by default: "
          "nodeport-guard explain PORT shows it"};
}

}  // namespace

std::vector<Finding> JudgeKubeProxy(const Facts& facts) {
  std::vector<Finding> findings;
  JudgeMode(facts, findings);
  findings.push_back(JudgeLocalhost(facts));
  findings.push_back(JudgeNodeAddresses(facts));
  findings.push_back(JudgeListens(facts));
  return findings;
}

}  // namespace npg::doctor
