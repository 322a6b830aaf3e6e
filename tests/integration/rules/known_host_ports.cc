// SPDX-License-Identifier: Apache-2.0
#include <string>
#include <vector>

#include "integration/rules/known_rules.h"

namespace npg::rules::known_rules {
namespace {

KnownRules Portmap() {
  return {.name = "Portmap",
          .iptables = NatTable(
              {"CNI-DN-0123456789abcdef01234", "CNI-HOSTPORT-DNAT", "CNI-HOSTPORT-SETMARK"},
              R"(-A PREROUTING -m addrtype --dst-type LOCAL -j CNI-HOSTPORT-DNAT
-A OUTPUT -m addrtype --dst-type LOCAL -j CNI-HOSTPORT-DNAT
-A CNI-DN-0123456789abcdef01234 -s 10.88.0.0/16 -p tcp -m tcp --dport 30001 -j CNI-HOSTPORT-SETMARK
-A CNI-DN-0123456789abcdef01234 -s 127.0.0.1/32 -p tcp -m tcp --dport 30001 -j CNI-HOSTPORT-SETMARK
-A CNI-DN-0123456789abcdef01234 -p tcp -m tcp --dport 30001 -j DNAT --to-destination 10.88.0.9:80
-A CNI-DN-0123456789abcdef01234 -d 192.0.2.7/32 -p tcp -m tcp --dport 30002 -j DNAT --to-destination 10.88.0.9:81
-A CNI-HOSTPORT-DNAT -p tcp -m comment --comment "dnat name: \"pods\" id: \"0f1e2d\"" -m multiport --dports 30001,30002 -j CNI-DN-0123456789abcdef01234
-A CNI-HOSTPORT-SETMARK -m comment --comment "CNI portfwd masquerade mark" -j MARK --set-xmark 0x2000/0x2000
)"),
          .loopback = {{"30001/tcp", "$nat, chain CNI-"}},
          .node = {{"30001/tcp", "$nat, chain CNI-"}, {"30002/tcp", "$nat, chain CNI-"}}};
}

KnownRules PortmapNftables() {
  return {.name = "PortmapNftables",
          .nft = R"(table ip cni_hostport {
  chain hostports {
    tcp dport 30001 dnat to 10.88.0.9:80 comment "0f1e2d"
    udp dport 30002 dnat to 10.88.0.9:53 comment "0f1e2d"
  }
  chain hostip_hostports {
    ip daddr 192.0.2.7 tcp dport 30003 dnat to 10.88.0.9:81 comment "0f1e2d"
    ip daddr 203.0.113.5 tcp dport 30004 dnat to 10.88.0.9:81 comment "0f1e2d"
  }
  chain hostports_all { jump hostip_hostports; jump hostports; }
  chain prerouting { type nat hook prerouting priority -100; fib daddr type local jump hostports_all; }
  chain output { type nat hook output priority -100; fib daddr type local jump hostports_all; }
  chain masquerading { type nat hook postrouting priority 100; ip saddr 127.0.0.1 ip daddr 10.88.0.9 masquerade; }
}
)",
          .loopback = {{"30001/tcp", "nft table ip cni_hostport, chain hostports"},
                       {"30002/udp", "nft table ip cni_hostport, chain hostports"}},
          .node = {{"30001/tcp", "nft table ip cni_hostport, chain hostports"},
                   {"30002/udp", "nft table ip cni_hostport, chain hostports"},
                   {"30003/tcp", "nft table ip cni_hostport, chain hostip_hostports"}}};
}

KnownRules CriO() {
  const Taken taken = {{"30001/tcp", "$nat, chain KUBE-HOSTPORTS"},
                       {"30002/udp", "$nat, chain KUBE-HOSTPORTS"}};
  return {
      .name = "CriO",
      .iptables = NatTable(
          {"KUBE-HOSTPORTS", "KUBE-HP-ABCDEFGHIJKLMNOP", "KUBE-HP-BCDEFGHIJKLMNOPQ"},
          R"(-A OUTPUT -m comment --comment "kube hostport portals" -m addrtype --dst-type LOCAL -j KUBE-HOSTPORTS
-A KUBE-HOSTPORTS -p udp -m comment --comment "k8s_dns-4xk_shop_0_0 hostport 30002" -m udp --dport 30002 -j KUBE-HP-BCDEFGHIJKLMNOPQ
-A KUBE-HOSTPORTS -p tcp -m comment --comment "k8s_web-7tq_shop_0_0 hostport 30001" -m tcp --dport 30001 -j KUBE-HP-ABCDEFGHIJKLMNOP
-A KUBE-HP-ABCDEFGHIJKLMNOP -p tcp -m comment --comment "k8s_web-7tq_shop_0_0 hostport 30001" -m tcp -j DNAT --to-destination 10.85.0.4:80
-A KUBE-HP-BCDEFGHIJKLMNOPQ -p udp -m comment --comment "k8s_dns-4xk_shop_0_0 hostport 30002" -m udp -j DNAT --to-destination 10.85.0.5:53
)"),
      .loopback = taken,
      .node = taken};
}

