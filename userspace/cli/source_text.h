// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_CLI_SOURCE_TEXT_H_
#define NODEPORT_GUARD_CLI_SOURCE_TEXT_H_

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "cli/guard_facts.h"
#include "cli/table.h"

// What status says of the sources: pure functions of facts.

namespace npg::cli {

// How each source does, under a heading that says when that was; "" when nothing
// is known of any.
std::string RenderSources(const GuardFacts& facts, const Style& style);

// One object for each source, with the fields of npg_source_state.
nlohmann::ordered_json SourceStatesJson(const GuardFacts& facts);

// One line for each source that a running controller cannot read now: since when
// and why. The guard goes on with what such a source last said.
std::vector<std::string> SourceNotes(const GuardFacts& facts);

}  // namespace npg::cli

#endif  // NODEPORT_GUARD_CLI_SOURCE_TEXT_H_
