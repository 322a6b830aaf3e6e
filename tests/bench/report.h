// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_TESTS_BENCH_REPORT_H_
#define NODEPORT_GUARD_TESTS_BENCH_REPORT_H_

#include <string>
#include <vector>

#include "bench/figure.h"
#include "bench/measure.h"

namespace npg::bench {

// As text, below 80 columns.
std::string Table(const std::vector<Result>& results);

// As JSON: {"kernel": ..., "results": [{"group", "what", "rounds",
// "variants": [{"name", "nanoseconds", "difference", "ratio", "ratio_low",
// "ratio_high"}]}]}.
std::string Json(const std::vector<Result>& results);

// The same for figures: {"kernel": ..., "figures": [{"group", "what", "unit",
// "value", "goal", "met"}]}; without a goal, the last two are null.
std::string Table(const std::vector<Figure>& figures);
std::string Json(const std::vector<Figure>& figures);

}  // namespace npg::bench

#endif  // NODEPORT_GUARD_TESTS_BENCH_REPORT_H_
