// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_INSPECT_COVERAGE_H_
#define NODEPORT_GUARD_INSPECT_COVERAGE_H_

#include <string>
#include <utility>
#include <vector>

#include "abi/names.h"
#include "core/coverage.h"
#include "inspect/guard_facts.h"
#include "node/node_port_traces.h"

// Whether the sources can tell which ports are NodePorts. Without that, "no conflicts" is not
// known.

namespace npg::inspect {

struct NodePortCoverage {
  core::Coverage coverage = core::Coverage::kAll;
  // What the sources do not see, and what would see it, one line each. Why a source could not be
  // read is not in it, so that it can be empty with kPart and kNone. Empty with kAll.
  std::vector<std::string> notes;
};

using SourceCoverages = std::vector<std::pair<abi::Source, core::Coverage>>;

// Of the sources that were read; `failed`: others could not be.
NodePortCoverage JudgeCoverage(const SourceCoverages& sources, bool failed,
                               const node::NodePortTraces& traces);

// Of the sources that the controller follows. Without a controller, and without the state of any
// source (a controller that has just started), this claims nothing: kAll without notes.
NodePortCoverage JudgeCoverage(const GuardFacts& facts);

}  // namespace npg::inspect

#endif  // NODEPORT_GUARD_INSPECT_COVERAGE_H_
