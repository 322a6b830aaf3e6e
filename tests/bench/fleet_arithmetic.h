// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_TESTS_BENCH_FLEET_ARITHMETIC_H_
#define NODEPORT_GUARD_TESTS_BENCH_FLEET_ARITHMETIC_H_

#include <cstddef>

namespace npg::bench {

// What one node and the API server exchange in a day, or, as MessageBytes, the bytes of one of
// each.
struct Messages {
  double lists = 0;    // a list that continues as a watch
  double watches = 0;  // resumed
  double bookmarks = 0;
  double events = 0;        // of NodePort Services
  double other_events = 0;  // of other Services
};
using MessageBytes = Messages;

struct DayOfNode {
  double requests = 0;
  double bytes = 0;
};

// Lists and watches are requests. The rest arrives in the stream of a watch.
DayOfNode CostOfDay(const Messages& messages, const MessageBytes& bytes);

// Means over the day.
struct FleetLoad {
  double requests_per_second = 0;
  double bytes_per_second = 0;
  double bytes_per_day = 0;
};
FleetLoad LoadOfFleet(const DayOfNode& day, size_t nodes);

// The most requests that `conflicts` of one node cause in a day of 24 hours, where each has an
// Event after `silence_hours`: one lookup, `tries` creates and as many patches.
double MostEventRequests(double conflicts, int tries, double silence_hours);

}  // namespace npg::bench

#endif  // NODEPORT_GUARD_TESTS_BENCH_FLEET_ARITHMETIC_H_
