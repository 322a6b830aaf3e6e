// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_TESTS_BENCH_GROWTH_H_
#define NODEPORT_GUARD_TESTS_BENCH_GROWTH_H_

#include <optional>
#include <string>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "bench/measure.h"

namespace npg::bench {

// What repeated measurements of one number amount to.
struct Spread {
  double low = 0;  // the middle half of the measurements lies between `low` and `high`
  double median = 0;
  double high = 0;
};

// There is at least one value.
Spread SpreadOf(const std::vector<double>& values);

struct GrowthPoint {
  double x = 0;
  Spread y;
};

struct GrowthSeries {
  std::string name;  // "exempt again"
  std::vector<GrowthPoint> points;
};

// How one kind of cost grows: one drawing.
struct Growth {
  std::string name;   // of its file, without ".svg"
  std::string title;  // "What a connect costs, by the NodePorts known"
  std::string x_label;
  std::string y_label;  // with its unit
  // By how much two equal baselines differ: a smaller cost cannot be told from none.
  std::optional<Spread> noise = std::nullopt;
  std::vector<GrowthSeries> series = {};
};

// Runs the variants in turn, round after round and each round in another order, for `budget`, but
// at least a few rounds. Returns how much longer each takes than the first one, in nanoseconds: the
// differences are taken round by round, so that drift of the machine cancels out. CANCELLED if
// `stop` returns true.
absl::StatusOr<std::vector<Spread>> DifferencesToFirst(const std::vector<Variant>& variants,
                                                       absl::Duration budget,
                                                       absl::FunctionRef<bool()> stop);

// As text, below 100 columns.
std::string Table(const std::vector<Growth>& growths);

// As JSON: {"kernel", "growths": [{"name", "title", "x", "y", "noise": {"low", "median", "high"} or
// null, "series": [{"name", "points": [{"x", "low", "median", "high"}]}]}]}.
std::string Json(const std::vector<Growth>& growths);

}  // namespace npg::bench

#endif  // NODEPORT_GUARD_TESTS_BENCH_GROWTH_H_
