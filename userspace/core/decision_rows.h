// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_CORE_DECISION_ROWS_H_
#define NODEPORT_GUARD_CORE_DECISION_ROWS_H_

#include <array>
#include <cstdint>

#include "absl/strings/string_view.h"

// The rows of the decision: their numbers and their words, which `explain` prints.
// README.md and docs/architecture.md repeat them; a unit test compares.

namespace npg::core {

// What npg_decide() asks about a connect.
enum class Question : uint8_t {
  kProtocol,
  kDestination,
  kOwnAddress,  // row 2 again: its answer needs a second lookup, which is made after row 3
  kNodePort,
  kNetns,
  kListener,
  kOwner,
  kHolder,  // row 6 again
  kMode,
  kMark,
};

// What becomes of a connect: npg_verdict of bpf/guard_abi.h, with the same values.
enum class Verdict : uint8_t {
  kPassProtocol,
  kPassOutOfScope,
  kPassNotNodePort,
  kPassForeignNetns,
  kPassNoListener,
  kPassUntrustedOwner,
  kPassIgnoredOwner,
  kPassObserved,
  kPassStandingAside,
  kPassMarkFailed,
  kExempt,
};

struct VerdictText {
  absl::string_view name;     // stable: JSON and scripts use it
  absl::string_view meaning;  // a clause, without a full stop
};

// Where connects end for which the answer to a row is no.
struct DecisionEnd {
  Verdict verdict = Verdict::kExempt;
  VerdictText text;           // of that verdict
  absl::string_view counter;  // of the connects that end here; empty: none counts them
};

struct DecisionRow {
  int number = 0;
  Question asks = Question::kProtocol;
  absl::string_view question;  // at most 21 characters, the width of its column in `explain`
  absl::string_view detail;    // for the README
  DecisionEnd end;
  DecisionEnd second_end = {};  // of a row with two questions; else its verdict is kExempt
};

// By number, which is not the order of npg_decide(): it asks row 2 first, because a comparison
// answers it.
inline constexpr std::array<DecisionRow, 8> kDecisionRows = {{
    {.number = 1,
     .asks = Question::kProtocol,
     .question = "TCP, UDP or MPTCP?",
     .detail = "MPTCP counts as TCP.",
     .end = {Verdict::kPassProtocol,
             {"pass_protocol", "the protocol is not TCP, UDP or MPTCP"},
             ""}},
    {.number = 2,
     .asks = Question::kDestination,
     .question = "to a guarded address?",
     .detail = "Loopback: 127.0.0.0/8, 0.0.0.0, ::1, ::, or the IPv4 ones mapped into IPv6. With "
               "--scope local, also an address of the node itself.",
     .end = {Verdict::kPassOutOfScope,
             {"pass_out_of_scope", "the destination is not loopback, nor an own address in scope"},
             ""}},
    {.number = 3,
     .asks = Question::kNodePort,
     .question = "a NodePort?",
     .detail = "A source reports the port for that protocol, as a NodePort or a hostPort.",
     .end = {Verdict::kPassNotNodePort,
             {"pass_not_nodeport", "the port is not allocated as a NodePort"},
             ""}},
    {.number = 4,
     .asks = Question::kNetns,
     .question = "in the guarded netns?",
     .detail = "The socket is in the guarded network namespace, which is the node's own.",
     .end = {Verdict::kPassForeignNetns,
             {"pass_foreign_netns", "the socket is in another network namespace"},
             "foreign_netns"}},
    {.number = 5,
     .asks = Question::kListener,
     .question = "is there a listener?",
     .detail =
         "The kernel's socket table has a live listener that would receive the connect. A UDP "
         "socket that did not ask for its port is none.",
     .end = {Verdict::kPassNoListener,
             {"pass_no_listener", "no live listener would receive the connect"},
             "no_listener"}},
    {.number = 6,
     .asks = Question::kOwner,
     .question = "is its owner guarded?",
     .detail =
         "Its user is one of --guard-uid (default 0), or its cgroup is one that --guard-cgroup "
         "selects. "
         "Processes that bind a given port only to hold it (--ignore-process: kube-proxy before "
         "1.24, CRI-O, …) are ignored; with --only-process, so is every process that it does not "
         "name.",
     .end = {Verdict::kPassUntrustedOwner,
             {"pass_untrusted_owner",
              "neither --guard-uid nor --guard-cgroup names the listener's owner"},
             "untrusted_owner"},
     .second_end = {Verdict::kPassIgnoredOwner,
                    {"pass_ignored_owner", "the listener's owner is ignored"},
                    "ignored_owner"}},
    {.number = 7,
     .asks = Question::kMode,
     .question = "does it enforce now?",
     .detail = "With --mode observe, the connect is counted and nothing else is done. The guard "
               "stands aside where its self-probe finds that rules of this node track or drop what "
               "it exempts.",
     .end = {Verdict::kPassObserved,
             {"pass_observed", "the mode is observe: counted, nothing done"},
             "observed"},
     .second_end = {Verdict::kPassStandingAside,
                    {"pass_standing_aside",
                     "the guard stands aside: rules of this node would break the connection"},
                    "standing_aside"}},
    {.number = 8,
     .asks = Question::kMark,
     .question = "can it be marked?",
     .detail = "The kernel lets the program set the bit in the socket's mark.",
     .end = {Verdict::kPassMarkFailed,
             {"pass_mark_failed", "the mark could not be set"},
             "mark_failed"}},
}};

// Where every row says yes.
inline constexpr VerdictText kExemptText = {"exempt",
                                            "the connect goes to the host's own listener"};
inline constexpr absl::string_view kExemptCounter = "exempted";

const DecisionRow& RowOf(Question question);
const VerdictText& TextOf(Verdict verdict);

}  // namespace npg::core

#endif  // NODEPORT_GUARD_CORE_DECISION_ROWS_H_
