// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_SERVE_KUBE_EVENTS_H_
#define NODEPORT_GUARD_SERVE_KUBE_EVENTS_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/btree_map.h"
#include "absl/random/bit_gen_ref.h"
#include "absl/status/status.h"
#include "absl/time/time.h"
#include "inspect/protection.h"
#include "inspect/status.h"
#include "kubernetes/backoff.h"
#include "kubernetes/http_client.h"
#include "serve/kube_event.h"
#include "serve/kube_event_answer.h"
#include "serve/kube_event_counts.h"

namespace npg::serve {

// Decides which Kubernetes Events are sent, and when: one for each lasting conflict, and for each
// user whose binds of a NodePort are refused or reported, then none for a day. Uses no network,
// clock or threads, except for counts().
//
// An Event takes up to three requests: for the Service's uid (a list with a field selector,
// which the right to list Services covers), for the creation, and, if the server still has
// the Event of a day ago, for a patch of its series. By default a server removes Events
// after an hour.
//
// Nothing is kept on disk. After a restart each conflict is sent again, and the server
// returns AlreadyExists, because the name is the same. Then an empty patch, whose response
// is the Event, reads its count, so that the count never decreases: this needs no right
// besides create and patch.
//
// All nodes share the names of the Events about a Service, of which there are few. Where the
// Event of that name is one of another conflict, another name is tried, and after some the
// conflict has no Event: the Service has enough of them.
class KubeEvents {
 public:
  struct Options {
    KubeEventReporter reporter = {};
    size_t most_pending = 100;
    size_t most_known = 1024;
    // The first request of an Event comes at a time drawn from this: all nodes may see the
    // same conflict at once. The same before a request with another name.
    absl::Duration spread = absl::ZeroDuration();
    // After an Event; up to a quarter longer, so that nodes that sent one together do not send
    // the next one together.
    absl::Duration silence = absl::Hours(24);
    absl::Duration pause = absl::Hours(1);  // after one that failed or was refused
    // Of binds: older ones have no Event. Longer than the time between two calls of Observe().
    absl::Duration recent_binds = absl::Minutes(1);
    int attempts = 6;
    absl::Duration backoff_first = absl::Seconds(5);
    absl::Duration backoff_max = absl::Minutes(5);
  };

  KubeEvents(Options options, absl::BitGenRef random);

  // Takes the present conflicts; call it periodically. A conflict counts when it was seen
  // twice in a row, because a client may bind a socket only briefly. A conflict without an
  // owner waits a little longer for one. A recent bind counts at once, as it is over.
  void Observe(const std::vector<inspect::GuardedConflict>& conflicts,
               const std::vector<inspect::BoundPort>& binds, absl::Time now);

  // The next request, if one is due; OnAnswer() must follow.
  std::optional<kubernetes::HttpRequest> Next(absl::Time now);
  // The caller logs an error: PERMISSION_DENIED while a right is missing, which concerns
  // every Event, or why one failed for good.
  absl::Status OnAnswer(const KubeEventAnswer& answer, absl::Time now);

  // When Next() may have something; InfiniteFuture while nothing is pending.
  absl::Time due() const;
  size_t pending() const { return pending_.size(); }
  size_t known() const { return known_.size(); }
  // From any thread.
  KubeEventCounts counts() const;

 private:
  enum class Step { kLookUp, kCreate, kRead, kPatch };
  struct Known {
    KubeEventSubject subject;
    int sightings = 0;  // in a row
    bool present = false;
    bool pending = false;
    uint64_t times = 0;    // sent by this run and, if `counted`, by earlier ones
    bool counted = false;  // the server's Event has no higher count
    int attempt = 0;       // which of its names it has, or tries
    absl::Time quiet_until = absl::InfinitePast();
  };

  std::vector<KubeEventSubject> Subjects(const std::vector<inspect::GuardedConflict>& conflicts,
                                         const std::vector<inspect::BoundPort>& binds,
                                         absl::Time now) const;
  void See(const std::string& identity, Known& known, KubeEventSubject subject, absl::Time now);
  bool MakeRoom();
  void Enqueue(const std::string& identity, Known& known, absl::Time now);
  void Forget(absl::Time now);
  void Restart();
  // The end of the silence that begins now.
  absl::Time SilentUntil(absl::Time now);
  // Ends the work on the first pending one.
  void Finish(absl::Time quiet_until);
  void Sent(absl::Time now);
  void Proceed(Step step, absl::Time now);
  // Another conflict has the name: tries the next one, or gives up for a day.
  void TryNextName(absl::Time now);
  absl::Status Retry(const KubeEventAnswer& answer, absl::Time now);
  absl::Status GiveUp(absl::Status why, absl::Time quiet_until);
  absl::Status OnLookUp(const KubeEventAnswer& answer, absl::Time now);
  absl::Status OnCreate(const KubeEventAnswer& answer, absl::Time now);
  absl::Status OnRead(const KubeEventAnswer& answer, absl::Time now);
  absl::Status OnPatch(const KubeEventAnswer& answer, absl::Time now);
  absl::Status OnRefusal(const KubeEventAnswer& answer, absl::Time now);
  Known& Front() { return known_.at(pending_.front()); }

  const Options options_;
  kubernetes::Backoff backoff_;
  absl::btree_map<std::string, Known> known_;  // by identity
  std::deque<std::string> pending_;            // identities
  bool under_way_ = false;                     // a request for the first of them
  // Of the first of them.
  Step step_ = Step::kLookUp;
  int attempts_ = 0;
  bool unsure_ = false;  // an attempt without a response may have succeeded
  std::string service_uid_;
  absl::Time due_ = absl::InfinitePast();

  std::atomic<uint64_t> created_ = 0;
  std::atomic<uint64_t> failed_ = 0;
  std::atomic<uint64_t> suppressed_ = 0;
};

}  // namespace npg::serve

#endif  // NODEPORT_GUARD_SERVE_KUBE_EVENTS_H_
