// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_TESTS_TESTING_NET_NAMESPACE_H_
#define NODEPORT_GUARD_TESTS_TESTING_NET_NAMESPACE_H_

#include <functional>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/unique_fd.h"

namespace npg::testing {

// A network namespace that lives as long as this object and its sockets.
class NetNamespace {
 public:
  // Makes a new one, with lo up. The calling thread does not enter it.
  static absl::StatusOr<NetNamespace> Create();
  // The namespace of the calling thread.
  static absl::StatusOr<NetNamespace> Current();

  // Calls `function` on a thread inside. Its sockets and child processes stay inside.
  absl::Status Run(const std::function<absl::Status()>& function) const;

  // Moves the calling thread inside.
  absl::Status Enter() const;

  // A path for iproute2, valid while this object exists.
  std::string Path() const;

 private:
  explicit NetNamespace(base::UniqueFd fd) : fd_(std::move(fd)) {}

  base::UniqueFd fd_;
};

}  // namespace npg::testing

#endif  // NODEPORT_GUARD_TESTS_TESTING_NET_NAMESPACE_H_
