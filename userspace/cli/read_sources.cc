// SPDX-License-Identifier: Apache-2.0
#include "cli/read_sources.h"

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "abi/names.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "core/coverage.h"
#include "core/desired_state.h"
#include "core/port.h"
#include "sources/source.h"

namespace npg::cli {

SourcesRead ReadSources(const std::vector<std::unique_ptr<sources::Source>>& sources) {
  SourcesRead read;
  core::DesiredState state;
  for (const std::unique_ptr<sources::Source>& source : sources) {
    absl::StatusOr<sources::Reading> reading = source->Read();
    if (!reading.ok()) {
      read.failed.push_back(
          absl::StrCat("source ", source->name(), ": ", reading.status().message()));
      if (source->State().coverage == core::Coverage::kPart) {
        const core::PortSnapshot partial = source->PartialPorts();
        read.answered.emplace_back(source->name(), partial.size());
        read.coverages.emplace_back(source->id(), core::Coverage::kPart);
        state.Set(abi::Bit(source->id()), partial);
      }
      continue;
    }
    read.answered.emplace_back(source->name(), reading->ports.size());
    read.coverages.emplace_back(source->id(), reading->coverage);
    for (std::string& line : reading->skipped) read.skipped.push_back(std::move(line));
    state.Set(abi::Bit(source->id()), reading->ports);
  }
  read.ports = state.Entries();
  return read;
}

}  // namespace npg::cli
