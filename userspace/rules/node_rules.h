// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_RULES_NODE_RULES_H_
#define NODEPORT_GUARD_RULES_NODE_RULES_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/btree_set.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "core/listener.h"
#include "rules/connect.h"
#include "rules/evaluator.h"
#include "rules/legacy_reader.h"
#include "rules/nft_reader.h"
#include "rules/rule.h"
#include "rules/rule_changes.h"
#include "rules/rule_set.h"

namespace npg::rules {

// The rules of this network namespace: nf_tables, and the legacy tables of both families where the
// kernel has any. Not thread-safe; blocks while it reads.
class NodeRules {
 public:
  struct Options {
    std::string own_table = "nodeport_guard";
    std::vector<std::string> command_folders;        // where iptables-legacy-save may be
    std::string proc_net = "/proc/thread-self/net";  // holds ip_tables_names, ip6_tables_names
    absl::Duration command_timeout = absl::Seconds(30);
    // Once it is readable, a command that runs is killed, so that Read() returns; -1: none. Not
    // owned.
    int stop_fd = -1;
  };

  struct Reading {
    // Of what could be read; what could not be read has no rules in it, or those of before.
    Evaluation evaluation;
    // What could not be read, an error each. The next Read() tries those of nf_tables again, and
    // one with RuleChanges::legacy those of legacy tables.
    std::vector<absl::Status> failed;
    // Lines of a save command that are not rules, and save commands that are missing.
    std::vector<std::string> skipped;
    bool unread = false;      // a save command is missing
    bool kube_proxy = false;  // rules of kube-proxy are here, with NodePorts or without
    // The rules of nf_tables changed while they were read: those that were read first may be older
    // than the others. Notifications of these changes come, or have come.
    bool torn = false;
    size_t rules = 0;
  };

  NodeRules(Options options, std::vector<Connect> connects, EvaluateOptions evaluate);

  // Reads what changed, as far as the connects reach it, and evaluates. The first time, it reads
  // all of nf_tables. Without a change that the connects reach, it returns what it returned before.
  // Reads all of nf_tables again while that changes, `tries` times at most. An error: the rules
  // could not be evaluated at all.
  absl::StatusOr<Reading> Read(const RuleChanges& changes, int tries = 1);

  // What one connect meets, by the rules as last read and what it reaches besides.
  absl::StatusOr<Trace> TraceOne(const Connect& connect, uint16_t port);

 private:
  // Reads for the evaluator. Notes errors, and passes the rest of the rules on.
  class Reader : public RuleReader {
   public:
    explicit Reader(NodeRules& node) : node_(node) {}
    absl::Status ReadChain(const ChainName& chain, RuleSet& rules) override;
    absl::Status ReadSet(const TableId& table, const SetName& name, RuleSet& rules) override;

   private:
    NodeRules& node_;
  };

  void OpenNft();
  std::optional<uint32_t> Generation();  // 0 without nf_tables; nullopt: not known
  // These return whether anything that was known may have changed.
  bool ForgetChanged(const RuleChanges& changes);
  bool Apply(const RuleEdit& edit);
  bool ReadBaseChains(const RuleChanges& changes);
  bool ReadLegacy();
  absl::StatusOr<Reading> EvaluateOnce();
  absl::Status ReadIpSetInto(const TableId& table, const SetName& name, RuleSet& rules);
  bool HasKubeProxy() const;
  void NoteFailure(const absl::Status& status);

  const Options options_;
  const EvaluateOptions evaluate_;
  RuleSet rules_;
  std::optional<NftReader> nft_;
  std::array<LegacyReader, 2> legacy_;

  absl::btree_set<TableId> tables_;     // of nf_tables, of which rules_ has something
  bool ip_sets_ = false;                // rules_ has some
  RuleChanges again_;                   // what could not be read yet
  std::optional<uint32_t> generation_;  // if rules_ is the whole of that generation
  std::vector<absl::Status> failed_;    // of nf_tables
  std::optional<Reading> last_;         // nullopt: evaluate in any case
};

}  // namespace npg::rules

#endif  // NODEPORT_GUARD_RULES_NODE_RULES_H_
