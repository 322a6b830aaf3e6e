// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_TESTS_TESTING_GUARD_FIXTURE_H_
#define NODEPORT_GUARD_TESTS_TESTING_GUARD_FIXTURE_H_

#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <optional>
#include <ostream>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "guard_abi.h"
#include "testing/echo_server.h"
#include "testing/guard_maps.h"
#include "testing/guard_process.h"
#include "testing/kube_proxy_rules.h"
#include "testing/test_node.h"

namespace npg::testing {

// The rules that hijack: their variant, and whether the Service has an endpoint
// (DNAT to a pod) or none (REJECT).
struct RuleShape {
  IptablesVariant variant = IptablesVariant::kNft;
  bool endpoint = true;
  bool drop_invalid = false;  // INPUT drops `ct state invalid`, too
};

// Used by GoogleTest to print one.
void PrintTo(const RuleShape& shape, std::ostream* out);

// All combinations, without and with drop_invalid.
std::vector<RuleShape> RuleShapes();
std::vector<RuleShape> RuleShapesWithDropInvalid();

// "nft_endpoint", "legacy_no_endpoint_drop_invalid".
std::string RuleShapeName(const ::testing::TestParamInfo<RuleShape>& info);

// One way to reach a port, and its name.
struct WayToAsk {
  std::string name;
  std::function<std::string()> ask;
};

// A node with kube-proxy's rules and, once started, the guard.
class GuardTest : public ::testing::TestWithParam<RuleShape> {
 protected:
  static constexpr const char* kHost = "host";

  void SetUp() override;

  TestNode& node() const { return *node_; }
  KubeProxyRules& rules() { return *rules_; }
  GuardMaps maps() const { return GuardMaps(node_->bpffs()); }

  // The answer to a hijacked connect: "pod" or "refused".
  static std::string Hijacked() { return GetParam().endpoint ? "pod" : "refused"; }

  // Sockets of a process of the host, in the guarded network namespace.
  static absl::StatusOr<std::unique_ptr<EchoServer>> Host(const std::vector<Listen>& sockets) {
    return EchoServer::Start(kHost, sockets);
  }

  // NodePorts of this test's shape, for both protocols.
  static std::vector<NodePort> NodePorts(const std::vector<uint16_t>& ports) {
    return TcpAndUdp(ports, GetParam().endpoint);
  }

  // Allocates exactly `nodeports`: writes kube-proxy's rules and the file of the guard,
  // and waits until a running guard has applied them.
  absl::Status Allocate(const std::vector<NodePort>& nodeports);

  // `run --source file`, with the ports of the last Allocate().
  absl::StatusOr<GuardProcess> NewGuard(const std::vector<std::string>& arguments = {});
  // The same, kept in guard().
  absl::Status StartGuard(const std::vector<std::string>& arguments = {});
  // `run --source netfilter`, which knows only the ports of the rules.
  absl::Status StartNetfilterGuard(const std::vector<std::string>& arguments = {});
  GuardProcess& guard() { return *guard_; }
  void ForgetGuard() { guard_.reset(); }
  // Stops the guard and removes it from the node, with its counters.
  absl::Status Unload();

  // Waits until datagrams to `port` are no longer exempt: the controller notices the
  // close of a UDP listener with a delay.
  static bool DatagramsAreLeftAlone(uint16_t port);

  // The increase of a counter since the last call, or since the start.
  uint64_t Counted(npg_counter counter);

  // Expects that every way is hijacked without the guard, and that with it every way
  // reaches the host and is counted.
  void ExpectHijackedThenRescued(const std::vector<WayToAsk>& ways);

 private:
  absl::Status Keep(absl::StatusOr<GuardProcess> started);
  bool GuardKnows(const std::vector<NodePort>& nodeports) const;

  std::unique_ptr<TestNode> node_;
  std::optional<KubeProxyRules> rules_;
  std::optional<GuardProcess> guard_;
  std::vector<NodePort> allocated_;
  Counters counted_{};
};

}  // namespace npg::testing

#endif  // NODEPORT_GUARD_TESTS_TESTING_GUARD_FIXTURE_H_
