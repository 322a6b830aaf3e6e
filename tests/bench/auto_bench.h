// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_TESTS_BENCH_AUTO_BENCH_H_
#define NODEPORT_GUARD_TESTS_BENCH_AUTO_BENCH_H_

#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "bench/figure.h"

namespace npg::bench {

// The memory of `nodeport-guard run --source auto` with an API server that has 10,000 Services, and
// beside the rules of kube-proxy for them, in iptables mode (nf_tables) and in nftables mode; and
// the time from an event to its map entry: the real binary, on its own node, which this process
// enters for good. CANCELLED if `stop` returns true.
absl::StatusOr<std::vector<Figure>> AutoFigures(absl::FunctionRef<bool()> stop);

}  // namespace npg::bench

#endif  // NODEPORT_GUARD_TESTS_BENCH_AUTO_BENCH_H_
