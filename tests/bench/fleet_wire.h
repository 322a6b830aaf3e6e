// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_TESTS_BENCH_FLEET_WIRE_H_
#define NODEPORT_GUARD_TESTS_BENCH_FLEET_WIRE_H_

#include <cstddef>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"

namespace npg::bench {

// A list of the product's source, on a new connection.
struct ListOnWire {
  size_t services = 0;
  size_t node_ports = 0;   // of them of type NodePort
  bool selector = true;    // false: the server refuses it once, and is asked without it
  bool watch_list = true;  // false: the server refuses it once, and is asked for pages
  double requests = 0;
  double sent = 0;      // bytes by the node, in TCP: with TLS and HTTP/2
  double received = 0;  // by the node
};

// Bytes of one message, in both directions.
struct MessagesOnWire {
  double added = 0;  // a NodePort Service
  double modified = 0;
  double deleted = 0;
  double other = 0;  // the mean of the three of a Service of type ClusterIP
  double bookmark = 0;
  double watch = 0;  // the end of one, and the request of the next
};

struct FleetWire {
  std::vector<ListOnWire> lists;
  MessagesOnWire selected;
  MessagesOnWire unselected;  // where the node asks without the selector
};

// Measures the product's source with an API server of this process, as the counters of the
// kernel for the TCP connections between them. CANCELLED if `stop` returns true.
absl::StatusOr<FleetWire> MeasureWire(absl::FunctionRef<bool()> stop);

}  // namespace npg::bench

#endif  // NODEPORT_GUARD_TESTS_BENCH_FLEET_WIRE_H_
