// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_TESTS_BENCH_SCAN_BENCH_H_
#define NODEPORT_GUARD_TESTS_BENCH_SCAN_BENCH_H_

#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "bench/figure.h"

namespace npg::bench {

// How long `nodeport-guard scan` takes on a node with many sockets and
// processes: the real binary on its own node, which this process enters for good.
// CANCELLED if `stop` returns true.
absl::StatusOr<std::vector<Figure>> ScanFigures(absl::FunctionRef<bool()> stop);

}  // namespace npg::bench

#endif  // NODEPORT_GUARD_TESTS_BENCH_SCAN_BENCH_H_
