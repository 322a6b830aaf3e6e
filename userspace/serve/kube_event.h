// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_SERVE_KUBE_EVENT_H_
#define NODEPORT_GUARD_SERVE_KUBE_EVENT_H_

#include <cstddef>
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

// The names that the Events about one Service have, those of all nodes together. So the API
// server holds at most this many of them at a time, however many nodes have the conflict.
inline constexpr uint64_t kKubeEventNames = 16;
// How many of them conflicts of untrusted listeners may have, which any user can cause.
inline constexpr uint64_t kUntrustedKubeEventNames = 4;
// How many of these names one conflict tries, one after the other.
inline constexpr int kKubeEventTries = 3;

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

// metadata.name, "SERVICE.hex": one of the kKubeEventNames names of the Service. Which one
// depends on the conflict and the node, and on `attempt`, below kKubeEventTries: another
// attempt has another name. Equal in every run of the controller, so that the API server
// returns AlreadyExists for a repeated Event, and for one whose name another conflict has.
std::string KubeEventName(const KubeEventSubject& subject, absl::string_view node, int attempt = 0);

// The reporter of an Event.
struct KubeEventReporter {
  std::string node;
  bool enforcing = true;  // false: observe mode, nothing is exempted
};

// An Event of events.k8s.io/v1 as JSON. `service_uid` may be empty; with it,
// `kubectl describe service` finds the Event. `earlier` is the number of earlier Events
// for the conflict, which the note mentions. `attempt` as for KubeEventName().
std::string KubeEventJson(const KubeEventSubject& subject, const KubeEventReporter& reporter,
                          absl::string_view service_uid, absl::Time now, uint64_t earlier = 0,
                          int attempt = 0);

// The merge patch for an Event that continues: series is its only mutable part. It has the
// reportingInstance, too, so that the server refuses to change an Event of another node.
std::string KubeEventSeriesJson(const KubeEventReporter& reporter, uint64_t count,
                                absl::Time last_observed);

// Whether an Event from the server is one of another conflict, or of another node. False for
// an Event that does not tell.
bool IsOtherKubeEvent(const std::string& json, const KubeEventSubject& subject,
                      absl::string_view node);

// The number of occurrences that an Event from the server stands for: 1 when it has no
// series, or is no Event.
uint64_t KubeEventCountIn(const std::string& json);

}  // namespace npg::serve

#endif  // NODEPORT_GUARD_SERVE_KUBE_EVENT_H_
