// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_DATAPLANE_BPF_EVENTS_READER_H_
#define NODEPORT_GUARD_DATAPLANE_BPF_EVENTS_READER_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "abi/entries.h"
#include "absl/status/statusor.h"
#include "base/unique_fd.h"
#include "dataplane/bpf/pin_paths.h"

namespace npg::dataplane {

// Follows the pinned ring buffer `events` without consuming the records of other
// readers. Every reader keeps its own position, and moves the shared consumer position
// only forward, to make room for the kernel. A reader that falls behind by more than the
// buffer detects that, and counts the lost records. (libbpf's ring_buffer shares one
// position among all readers.)
// Layout: Documentation/bpf/ringbuf.rst.
class EventsReader {
 public:
  // Starts at the newest record. Errors as those of opening the pin.
  static absl::StatusOr<std::unique_ptr<EventsReader>> Open(const PinPaths& pins);
  // The same, on a ring buffer map of `npg_event` records. Takes over the descriptor.
  static absl::StatusOr<std::unique_ptr<EventsReader>> OpenMap(base::UniqueFd map);

  ~EventsReader();
  EventsReader(const EventsReader&) = delete;
  EventsReader& operator=(const EventsReader&) = delete;

  // Readable (EPOLLIN) when there may be records. Another reader can be faster and
  // clear that, so also call Drain() at least every 100 ms.
  int fd() const { return map_.get(); }

  // Whether the pin still refers to the map that this reads: a controller that takes
  // over a guard pins the same maps again. NOT_FOUND when there is no pin.
  absl::StatusOr<bool> IsPinned(const PinPaths& pins) const;

  // The records since the last call, and (added to *lost) how many were
  // overwritten before they could be read.
  std::vector<abi::Event> Drain(uint64_t* lost);

 private:
  EventsReader() = default;

  uint64_t ProducerPosition() const;
  void AdvanceConsumer(uint64_t position) const;

  base::UniqueFd map_;
  uint32_t map_id_ = 0;  // the kernel never reuses one
  size_t page_ = 0;
  size_t size_ = 0;  // of the data area, a power of two
  void* consumer_ = nullptr;
  void* producer_ = nullptr;  // a page, then the data area, twice in a row
  uint64_t position_ = 0;
};

}  // namespace npg::dataplane

#endif  // NODEPORT_GUARD_DATAPLANE_BPF_EVENTS_READER_H_