KnownRules CriONftables() {
  return {.name = "CriONftables",
          .nft = R"(table ip crio-hostports {
  map hostports {
    type inet_proto . inet_service : ipv4_addr . inet_service
    elements = { tcp . 30001 comment "ABCDEFGHIJKLMNOP" : 10.85.0.4 . 80 }
  }
  map hostipports {
    type ipv4_addr . inet_proto . inet_service : ipv4_addr . inet_service
    elements = { 192.0.2.7 . udp . 30002 comment "BCDEFGHIJKLMNOPQ" : 10.85.0.5 . 53 }
  }
  chain hostports {
    dnat ip addr . port to ip daddr . meta l4proto . th dport map @hostipports
    dnat ip addr . port to meta l4proto . th dport map @hostports
  }
  chain prerouting { type nat hook prerouting priority -100; fib daddr type local goto hostports; }
  chain output { type nat hook output priority -100; fib daddr type local goto hostports; }
}
)",
          .loopback = {{"30001/tcp", "nft table ip crio-hostports, chain hostports"}},
          .node = {{"30001/tcp", "nft table ip crio-hostports, chain hostports"},
                   {"30002/udp", "nft table ip crio-hostports, chain hostports"}}};
}

// With a proxy in user space for loopback, and without.
KnownRules Docker(bool proxy) {
  const Taken taken = {{"30001/tcp", "$nat, chain DOCKER"}};
  const std::string except = proxy ? "! -d 127.0.0.0/8 " : "";
  return {.name = proxy ? "Docker" : "DockerWithoutProxy",
          .iptables = NatTable({"DOCKER"}, R"(-A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
-A OUTPUT )" + except + R"(-m addrtype --dst-type LOCAL -j DOCKER
-A DOCKER -i docker0 -j RETURN
-A DOCKER ! -i docker0 -p tcp -m tcp --dport 30001 -j DNAT --to-destination 172.17.0.2:80
)"),
          .loopback = proxy ? Taken{} : taken,
          .node = taken};
}

KnownRules Netavark() {
  const Taken taken = {{"30001/tcp", "$nat, chain NETAVARK-"}};
  return {.name = "Netavark",
          .iptables = NatTable(
              {"NETAVARK-DN-0123456789ABC", "NETAVARK-HOSTPORT-DNAT", "NETAVARK-HOSTPORT-SETMARK"},
              R"(-A OUTPUT -m addrtype --dst-type LOCAL -j NETAVARK-HOSTPORT-DNAT
-A NETAVARK-DN-0123456789ABC -s 10.88.0.0/16 -p tcp -m tcp --dport 30001 -j NETAVARK-HOSTPORT-SETMARK
-A NETAVARK-DN-0123456789ABC -s 127.0.0.1/32 -p tcp -m tcp --dport 30001 -j NETAVARK-HOSTPORT-SETMARK
-A NETAVARK-DN-0123456789ABC -p tcp -m tcp --dport 30001 -j DNAT --to-destination 10.88.0.5:80
-A NETAVARK-HOSTPORT-DNAT -p tcp -m tcp --dport 30001 -m comment --comment "dnat name: podman id: 0f1e2d" -j NETAVARK-DN-0123456789ABC
-A NETAVARK-HOSTPORT-SETMARK -j MARK --set-xmark 0x2000/0x2000
)"),
          .loopback = taken,
          .node = taken};
}

KnownRules NetavarkNftables() {
  const Taken taken = {{"30001/tcp", "nft table inet netavark, chain "},
                       {"30002/udp", "nft table inet netavark, chain "}};
  return {.name = "NetavarkNftables",
          .nft = R"(table inet netavark {
  chain NETAVARK-HOSTPORT-SETMARK { meta mark set meta mark | 0x2000; }
  chain nv_0f1e2d_10_88_0_0_nm16_dnat {
    ip saddr 10.88.0.0/16 tcp dport 30001 jump NETAVARK-HOSTPORT-SETMARK
    ip saddr 127.0.0.1 tcp dport 30001 jump NETAVARK-HOSTPORT-SETMARK
    tcp dport 30001 dnat ip to 10.88.0.5:80
    udp dport 30002 dnat ip to 10.88.0.6:53
  }
  chain NETAVARK-HOSTPORT-DNAT {
    tcp dport 30001 jump nv_0f1e2d_10_88_0_0_nm16_dnat
    udp dport 30002 jump nv_0f1e2d_10_88_0_0_nm16_dnat
  }
  chain PREROUTING { type nat hook prerouting priority -100; fib daddr type local jump NETAVARK-HOSTPORT-DNAT; }
  chain OUTPUT { type nat hook output priority -100; fib daddr type local jump NETAVARK-HOSTPORT-DNAT; }
}
)",
          .loopback = taken,
          .node = taken};
}

}  // namespace

std::vector<KnownRules> OfHostPorts() {
  return {Portmap(),    PortmapNftables(), CriO(),     CriONftables(),
          Docker(true), Docker(false),     Netavark(), NetavarkNftables()};
}

}  // namespace npg::rules::known_rules
