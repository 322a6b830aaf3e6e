// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_TESTS_UNIT_CORE_DECIDE_ENV_H_
#define NODEPORT_GUARD_TESTS_UNIT_CORE_DECIDE_ENV_H_

#include <netinet/in.h>

#include <cstddef>
#include <cstdint>
#include <ostream>
#include <string>
#include <utility>
#include <vector>

#include "core/decision.h"
#include "core/decision_rows.h"
#include "guard_abi.h"
#include "guard_decide.h"

// The environment of guard_decide.h. The test sets the facts; the environment records
// the calls in their order.
struct npg_env {
  bool guards_local = false;
  bool nodeport = true;
  bool own_address = true;
  bool guarded_netns = true;
  bool listener = true;
  bool trusted = true;
  bool not_ignored = true;
  bool enforce = true;
  bool not_aside = true;
  bool mark = true;

  npg_listener_key live{};         // found by the lookup of the listener
  std::vector<std::string> calls;  // "nodeport", "guarded_netns", ...
  std::vector<bool> facts;         // the answer to each of the calls
  std::vector<npg_port_key> keys;  // the arguments of the calls that have one
  uint32_t traffic = 0;            // the argument of stands_aside
};

static bool Note(npg_env* env, const char* name, bool fact) {
  env->calls.emplace_back(name);
  env->facts.push_back(fact);
  return fact;
}

static int npg_env_guards_local(npg_env* env) {
  return static_cast<int>(Note(env, "guards_local", env->guards_local));
}

static int npg_env_own_address(npg_env* env) {
  return static_cast<int>(Note(env, "own_address", env->own_address));
}

static int npg_env_nodeport(npg_env* env, const npg_port_key* key) {
  env->keys.push_back(*key);
  return static_cast<int>(Note(env, "nodeport", env->nodeport));
}

static int npg_env_guarded_netns(npg_env* env) {
  return static_cast<int>(Note(env, "guarded_netns", env->guarded_netns));
}

static int npg_env_listener(npg_env* env, const npg_port_key* key, npg_listener_key* listener) {
  env->keys.push_back(*key);
  if (env->listener) *listener = env->live;
  return static_cast<int>(Note(env, "listener", env->listener));
}

static int npg_env_trusted(npg_env* env, const npg_port_key* key) {
  env->keys.push_back(*key);
  return static_cast<int>(Note(env, "trusted", env->trusted));
}

static int npg_env_ignored(npg_env* env, const npg_port_key* key) {
  env->keys.push_back(*key);
  return static_cast<int>(!Note(env, "ignored", env->not_ignored));
}

static int npg_env_enforce(npg_env* env) {
  return static_cast<int>(Note(env, "enforce", env->enforce));
}

static int npg_env_stands_aside(npg_env* env, uint32_t traffic) {
  env->traffic = traffic;
  return static_cast<int>(!Note(env, "stands_aside", env->not_aside));
}

static int npg_env_mark(npg_env* env) { return static_cast<int>(Note(env, "mark", env->mark)); }

inline void PrintTo(npg_verdict verdict, std::ostream* out) {
  *out << npg::core::TextOf(static_cast<npg::core::Verdict>(verdict)).name;
}

namespace npg::core {

inline void PrintTo(const Answer& answer, std::ostream* out) {
  *out << RowOf(answer.question).question << (answer.yes ? " yes" : " no");
}

// The calls that npg_decide() made, as the questions of a decision. Adds the rows that it
// answers from its arguments: loopback before all others, the protocol before the NodePort.
inline std::vector<Answer> AnswersOf(const npg_env& env, npg_destination destination,
                                     npg_verdict verdict) {
  const std::vector<std::pair<std::string, Question>> questions = {
      {"guards_local", Question::kDestination},
      {"nodeport", Question::kNodePort},
      {"own_address", Question::kOwnAddress},
      {"guarded_netns", Question::kNetns},
      {"listener", Question::kListener},
      {"trusted", Question::kOwner},
      {"ignored", Question::kHolder},
      {"stands_aside", Question::kMode},
      {"mark", Question::kMark}};
  std::vector<Answer> answers;
  if (destination == NPG_DST_LOOPBACK4 || destination == NPG_DST_LOOPBACK6) {
    answers.push_back({Question::kDestination, true});
  }
  for (size_t i = 0; i < env.calls.size(); ++i) {
    if (env.calls[i] == "nodeport") answers.push_back({Question::kProtocol, true});
    // Row 7 has one answer for two calls.
    if (env.calls[i] == "enforce" && !env.facts[i]) answers.push_back({Question::kMode, false});
    for (const auto& [call, question] : questions) {
      if (env.calls[i] == call) answers.push_back({question, env.facts[i]});
    }
  }
  if (verdict == NPG_PASS_PROTOCOL) answers.push_back({Question::kProtocol, false});
  return answers;
}

}  // namespace npg::core

#endif  // NODEPORT_GUARD_TESTS_UNIT_CORE_DECIDE_ENV_H_
