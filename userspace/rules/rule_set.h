// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_RULES_RULE_SET_H_
#define NODEPORT_GUARD_RULES_RULE_SET_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "core/listener.h"
#include "rules/connect.h"
#include "rules/rule.h"

namespace npg::rules {

// The rules that were read, in little memory: 10,000 Services make 80,000 rules. What is equal in
// many rules is held once, tests that hold for each of the connects are dropped, and a rule that
// can match none of them keeps its handle only. Not thread-safe.
class RuleSet {
 public:
  using ChainId = uint32_t;

  // The connects that the rules will be evaluated for. `own`: addresses of the node to which a Nat
  // may lead, besides loopback and those of the connects.
  explicit RuleSet(std::vector<Connect> connects, const core::AddressSet& own = {});
  ~RuleSet();
  RuleSet(const RuleSet&) = delete;
  RuleSet& operator=(const RuleSet&) = delete;

  const std::vector<Connect>& connects() const;

  // Replaces the base chains of one engine, which are in the order in which they were added.
  void SetBaseChains(Engine engine, std::vector<BaseChain> bases);
  // Of all engines, by hook (output first, then input), and then in the order in which the
  // kernel calls them: chains of type nat are called at NF_IP_PRI_NAT_DST, by their priorities
  // among themselves.
  std::vector<BaseChain> base_chains() const;

  // From now on the chain is known and has no rules; what it had is forgotten.
  void BeginChain(const ChainName& chain);
  // Adds a rule at its end. Calls for different chains may alternate.
  void Append(const ChainName& chain, const Rule& rule);
  // Adds a rule behind the one with the handle `after`, or at the beginning if that is 0. False:
  // the chain has no such rule.
  bool Insert(const ChainName& chain, uint64_t after, const Rule& rule);
  // Removes the rule, if the chain has it.
  void Remove(const ChainName& chain, uint64_t handle);
  bool HasRule(const ChainName& chain, uint64_t handle) const;
  bool HasChain(const ChainName& chain) const;
  // The chain is not known any more.
  void ForgetChain(const ChainName& chain);
  // The same for all chains and sets of a table.
  void ForgetTable(const TableId& table);

  void PutSet(const TableId& table, const SetName& name, Set set);
  bool HasSet(const TableId& table, const SetName& name) const;
  void ForgetSet(const TableId& table, const SetName& name);
  void ForgetIpSets();

  // Frees what only forgotten rules used, if that is much.
  void Compact();

  size_t rules() const;  // of all known chains

  // For the evaluator: see rule_store.h.
  class Store;
  Store& store() { return *store_; }

 private:
  std::unique_ptr<Store> store_;
};

}  // namespace npg::rules

#endif  // NODEPORT_GUARD_RULES_RULE_SET_H_
