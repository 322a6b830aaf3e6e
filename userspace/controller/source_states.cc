// SPDX-License-Identifier: Apache-2.0
#include "controller/source_states.h"

#include <utility>

#include "abi/entries.h"
#include "abi/names.h"
#include "absl/status/status.h"
#include "base/errno_status.h"

namespace npg::controller {

absl::Status SourceStates::Write(abi::Source source, const abi::SourceState& state) {
  abi::SourceState stored = abi::AsStored(state);
  const auto it = written_.find(source);
  if (it != written_.end() && it->second == stored) return absl::OkStatus();
  NPG_RETURN_IF_ERROR(put_(source, stored));
  written_[source] = std::move(stored);
  return absl::OkStatus();
}

}  // namespace npg::controller
