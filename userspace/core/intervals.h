// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_CORE_INTERVALS_H_
#define NODEPORT_GUARD_CORE_INTERVALS_H_

#include "absl/time/time.h"

namespace npg::core {

// The intervals at which the controller polls state that sends no notifications, and limits. Not
// flags: only tests change them, to wait less.
struct Intervals {
  absl::Duration self_probe = absl::Seconds(5);
  // Of restoring what other processes detached or removed, and of removing flow entries of
  // closed UDP clients.
  absl::Duration maintenance = absl::Seconds(10);
  absl::Duration exemption_totals = absl::Seconds(10);  // of exemptions without a log line
  absl::Duration kube_events = absl::Seconds(10);       // conflicts to send Events of
  // Over which all nodes spread their first Events about port ranges.
  absl::Duration node_advice = absl::Minutes(10);
  absl::Duration accept_queues = absl::Seconds(10);  // of listeners
  absl::Duration rules = absl::Seconds(10);          // iptables-legacy, and parts that failed
  absl::Duration retry =
      absl::Seconds(5);  // of what could not start: a source, its kubeconfig, HTTP
  absl::Duration first_reading = absl::Seconds(10);  // limit of a source that is read at the start
  // An API server that has vanished is noticed after idle + 3 * interval, in whole seconds.
  absl::Duration keepalive_idle = absl::Seconds(15);
  absl::Duration keepalive_interval = absl::Seconds(5);
};

}  // namespace npg::core

#endif  // NODEPORT_GUARD_CORE_INTERVALS_H_
