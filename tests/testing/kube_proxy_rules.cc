// SPDX-License-Identifier: Apache-2.0
#include "testing/kube_proxy_rules.h"

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "testing/command.h"
#include "testing/transport.h"

namespace npg::testing {
namespace {

std::string Protocol(const NodePort& nodeport) {
  return nodeport.transport == Transport::kUdp ? "udp" : "tcp";
}

absl::Status Restore(const char* family, IptablesVariant variant, const std::string& rules) {
  const std::string program =
      absl::StrCat(family, variant == IptablesVariant::kNft ? "-nft" : "-legacy", "-restore");
  return RunCommand({program, "--wait", "30"}, rules).status();
}

}  // namespace

std::vector<NodePort> TcpAndUdp(const std::vector<uint16_t>& ports, bool endpoint) {
  std::vector<NodePort> nodeports;
  for (const uint16_t port : ports) {
    nodeports.push_back({port, Transport::kTcp, endpoint});
    nodeports.push_back({port, Transport::kUdp, endpoint});
  }
  return nodeports;
}

std::string KubeProxyRules::Fill(const char* text, const NodePort& nodeport) const {
  // The chain ids of kube-proxy are hashes; any unique id of this length works.
  const bool udp = nodeport.transport == Transport::kUdp;
  return absl::StrReplaceAll(
      text, {{"$id", absl::StrCat(udp ? "UDP" : "TCP", nodeport.port)},
             {"$proto", Protocol(nodeport)},
             {"$service", absl::StrCat("default/web-", nodeport.port, ":", Protocol(nodeport))},
             {"$port", absl::StrCat(nodeport.port)},
             {"$pod", pod_},
             {"$target", absl::StrCat(pod_, ":", pod_port_)}});
}

std::string KubeProxyRules::Filter(const std::vector<NodePort>& nodeports) const {
  std::string rules = R"(*filter
:INPUT ACCEPT [0:0]
:FORWARD ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:KUBE-EXTERNAL-SERVICES - [0:0]
:KUBE-FIREWALL - [0:0]
:KUBE-FORWARD - [0:0]
:KUBE-NODEPORTS - [0:0]
:KUBE-PROXY-CANARY - [0:0]
:KUBE-PROXY-FIREWALL - [0:0]
:KUBE-SERVICES - [0:0]
)";
  if (drop_invalid_) {
    absl::StrAppend(&rules, "-A INPUT -m conntrack --ctstate INVALID -j DROP\n");
  }
  absl::StrAppend(&rules, R"(-A INPUT -j KUBE-FIREWALL
-A INPUT -m conntrack --ctstate NEW -m comment --comment "kubernetes load balancer firewall" -j KUBE-PROXY-FIREWALL
-A INPUT -m comment --comment "kubernetes health check service ports" -j KUBE-NODEPORTS
-A INPUT -m conntrack --ctstate NEW -m comment --comment "kubernetes externally-visible service portals" -j KUBE-EXTERNAL-SERVICES
-A FORWARD -m conntrack --ctstate NEW -m comment --comment "kubernetes load balancer firewall" -j KUBE-PROXY-FIREWALL
-A FORWARD -m comment --comment "kubernetes forwarding rules" -j KUBE-FORWARD
-A FORWARD -m conntrack --ctstate NEW -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-A FORWARD -m conntrack --ctstate NEW -m comment --comment "kubernetes externally-visible service portals" -j KUBE-EXTERNAL-SERVICES
-A OUTPUT -j KUBE-FIREWALL
-A OUTPUT -m conntrack --ctstate NEW -m comment --comment "kubernetes load balancer firewall" -j KUBE-PROXY-FIREWALL
-A OUTPUT -m conntrack --ctstate NEW -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-A KUBE-FIREWALL ! -s 127.0.0.0/8 -d 127.0.0.0/8 -m comment --comment "block incoming localnet connections" -m conntrack ! --ctstate RELATED,ESTABLISHED,DNAT -j DROP
-A KUBE-FORWARD -m conntrack --ctstate INVALID -j DROP
-A KUBE-FORWARD -m comment --comment "kubernetes forwarding rules" -m mark --mark 0x4000/0x4000 -j ACCEPT
-A KUBE-FORWARD -m comment --comment "kubernetes forwarding conntrack rule" -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
)");
  for (const NodePort& nodeport : nodeports) {
    if (nodeport.endpoint) continue;
    absl::StrAppend(
        &rules,
        Fill(
            R"(-A KUBE-EXTERNAL-SERVICES -p $proto -m comment --comment "$service has no endpoints" -m addrtype --dst-type LOCAL -m $proto --dport $port -j REJECT --reject-with icmp-port-unreachable
)",
            nodeport));
  }
  return absl::StrCat(rules, "COMMIT\n");
}

