// SPDX-License-Identifier: Apache-2.0
#include "controller/source_states.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>

#include "abi/guard_abi_text.h"
#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "base/errno_status.h"
#include "dataplane/bpf/bpf_guard.h"
#include "guard_abi.h"
#include "sources/source.h"

namespace npg::controller {
namespace {

// Before the epoch is never.
uint64_t Seconds(absl::Time time) {
  return static_cast<uint64_t>(std::max<int64_t>(absl::ToUnixSeconds(time), 0));
}

uint32_t Number(size_t value) {
  return static_cast<uint32_t>(std::min<size_t>(value, std::numeric_limits<uint32_t>::max()));
}

// The rest of `field` is zeroes already.
void CopyText(std::span<char> field, absl::string_view text) {
  std::copy_n(text.begin(), std::min(text.size(), field.size() - 1), field.begin());
}

}  // namespace

npg_source_state ToAbi(const sources::SourceState& state) {
  npg_source_state abi{};
  abi.connected = state.connected ? 1 : 0;
  abi.services = Number(state.services);
  abi.ports = Number(state.ports);
  abi.health_check_ports = Number(state.health_check_ports);
  abi.skipped = Number(state.skipped);
  abi.since = Seconds(state.since);
  abi.last_event = Seconds(state.last_event);
  abi.last_reading = Seconds(state.last_reading);
  std::copy(state.errors.begin(), state.errors.end(), abi.errors);
  CopyText(abi.resource_version, state.resource_version);
  CopyText(abi.last_error, state.last_error);
  CopyText(abi.detail, state.detail);
  return abi;
}

absl::Status SourceStates::Write(const sources::Source& source) {
  const npg_source_state state = ToAbi(source.State());
  const auto it = written_.find(source.bit());
  if (it != written_.end() && it->second == state) return absl::OkStatus();
  NPG_RETURN_IF_ERROR(guard_.SetSourceState(source.bit(), state));
  written_[source.bit()] = state;
  return absl::OkStatus();
}

}  // namespace npg::controller
