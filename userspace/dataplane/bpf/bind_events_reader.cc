// SPDX-License-Identifier: Apache-2.0
#include "dataplane/bpf/bind_events_reader.h"

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

absl::StatusOr<std::unique_ptr<BindEventsReader>> BindEventsReader::Open(const PinPaths& pins) {
  absl::StatusOr<std::unique_ptr<RingReader>> ring =
      RingReader::Open(pins, "bind_events", sizeof(npg_bind_event), sizeof(npg_bind_event));
  if (!ring.ok()) return ring.status();
  return std::unique_ptr<BindEventsReader>(new BindEventsReader(*std::move(ring)));
}

std::vector<abi::BindEvent> BindEventsReader::Drain(uint64_t* lost) {
  return DrainAs<npg_bind_event>(*ring_, lost);
}

}  // namespace npg::dataplane
