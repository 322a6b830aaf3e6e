// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_TESTS_BENCH_FLEET_BENCH_H_
#define NODEPORT_GUARD_TESTS_BENCH_FLEET_BENCH_H_

#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "bench/figure.h"

namespace npg::bench {

// How 1,000 to 15,000 nodes return to an API server that restarts: the product's reflectors
// and a model of the server, in virtual time, with fixed seeds. For 10,000 nodes, also after
// outages of several lengths, with the requests of each second. Then what fleets cost in a day:
// see fleet_costs.h. CANCELLED if `stop` returns true.
absl::StatusOr<std::vector<Figure>> FleetFigures(absl::FunctionRef<bool()> stop);

}  // namespace npg::bench

#endif  // NODEPORT_GUARD_TESTS_BENCH_FLEET_BENCH_H_
