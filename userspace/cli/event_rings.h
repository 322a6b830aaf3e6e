// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_CLI_EVENT_RINGS_H_
#define NODEPORT_GUARD_CLI_EVENT_RINGS_H_

#include <poll.h>

#include <cstdint>
#include <memory>
#include <utility>
#include <variant>
#include <vector>

#include "abi/entries.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "dataplane/bpf/bind_events_reader.h"
#include "dataplane/bpf/events_reader.h"
#include "dataplane/bpf/pin_paths.h"

namespace npg::cli {

using AnyEvent = std::variant<abi::Event, abi::BindEvent>;

// Both kinds in the order of their times; those with equal times as they were.
std::vector<AnyEvent> MergeEvents(const std::vector<abi::Event>& connects,
                                  const std::vector<abi::BindEvent>& binds);

// The ring buffers of a guard that has one or two: pins of ABI versions below 5 have no events of
// binds.
class EventRings {
 public:
  // Starts at the newest records. NOT_FOUND without a guard.
  static absl::StatusOr<EventRings> Open(const dataplane::PinPaths& pins);

  // Descriptors that are readable when there may be records; as for EventsReader::fd(), also call
  // Drain() at least every 100 ms.
  std::vector<pollfd> Descriptors() const;

  // The records since the last call, and (added to *lost) how many were overwritten before they
  // could be read.
  std::vector<AnyEvent> Drain(uint64_t* lost);

  // Call it after the pins have changed. Whether the events of connects are still those of the
  // pins; if so, follows the events of binds that are pinned now. NOT_FOUND without a guard.
  absl::StatusOr<bool> Refresh(const dataplane::PinPaths& pins);

 private:
  explicit EventRings(std::unique_ptr<dataplane::EventsReader> connects)
      : connects_(std::move(connects)) {}

  absl::Status OpenBinds(const dataplane::PinPaths& pins);

  std::unique_ptr<dataplane::EventsReader> connects_;
  std::unique_ptr<dataplane::BindEventsReader> binds_;  // null: the pins lack them
};

}  // namespace npg::cli

#endif  // NODEPORT_GUARD_CLI_EVENT_RINGS_H_
