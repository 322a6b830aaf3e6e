// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_CLI_GUARD_TEXT_H_
#define NODEPORT_GUARD_CLI_GUARD_TEXT_H_

#include <string>
#include <vector>

#include "cli/table.h"
#include "inspect/guard_facts.h"
#include "inspect/status.h"

// Tables that several commands print.

namespace npg::cli {

// "BROKEN: ..." for each.
std::string RenderProblems(const std::vector<std::string>& problems, const Style& style);

// A blank line and a table of the conflicts' owners with their details, each once;
// empty if there are no details.
std::string RenderOwners(const std::vector<inspect::Conflict>& conflicts, const Style& style);

// The guard's parts and their state.
std::string RenderGuard(const inspect::Status& status, const Style& style);

// The state of each source, under a heading with its time; "" without a source.
std::string RenderSources(const inspect::GuardFacts& facts, const Style& style);

}  // namespace npg::cli

#endif  // NODEPORT_GUARD_CLI_GUARD_TEXT_H_
