// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_CLI_EXPLAIN_REPORT_H_
#define NODEPORT_GUARD_CLI_EXPLAIN_REPORT_H_

#include <array>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "abi/names.h"
#include "cli/args/options.h"
#include "cli/explain_rules.h"
#include "cli/table.h"
#include "core/decision_rows.h"
#include "core/listener.h"
#include "core/port.h"
#include "inspect/guard_facts.h"
#include "inspect/status.h"
#include "inspect/text.h"

namespace npg::cli {

// One question of the decision, or one that was not reached.
struct ExplainRow {
  int number = 0;  // of core::kDecisionRows
  std::string question;
  std::string fact;
  std::optional<bool> yes;  // nullopt: not reached
};

// The decision for a connect from this network namespace to one address and port.
struct Walk {
  core::PortKey key;
  std::array<uint8_t, 16> address{};       // the destination, and the same
  std::string destination;                 // with the port, as text: "127.0.0.1:33589"
  std::optional<core::Listener> listener;  // that would receive it
  inspect::OwnerName owner;                // of `listener`
  std::vector<ExplainRow> rows;            // in the order of npg_decide(); those not reached follow
  core::Verdict verdict = core::Verdict::kExempt;
  bool effective = true;           // false: should be exempted, but the guard is broken
  std::string sentence;            // what happens to the connect, and why
  std::optional<WalkRules> rules;  // nullopt: not read
};

// One walk for each listener that is reachable over loopback; one to 127.0.0.1 if
// there is none. A pure function of the facts.
std::vector<Walk> WalkDecision(const inspect::GuardFacts& facts, const core::PortKey& key);

// The protocols to explain: the requested one, or those for which the port is a
// NodePort, or TCP.
std::vector<core::PortKey> KeysToExplain(const inspect::GuardFacts& facts,
                                         const ExplainOptions& options);

struct ExplainReport {
  inspect::Status status;
  std::vector<Walk> walks;
  std::string rules_unread;  // why rules could not be read; empty: all were
};

// Without Walk::rules.
ExplainReport MakeExplainReport(inspect::GuardFacts facts, const ExplainOptions& options);

std::string RenderExplain(const ExplainReport& report, const Style& style);
nlohmann::ordered_json ExplainJson(const ExplainReport& report);

}  // namespace npg::cli

#endif  // NODEPORT_GUARD_CLI_EXPLAIN_REPORT_H_
