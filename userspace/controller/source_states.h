// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_CONTROLLER_SOURCE_STATES_H_
#define NODEPORT_GUARD_CONTROLLER_SOURCE_STATES_H_

#include <functional>
#include <utility>

#include "abi/entries.h"
#include "abi/names.h"
#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"

namespace npg::controller {

// Writes the states of the sources into the map `sources`, where `status` reads them.
class SourceStates {
 public:
  using Put = std::function<absl::Status(abi::Source, const abi::SourceState&)>;

  // `put` writes one entry of the map.
  explicit SourceStates(Put put) : put_(std::move(put)) {}

  // Writes the source's state if it differs from the one written last.
  absl::Status Write(abi::Source source, const abi::SourceState& state);

 private:
  Put put_;
  absl::flat_hash_map<abi::Source, abi::SourceState> written_;  // as the map holds them
};

}  // namespace npg::controller

#endif  // NODEPORT_GUARD_CONTROLLER_SOURCE_STATES_H_
