// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_RULES_EVALUATOR_H_
#define NODEPORT_GUARD_RULES_EVALUATOR_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/listener.h"
#include "core/port.h"
#include "rules/connect.h"
#include "rules/port_set.h"
#include "rules/rule.h"
#include "rules/rule_set.h"

// What a connect from the node to one of its own addresses meets in its rules: the hooks of local
// output, then of local input (Documentation/networking/netfilter; net/netfilter/core.c). A port
// is taken if a rule gives such a connect another destination (DNAT, REDIRECT), or refuses it
// (REJECT, DROP) only because conntrack tracks it: a rule that would refuse an untracked packet,
// too, is a firewall, which the guard neither can nor should evade.

namespace npg::rules {

// Reads what the evaluator reaches. What does not exist (any more) is read as empty.
class RuleReader {
 public:
  virtual ~RuleReader() = default;
  // Calls BeginChain() and Append().
  virtual absl::Status ReadChain(const ChainName& chain, RuleSet& rules) = 0;
  // Calls PutSet().
  virtual absl::Status ReadSet(const TableId& table, const SetName& name, RuleSet& rules) = 0;
};

struct EvaluateOptions {
  // All addresses of the node, besides loopback: a DNAT to one of them and to the same port
  // changes nothing for a listener there.
  core::AddressSet node_addresses;
  PortSet ports = PortSet::All();
  // A single rule, or element, that takes more ports than this is not about particular ports: they
  // are not `taken`, and it is one of `broad`.
  size_t max_ports_of_rule = 4096;
  // Rules, counted for each group of ports that comes to them apart from others, after which the
  // rest is not known. More than the rules of any node need: chains may lead to each other in so
  // many ways that following all of them has no end.
  size_t max_visits = 20'000'000;
};

struct Evaluation {
  // The ports that are taken for at least one of the connects, by their owner: the Service in the
  // comment of a rule that names the port, otherwise table and chain of that rule
  // ("nft table ip cni_hostport, chain hostports").
  core::PortSnapshot taken;
  // One line for each rule that cannot be evaluated and that decides whether ports are taken:
  // "nft table ip nat, chain OUTPUT, handle 5: match u32 cannot be evaluated (31000-31009/tcp)".
  // Sorted.
  std::vector<std::string> unknown;
  // One line each: "nft table ip nat, chain OUTPUT, handle 5: redirects 65535 ports of tcp".
  std::vector<std::string> broad;
  // Ports that only rules of `unknown` would take.
  std::vector<core::PortKey> open;

  bool operator==(const Evaluation&) const = default;
};

// For all connects of `rules`. An error is one of `reader`.
absl::StatusOr<Evaluation> Evaluate(RuleSet& rules, RuleReader& reader,
                                    const EvaluateOptions& options);

// What one connect meets.
struct TraceStep {
  bool input = false;  // the hook: local input, otherwise output
  ChainName chain;
  uint64_t rule = 0;       // handle, or number in a legacy chain; 0: the chain's policy
  std::string comment;     // of the rule or of the map's element
  std::string verdict;     // "jump KUBE-EXT-X", "DNAT to 10.244.1.2:8080", "REJECT", "mark 0x4000"
  bool sometimes = false;  // only for some of many like connects
  // This rule, or one on the way to it, is about few ports, this one among them: if it refuses
  // what only conntrack tracks, the port counts as taken.
  bool names_port = false;
};

enum class Outcome {
  kHost,  // reaches a listener of the node, if there is one
  // Gets another destination; or is kRefused, if some rule that decides that cannot be evaluated.
  kRedirected,
  kRefused,   // because conntrack tracks it
  kFirewall,  // is refused, tracked or not
  kUnknown,   // some rule cannot be evaluated: see the last steps
};

struct Trace {
  std::vector<TraceStep> steps;  // rules that matched, in order; without those that only returned
  Outcome outcome = Outcome::kHost;
  bool sometimes = false;   // some connects like this one reach the host
  std::string destination;  // kRedirected: "10.244.1.2:8080"; the first of several
  // kUnknown: the line of Evaluation::unknown, which does not have it if the rule decides only
  // whether a firewall refuses the connect.
  std::string unknown;
};

// `connect` is one of those of `rules`.
absl::StatusOr<Trace> TraceConnect(RuleSet& rules, RuleReader& reader, const Connect& connect,
                                   uint16_t port, const EvaluateOptions& options);

}  // namespace npg::rules

#endif  // NODEPORT_GUARD_RULES_EVALUATOR_H_
