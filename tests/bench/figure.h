// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_TESTS_BENCH_FIGURE_H_
#define NODEPORT_GUARD_TESTS_BENCH_FIGURE_H_

#include <optional>
#include <string>

namespace npg::bench {

// A measured number and its upper limit.
struct Figure {
  std::string group;  // "list of 10000 Services"
  std::string what;   // "CPU, WatchList"
  std::string unit;   // "s"
  double value = 0;
  std::optional<double> goal = std::nullopt;  // none: for information

  bool met() const { return !goal || value <= *goal; }
};

}  // namespace npg::bench

#endif  // NODEPORT_GUARD_TESTS_BENCH_FIGURE_H_
