// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_TESTS_BENCH_FLOW_BENCH_H_
#define NODEPORT_GUARD_TESTS_BENCH_FLOW_BENCH_H_

#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "bench/figure.h"

namespace npg::bench {

// Exempt TCP connections to four ports, as fast as they go for `time`, and how full the sets of
// the nft table become. In a network namespace that this thread enters for good. `stop` is called
// by several threads; CANCELLED if it returns true.
absl::StatusOr<std::vector<Figure>> FlowFigures(absl::Duration time,
                                                absl::FunctionRef<bool()> stop);

}  // namespace npg::bench

#endif  // NODEPORT_GUARD_TESTS_BENCH_FLOW_BENCH_H_
