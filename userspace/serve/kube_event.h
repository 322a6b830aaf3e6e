// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_SERVE_KUBE_EVENT_H_
#define NODEPORT_GUARD_SERVE_KUBE_EVENT_H_

#include <cstdint>
#include <optional>
#include <string>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "core/conflicts.h"
#include "core/listener.h"
#include "core/port.h"

namespace npg::serve {

// The limits of events.k8s.io/v1, in bytes.
inline constexpr size_t kMaxKubeEventNote = 1024;
inline constexpr size_t kMaxKubeEventInstance = 128;

struct ServiceName {
  std::string ns;
  std::string name;
};

// The Service of "namespace/name"; nullopt where the API server would know no
// such names, and there is nothing that an Event could be about.
std::optional<ServiceName> ParseServiceName(absl::string_view text);

// One conflict, as far as it is one for the people who read Events.
struct KubeEventSubject {
  ServiceName service;
  core::PortKey key;
  core::Owner owner;     // pid 0: not found
  std::string listener;  // "127.0.0.1"
  uint32_t uid = 0;      // of the listener's socket

  // What makes two of them the same: Service, port, protocol, and who listens.
  // A process that is started again is the same owner, so no pid is in it.
  std::string Identity() const;
};

// nullopt for what no Event is about: a conflict without a Service, and an owner
// that only holds the port.
std::optional<KubeEventSubject> SubjectOf(const core::Conflict& conflict);

// metadata.name, "SERVICE.hex". It says the same for the same conflict on the same
// node, whenever and by whatever run of the controller it is made: what the API
// server answers to the second of them, AlreadyExists, means that it knows.
std::string KubeEventName(const KubeEventSubject& subject, absl::string_view node);

// Who reports, and from where.
struct KubeEventReporter {
  std::string node;
  bool enforcing = true;  // false: observe mode, nothing is exempted
};

// An Event of events.k8s.io/v1 as JSON. `service_uid` may be empty; with it,
// `kubectl describe service` finds the Event. `earlier` is how many there were of the
// conflict, and the note then says so.
std::string KubeEventJson(const KubeEventSubject& subject, const KubeEventReporter& reporter,
                          absl::string_view service_uid, absl::Time now, uint64_t earlier = 0);

// The merge patch that says that an Event holds on: series is its only part
// that may change.
std::string KubeEventSeriesJson(uint64_t count, absl::Time last_observed);

// How many of its conflict an Event that the server has sent stands for: 1 when it has
// no series, or is none.
uint64_t KubeEventCountIn(const std::string& json);

}  // namespace npg::serve

#endif  // NODEPORT_GUARD_SERVE_KUBE_EVENT_H_
