// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_CLI_READ_SOURCES_H_
#define NODEPORT_GUARD_CLI_READ_SOURCES_H_

#include <cstddef>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "abi/names.h"
#include "core/coverage.h"
#include "core/desired_state.h"
#include "sources/source.h"

namespace npg::cli {

struct SourcesRead {
  core::PortEntries ports;                                        // the union of their ports
  std::vector<std::pair<std::string, size_t>> answered;           // which, and how many ports each
  std::vector<std::pair<abi::Source, core::Coverage>> coverages;  // of those
  std::vector<std::string> failed;   // why the others did not, one line each
  std::vector<std::string> skipped;  // input that sources skipped
};

// Reads every source once. The failure of one does not stop the others. A source of which a part
// failed has failed, and has answered with the ports of the other parts, as for `run`.
SourcesRead ReadSources(const std::vector<std::unique_ptr<sources::Source>>& sources);

}  // namespace npg::cli

#endif  // NODEPORT_GUARD_CLI_READ_SOURCES_H_
