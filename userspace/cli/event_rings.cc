// SPDX-License-Identifier: Apache-2.0
#include "cli/event_rings.h"

#include <poll.h>

#include <algorithm>
#include <cstdint>
#include <memory>
#include <utility>
#include <variant>
#include <vector>

#include "abi/entries.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/errno_status.h"
#include "dataplane/bpf/bind_events_reader.h"
#include "dataplane/bpf/events_reader.h"
#include "dataplane/bpf/pin_paths.h"

namespace npg::cli {

std::vector<AnyEvent> MergeEvents(const std::vector<abi::Event>& connects,
                                  const std::vector<abi::BindEvent>& binds) {
  std::vector<AnyEvent> events(connects.begin(), connects.end());
  events.insert(events.end(), binds.begin(), binds.end());
  const auto time = [](const AnyEvent& event) {
    return std::visit([](const auto& one) { return one.boot_ns; }, event);
  };
  std::stable_sort(events.begin(), events.end(),
                   [&time](const AnyEvent& a, const AnyEvent& b) { return time(a) < time(b); });
  return events;
}

absl::StatusOr<EventRings> EventRings::Open(const dataplane::PinPaths& pins) {
  absl::StatusOr<std::unique_ptr<dataplane::EventsReader>> connects =
      dataplane::EventsReader::Open(pins);
  if (!connects.ok()) return connects.status();
  EventRings rings(*std::move(connects));
  NPG_RETURN_IF_ERROR(rings.OpenBinds(pins));
  return rings;
}

absl::Status EventRings::OpenBinds(const dataplane::PinPaths& pins) {
  absl::StatusOr<std::unique_ptr<dataplane::BindEventsReader>> binds =
      dataplane::BindEventsReader::Open(pins);
  if (!binds.ok() && !absl::IsNotFound(binds.status())) return binds.status();
  binds_ = binds.ok() ? *std::move(binds) : nullptr;
  return absl::OkStatus();
}

std::vector<pollfd> EventRings::Descriptors() const {
  std::vector<pollfd> fds = {{connects_->fd(), POLLIN, 0}};
  if (binds_ != nullptr) fds.push_back({binds_->fd(), POLLIN, 0});
  return fds;
}

std::vector<AnyEvent> EventRings::Drain(uint64_t* lost) {
  // The binds second: one of them that is older than a connect of this call was there by then.
  const std::vector<abi::Event> connects = connects_->Drain(lost);
  if (binds_ == nullptr) return MergeEvents(connects, {});
  return MergeEvents(connects, binds_->Drain(lost));
}

absl::StatusOr<bool> EventRings::Refresh(const dataplane::PinPaths& pins) {
  absl::StatusOr<bool> same = connects_->IsPinned(pins);
  if (!same.ok() || !*same) return same;
  if (binds_ != nullptr) {
    const absl::StatusOr<bool> same_binds = binds_->IsPinned(pins);
    if (same_binds.ok() && *same_binds) return true;
    if (!same_binds.ok() && !absl::IsNotFound(same_binds.status())) return same_binds.status();
  }
  NPG_RETURN_IF_ERROR(OpenBinds(pins));
  return true;
}

}  // namespace npg::cli
