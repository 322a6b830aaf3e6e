// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_CLI_GUARD_TEXT_H_
#define NODEPORT_GUARD_CLI_GUARD_TEXT_H_

#include <cstddef>
#include <string>
#include <vector>

#include "absl/container/btree_set.h"
#include "cli/table.h"
#include "inspect/guard_facts.h"
#include "inspect/status.h"

// Tables that several commands print.

namespace npg::cli {

// Addresses that a text names as left out. In IPVS mode, each Service has one on the node.
inline constexpr size_t kMaxLeftOut = 5;

// "BROKEN: ..." for each.
std::string RenderProblems(const std::vector<std::string>& problems, const Style& style);

// The owners of conflicts with their details, each once, and the accept queues in which connections
// wait.
class OwnersTable {
 public:
  OwnersTable() : table_({{"OWNER"}, {"", false, true}}) {}

  void Add(const inspect::Conflict& conflict);

  // A blank line and the table; empty where no details of any owner are known.
  std::string Render(const Style& style) const;

 private:
  Table table_;
  absl::btree_set<std::string> shown_;
  bool empty_ = true;
};

// The guard's parts and their state.
std::string RenderGuard(const inspect::Status& status, const Style& style);

// The state of each source, under a heading with its time; "" without a source.
std::string RenderSources(const inspect::GuardFacts& facts, const Style& style);

}  // namespace npg::cli

#endif  // NODEPORT_GUARD_CLI_GUARD_TEXT_H_
