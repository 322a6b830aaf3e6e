// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_TESTS_INTEGRATION_GUARD_ALTERNATIVES_FIXTURE_H_
#define NODEPORT_GUARD_TESTS_INTEGRATION_GUARD_ALTERNATIVES_FIXTURE_H_

#include <gtest/gtest.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <ostream>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/unique_fd.h"
#include "testing/alternatives.h"
#include "testing/guard_process.h"
#include "testing/kube_proxy_rules.h"
#include "testing/test_node.h"
#include "testing/transport.h"

namespace npg::testing {

// Used by GoogleTest to print one.
void PrintTo(const Alternative& alternative, std::ostream* out);

// A node with one of the ways to avoid conflicts. NodePorts are 30000-32767; the kernel assigns
// ports from 32764 on, unless the way is another range.
class AlternativesTest : public ::testing::TestWithParam<Alternative> {
 protected:
  static constexpr const char* kHostName = "host";
  static constexpr const char* kLoopback = "127.0.0.1";
  static constexpr const char* kNodeAddress = "10.244.1.1";
  static constexpr uint16_t kGivenPort = 31000;  // a NodePort that the kernel does not assign
  static constexpr uint16_t kOtherNodePort = 31001;
  static constexpr uint16_t kFixedPort = 10010;  // in neither range

  void SetUp() override;

  static Way way() { return GetParam().way; }

  // Allocates kGivenPort, kOtherNodePort and the NodePorts that the kernel may assign, for a
  // Service with an endpoint or without.
  absl::Status Allocate(bool endpoint);

  // For which listeners there is no conflict on `address`, where they bind to `bound` before their
  // ports become NodePorts.
  Helps ListenFirst(const std::string& bound, const std::string& address, Transport transport,
                    bool endpoint);
  // The same for TCP on loopback, where the ports are NodePorts already.
  Helps ListenLast();

 private:
  // A process that listens, by how it got its port. Without a socket there is no conflict: the
  // kernel did not give it a NodePort.
  struct Sockets {
    std::optional<base::UniqueFd> assigned;
    std::optional<base::UniqueFd> given;
  };

  std::string PortsFile() const { return node_->File("nodeports.json"); }
  bool GuardHas(const std::vector<NodePort>& nodeports) const;
  // `none`: the kernel is expected to assign no NodePort.
  static void Bind(const std::string& address, Transport transport, bool none, Sockets& sockets);
  Helps Judge(Sockets sockets, const std::string& address, Transport transport, bool endpoint);
  bool IsReached(base::UniqueFd socket, const std::string& address, Transport transport,
                 bool endpoint);

  std::unique_ptr<TestNode> node_;
  std::optional<GuardProcess> guard_;
};

}  // namespace npg::testing

#endif  // NODEPORT_GUARD_TESTS_INTEGRATION_GUARD_ALTERNATIVES_FIXTURE_H_
