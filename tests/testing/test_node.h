// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_TESTS_TESTING_TEST_NODE_H_
#define NODEPORT_GUARD_TESTS_TESTING_TEST_NODE_H_

#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "testing/echo_server.h"
#include "testing/net_namespace.h"
#include "testing/paths.h"
#include "testing/test_cgroup.h"

namespace npg::testing {

// A small cluster node: this process in its own network namespace, mount namespace,
// cgroup and bpffs, set up as kube-proxy does, and a pod behind a veth pair. /run is a
// private tmpfs, so that all files (and the xtables lock) end with the process.
class TestNode {
 public:
  static constexpr const char* kPod = "10.244.1.2";
  static constexpr uint16_t kPodPort = 8080;

  // Must be called before the process starts threads that use the node.
  static absl::StatusOr<std::unique_ptr<TestNode>> Create();
  ~TestNode();
  TestNode(const TestNode&) = delete;
  TestNode& operator=(const TestNode&) = delete;

  const TestCgroup& cgroup() const { return *cgroup_; }
  // A bpf file system.
  std::string bpffs() const { return run_ + "/bpf"; }
  // Makes guards that start later use short intervals, for tests that would have to wait
  // for the real ones and do not test them.
  void HurryGuards() { guard_ = HurriedGuardBinary(); }
  const std::string& guard() const { return guard_; }
  // A path for a file of the test.
  std::string File(const std::string& name) const { return run_ + "/" + name; }

  // Where "pod" answers on TCP and UDP, on kPodPort.
  const NetNamespace& pod() const { return pod_; }

 private:
  TestNode(NetNamespace home, NetNamespace pod) : home_(std::move(home)), pod_(std::move(pod)) {}

  const std::string run_ = "/run";
  std::string guard_ = GuardBinary();
  NetNamespace home_;
  NetNamespace pod_;
  std::unique_ptr<TestCgroup> cgroup_;
  std::unique_ptr<EchoServer> pod_server_;
};

// Writes `value` to /proc/sys/NAME of the calling thread's network namespace;
// slashes, not dots.
absl::Status SetSysctl(const std::string& name, const std::string& value);

}  // namespace npg::testing

#endif  // NODEPORT_GUARD_TESTS_TESTING_TEST_NODE_H_
