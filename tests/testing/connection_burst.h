// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_TESTS_TESTING_CONNECTION_BURST_H_
#define NODEPORT_GUARD_TESTS_TESTING_CONNECTION_BURST_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace npg::testing {

// Short TCP connections to 127.0.0.1, one after another in each of several threads, as fast as
// they go.
struct ConnectionBurst {
  // Each thread has a listener of its own, and one to which rules would hijack its connections.
  struct Ports {
    uint16_t listener = 0;
    uint16_t hijacker = 0;
  };
  std::vector<Ports> threads;
  uint32_t mark = 0;  // SO_MARK of the clients
  size_t each = 0;    // connections of each thread
  // Ends the burst early when it returns true. Called by all threads; may be empty.
  std::function<bool()> stop;
};

struct ConnectionBurstResult {
  size_t connections = 0;  // exchanged a byte each way with their listener
  size_t tuples = 0;       // different ones among all connections
  size_t hijacked = 0;
  size_t failed = 0;
  std::string failure;  // of one that failed
};

// In the network namespace of the caller: redirects connections from the listeners to the
// hijackers, drops what conntrack takes for invalid, and makes room for TIME_WAIT.
absl::Status PrepareBurst(const ConnectionBurst& burst);

// Each connection of a thread has another source address of 127.0.0.0/8, until it has made 65,536
// of them. A thread stops after a few that failed. An error: the burst could not begin.
absl::StatusOr<ConnectionBurstResult> RunBurst(const ConnectionBurst& burst);

}  // namespace npg::testing

#endif  // NODEPORT_GUARD_TESTS_TESTING_CONNECTION_BURST_H_
