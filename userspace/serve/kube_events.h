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
#include "inspect/status.h"
#include "kubernetes/backoff.h"
#include "kubernetes/http_client.h"
#include "serve/kube_event.h"
#include "serve/kube_event_counts.h"

namespace npg::serve {

// What came of a request.
struct KubeEventAnswer {
  int status = 0;  // of HTTP; 0: there was no whole answer, and `failure` says why
  std::string body = {};
  std::optional<absl::Duration> retry_after = {};
  std::string failure = {};
};

// Decides which Kubernetes Events are sent, and when: one for each conflict that
// lasts, and then none for a day. No network, no clock, no threads, apart from
// counts().
//
// An Event is asked for by up to three requests: the Service's uid (a list with a
// field selector, which the right to list Services covers), the Event's creation,
// and, where the server still has the Event of a day ago, a patch of its series. A
// server forgets Events after an hour, unless it is told to keep them longer.
//
// Nothing is kept on disk: after a restart each conflict is sent once more, and
// the server says that it has the Event, for the name is the same. What that has
// counted so far is read then, so that the count never goes back: by a patch that
// changes nothing, whose answer is the Event, for no right is needed besides those
// to create and patch.
class KubeEvents {
 public:
  struct Options {
    KubeEventReporter reporter = {};
    size_t most_pending = 100;
    size_t most_known = 1024;
    absl::Duration silence = absl::Hours(24);  // after an Event
    absl::Duration pause = absl::Hours(1);     // after one that was given up, or refused
    int attempts = 6;
    absl::Duration backoff_first = absl::Seconds(5);
    absl::Duration backoff_max = absl::Minutes(5);
  };

  KubeEvents(Options options, absl::BitGenRef random);

  // The conflicts of now; to be called again and again. One is believed when it
  // was seen twice in a row: a socket that a client has bound for a moment is none
  // to tell of. Without an owner it is waited for a little longer.
  void Observe(const std::vector<inspect::Conflict>& conflicts, absl::Time now);

  // The next request, if one is due; OnAnswer() is to follow.
  std::optional<kubernetes::HttpRequest> Next(absl::Time now);
  // An error is to be logged: PERMISSION_DENIED while a right is missing, which
  // concerns every Event, or why one was given up.
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
    uint64_t times = 0;    // it was said, by this run and, where `counted`, by earlier ones
    bool counted = false;  // no Event of the server says more
    absl::Time quiet_until = absl::InfinitePast();
  };

  void See(const std::string& identity, Known& known, KubeEventSubject subject, absl::Time now);
  bool MakeRoom();
  void Enqueue(const std::string& identity, Known& known, absl::Time now);
  void Forget(absl::Time now);
  void Restart();
  // Ends the work on the first that is pending.
  void Finish(absl::Time quiet_until);
  void Said(absl::Time now);
  void Proceed(Step step, absl::Time now);
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
  bool unsure_ = false;  // an attempt may have been successful though no answer said so
  std::string service_uid_;
  absl::Time due_ = absl::InfinitePast();

  std::atomic<uint64_t> created_ = 0;
  std::atomic<uint64_t> failed_ = 0;
  std::atomic<uint64_t> suppressed_ = 0;
};

}  // namespace npg::serve

#endif  // NODEPORT_GUARD_SERVE_KUBE_EVENTS_H_
