// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_TESTS_TESTING_SYN_RETRY_H_
#define NODEPORT_GUARD_TESTS_TESTING_SYN_RETRY_H_

#include <string>

#include "absl/status/status.h"

namespace npg::testing {

// Sockets that are made in the cgroup at `path` from now on send their SYN again after
// some 10 to 100 milliseconds, depending on the kernel's HZ, and not after a second.
//
// A REJECT of kube-proxy's answers a connect() over loopback while connect() still has the
// socket, and the kernel ignores an ICMP error then: it is the answer to the second SYN that
// makes connect() fail.
absl::Status RetrySynSoon(const std::string& path);

}  // namespace npg::testing

#endif  // NODEPORT_GUARD_TESTS_TESTING_SYN_RETRY_H_
