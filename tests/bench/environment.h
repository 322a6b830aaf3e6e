// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_TESTS_BENCH_ENVIRONMENT_H_
#define NODEPORT_GUARD_TESTS_BENCH_ENVIRONMENT_H_

#include <string>

namespace npg::bench {

// Where and when something was measured, to tell later which figures can be compared. What is
// not known is "unknown".
struct Environment {
  std::string kernel = "unknown";     // "6.18.0 x86_64"
  std::string processor = "unknown";  // the model
  long processors = 0;                // online
  std::string commit = "unknown";     // of the build; "-dirty" with changes that are not committed
  std::string date;                   // UTC, RFC 3339
};

Environment ReadEnvironment();

// The "model name" in the text of /proc/cpuinfo. "unknown" if there is none, as on arm64.
std::string ProcessorModel(const std::string& cpuinfo);

}  // namespace npg::bench

#endif  // NODEPORT_GUARD_TESTS_BENCH_ENVIRONMENT_H_
