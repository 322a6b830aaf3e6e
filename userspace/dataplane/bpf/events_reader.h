// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_DATAPLANE_BPF_EVENTS_READER_H_
#define NODEPORT_GUARD_DATAPLANE_BPF_EVENTS_READER_H_

#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "abi/entries.h"
#include "absl/status/statusor.h"
#include "dataplane/bpf/pin_paths.h"
#include "dataplane/bpf/ring_reader.h"

namespace npg::dataplane {

// Follows the pinned ring buffer `events`, beside any number of other readers: see RingReader.
class EventsReader {
 public:
  // Starts at the newest record. Errors as those of opening the pin.
  static absl::StatusOr<std::unique_ptr<EventsReader>> Open(const PinPaths& pins);

  // Readable (EPOLLIN) when there may be records. Another reader can be faster and
  // clear that, so also call Drain() at least every 100 ms.
  int fd() const { return ring_->fd(); }

  // Whether the pin still refers to the map that this reads: a controller that takes
  // over a guard pins the same maps again. NOT_FOUND when there is no pin.
  absl::StatusOr<bool> IsPinned(const PinPaths& pins) const { return ring_->IsPinned(pins); }

  // The records since the last call, and (added to *lost) how many were
  // overwritten before they could be read.
  std::vector<abi::Event> Drain(uint64_t* lost);

 private:
  explicit EventsReader(std::unique_ptr<RingReader> ring) : ring_(std::move(ring)) {}

  std::unique_ptr<RingReader> ring_;
};

}  // namespace npg::dataplane

#endif  // NODEPORT_GUARD_DATAPLANE_BPF_EVENTS_READER_H_
