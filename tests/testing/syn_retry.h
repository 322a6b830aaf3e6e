// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_TESTS_TESTING_SYN_RETRY_H_
#define NODEPORT_GUARD_TESTS_TESTING_SYN_RETRY_H_

#include <string>

#include "absl/status/status.h"

namespace npg::testing {

// Makes new sockets in the cgroup at `path` repeat their SYN after some 10 to 100
// milliseconds, depending on the kernel's HZ, instead of after a second.
//
// A REJECT of kube-proxy answers a connect() over loopback while connect() holds the
// socket, and then the kernel ignores an ICMP error: only the answer to the second SYN makes
// connect() fail.
absl::Status RetrySynSoon(const std::string& path);

}  // namespace npg::testing

#endif  // NODEPORT_GUARD_TESTS_TESTING_SYN_RETRY_H_
