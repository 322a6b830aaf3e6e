// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_TESTS_BENCH_DATAGRAM_BENCH_H_
#define NODEPORT_GUARD_TESTS_BENCH_DATAGRAM_BENCH_H_

#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "bench/figure.h"

namespace npg::bench {

// How long after bind() datagrams of sockets that are not connected are exempt,
// and for how long after close(): the real binary on its own node, which
// this process enters for good. CANCELLED if `stop` returns true.
absl::StatusOr<std::vector<Figure>> DatagramFigures(absl::FunctionRef<bool()> stop);

}  // namespace npg::bench

#endif  // NODEPORT_GUARD_TESTS_BENCH_DATAGRAM_BENCH_H_
