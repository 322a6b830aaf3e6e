// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_TESTS_BENCH_KUBERNETES_BENCH_H_
#define NODEPORT_GUARD_TESTS_BENCH_KUBERNETES_BENCH_H_

#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "bench/figure.h"

namespace npg::bench {

// The resources that `nodeport-guard run --source kubernetes` uses in a cluster of
// 10,000 NodePort Services: the real binary with an API server in this process. Moves
// this process to its own node for good. Measures an idle guard for `idle`. CANCELLED
// if `stop` returns true.
absl::StatusOr<std::vector<Figure>> KubernetesFigures(absl::Duration idle,
                                                      absl::FunctionRef<bool()> stop);

}  // namespace npg::bench

#endif  // NODEPORT_GUARD_TESTS_BENCH_KUBERNETES_BENCH_H_
