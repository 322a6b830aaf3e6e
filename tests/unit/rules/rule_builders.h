// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_TESTS_UNIT_RULES_RULE_BUILDERS_H_
#define NODEPORT_GUARD_TESTS_UNIT_RULES_RULE_BUILDERS_H_

#include <netinet/in.h>

// After netinet/in.h.
#include <linux/netfilter.h>
#include <linux/netfilter/nf_conntrack_common.h>

#include <array>
#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "core/port.h"
#include "rules/connect.h"
#include "rules/evaluator.h"
#include "rules/rule.h"
#include "rules/rule_set.h"

// Rules made by hand.

namespace npg::testing {

using rules::Field;
using rules::Interval;
using rules::Operand;
using rules::Rule;
using rules::Step;
using rules::Test;
using rules::Value;
using rules::Verdict;
using rules::VerdictKind;

inline constexpr std::array<uint8_t, 16> kLocal4 = {0, 0, 0,    0,    0,   0, 0, 0,
                                                    0, 0, 0xff, 0xff, 127, 0, 0, 1};
inline constexpr std::array<uint8_t, 16> kLocal6 = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1};
inline constexpr std::array<uint8_t, 16> kNode4 = {0, 0, 0,    0,    0,   0, 0, 0,
                                                   0, 0, 0xff, 0xff, 192, 0, 2, 7};
inline constexpr uint32_t kNode4Number = 0xc0000207;
inline constexpr uint32_t kPod = 0x0af40102;  // 10.244.1.2

inline const rules::TableId kNat{rules::Engine::kNfTables, NFPROTO_IPV4, "nat"};
inline const rules::TableId kFilter{rules::Engine::kNfTables, NFPROTO_IPV4, "filter"};
inline const rules::TableId kRaw{rules::Engine::kNfTables, NFPROTO_IPV4, "raw"};
inline const rules::TableId kNat6{rules::Engine::kNfTables, NFPROTO_IPV6, "nat"};
inline const rules::TableId kInet{rules::Engine::kNfTables, NFPROTO_INET, "mine"};

inline Operand Of(Field field, uint8_t size, uint8_t offset = 0) {
  Operand operand;
  operand.field = field;
  operand.size = size;
  operand.offset = offset;
  return operand;
}

inline Test Is(Field field, uint8_t size, Value first, Value last) {
  return {{Of(field, size)}, false, {{first, last}}, {}, false};
}
inline Test Is(Field field, uint8_t size, Value value) { return Is(field, size, value, value); }
inline Test Not(Test test) {
  test.negated = true;
  return test;
}
inline Test Port(Value first, Value last) { return Is(Field::kDestinationPort, 2, first, last); }
inline Test Port(Value port) { return Port(port, port); }
inline Test Tcp() { return Is(Field::kProtocol, 1, IPPROTO_TCP); }
inline Test Udp() { return Is(Field::kProtocol, 1, IPPROTO_UDP); }
inline Test StateIs(uint32_t bits) {
  Test test = Not(Is(Field::kState, 4, 0));
  test.operands[0].mask = bits;
  return test;
}
inline Test NewState() { return StateIs(NF_CT_STATE_BIT(IP_CT_NEW)); }
inline Test UntrackedState() { return StateIs(NF_CT_STATE_UNTRACKED_BIT); }
inline Test MarkHas(uint32_t bits) {
  Test test = Is(Field::kMark, 4, bits);
  test.operands[0].mask = bits;
  return test;
}
inline Test Chance() { return {{Of(Field::kChance, 4)}, false, {}, {}, false}; }
inline Test Unknown(std::string what) {
  Test test{{Of(Field::kUnknown, 4)}, false, {}, {}, false};
  test.operands[0].unknown = std::move(what);
  return test;
}
inline Test In(std::vector<Operand> operands, std::string set, bool ip_set = false) {
  return {std::move(operands), false, {}, rules::SetName{std::move(set), ip_set}, false};
}
inline Verdict Do(VerdictKind kind) { return {kind, "", ""}; }
inline Verdict Jump(std::string chain) { return {VerdictKind::kJump, std::move(chain), ""}; }
inline Verdict Goto(std::string chain) { return {VerdictKind::kGoto, std::move(chain), ""}; }
inline Verdict Drop() { return Do(VerdictKind::kDrop); }
inline Verdict Reject() { return Do(VerdictKind::kReject); }
inline Verdict Accept() { return Do(VerdictKind::kAccept); }
inline Verdict Return() { return Do(VerdictKind::kReturn); }
inline rules::MarkChange OrMark(uint32_t bits) { return {true, ~bits, bits}; }
inline rules::Nat To(Value address, Value port) {
  rules::Nat nat;
  nat.address = Interval{address, address};
  nat.port = Interval{port, port};
  return nat;
}
inline rules::Nat Redirect(Value port) {
  rules::Nat nat;
  nat.redirect = true;
  nat.port = Interval{port, port};
  return nat;
}

