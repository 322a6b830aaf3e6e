// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_TESTS_TESTING_TAKEN_PORTS_H_
#define NODEPORT_GUARD_TESTS_TESTING_TAKEN_PORTS_H_

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "base/unique_fd.h"

namespace npg::testing {

// Makes `first` to `last` the ports that the kernel hands out in this network namespace, and binds
// all of them for UDP on ::1, as any user can. While the sockets are open, no other UDP socket gets
// a port of ::1.
absl::StatusOr<std::vector<base::UniqueFd>> TakeUdpPortsOfLoopback6(uint16_t first, uint16_t last);

}  // namespace npg::testing

#endif  // NODEPORT_GUARD_TESTS_TESTING_TAKEN_PORTS_H_
