// SPDX-License-Identifier: Apache-2.0
#include "dataplane/bpf/events_reader.h"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "abi/entries.h"
#include "absl/status/statusor.h"
#include "dataplane/bpf/pin_paths.h"
#include "dataplane/bpf/ring_reader.h"
#include "guard_abi.h"

namespace npg::dataplane {

absl::StatusOr<std::unique_ptr<EventsReader>> EventsReader::Open(const PinPaths& pins) {
  // The record of a guard with ABI version 3 or below does not name the owner.
  constexpr size_t kShortest = offsetof(npg_event, owner);
  absl::StatusOr<std::unique_ptr<RingReader>> ring =
      RingReader::Open(pins, "events", kShortest, sizeof(npg_event));
  if (!ring.ok()) return ring.status();
  return std::unique_ptr<EventsReader>(new EventsReader(*std::move(ring)));
}

std::vector<abi::Event> EventsReader::Drain(uint64_t* lost) {
  return DrainAs<npg_event>(*ring_, lost);
}

}  // namespace npg::dataplane
