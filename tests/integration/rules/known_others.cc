// SPDX-License-Identifier: Apache-2.0
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "integration/rules/known_rules.h"

namespace npg::rules::known_rules {
namespace {

KnownRules OvnKubernetes() {
  return {.name = "OvnKubernetes",
          .iptables = NatTable({"OVN-KUBE-EXTERNALIP", "OVN-KUBE-ITP", "OVN-KUBE-NODEPORT"},
                               R"(-A OUTPUT -j OVN-KUBE-EXTERNALIP
-A OUTPUT -j OVN-KUBE-NODEPORT
-A OUTPUT -j OVN-KUBE-ITP
-A OVN-KUBE-EXTERNALIP -d 192.0.2.7/32 -p tcp -m tcp --dport 443 -j DNAT --to-destination 10.96.5.5:443
-A OVN-KUBE-ITP -d 10.96.5.5/32 -p tcp -m tcp --dport 80 -j REDIRECT --to-ports 8080
-A OVN-KUBE-NODEPORT -p tcp -m addrtype --dst-type LOCAL -m tcp --dport 30001 -j DNAT --to-destination 10.96.5.5:80
-A OVN-KUBE-NODEPORT -p udp -m addrtype --dst-type LOCAL -m udp --dport 30002 -j DNAT --to-destination 10.96.5.6:53
)"),
          .loopback = {{"30001/tcp", "$nat, chain OVN-KUBE-NODEPORT"},
                       {"30002/udp", "$nat, chain OVN-KUBE-NODEPORT"}},
          .node = {{"30001/tcp", "$nat, chain OVN-KUBE-NODEPORT"},
                   {"30002/udp", "$nat, chain OVN-KUBE-NODEPORT"},
                   {"443/tcp", "$nat, chain OVN-KUBE-EXTERNALIP"}}};
}

KnownRules Antrea() {
  return {
      .name = "Antrea",
      .ipset =
          "create ANTREA-NODEPORT-IP hash:ip,port family inet\n"
          "add ANTREA-NODEPORT-IP 127.0.0.1,tcp:30001\n"
          "add ANTREA-NODEPORT-IP 192.0.2.7,tcp:30001\n"
          "add ANTREA-NODEPORT-IP 192.0.2.7,udp:30002\n",
      .iptables = NatTable(
          {"ANTREA-OUTPUT"},
          R"(-A OUTPUT -m comment --comment "Antrea: jump to Antrea output rules" -j ANTREA-OUTPUT
-A ANTREA-OUTPUT -m comment --comment "Antrea: DNAT local to NodePort packets" -m set --match-set ANTREA-NODEPORT-IP dst,dst -j DNAT --to-destination 169.254.0.252
)"),
      .loopback = {{"30001/tcp", "$nat, chain ANTREA-OUTPUT"}},
      .node = {{"30001/tcp", "$nat, chain ANTREA-OUTPUT"},
               {"30002/udp", "$nat, chain ANTREA-OUTPUT"}}};
}

KnownRules OwnRedirect() {
  return {.name = "OwnRedirect",
          .iptables = NatTable({},
                               "-A OUTPUT -d 127.0.0.1/32 -p tcp -m tcp --dport 80 -j REDIRECT "
                               "--to-ports 8080\n"),
          .loopback = {{"80/tcp", "$nat, chain OUTPUT"}}};
}

KnownRules OwnNftRedirect() {
  const Taken taken = {{"80/tcp", "nft table inet mine, chain out"},
                       {"443/tcp", "nft table inet mine, chain out"}};
  return {.name = "OwnNftRedirect",
          .nft =
              "table inet mine {\n  chain out {\n    type nat hook output priority -100;\n"
              "    tcp dport { 80, 443 } redirect to :8080\n  }\n}\n",
          .loopback = taken,
          .node = taken};
}

KnownRules Nothing(const std::string& name, const std::string& nft, const std::string& iptables) {
  return {.name = name, .nft = nft, .iptables = iptables};
}

std::string Output(const std::string& type, const std::string& rules) {
  return absl::StrCat("table inet mine {\n  chain out {\n    type ", type,
                      " hook output priority -90;\n", rules, "\n  }\n}\n");
}

// NodePorts are in IPVS and in an ipset: chains only mark packets for masquerading.
KnownRules Ipvs() {
  return {.name = "Ipvs",
          .ipset =
              "create KUBE-NODE-PORT-TCP bitmap:port range 0-65535\n"
              "add KUBE-NODE-PORT-TCP 30001\n",
          .iptables = NatTable(
              {"KUBE-MARK-MASQ", "KUBE-NODE-PORT", "KUBE-SERVICES"},
              R"(-A OUTPUT -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-A KUBE-MARK-MASQ -j MARK --set-xmark 0x4000/0x4000
-A KUBE-NODE-PORT -p tcp -m comment --comment "Kubernetes nodeport TCP port for masquerade purpose" -m set --match-set KUBE-NODE-PORT-TCP dst -j KUBE-MARK-MASQ
-A KUBE-SERVICES -s 127.0.0.0/8 -j RETURN
-A KUBE-SERVICES -m addrtype --dst-type LOCAL -j KUBE-NODE-PORT
)")};
}

// What leads a port to the listener that has it anyway.
KnownRules ToItself() {
  return Nothing(
      "ToItself", "",
      NatTable(
          {},
          R"(-A OUTPUT -d 127.0.0.1/32 -p tcp -m tcp --dport 30001 -j DNAT --to-destination 192.0.2.7:30001
-A OUTPUT -p tcp -m tcp --dport 30002 -j REDIRECT --to-ports 30002
-A OUTPUT -p tcp -m tcp --dport 30003 -j REDIRECT
-A OUTPUT -p udp -m udp --dport 30004 -j DNAT --to-destination 127.0.0.1
)"));
}

KnownRules Untracked() {
  const std::string raw =
      "*raw\n:OUTPUT ACCEPT [0:0]\n-A OUTPUT -o lo -j CT --notrack\nCOMMIT\n*filter\n"
      ":INPUT ACCEPT [0:0]\n-A INPUT -p tcp -m conntrack --ctstate NEW -m tcp --dport 30003 -j "
      "REJECT\n"
      "COMMIT\n";
  return Nothing(
      "Untracked", "",
      raw + NatTable({}, "-A OUTPUT -p tcp -m tcp --dport 30001 -j REDIRECT --to-ports 8080\n"));
}

}  // namespace

std::string NatTable(const std::vector<std::string>& chains, const std::string& rules) {
  std::string text =
      "*nat\n:PREROUTING ACCEPT [0:0]\n:INPUT ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n"
      ":POSTROUTING ACCEPT [0:0]\n";
  for (const std::string& chain : chains) absl::StrAppend(&text, ":", chain, " - [0:0]\n");
  return absl::StrCat(text, rules, "COMMIT\n");
}

std::vector<KnownRules> OfOthers() {
  return {OvnKubernetes(), Antrea(), OwnRedirect(), OwnNftRedirect()};
}

std::vector<KnownRules> ThatTakeNothing() {
  const std::string klipper =
      "-A PREROUTING ! -s 10.42.0.7/32 -p tcp -m tcp --dport 443 -j DNAT --to-destination "
      "10.43.0.9:443\n"
      "-A POSTROUTING -d 10.43.0.9/32 -p tcp -j MASQUERADE\n";
  return {
      Ipvs(),
      ToItself(),
      Untracked(),
      Nothing("Prerouting", "", NatTable({}, klipper)),
      Nothing("OtherAddress",
              Output("nat", "ip daddr 203.0.113.5 tcp dport 30001 redirect to :8080"), ""),
      Nothing(
          "OtherInterface", Output("nat", "oifname \"eth1\" tcp dport 30001 redirect to :8080"),
          NatTable({},
                   "-A OUTPUT -o eth0 -p tcp -m tcp --dport 30002 -j REDIRECT --to-ports 8080\n"
                   "-A OUTPUT ! -o lo -p tcp -m tcp --dport 30003 -j REDIRECT --to-ports 8080\n")),
      Nothing(
          "OtherProtocol", Output("nat", "meta l4proto sctp th dport 30001 redirect to :8080"),
          NatTable({}, "-A OUTPUT -p sctp -m sctp --dport 30002 -j REDIRECT --to-ports 8080\n")),
      Nothing("Forwarding",
              "table inet mine {\n  chain forward {\n    type filter hook forward priority 0; "
              "policy drop;\n"
              "    tcp dport 30001 reject\n  }\n}\n",
              ""),
      Nothing("Firewall",
              "table inet mine {\n  chain in {\n    type filter hook input priority 0;\n"
              "    tcp dport 30001 drop\n    udp dport { 30002, 30003 } reject\n  }\n}\n",
              "*filter\n:INPUT ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n"
              "-A INPUT -p tcp -m tcp --dport 30004 -j DROP\n"
              "-A OUTPUT -p tcp -m tcp --dport 30005 -j REJECT\nCOMMIT\n"),
      // Lets new connections in that conntrack tracks: untracked ones would be dropped.
      Nothing(
          "StatefulFirewall",
          "table inet mine {\n  chain in {\n    type filter hook input priority 0; policy drop;\n"
          "    ct state established,related accept\n    ct state new accept\n  }\n}\n",
          ""),
  };
}

}  // namespace npg::rules::known_rules
