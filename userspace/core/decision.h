// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_CORE_DECISION_H_
#define NODEPORT_GUARD_CORE_DECISION_H_

#include <netinet/in.h>

#include <array>
#include <cstdint>
#include <vector>

#include "core/decision_rows.h"

namespace npg::core {

// A connect of a socket that is not bound, and the answers for npg_decide().
struct ConnectFacts {
  uint32_t protocol = IPPROTO_TCP;        // of the socket
  std::array<uint8_t, 16> destination{};  // network order, IPv4 as v4-mapped IPv6

  bool guards_own_addresses = false;  // --scope local
  bool own_address = false;           // the destination is an address of the node
  bool nodeport = false;              // the port is allocated
  bool guarded_netns = false;
  bool listener = false;  // a live listener would receive the connect
  bool owner_trusted = false;
  bool owner_ignored = false;
  bool enforce = false;
  bool stands_aside = false;  // the guard, for this traffic
  bool mark_set = false;      // setting the mark succeeds
};

struct Answer {
  Question question = Question::kProtocol;
  bool yes = false;

  bool operator==(const Answer&) const = default;
};

struct Decision {
  Verdict verdict = Verdict::kExempt;
  std::vector<Answer> answers;  // in the order of npg_decide()
};

// Runs npg_decide() of bpf/guard_decide.h over the facts and records what it asks.
Decision Decide(const ConnectFacts& facts);

}  // namespace npg::core

#endif  // NODEPORT_GUARD_CORE_DECISION_H_