// Big-endian bytes.
inline std::string Bytes(Value value, int size) {
  std::string bytes;
  for (int i = size - 1; i >= 0; --i) {
    bytes += static_cast<char>(static_cast<uint8_t>((value >> (8 * i)) & 0xff));
  }
  return bytes;
}

// Has chains and sets that are read when they are first reached.
class FakeReader : public rules::RuleReader {
 public:
  absl::Status ReadChain(const rules::ChainName& chain, rules::RuleSet& rules) override {
    chains_read.push_back(chain.name);
    if (!failure.ok()) return failure;
    const auto found = chains.find(chain);
    if (found == chains.end()) return absl::OkStatus();
    rules.BeginChain(chain);
    for (const Rule& rule : found->second) rules.Append(chain, rule);
    return absl::OkStatus();
  }
  absl::Status ReadSet(const rules::TableId& table, const rules::SetName& name,
                       rules::RuleSet& rules) override {
    sets_read.push_back(name.name);
    const auto found = sets.find(name);
    if (found != sets.end()) rules.PutSet(table, name, found->second);
    return absl::OkStatus();
  }

  std::map<rules::ChainName, std::vector<Rule>> chains;
  std::map<rules::SetName, rules::Set> sets;
  std::vector<std::string> chains_read;
  std::vector<std::string> sets_read;
  absl::Status failure;
};

// A rule set that is built step by step.
struct Node {
  explicit Node(std::vector<rules::Connect> connects = {{core::Protocol::kTcp, kLocal4},
                                                        {core::Protocol::kUdp, kLocal4}})
      : rules(std::move(connects)) {}

  void Base(const rules::TableId& table, std::string chain, uint32_t hook, int32_t priority,
            bool nat = false, bool drops = false) {
    bases.push_back({{table, std::move(chain)}, hook, priority, nat, drops});
    std::vector<rules::BaseChain> of_engine;
    for (const rules::BaseChain& base : bases) {
      if (base.chain.table.engine == table.engine) of_engine.push_back(base);
    }
    rules.SetBaseChains(table.engine, std::move(of_engine));
  }
  void NatOutput() { Base(kNat, "OUTPUT", NF_INET_LOCAL_OUT, -100, true); }
  void FilterOutput() { Base(kFilter, "OUTPUT", NF_INET_LOCAL_OUT, 0); }
  void FilterInput() { Base(kFilter, "INPUT", NF_INET_LOCAL_IN, 0); }
  void RawOutput() { Base(kRaw, "OUTPUT", NF_INET_LOCAL_OUT, -300); }

  // Adds a rule at the end of a chain.
  void Add(const rules::TableId& table, const std::string& chain, std::vector<Step> steps,
           std::string comment = "") {
    std::vector<Rule>& of_chain = reader.chains[{table, chain}];
    of_chain.push_back({of_chain.size() + 1, std::move(comment), std::move(steps)});
  }

  rules::RuleSet rules;
  std::vector<rules::BaseChain> bases;
  FakeReader reader;
  rules::EvaluateOptions options;
};

}  // namespace npg::testing

#endif  // NODEPORT_GUARD_TESTS_UNIT_RULES_RULE_BUILDERS_H_
