// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_TESTS_TESTING_BINDER_H_
#define NODEPORT_GUARD_TESTS_TESTING_BINDER_H_

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "base/unique_fd.h"
#include "testing/transport.h"

namespace npg::testing {

// A bind() of a process of its own.
struct BindCall {
  std::string address = "0.0.0.0";
  uint16_t port = 0;
  Transport transport = Transport::kTcp;
  std::string comm{};    // its name; empty: that of this process
  bool nobody = false;   // its user is kNobodyUid
  std::string cgroup{};  // the folder of its cgroup; empty: that of this process
  std::string device{};  // SO_BINDTODEVICE before
  bool listen = true;    // afterwards, unless the transport is UDP
};

// "TCP 0.0.0.0:33589 of nobody"; for SCOPED_TRACE.
std::string ToString(const BindCall& call);

// Binds and closes. "bound", or the name of the errno of bind(): "EADDRINUSE". Any other text
// is that of a step before or after it.
std::string TryBind(const BindCall& call);

// The socket, which this process holds after the one that bound it has ended. ALREADY_EXISTS
// for EADDRINUSE.
absl::StatusOr<base::UniqueFd> HoldBind(const BindCall& call);

}  // namespace npg::testing

#endif  // NODEPORT_GUARD_TESTS_TESTING_BINDER_H_
