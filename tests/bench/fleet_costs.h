// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_TESTS_BENCH_FLEET_COSTS_H_
#define NODEPORT_GUARD_TESTS_BENCH_FLEET_COSTS_H_

#include <cstddef>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "bench/figure.h"

namespace npg::bench {

// The busiest second after the return of an API server.
struct Storm {
  size_t nodes = 0;
  bool jitter = true;
  double lists = 0;
};

// What fleets cost an API server in a day, and in these storms: messages of a simulated day, times
// their bytes, which are measured. With and without the field selector and bookmarks. CANCELLED if
// `stop` returns true.
absl::StatusOr<std::vector<Figure>> FleetCosts(const std::vector<Storm>& storms,
                                               absl::FunctionRef<bool()> stop);

}  // namespace npg::bench

#endif  // NODEPORT_GUARD_TESTS_BENCH_FLEET_COSTS_H_
