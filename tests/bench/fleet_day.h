// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_TESTS_BENCH_FLEET_DAY_H_
#define NODEPORT_GUARD_TESTS_BENCH_FLEET_DAY_H_

#include <cstdint>

#include "bench/fleet_arithmetic.h"

namespace npg::bench {

// Changes of Services, at times of a Poisson process.
struct Churn {
  double node_port_per_hour = 10;  // of NodePort Services
  double other_per_hour = 100;     // of Services of type ClusterIP
};

// What a node uses. False: the request goes without it, as if the product did not have it.
struct FleetFeatures {
  bool selector = true;   // spec.type!=ClusterIP
  bool bookmarks = true;  // of an open watch
};

// A day of one node in virtual time: the product's reflector and a model of the API server, whose
// watch cache keeps the last 100 changes of Services, and all of the last 75 seconds, as
// kube-apiserver does. Equal for equal arguments.
Messages SimulateDay(const Churn& churn, const FleetFeatures& features, uint64_t seed);

}  // namespace npg::bench

#endif  // NODEPORT_GUARD_TESTS_BENCH_FLEET_DAY_H_
