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

// The Service of "namespace/name"; nullopt for names that the API server does not allow.
std::optional<ServiceName> ParseServiceName(absl::string_view text);

// One conflict for Events.
struct KubeEventSubject {
  ServiceName service;
  core::PortKey key;
  core::Owner owner;     // pid 0: not found
  std::string listener;  // "127.0.0.1"
  uint32_t uid = 0;      // of who bound it, or else of the listener's socket
  bool trusted = true;   // --guard-uid or --guard-cgroup selects it
  bool recorded = true;  // the guard knows who bound it
  // In mode enforce: its connects are not exempted all the same, because a part of the guard is
  // missing, or it stands aside.
  bool unguarded = false;

  // Equal for equal conflicts: Service, port, protocol, and owner. Has no pid, because a
  // restarted process is the same owner. Where the owner is not trusted it has the uid alone:
  // any user can give a process new names without end.
  std::string Identity() const;
};

// nullopt for a conflict without an Event: one without a Service, or whose owner only
// holds the port.
std::optional<KubeEventSubject> SubjectOf(const core::Conflict& conflict);

// metadata.name, "SERVICE.hex". Equal for the same conflict on the same node in every run
// of the controller, so that the API server returns AlreadyExists for a repeated Event.
std::string KubeEventName(const KubeEventSubject& subject, absl::string_view node);

// The reporter of an Event.
struct KubeEventReporter {
  std::string node;
  bool enforcing = true;  // false: observe mode, nothing is exempted
};

// An Event of events.k8s.io/v1 as JSON. `service_uid` may be empty; with it,
// `kubectl describe service` finds the Event. `earlier` is the number of earlier Events
// for the conflict, which the note mentions.
std::string KubeEventJson(const KubeEventSubject& subject, const KubeEventReporter& reporter,
                          absl::string_view service_uid, absl::Time now, uint64_t earlier = 0);

// The merge patch for an Event that continues: series is its only mutable part.
std::string KubeEventSeriesJson(uint64_t count, absl::Time last_observed);

// The number of occurrences that an Event from the server stands for: 1 when it has no
// series, or is no Event.
uint64_t KubeEventCountIn(const std::string& json);

}  // namespace npg::serve

#endif  // NODEPORT_GUARD_SERVE_KUBE_EVENT_H_
