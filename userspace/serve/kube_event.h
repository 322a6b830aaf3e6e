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
#include "inspect/protection.h"

namespace npg::serve {

// The names that the Events about one Service have, those of all nodes together. So the API
// server holds at most this many of them at a time, however many nodes have the conflict.
inline constexpr uint64_t kKubeEventNames = 16;
// How many of them conflicts of untrusted listeners, and binds, may have, which any user can cause.
inline constexpr uint64_t kUntrustedKubeEventNames = 4;
// How many of these names one conflict tries, one after the other.
inline constexpr int kKubeEventTries = 3;

struct ServiceName {
  std::string ns;
  std::string name;
};

// The Service of "namespace/name"; nullopt for names that the API server does not allow.
std::optional<ServiceName> ParseServiceName(absl::string_view text);

enum class KubeEventKind {
  kConflict,
  kBindRefused,   // bind protection refused a bind of the NodePort
  kBindReported,  // bind protection let it pass
};

// One conflict, or the binds of a port by one user, for Events.
struct KubeEventSubject {
  KubeEventKind kind = KubeEventKind::kConflict;
  ServiceName service;
  core::PortKey key;
  core::Owner owner;     // pid 0: not found
  std::string listener;  // "127.0.0.1"; of a conflict
  uint32_t uid = 0;      // of who bound it, or else of the listener's socket
  // --guard-uid or --guard-cgroup selects it. False for binds: any user can cause them.
  bool trusted = true;
  bool recorded = true;  // the guard knows who bound it
  // In mode enforce: its connects are not exempted all the same, because a part of the guard is
  // missing, or it stands aside.
  bool unguarded = false;

  // Equal for equal subjects: kind, Service, port, protocol, and owner. Has no pid, because a
  // restarted process is the same owner. Where the owner is not trusted it has the uid alone:
  // any user can give a process new names without end.
  std::string Identity() const;
};

// nullopt for a conflict without an Event: one without a Service, or whose owner only
// holds the port.
std::optional<KubeEventSubject> SubjectOf(const core::Conflict& conflict);

// nullopt for a port without a Service, or without binds of that kind.
std::optional<KubeEventSubject> SubjectOf(const inspect::BoundPort& bound, KubeEventKind kind);

// metadata.name, "SERVICE.hex": one of the kKubeEventNames names of the Service. Which one
// depends on the conflict and the node, and on `attempt`, below kKubeEventTries: another
// attempt has another name. Equal in every run of the controller, so that the API server
// returns AlreadyExists for a repeated Event, and for one whose name another conflict has.
std::string KubeEventName(const KubeEventSubject& subject, absl::string_view node, int attempt = 0);

// The reporter of an Event.
struct KubeEventReporter {
  std::string node = {};
  bool enforcing = true;  // false: observe mode, nothing is exempted
  bool refusing = false;  // bind protection refuses binds, instead of only reporting them
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
