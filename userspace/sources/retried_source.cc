// SPDX-License-Identifier: Apache-2.0
#include "sources/retried_source.h"

#include <memory>
#include <utility>

#include "abi/names.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/event_loop.h"
#include "sources/source.h"

namespace npg::sources {

RetriedSource::RetriedSource(abi::Source id, Make make, const Options& options)
    : id_(id),
      make_(std::move(make)),
      local_(options.local),
      retry_(options.retry),
      failures_(options.detail) {}

RetriedSource::~RetriedSource() {
  if (loop_ != nullptr) loop_->Cancel(timer_);
}

absl::Status RetriedSource::Create() {
  if (source_) return absl::OkStatus();
  absl::StatusOr<std::unique_ptr<Source>> made = make_();
  if (!made.ok()) {
    failures_.Note(made.status());
    return made.status();
  }
  source_ = *std::move(made);
  return absl::OkStatus();
}

absl::StatusOr<Reading> RetriedSource::Read() {
  if (absl::Status status = Create(); !status.ok()) return status;
  return source_->Read();
}

absl::Status RetriedSource::CreateAndFollow() {
  if (absl::Status status = Create(); !status.ok()) return status;
  absl::Status followed = source_->Follow(*loop_, callback_);
  if (!followed.ok()) {
    source_.reset();
    failures_.Note(followed);
  }
  return followed;
}

absl::Status RetriedSource::Follow(base::EventLoop& loop, Callback callback) {
  loop_ = &loop;
  callback_ = std::move(callback);
  if (absl::Status status = CreateAndFollow(); !status.ok()) {
    // Later, because the caller may not be ready for a callback yet.
    timer_ =
        loop_->After(absl::ZeroDuration(), [this, status = std::move(status)] { Failed(status); });
  }
  return absl::OkStatus();
}

void RetriedSource::TryAgain() {
  timer_ = 0;
  if (const absl::Status status = CreateAndFollow(); !status.ok()) Failed(status);
}

void RetriedSource::Failed(const absl::Status& status) {
  timer_ = loop_->After(retry_, [this] { TryAgain(); });
  if (status == reported_) return;
  reported_ = status;
  callback_(status);
}

SourceState RetriedSource::State() const {
  SourceState state = source_ ? source_->State() : failures_.state();
  if (!source_) return state;
  const SourceState& before = failures_.state();
  for (const auto& row : abi::kSourceErrors) state.errors[row.value] += before.errors[row.value];
  return state;
}

}  // namespace npg::sources
