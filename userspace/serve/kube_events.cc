// SPDX-License-Identifier: Apache-2.0
#include "serve/kube_events.h"

#include <algorithm>
#include <cstddef>
#include <iterator>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/random/bit_gen_ref.h"
#include "absl/time/time.h"
#include "inspect/protection.h"
#include "inspect/status.h"
#include "serve/kube_event.h"
#include "serve/kube_event_counts.h"

namespace npg::serve {
namespace {

constexpr int kSightings = 2;
constexpr int kSightingsWithoutOwner = 4;

int SightingsNeeded(const KubeEventSubject& subject) {
  if (subject.kind != KubeEventKind::kConflict) return 1;
  return subject.owner.pid == 0 ? kSightingsWithoutOwner : kSightings;
}

}  // namespace

KubeEvents::KubeEvents(Options options, absl::BitGenRef random)
    : options_(std::move(options)),
      backoff_(options_.backoff_first, options_.backoff_max, random) {}

std::vector<KubeEventSubject> KubeEvents::Subjects(
    const std::vector<inspect::GuardedConflict>& conflicts,
    const std::vector<inspect::BoundPort>& binds, absl::Time now) const {
  std::vector<KubeEventSubject> subjects;
  for (const inspect::GuardedConflict& conflict : conflicts) {
    std::optional<KubeEventSubject> subject = SubjectOf(conflict);
    if (!subject) continue;
    subject->unguarded = conflict.state == inspect::ConflictState::kUnguarded;
    subjects.push_back(*std::move(subject));
  }
  const KubeEventKind kind =
      options_.reporter.refusing ? KubeEventKind::kBindRefused : KubeEventKind::kBindReported;
  for (const inspect::BoundPort& bound : binds) {
    if (!bound.last || now - *bound.last > options_.recent_binds) continue;
    if (auto subject = SubjectOf(bound, kind)) subjects.push_back(*std::move(subject));
  }
  return subjects;
}

void KubeEvents::Observe(const std::vector<inspect::GuardedConflict>& conflicts,
                         const std::vector<inspect::BoundPort>& binds, absl::Time now) {
  for (auto& [identity, known] : known_) known.present = false;
  std::vector<KubeEventSubject> fresh;
  for (KubeEventSubject& subject : Subjects(conflicts, binds, now)) {
    if (const auto it = known_.find(subject.Identity()); it != known_.end()) {
      See(it->first, it->second, std::move(subject), now);
    } else {
      fresh.push_back(std::move(subject));
    }
  }
  // Any user can cause conflicts of untrusted listeners, which must not take the room of others.
  std::stable_partition(fresh.begin(), fresh.end(), [](const auto& one) { return one.trusted; });
  // After the loop above has found conflicts that ended and can make room.
  for (KubeEventSubject& subject : fresh) {
    if (!subject.trusted && known_.size() >= options_.most_known / 2) break;
    std::string identity = subject.Identity();
    if (!known_.contains(identity) && !MakeRoom()) continue;
    const auto it = known_.try_emplace(std::move(identity)).first;
    See(it->first, it->second, std::move(subject), now);
  }
  Forget(now);
}

void KubeEvents::See(const std::string& identity, Known& known, KubeEventSubject subject,
                     absl::Time now) {
  if (known.present) return;  // another socket of the same owner
  known.present = true;
  ++known.sightings;
  if (known.pending) return;
  const int needed = SightingsNeeded(subject);
  known.subject = std::move(subject);
  if (known.sightings >= needed && now >= known.quiet_until) Enqueue(identity, known, now);
}

// Removes the oldest entry that only suppresses a repetition.
bool KubeEvents::MakeRoom() {
  if (known_.size() < options_.most_known) return true;
  auto oldest = known_.end();
  for (auto it = known_.begin(); it != known_.end(); ++it) {
    if (it->second.present || it->second.pending) continue;
    if (oldest == known_.end() || it->second.quiet_until < oldest->second.quiet_until) oldest = it;
  }
  if (oldest == known_.end()) return false;
  known_.erase(oldest);
  return true;
}

void KubeEvents::Enqueue(const std::string& identity, Known& known, absl::Time now) {
  const size_t most =
      known.subject.trusted ? options_.most_pending : (options_.most_pending + 1) / 2;
  if (pending_.size() >= most) {
    ++suppressed_;
    known.quiet_until = now + options_.pause;
    return;
  }
  known.pending = true;
  // Those behind it follow it.
  if (pending_.empty()) due_ = std::max(due_, now + backoff_.Spread(options_.spread));
  pending_.push_back(identity);
}

// Removes conflicts that ended; keeps those that must not be reported again yet, and binds that
// have not been reported.
void KubeEvents::Forget(absl::Time now) {
  for (auto it = known_.begin(); it != known_.end();) {
    Known& known = it->second;
    if (known.present) {
      ++it;
      continue;
    }
    known.sightings = 0;
    const bool first = known.pending && pending_.front() == it->first;
    const bool ended = known.subject.kind == KubeEventKind::kConflict;
    if (known.pending && ended && !(first && under_way_)) {
      pending_.erase(std::find(pending_.begin(), pending_.end(), it->first));
      known.pending = false;
      if (first) Restart();
    }
    it = !known.pending && now >= known.quiet_until ? known_.erase(it) : std::next(it);
  }
}

void KubeEvents::Restart() {
  step_ = Step::kLookUp;
  attempts_ = 0;
  unsure_ = false;
  service_uid_.clear();
  backoff_.Reset();
}

absl::Time KubeEvents::due() const {
  return pending_.empty() || under_way_ ? absl::InfiniteFuture() : due_;
}

absl::Time KubeEvents::SilentUntil(absl::Time now) {
  return now + options_.silence + backoff_.Spread(options_.silence / 4);
}

void KubeEvents::Finish(absl::Time quiet_until) {
  Known& known = Front();
  known.pending = false;
  known.quiet_until = quiet_until;
  pending_.pop_front();
  Restart();
  due_ = absl::InfinitePast();
}

void KubeEvents::Sent(absl::Time now) {
  ++created_;
  ++Front().times;
  Finish(SilentUntil(now));
}

KubeEventCounts KubeEvents::counts() const { return {created_, failed_, suppressed_}; }

}  // namespace npg::serve
