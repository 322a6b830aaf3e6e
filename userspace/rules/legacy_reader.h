// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_RULES_LEGACY_READER_H_
#define NODEPORT_GUARD_RULES_LEGACY_READER_H_

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/btree_set.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "rules/rule.h"
#include "rules/rule_set.h"

namespace npg::rules {

// Reads the tables of ip_tables or ip6_tables, all of them at once: the kernel has no other way. A
// table that the kernel has not made yet is left alone: to read it would make it, and load modules.
// Not thread-safe; blocks while the command runs.
class LegacyReader {
 public:
  struct Options {
    std::vector<std::string> command_folders;  // where iptables-legacy-save may be
    std::string proc_net;                      // holds ip_tables_names and ip6_tables_names
    absl::Duration command_timeout = absl::Seconds(30);
    int stop_fd = -1;  // once it is readable, a command is killed; -1: none. Not owned
  };

  // `family`: NFPROTO_IPV4 or NFPROTO_IPV6.
  LegacyReader(uint8_t family, Options options) : family_(family), options_(std::move(options)) {}

  // Replaces the tables in `rules`. False if it left `rules` and base_chains() as they were. After
  // an error, `rules` may have no tables, or incomplete ones.
  bool Read(RuleSet& rules);

  // Of the last Read().
  const absl::Status& status() const { return status_; }
  // Lines of the command's output that are not rules. If the command is missing, one line for that:
  // it is no error, because the node may not use iptables, unless Read() has seen tables before.
  const std::vector<std::string>& skipped() const { return skipped_; }
  // The command is missing.
  bool unread() const { return unread_; }
  const std::vector<BaseChain>& base_chains() const { return base_chains_; }

 private:
  // The names of the tables; none when the kernel has no ip_tables (loaded).
  absl::StatusOr<std::vector<std::string>> Tables() const;
  void NoCommand(const std::vector<std::string>& tables);
  bool Forget(RuleSet& rules);
  absl::Status Run(const std::string& command, RuleSet& rules);

  const uint8_t family_;
  const Options options_;
  absl::Status status_;
  std::vector<std::string> skipped_;
  bool unread_ = false;
  std::vector<BaseChain> base_chains_;
  absl::btree_set<TableId> tables_;  // in the RuleSet
};

}  // namespace npg::rules

#endif  // NODEPORT_GUARD_RULES_LEGACY_READER_H_
