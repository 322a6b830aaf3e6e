// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_SOURCES_READING_STATE_H_
#define NODEPORT_GUARD_SOURCES_READING_STATE_H_

#include <string>

#include "absl/status/statusor.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "sources/source.h"

namespace npg::sources {

// The state of a source whose readings are always complete: connected if the last one
// succeeded.
class ReadingState {
 public:
  explicit ReadingState(std::string detail = "", absl::Time now = absl::Now());

  // Call it for every reading, changed or not. INVALID_ARGUMENT counts as a decode
  // error, every other one as a read error.
  void Note(const absl::StatusOr<Reading>& reading, absl::Time now = absl::Now());

  // For a reading that failed because of a part of the input: the coverage is of the other parts.
  // Otherwise an error leaves the coverage as it was.
  void NotePart();

  const SourceState& state() const { return state_; }

 private:
  SourceState state_;
};

}  // namespace npg::sources

#endif  // NODEPORT_GUARD_SOURCES_READING_STATE_H_
