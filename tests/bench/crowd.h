// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_TESTS_BENCH_CROWD_H_
#define NODEPORT_GUARD_TESTS_BENCH_CROWD_H_

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"

namespace npg::bench {

// Processes that hold sockets and do nothing else: forks of this one, in its
// namespaces and its cgroup. Killed and reaped by the destructor, and killed
// when the thread that made them ends.
class Crowd {
 public:
  // Of each process: listening TCP sockets and one bound UDP socket, on
  // 127.0.0.1, on ports that the kernel picks. Each port of `fixed` is
  // the first TCP port of another process. There must be more processes than these.
  static constexpr size_t kTcpSocketsEach = 4;
  static constexpr size_t kSocketsEach = kTcpSocketsEach + 1;

  // Returns when all sockets are open. CANCELLED if `stop` returns true.
  static absl::StatusOr<std::unique_ptr<Crowd>> Gather(size_t processes,
                                                       const std::vector<uint16_t>& fixed,
                                                       absl::FunctionRef<bool()> stop);
  ~Crowd();
  Crowd(const Crowd&) = delete;
  Crowd& operator=(const Crowd&) = delete;

 private:
  Crowd() = default;

  std::vector<pid_t> pids_;
};

}  // namespace npg::bench

#endif  // NODEPORT_GUARD_TESTS_BENCH_CROWD_H_
