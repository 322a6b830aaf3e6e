// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_TESTS_BENCH_RULES_BENCH_H_
#define NODEPORT_GUARD_TESTS_BENCH_RULES_BENCH_H_

#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "bench/figure.h"

namespace npg::bench {

// The resources that `nodeport-guard run --source netfilter` uses beside the rules of kube-proxy
// for 10,000 Services with an endpoint each, in nf_tables and in legacy tables: the real binary, on
// its own node, which this process enters for good. Rewrites the rules each second for `rewrite`.
// CANCELLED if `stop` returns true.
absl::StatusOr<std::vector<Figure>> RulesFigures(absl::Duration rewrite,
                                                 absl::FunctionRef<bool()> stop);

}  // namespace npg::bench

#endif  // NODEPORT_GUARD_TESTS_BENCH_RULES_BENCH_H_
