// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_SOURCES_CHANGE_REPORTER_H_
#define NODEPORT_GUARD_SOURCES_CHANGE_REPORTER_H_

#include <optional>
#include <string>
#include <utility>

#include "absl/status/statusor.h"
#include "sources/reading_state.h"
#include "sources/source.h"

namespace npg::sources {

// Reports a reading or an error only if it differs from the previous one; after an
// error, every reading. Records each in the source's state.
class ChangeReporter {
 public:
  // `detail` is SourceState::detail.
  explicit ChangeReporter(std::string detail = "") : state_(std::move(detail)) {}

  // Records a reading that was reported otherwise (Source::Read).
  void Remember(const absl::StatusOr<Reading>& reading) {
    state_.Note(reading);
    last_ = reading;
  }

  // The reading that is reported next has failed, and Source::PartialPorts() has a part of it.
  void NotePart() { state_.NotePart(); }

  // `again`: report it also if it does not differ.
  void Report(absl::StatusOr<Reading> reading, const Source::Callback& callback,
              bool again = false) {
    state_.Note(reading);
    if (last_ && !again && Same(*last_, reading)) return;
    last_ = std::move(reading);
    callback(*last_);
  }

  const SourceState& state() const { return state_.state(); }

 private:
  static bool Same(const absl::StatusOr<Reading>& a, const absl::StatusOr<Reading>& b) {
    if (!a.ok() || !b.ok()) return a.status() == b.status();
    return a->ports == b->ports && a->skipped == b->skipped;
  }

  ReadingState state_;
  std::optional<absl::StatusOr<Reading>> last_;
};

}  // namespace npg::sources

#endif  // NODEPORT_GUARD_SOURCES_CHANGE_REPORTER_H_
