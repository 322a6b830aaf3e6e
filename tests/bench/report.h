// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_TESTS_BENCH_REPORT_H_
#define NODEPORT_GUARD_TESTS_BENCH_REPORT_H_

#include <string>
#include <vector>

#include "bench/environment.h"
#include "bench/figure.h"
#include "bench/measure.h"
#include "nlohmann/json.hpp"

namespace npg::bench {

// An object with the environment, and the values under this key.
std::string Json(const Environment& environment, const char* key, nlohmann::json values);

// As text, below 100 columns.
std::string Table(const std::vector<Result>& results, const Environment& environment);

// As JSON: {"kernel", "machine": {"processor", "processors"}, "commit", "date", "results":
// [{"group", "what", "rounds", "floor", "noise", "variants": [{"name", "nanoseconds", "difference",
// "ratio", "ratio_low", "ratio_high", "to_floor", "to_floor_low", "to_floor_high", "goal"}]}]}.
// "ratio" is that to the first variant. "goal" is null, or {"to", "limit", "ratio", "ratio_low",
// "ratio_high", "met"}.
std::string Json(const std::vector<Result>& results, const Environment& environment);

// The same for figures, with "figures": [{"group", "what", "unit", "value", "goal", "met"}] instead
// of "results"; without a goal, the last two are null.
std::string Table(const std::vector<Figure>& figures, const Environment& environment);
std::string Json(const std::vector<Figure>& figures, const Environment& environment);

}  // namespace npg::bench

#endif  // NODEPORT_GUARD_TESTS_BENCH_REPORT_H_
