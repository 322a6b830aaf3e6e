// SPDX-License-Identifier: Apache-2.0
#include "sources/reading_state.h"

#include <cstddef>
#include <string>
#include <utility>

#include "abi/names.h"
#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "core/coverage.h"
#include "core/port.h"
#include "core/service_name.h"
#include "sources/source.h"

namespace npg::sources {
namespace {

size_t CountServices(const core::PortSnapshot& ports) {
  absl::flat_hash_set<absl::string_view> names;
  for (const auto& [key, service] : ports) {
    if (!service.empty()) names.insert(service.text());
  }
  return names.size();
}

}  // namespace

ReadingState::ReadingState(std::string detail, absl::Time now) {
  state_.detail = std::move(detail);
  state_.since = now;
}

void ReadingState::Note(const absl::StatusOr<Reading>& reading, absl::Time now) {
  if (reading.ok() != state_.connected) {
    state_.connected = reading.ok();
    state_.since = now;
  }
  if (!reading.ok()) {
    ++state_.errors[absl::IsInvalidArgument(reading.status()) ? abi::SourceError::kDecode
                                                              : abi::SourceError::kRead];
    state_.last_error = core::OneLine(std::string(reading.status().message()));
    return;
  }
  state_.last_event = state_.last_reading = now;
  state_.services = CountServices(reading->ports);
  state_.ports = reading->ports.size();
  state_.skipped = reading->skipped.size();
  state_.coverage = reading->coverage;
}

void ReadingState::NotePart() { state_.coverage = core::Coverage::kPart; }

}  // namespace npg::sources
