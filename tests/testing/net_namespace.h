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
  // A new one, with lo up. The calling thread stays where it is.
  static absl::StatusOr<NetNamespace> Create();
  // The calling thread's own.
  static absl::StatusOr<NetNamespace> Current();

  // Calls `function` on a thread inside. Sockets it opens and programs it
  // starts stay inside.
  absl::Status Run(const std::function<absl::Status()>& function) const;

  // Puts the calling thread inside.
  absl::Status Enter() const;

  // A path that names it to iproute2 while this object lives.
  std::string Path() const;

 private:
  explicit NetNamespace(base::UniqueFd fd) : fd_(std::move(fd)) {}

  base::UniqueFd fd_;
};

}  // namespace npg::testing

#endif  // NODEPORT_GUARD_TESTS_TESTING_NET_NAMESPACE_H_
