// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_SOURCES_READING_STATE_H_
#define NODEPORT_GUARD_SOURCES_READING_STATE_H_

#include <string>

#include "absl/status/statusor.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "sources/source.h"

namespace npg::sources {

// The state of a source that reads all it knows each time: connected while its
// last reading succeeded.
class ReadingState {
 public:
  explicit ReadingState(std::string detail = "", absl::Time now = absl::Now());

  // Every reading, whether or not it says anything new. An INVALID_ARGUMENT is
  // what could be read but not understood, any other error what could not.
  void Note(const absl::StatusOr<Reading>& reading, absl::Time now = absl::Now());

  const SourceState& state() const { return state_; }

 private:
  SourceState state_;
};

}  // namespace npg::sources

#endif  // NODEPORT_GUARD_SOURCES_READING_STATE_H_