std::string KubeProxyRules::Nat(const std::vector<NodePort>& nodeports) const {
  std::string chains = R"(*nat
:PREROUTING ACCEPT [0:0]
:INPUT ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
:KUBE-MARK-MASQ - [0:0]
:KUBE-NODEPORTS - [0:0]
:KUBE-POSTROUTING - [0:0]
:KUBE-PROXY-CANARY - [0:0]
:KUBE-SERVICES - [0:0]
)";
  std::string rules =
      R"(-A PREROUTING -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-A OUTPUT -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-A POSTROUTING -m comment --comment "kubernetes postrouting rules" -j KUBE-POSTROUTING
-A KUBE-MARK-MASQ -j MARK --set-xmark 0x4000/0x4000
-A KUBE-POSTROUTING -m mark ! --mark 0x4000/0x4000 -j RETURN
-A KUBE-POSTROUTING -j MARK --set-xmark 0x4000/0x0
-A KUBE-POSTROUTING -m comment --comment "kubernetes service traffic requiring SNAT" -j MASQUERADE --random-fully
)";
  for (const NodePort& nodeport : nodeports) {
    if (!nodeport.endpoint) continue;
    // The two KUBE-NODEPORTS rules of each port differ in their match on
    // localhost, on which kube-proxy also counts (nfacct).
    absl::StrAppend(&chains, Fill(":KUBE-EXT-$id - [0:0]\n:KUBE-SEP-$id - [0:0]\n"
                                  ":KUBE-SVC-$id - [0:0]\n",
                                  nodeport));
    absl::StrAppend(
        &rules,
        Fill(
            R"(-A KUBE-EXT-$id -m comment --comment "masquerade traffic for $service external destinations" -j KUBE-MARK-MASQ
-A KUBE-EXT-$id -j KUBE-SVC-$id
-A KUBE-NODEPORTS -d 127.0.0.0/8 -p $proto -m comment --comment "$service" -m $proto --dport $port -j KUBE-EXT-$id
-A KUBE-NODEPORTS -p $proto -m comment --comment "$service" -m $proto --dport $port -j KUBE-EXT-$id
-A KUBE-SEP-$id -s $pod/32 -m comment --comment "$service" -j KUBE-MARK-MASQ
-A KUBE-SEP-$id -p $proto -m comment --comment "$service" -m $proto -j DNAT --to-destination $target
-A KUBE-SVC-$id -m comment --comment "$service -> $target" -j KUBE-SEP-$id
)",
            nodeport));
  }
  absl::StrAppend(
      &rules,
      "-A KUBE-SERVICES -m comment --comment \"kubernetes service nodeports; NOTE: this "
      "must be the last rule in this chain\" -m addrtype --dst-type LOCAL "
      "-j KUBE-NODEPORTS\n");
  return absl::StrCat(chains, rules, "COMMIT\n");
}

absl::Status KubeProxyRules::Apply(const std::vector<NodePort>& nodeports) const {
  return Restore("iptables", variant_, Filter(nodeports) + Nat(nodeports));
}

absl::Status ApplyIpv6Rules(IptablesVariant variant, const std::string& address,
                            const std::vector<NodePort>& nodeports, uint16_t target) {
  std::string filter =
      "*filter\n:INPUT ACCEPT [0:0]\n:KUBE-EXTERNAL-SERVICES - [0:0]\n"
      "-A INPUT -m conntrack --ctstate NEW -j KUBE-EXTERNAL-SERVICES\n";
  std::string nat =
      "*nat\n:OUTPUT ACCEPT [0:0]\n:KUBE-SERVICES - [0:0]\n:KUBE-NODEPORTS - [0:0]\n"
      "-A OUTPUT -j KUBE-SERVICES\n"
      "-A KUBE-SERVICES -m addrtype --dst-type LOCAL -j KUBE-NODEPORTS\n";
  for (const NodePort& nodeport : nodeports) {
    const std::string proto = Protocol(nodeport);
    const std::string match = absl::StrCat("-p ", proto, " -m ", proto, " --dport ", nodeport.port);
    if (nodeport.endpoint) {
      absl::StrAppend(&nat, "-A KUBE-NODEPORTS ", match, " -j DNAT --to-destination [", address,
                      "]:", target, "\n");
    } else {
      absl::StrAppend(&filter, "-A KUBE-EXTERNAL-SERVICES ", match,
                      " -m addrtype --dst-type LOCAL -j REJECT "
                      "--reject-with icmp6-port-unreachable\n");
    }
  }
  return Restore("ip6tables", variant, absl::StrCat(filter, "COMMIT\n", nat, "COMMIT\n"));
}

absl::Status ApplyIpv6LoopbackRules(IptablesVariant variant, const std::vector<NodePort>& nodeports,
                                    uint16_t target) {
  return ApplyIpv6Rules(variant, "::1", nodeports, target);
}

}  // namespace npg::testing
