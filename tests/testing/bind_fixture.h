// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_TESTS_TESTING_BIND_FIXTURE_H_
#define NODEPORT_GUARD_TESTS_TESTING_BIND_FIXTURE_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "testing/guard_fixture.h"
#include "testing/transport.h"

namespace npg::testing {

// A node whose guard protects NodePorts from being bound. No rules take the NodePorts, which are
// only in the guard's file.
class BindProtectionTest : public GuardTest {
 protected:
  static constexpr const char* kNodeAddress = "10.244.1.1";  // of the node, towards the pod

  void SetUp() override;

  // What a refused bind() fails with on this kernel.
  static std::string RefusalErrno();

  // Replaces the guard's file: a list of ports, or any text.
  absl::Status WritePorts(const std::vector<uint16_t>& tcp, const std::vector<uint16_t>& udp = {});
  absl::Status WriteText(absl::string_view text);

  // `run --source file --bind-protection MODE`. Ports in the file are protected once it is ready.
  absl::Status StartProtection(const std::string& mode, std::vector<std::string> arguments = {});

  bool IsRefusable(uint16_t port, Transport transport = Transport::kTcp) const;
  // Waits until it is, or is not.
  bool BecomesRefusable(uint16_t port, bool refusable = true) const;
  bool IsFirstHolder(uint16_t port, uint32_t uid, Transport transport = Transport::kTcp) const;
};

}  // namespace npg::testing

#endif  // NODEPORT_GUARD_TESTS_TESTING_BIND_FIXTURE_H_
