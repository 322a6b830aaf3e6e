// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_TESTS_TESTING_KUBE_PROXY_RULES_H_
#define NODEPORT_GUARD_TESTS_TESTING_KUBE_PROXY_RULES_H_

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "testing/transport.h"

namespace npg::testing {

enum class IptablesVariant : uint8_t { kNft, kLegacy };

// A NodePort of a Service, with or without an endpoint.
struct NodePort {
  uint16_t port = 0;
  Transport transport = Transport::kTcp;
  bool endpoint = true;
};

// Both protocols of each port.
std::vector<NodePort> TcpAndUdp(const std::vector<uint16_t>& ports, bool endpoint);

// Writes the rules that kube-proxy 1.36 writes in iptables mode, chain by chain
// and in its order (tests/testdata has its own dump), for the calling thread's
// network namespace. Leaves out only the rules that need an nfacct object.
class KubeProxyRules {
 public:
  // `pod` is the address of the only endpoint, an IPv4 address.
  KubeProxyRules(IptablesVariant variant, std::string pod, uint16_t pod_port)
      : variant_(variant), pod_(std::move(pod)), pod_port_(pod_port) {}

  // Adds a rule of an administrator before those of kube-proxy with the next Apply():
  // INPUT drops packets in conntrack state INVALID.
  void DropInvalid() { drop_invalid_ = true; }

  // Replaces the rules by those for exactly `nodeports`, in one transaction.
  absl::Status Apply(const std::vector<NodePort>& nodeports) const;

 private:
  std::string Fill(const char* text, const NodePort& nodeport) const;
  std::string Filter(const std::vector<NodePort>& nodeports) const;
  std::string Nat(const std::vector<NodePort>& nodeports) const;

  IptablesVariant variant_;
  std::string pod_;
  uint16_t pod_port_;
  bool drop_invalid_ = false;
};

// The same for IPv6: with an endpoint, DNAT of the port on any address of the
// node to [`address`]:`target`; without, REJECT.
absl::Status ApplyIpv6Rules(IptablesVariant variant, const std::string& address,
                            const std::vector<NodePort>& nodeports, uint16_t target);

// For ::1, which current kube-proxy leaves alone, but older versions did not.
absl::Status ApplyIpv6LoopbackRules(IptablesVariant variant, const std::vector<NodePort>& nodeports,
                                    uint16_t target);

}  // namespace npg::testing

#endif  // NODEPORT_GUARD_TESTS_TESTING_KUBE_PROXY_RULES_H_
