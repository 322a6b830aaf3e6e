// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_TESTS_TESTING_GUARD_PROCESS_H_
#define NODEPORT_GUARD_TESTS_TESTING_GUARD_PROCESS_H_

#include <sys/types.h>

#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "testing/command.h"
#include "testing/kube_proxy_rules.h"
#include "testing/test_node.h"

namespace npg::testing {

// Writes a port list ("33589", "33590/udp") for --nodeports-file, replacing the
// file by rename as an editor does.
absl::Status WriteNodePortsFile(const std::string& path, const std::vector<NodePort>& nodeports);

// The real binary with `arguments`, and --cgroup and --bpffs of `node`.
std::vector<std::string> GuardCommand(const TestNode& node,
                                      const std::vector<std::string>& arguments);

// `command` as root with exactly the documented capabilities (base/capabilities.h) except
// `without`, as in a container that drops all and adds those.
std::vector<std::string> WithCapabilities(const std::vector<std::string>& command,
                                          const std::vector<int>& without = {});

// `nodeport-guard run`, as a black box.
class GuardProcess {
 public:
  // Starts it with the documented capabilities, and waits until it logs that it is ready.
  // INTERNAL, with its output, if it ends instead.
  static absl::StatusOr<GuardProcess> Start(const TestNode& node,
                                            const std::vector<std::string>& arguments);

  pid_t pid() const { return child_.pid(); }
  std::string Log() const { return child_.Err(); }

  // Sends SIGTERM; returns an error unless it ends with exit code 0.
  absl::Status Stop();
  // Sends SIGKILL.
  absl::Status Kill();

 private:
  explicit GuardProcess(ChildProcess child) : child_(std::move(child)) {}

  ChildProcess child_;
};

}  // namespace npg::testing

#endif  // NODEPORT_GUARD_TESTS_TESTING_GUARD_PROCESS_H_
