// SPDX-License-Identifier: Apache-2.0
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "integration/rules/known_rules.h"
#include "testing/testdata.h"

namespace npg::rules::known_rules {
namespace {

// With endpoints, without, and with endpoints on other nodes only (30002), whose packets get a mark
// in nat that filter drops them for.
KnownRules OldKubeProxy() {
  const std::string filter = R"(*filter
:INPUT ACCEPT [0:0]
:FORWARD ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:KUBE-EXTERNAL-SERVICES - [0:0]
:KUBE-FIREWALL - [0:0]
-A INPUT -m conntrack --ctstate NEW -m comment --comment "kubernetes externally-visible service portals" -j KUBE-EXTERNAL-SERVICES
-A INPUT -j KUBE-FIREWALL
-A OUTPUT -j KUBE-FIREWALL
-A KUBE-EXTERNAL-SERVICES -p tcp -m comment --comment "shop/idle:http has no endpoints" -m addrtype --dst-type LOCAL -m tcp --dport 30003 -j REJECT --reject-with icmp-port-unreachable
-A KUBE-FIREWALL -m comment --comment "kubernetes firewall for dropping marked packets" -m mark --mark 0x8000/0x8000 -j DROP
COMMIT
)";
  const std::string nat =
      NatTable({"KUBE-MARK-DROP", "KUBE-MARK-MASQ", "KUBE-NODEPORTS", "KUBE-SEP-A1", "KUBE-SEP-A2",
                "KUBE-SEP-D1", "KUBE-SERVICES", "KUBE-SVC-A", "KUBE-SVC-D", "KUBE-XLB-B"},
               R"(-A PREROUTING -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-A OUTPUT -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-A KUBE-MARK-DROP -j MARK --set-xmark 0x8000/0x8000
-A KUBE-MARK-MASQ -j MARK --set-xmark 0x4000/0x4000
-A KUBE-NODEPORTS -p tcp -m comment --comment "shop/web:http" -m tcp --dport 30001 -j KUBE-MARK-MASQ
-A KUBE-NODEPORTS -p tcp -m comment --comment "shop/web:http" -m tcp --dport 30001 -j KUBE-SVC-A
-A KUBE-NODEPORTS -s 127.0.0.0/8 -p tcp -m comment --comment "shop/local:http" -m tcp --dport 30002 -j KUBE-MARK-MASQ
-A KUBE-NODEPORTS -p tcp -m comment --comment "shop/local:http" -m tcp --dport 30002 -j KUBE-XLB-B
-A KUBE-NODEPORTS -p udp -m comment --comment "shop/dns:dns" -m udp --dport 30004 -j KUBE-SVC-D
-A KUBE-SEP-A1 -s 10.244.1.2/32 -j KUBE-MARK-MASQ
-A KUBE-SEP-A1 -p tcp -m tcp -j DNAT --to-destination 10.244.1.2:8080
-A KUBE-SEP-A2 -p tcp -m tcp -j DNAT --to-destination 10.244.2.2:8080
-A KUBE-SEP-D1 -p udp -m udp -j DNAT --to-destination 10.244.1.3:53
-A KUBE-SERVICES -d 10.96.0.10/32 -p tcp -m comment --comment "shop/web:http cluster IP" -m tcp --dport 80 -j KUBE-SVC-A
-A KUBE-SERVICES -m comment --comment "kubernetes service nodeports; NOTE: this must be the last rule in this chain" -m addrtype --dst-type LOCAL -j KUBE-NODEPORTS
-A KUBE-SVC-A -m statistic --mode random --probability 0.50000000000 -j KUBE-SEP-A1
-A KUBE-SVC-A -j KUBE-SEP-A2
-A KUBE-SVC-D -j KUBE-SEP-D1
-A KUBE-XLB-B -m comment --comment "shop/local:http has no local endpoints" -j KUBE-MARK-DROP
)");
  const Taken taken = {{"30001/tcp", "shop/web"},
                       {"30002/tcp", ""},
                       {"30003/tcp", "shop/idle"},
                       {"30004/udp", "shop/dns"}};
  return {.name = "OldKubeProxy", .iptables = filter + nat, .loopback = taken, .node = taken};
}

// What an option of kube-proxy turns off: NodePorts on loopback.
KnownRules WithoutLocalhost() {
  return {.name = "KubeProxyWithoutLocalhost",
          .iptables = NatTable({"KUBE-EXT-A", "KUBE-NODEPORTS", "KUBE-SERVICES"},
                               R"(-A OUTPUT -j KUBE-SERVICES
-A KUBE-EXT-A -p tcp -j DNAT --to-destination 10.244.1.2:8080
-A KUBE-NODEPORTS -p tcp -m comment --comment "shop/web:http" -m tcp --dport 30001 -j KUBE-EXT-A
-A KUBE-SERVICES ! -d 127.0.0.0/8 -m addrtype --dst-type LOCAL -j KUBE-NODEPORTS
)"),
          .node = {{"30001/tcp", "shop/web"}}};
}

KnownRules ExternalAddresses() {
  return {.name = "ExternalAddresses",
          .iptables = NatTable({"KUBE-EXT-A", "KUBE-SERVICES"}, R"(-A OUTPUT -j KUBE-SERVICES
-A KUBE-EXT-A -p tcp -j DNAT --to-destination 10.244.1.2:8080
-A KUBE-SERVICES -d 192.0.2.7/32 -p tcp -m comment --comment "shop/gate:tls external IP" -m tcp --dport 443 -j KUBE-EXT-A
-A KUBE-SERVICES -d 192.0.2.7/32 -p tcp -m comment --comment "shop/gate:alt loadbalancer IP" -m tcp --dport 8080 -j KUBE-EXT-A
-A KUBE-SERVICES -d 203.0.113.5/32 -p tcp -m comment --comment "shop/far:http loadbalancer IP" -m tcp --dport 80 -j KUBE-EXT-A
)"),
          .node = {{"443/tcp", "shop/gate"}, {"8080/tcp", "shop/gate"}}};
}

// kube-proxy's own dumps, without the rules that need nfacct objects.
KnownRules Dump() {
  const Taken taken = {{"34567/tcp", "default/web"}};
  return {.name = "KubeProxyDump",
          .iptables = testing::WithoutLines(testing::ReadTestdata("kube-proxy-1.36-iptables.save"),
                                            "nfacct"),
          .loopback = taken,
          .node = taken};
}

KnownRules NftablesDump() {
  return {.name = "KubeProxyNftablesDump",
          .nft = absl::StrReplaceAll(testing::ReadTestdata("kube-proxy-1.36-nftables.nft"),
                                     {{"10.99.0.2", "192.0.2.7"}}),
          .node = {{"31234/tcp", "default/t1"},
                   {"32588/tcp", "default/t5"},
                   {"34567/tcp", "default/web"},
                   {"49999/tcp", "default/t3"}}};
}

// --nodeport-addresses not given, in versions before nodeport-ips had the primary address only.
KnownRules NftablesOfAllAddresses() {
  return {
      .name = "KubeProxyNftablesOfAllAddresses",
      .nft = R"(table ip kube-proxy {
  map service-nodeports {
    type inet_proto . inet_service : verdict
    elements = { tcp . 30001 : goto external-ABCDEFGH-shop/web/tcp/http,
                 udp . 30002 : goto external-ABCDEFGH-shop/dns/udp/dns }
  }
  map no-endpoint-nodeports {
    type inet_proto . inet_service : verdict
    elements = { tcp . 30003 comment "shop/idle:http" : drop }
  }
  chain external-ABCDEFGH-shop/web/tcp/http {
    mark set mark or 0x4000
    meta l4proto tcp dnat ip to numgen random mod 2 map { 0 : 10.244.1.2 . 8080, 1 : 10.244.2.2 . 8080 }
  }
  chain external-ABCDEFGH-shop/dns/udp/dns { meta l4proto udp dnat to 10.244.1.3:53; }
  chain services {
    fib daddr type local ip daddr != 127.0.0.0/8 meta l4proto . th dport vmap @service-nodeports
  }
  chain nat-output { type nat hook output priority -100; jump services; }
  chain nodeport-endpoints-check {
    fib daddr type local ip daddr != 127.0.0.0/8 meta l4proto . th dport vmap @no-endpoint-nodeports
  }
  chain filter-input { type filter hook input priority -110; ct state new jump nodeport-endpoints-check; }
}
)",
      .node = {{"30001/tcp", "shop/web"}, {"30002/udp", "shop/dns"}, {"30003/tcp", "shop/idle"}}};
}

}  // namespace

std::vector<KnownRules> OfKubeProxy() {
  return {OldKubeProxy(), WithoutLocalhost(), ExternalAddresses(),
          Dump(),         NftablesDump(),     NftablesOfAllAddresses()};
}

}  // namespace npg::rules::known_rules
