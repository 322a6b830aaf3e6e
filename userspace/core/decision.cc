// SPDX-License-Identifier: Apache-2.0
#include "core/decision.h"

#include <array>
#include <cstdint>
#include <cstring>
#include <vector>

#include "core/decision_rows.h"
#include "guard_decide.h"

namespace npg::core {
namespace {

static_assert(NPG_PASS_PROTOCOL == static_cast<int>(Verdict::kPassProtocol) &&
              NPG_PASS_OUT_OF_SCOPE == static_cast<int>(Verdict::kPassOutOfScope) &&
              NPG_PASS_NOT_NODEPORT == static_cast<int>(Verdict::kPassNotNodePort) &&
              NPG_PASS_FOREIGN_NETNS == static_cast<int>(Verdict::kPassForeignNetns) &&
              NPG_PASS_NO_LISTENER == static_cast<int>(Verdict::kPassNoListener) &&
              NPG_PASS_UNTRUSTED_OWNER == static_cast<int>(Verdict::kPassUntrustedOwner) &&
              NPG_PASS_IGNORED_OWNER == static_cast<int>(Verdict::kPassIgnoredOwner) &&
              NPG_PASS_OBSERVED == static_cast<int>(Verdict::kPassObserved) &&
              NPG_PASS_STANDING_ASIDE == static_cast<int>(Verdict::kPassStandingAside) &&
              NPG_PASS_MARK_FAILED == static_cast<int>(Verdict::kPassMarkFailed) &&
              NPG_EXEMPT == static_cast<int>(Verdict::kExempt));

struct Recording {
  const ConnectFacts& facts;
  std::vector<Answer>& answers;

  // struct npg_env stays incomplete here, because tests in the same program define it.
  npg_env* env() { return reinterpret_cast<npg_env*>(this); }
  static Recording& Of(npg_env* env) { return *reinterpret_cast<Recording*>(env); }

  bool Ask(Question question, bool yes) {
    answers.push_back({question, yes});
    return yes;
  }
};

bool Ask(npg_env* env, Question question, bool ConnectFacts::*fact) {
  Recording& recording = Recording::Of(env);
  return recording.Ask(question, recording.facts.*fact);
}

}  // namespace
}  // namespace npg::core

// The functions that guard_decide.h calls. They ignore their keys, because the facts are those
// of one connect.

static int npg_env_guards_local(npg_env* env) {
  return static_cast<int>(npg::core::Ask(env, npg::core::Question::kDestination,
                                         &npg::core::ConnectFacts::guards_own_addresses));
}

static int npg_env_nodeport(npg_env* env, const npg_port_key* /*key*/) {
  // npg_decide() answers row 1 itself; it calls this only if the answer was yes.
  npg::core::Recording::Of(env).Ask(npg::core::Question::kProtocol, true);
  return static_cast<int>(
      npg::core::Ask(env, npg::core::Question::kNodePort, &npg::core::ConnectFacts::nodeport));
}

static int npg_env_own_address(npg_env* env) {
  return static_cast<int>(
      npg::core::Ask(env, npg::core::Question::kOwnAddress, &npg::core::ConnectFacts::own_address));
}

static int npg_env_guarded_netns(npg_env* env) {
  return static_cast<int>(
      npg::core::Ask(env, npg::core::Question::kNetns, &npg::core::ConnectFacts::guarded_netns));
}

static int npg_env_listener(npg_env* env, const npg_port_key* /*key*/,
                            npg_listener_key* /*listener*/) {
  return static_cast<int>(
      npg::core::Ask(env, npg::core::Question::kListener, &npg::core::ConnectFacts::listener));
}

static int npg_env_trusted(npg_env* env, const npg_port_key* /*key*/) {
  return static_cast<int>(
      npg::core::Ask(env, npg::core::Question::kOwner, &npg::core::ConnectFacts::owner_trusted));
}

static int npg_env_ignored(npg_env* env, const npg_port_key* /*key*/) {
  npg::core::Recording& recording = npg::core::Recording::Of(env);
  return static_cast<int>(
      !recording.Ask(npg::core::Question::kHolder, !recording.facts.owner_ignored));
}

// Row 7 has one answer, which npg_decide() asks for in two steps.
static int npg_env_enforce(npg_env* env) {
  npg::core::Recording& recording = npg::core::Recording::Of(env);
  if (!recording.facts.enforce) recording.Ask(npg::core::Question::kMode, false);
  return static_cast<int>(recording.facts.enforce);
}

static int npg_env_stands_aside(npg_env* env, uint32_t /*traffic*/) {
  npg::core::Recording& recording = npg::core::Recording::Of(env);
  return static_cast<int>(
      !recording.Ask(npg::core::Question::kMode, !recording.facts.stands_aside));
}

static int npg_env_mark(npg_env* env) {
  return static_cast<int>(
      npg::core::Ask(env, npg::core::Question::kMark, &npg::core::ConnectFacts::mark_set));
}

namespace npg::core {

Decision Decide(const ConnectFacts& facts) {
  Decision decision;
  Recording recording{facts, decision.answers};
  std::array<uint32_t, 4> address{};
  std::memcpy(address.data(), facts.destination.data(), facts.destination.size());
  const std::array<uint32_t, 4> unbound{};
  const npg_destination destination = npg_destination6(address.data(), unbound.data());
  // npg_decide() receives the answer as an argument, and calls more only for other destinations.
  if (destination == NPG_DST_LOOPBACK4 || destination == NPG_DST_LOOPBACK6) {
    recording.Ask(Question::kDestination, true);
  }
  npg_port_key key{};
  npg_listener_key listener{};
  decision.verdict = static_cast<Verdict>(
      npg_decide(recording.env(), facts.protocol, destination, /*port=*/0, &key, &listener));
  if (decision.verdict == Verdict::kPassProtocol) recording.Ask(Question::kProtocol, false);
  return decision;
}

}  // namespace npg::core
