// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_TESTS_TESTING_HAMMER_H_
#define NODEPORT_GUARD_TESTS_TESTING_HAMMER_H_

#include <atomic>
#include <cstdint>
#include <string>
#include <thread>
#include <vector>

#include "absl/synchronization/notification.h"
#include "testing/client.h"

namespace npg::testing {

// Makes connects in a loop while it exists, and expects that "host" answers each.
class Hammer {
 public:
  explicit Hammer(std::vector<Dial> dials);
  ~Hammer() { Stop(); }
  Hammer(const Hammer&) = delete;
  Hammer& operator=(const Hammer&) = delete;

  uint64_t connects() const { return connects_; }

  // The connects that did not reach the host.
  std::vector<std::string> Stop();

 private:
  std::vector<Dial> dials_;
  absl::Notification stop_;
  std::atomic<uint64_t> connects_ = 0;
  std::vector<std::string> wrong_;
  std::thread thread_;
};

}  // namespace npg::testing

#endif  // NODEPORT_GUARD_TESTS_TESTING_HAMMER_H_
