// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_CLI_EXPLAIN_RULES_H_
#define NODEPORT_GUARD_CLI_EXPLAIN_RULES_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "cli/table.h"
#include "core/listener.h"
#include "core/port.h"
#include "rules/connect.h"
#include "rules/evaluator.h"
#include "rules/node_rules.h"

namespace npg::cli {

// What the rules of this node do with a connect that is not exempted.
struct RulesWay {
  std::string destination;  // "127.0.0.1:33589"
  rules::Trace trace;
  bool ip_vs = false;    // no rule takes it, but IPVS does, behind them
  std::string sentence;  // the outcome
};

// The same for the connect of one walk of the decision, and for the other addresses of the node.
struct WalkRules {
  RulesWay way;
  // To addresses of the node for which the outcome is another: the first of them.
  std::vector<RulesWay> elsewhere;
  size_t omitted = 0;  // further ones
};

// The addresses in `own` over which the listener can be reached besides the destination of its
// walk, sorted: none unless it is bound to the wildcard. Without a listener, all. Never more than
// kMaxTracedAddresses; no link-local ones.
inline constexpr size_t kMaxTracedAddresses = 64;
std::vector<std::array<uint8_t, 16>> OtherAddresses(const core::AddressSet& own,
                                                    const std::optional<core::Listener>& listener);

// Answers what a connect meets.
using TraceFunction =
    absl::FunctionRef<absl::StatusOr<rules::Trace>(const rules::Connect&, uint16_t port)>;

// Answers whether IPVS takes connects to that address, whose port is known to it.
using IpVsFunction = absl::FunctionRef<bool(const core::PortKey&, const std::array<uint8_t, 16>&)>;

// An error is one of `trace`.
absl::StatusOr<WalkRules> FollowRules(const core::PortKey& key,
                                      const std::array<uint8_t, 16>& destination,
                                      const std::vector<std::array<uint8_t, 16>>& others,
                                      TraceFunction trace, IpVsFunction ip_vs);

// Removes the ways that no rule ended, where rules are missing that might.
void KeepDecided(std::optional<WalkRules>& rules);

// "Without the guard, a connect to 127.0.0.1:33589 is refused by nft table ip filter, chain
// KUBE-EXTERNAL-SERVICES, handle 9 (default/web:http has no endpoints)."
std::string RulesSentence(const core::PortKey& key, const RulesWay& way);

// The rules that a connect meets, as a table; empty if it meets none.
std::string RenderRules(const WalkRules& rules, const Style& style);
// One for each way.
std::vector<std::string> RulesSentences(const WalkRules& rules);
// Adds the members "rules", "without_guard" and "own_addresses" to that of a walk; null where the
// rules could not be read.
void AddRulesJson(const std::optional<WalkRules>& rules, nlohmann::ordered_json& walk);

// The rules of this network namespace, as far as these connects to `port` reach them.
// `own`: all addresses of the node besides loopback. PERMISSION_DENIED without CAP_NET_ADMIN.
class RulesFollower {
 public:
  RulesFollower(const std::vector<rules::Connect>& connects, const core::AddressSet& own,
                uint16_t port);

  absl::Status Read();
  // What could not be read, one line each.
  const std::vector<std::string>& failed() const { return failed_; }

  absl::StatusOr<rules::Trace> Trace(const rules::Connect& connect, uint16_t port) {
    return rules_.TraceOne(connect, port);
  }

 private:
  rules::NodeRules rules_;
  std::vector<std::string> failed_;
};

}  // namespace npg::cli

#endif  // NODEPORT_GUARD_CLI_EXPLAIN_RULES_H_
