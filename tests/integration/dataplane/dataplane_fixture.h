// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_TESTS_INTEGRATION_DATAPLANE_DATAPLANE_FIXTURE_H_
#define NODEPORT_GUARD_TESTS_INTEGRATION_DATAPLANE_DATAPLANE_FIXTURE_H_

#include <gtest/gtest.h>
#include <netinet/in.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "abi/entries.h"
#include "absl/status/statusor.h"
#include "base/unique_fd.h"
#include "core/desired_state.h"
#include "dataplane/bpf/bpf_guard.h"
#include "dataplane/bpf/pin_paths.h"
#include "dataplane/bpf/skeleton.h"
#include "testing/test_node.h"

namespace npg::dataplane {

// The BPF half of the guard on a node of its own, without a controller.
class DataplaneTest : public ::testing::Test {
 protected:
  static constexpr uint16_t kPort = 33589;

  void SetUp() override;

  abi::Config Config() const;

  static core::Difference Ports(const std::vector<uint16_t>& ports);

  // A loaded, filled and attached guard.
  absl::StatusOr<std::unique_ptr<BpfGuard>> Guard(const std::vector<uint16_t>& ports = {kPort},
                                                  const ProgramConstants& constants = {});

  static sockaddr_in Loopback(uint16_t port);

  // UDP, because a connect runs the hook and sends no packet. After the programs are attached:
  // no controller adds records of earlier sockets.
  static base::UniqueFd Listen(uint16_t port);

  static void Connect(uint16_t port);

  absl::StatusOr<uint64_t> Exempted() const;

  // Makes the second program of the guard impossible to attach: another program is attached
  // exclusively in its place.
  void BlockConnect6();

  // The error of a start with mode observe, in a process with the capabilities of the service,
  // or with all.
  std::string StartInVain(bool service);

  static uint32_t ProgramId(const std::string& pin);
  uint32_t Attached(const std::string& program) const;
  uint32_t MapId(const char* name) const;

  std::unique_ptr<testing::TestNode> node_;
  PinPaths pins_{PinPaths::kDefaultBpffs};
  base::UniqueFd cgroup_fd_;
  uint64_t cookie_ = 0;
};

// Pins a hash map in the place of one of the guard, as another build left it.
base::UniqueFd PinMap(const PinPaths& pins, const char* name, uint32_t key_size,
                      uint32_t value_size);

}  // namespace npg::dataplane

#endif  // NODEPORT_GUARD_TESTS_INTEGRATION_DATAPLANE_DATAPLANE_FIXTURE_H_
