// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_TESTS_INTEGRATION_GUARD_RESERVE_FIXTURE_H_
#define NODEPORT_GUARD_TESTS_INTEGRATION_GUARD_RESERVE_FIXTURE_H_

#include <cstddef>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "testing/guard_fixture.h"

namespace npg::testing {

// A node on which the administrator has reserved kAdmin, and the kernel assigns 30000 to 60999. No
// rules take the NodePorts, which are only in the guard's file.
class ReservePortsTest : public GuardTest {
 protected:
  static constexpr const char* kSysctl = "net/ipv4/ip_local_reserved_ports";
  static constexpr const char* kRange = "net/ipv4/ip_local_port_range";
  static constexpr const char* kAdmin = "8080,9000-9100,33595";
  static constexpr uint16_t kPort = 33589;
  static constexpr uint16_t kOtherPort = 33591;

  void SetUp() override;

  // net.ipv4.ip_local_reserved_ports of the calling thread's network namespace, of any length.
  static std::string Reserved();
  static bool Becomes(const std::string& reserved);

  // `count` ports of which no two are adjacent.
  static std::vector<uint16_t> ScatteredPorts(uint16_t first, size_t count);

  // Replaces the guard's file.
  absl::Status WritePorts(const std::vector<uint16_t>& tcp, const std::vector<uint16_t>& udp = {});
  absl::Status StartReserving() { return StartGuard({"--reserve-ports", "allocated"}); }
  // Removes the guard while no controller runs.
  absl::Status RunUnload() const;

  nlohmann::json Status() const;
  // What the status has about reserved ports: "ok 3".
  std::string State() const;
  bool StateBecomes(const std::string& state) const;
  // Whether it guards the TCP port.
  bool Knows(uint16_t port) const;
};

}  // namespace npg::testing

#endif  // NODEPORT_GUARD_TESTS_INTEGRATION_GUARD_RESERVE_FIXTURE_H_
