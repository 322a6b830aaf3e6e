// SPDX-License-Identifier: Apache-2.0
#include "sources/retried_source.h"

#include <utility>

#include "abi/entries.h"
#include "abi/names.h"
#include "absl/status/status.h"
#include "absl/time/time.h"
#include "base/event_loop.h"
#include "core/bind_facts.h"
#include "sources/source.h"

namespace npg::sources {

RetriedSource::RetriedSource(Make make, absl::Duration retry)
    : make_(std::move(make)), retry_(retry), source_(make_()) {}

RetriedSource::~RetriedSource() {
  if (loop_ != nullptr) loop_->Cancel(timer_);
}

void RetriedSource::HurryFirstReading() {
  hurry_ = true;
  source_->HurryFirstReading();
}

absl::Status RetriedSource::TryToFollow() {
  absl::Status followed = source_->Follow(*loop_, callback_);
  failing_ = !followed.ok();
  if (!failing_) return followed;
  failures_.Note(followed);
  if (SourceState state = source_->State(); !abi::IsNever(state.last_reading)) {
    read_ = std::move(state);
  }
  if (const core::BindFacts* const facts = source_->bind_facts()) read_facts_ = *facts;
  // A source is followed once at most.
  source_ = make_();
  if (hurry_) source_->HurryFirstReading();
  return followed;
}

absl::Status RetriedSource::Follow(base::EventLoop& loop, Callback callback) {
  loop_ = &loop;
  callback_ = std::move(callback);
  if (absl::Status status = TryToFollow(); !status.ok()) {
    // Later, because the caller may not be ready for a callback yet.
    timer_ =
        loop_->After(absl::ZeroDuration(), [this, status = std::move(status)] { Failed(status); });
  }
  return absl::OkStatus();
}

void RetriedSource::Failed(const absl::Status& status) {
  timer_ = loop_->After(retry_, [this] {
    timer_ = 0;
    if (const absl::Status again = TryToFollow(); !again.ok()) Failed(again);
  });
  if (status == reported_) return;
  reported_ = status;
  callback_(status);
}

const core::BindFacts* RetriedSource::bind_facts() const {
  if (const core::BindFacts* const facts = source_->bind_facts()) return facts;
  return read_facts_ ? &*read_facts_ : nullptr;
}

SourceState RetriedSource::State() const {
  const SourceState& failures = failures_.state();
  SourceState state = source_->State();
  if (failing_) {
    SourceState failed = read_ ? *read_ : failures;
    failed.connected = false;
    failed.since = failures.since;
    failed.errors = failures.errors;
    failed.last_error = failures.last_error;
    failed.detail = state.detail;
    return failed;
  }
  for (const auto& row : abi::kSourceErrors) state.errors[row.value] += failures.errors[row.value];
  if (state.connected && state.last_error.empty()) state.last_error = failures.last_error;
  return state;
}

}  // namespace npg::sources
