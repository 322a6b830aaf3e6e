// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_TESTS_BENCH_COMMAND_BENCH_H_
#define NODEPORT_GUARD_TESTS_BENCH_COMMAND_BENCH_H_

#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "bench/figure.h"

namespace npg::bench {

// How long the real binary takes with 10,000 NodePorts: from the start of
// `nodeport-guard run` until it guards, and to print `status`, beside `version`,
// which only starts. Moves this process to its own node for good. CANCELLED if
// `stop` returns true.
absl::StatusOr<std::vector<Figure>> CommandFigures(absl::FunctionRef<bool()> stop);

}  // namespace npg::bench

#endif  // NODEPORT_GUARD_TESTS_BENCH_COMMAND_BENCH_H_
