// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_CONTROLLER_SOURCE_STATES_H_
#define NODEPORT_GUARD_CONTROLLER_SOURCE_STATES_H_

#include <cstdint>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "dataplane/bpf/bpf_guard.h"
#include "guard_abi.h"
#include "sources/source.h"

namespace npg::controller {

// The state as it stands in the map `sources`: times in whole seconds, texts
// cut to fit.
npg_source_state ToAbi(const sources::SourceState& state);

// Writes how the sources do into the map `sources`, where `status` finds it.
class SourceStates {
 public:
  // `guard` outlives this.
  explicit SourceStates(dataplane::BpfGuard& guard) : guard_(guard) {}

  // Forgets what an earlier run said of sources other than these bits.
  absl::Status KeepOnly(uint32_t sources) { return guard_.KeepSourceStates(sources); }

  // Writes the source's state if it is another than the last one written.
  absl::Status Write(const sources::Source& source);

 private:
  dataplane::BpfGuard& guard_;
  absl::flat_hash_map<npg_source, npg_source_state> written_;
};

}  // namespace npg::controller

#endif  // NODEPORT_GUARD_CONTROLLER_SOURCE_STATES_H_
