// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_TESTS_TESTING_TEST_CGROUP_H_
#define NODEPORT_GUARD_TESTS_TESTING_TEST_CGROUP_H_

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace npg::testing {

// A cgroup2 group for this process, "npg-test-PID-N" below the root that
// /proc/self/mountinfo shows. Create() moves this process into it; the destructor
// moves it back and removes the group and its descendants.
class TestCgroup {
 public:
  // Also removes the groups of crashed earlier runs.
  static absl::StatusOr<std::unique_ptr<TestCgroup>> Create();
  ~TestCgroup();
  TestCgroup(const TestCgroup&) = delete;
  TestCgroup& operator=(const TestCgroup&) = delete;

  const std::string& path() const { return path_; }

  // Makes the group `name` below this one, and returns its path.
  absl::StatusOr<std::string> MakeChild(const std::string& name) const;

  // Moves the calling process into the group at `path`.
  static absl::Status Enter(const std::string& path);

 private:
  TestCgroup(std::string path, std::string home) : path_(std::move(path)), home_(std::move(home)) {}

  std::string path_;
  std::string home_;  // the original cgroup of the process
};

}  // namespace npg::testing

#endif  // NODEPORT_GUARD_TESTS_TESTING_TEST_CGROUP_H_
