// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_TESTS_INTEGRATION_RULES_RANDOM_RULES_H_
#define NODEPORT_GUARD_TESTS_INTEGRATION_RULES_RANDOM_RULES_H_

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <random>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

// Random rule sets, each the same for the same seed.

namespace npg::rules::random_rules {

enum class Syntax : uint8_t { kNft, kIptablesNft, kIptablesLegacy, kMixed };
absl::string_view SyntaxName(Syntax syntax);

// What a rule set may have besides conditions that can be evaluated.
enum class Spice : uint8_t {
  kNone,
  kUnknown,  // conditions that cannot be evaluated
  kChance,   // one condition that is random
};

class Dice {
 public:
  explicit Dice(uint64_t seed) : engine_(seed) {}

  // 0 to count - 1. Not std::uniform_int_distribution, which differs between libraries.
  size_t Below(size_t count) { return static_cast<size_t>(engine_() % count); }
  bool Percent(size_t percent) { return Below(100) < percent; }
  std::string Pick(std::initializer_list<const char*> choices) {
    return *(choices.begin() + Below(choices.size()));
  }
  template <typename T>
  const T& PickOf(const std::vector<T>& choices) {
    return choices.at(Below(choices.size()));
  }

 private:
  std::mt19937_64 engine_;
};

// The ports that rules are about, and those that DNAT leads to, which no rule names.
const std::vector<uint16_t>& Pool();
const std::vector<uint16_t>& PodPorts();

// The node's addresses in the test's namespace. The pod's are on lo, too.
struct Addresses {
  const char* loopback;
  const char* node;
  const char* pod;
};
const Addresses& AddressesOf(bool ipv6);

std::string RandomPort(Dice& dice);
std::string RandomPodPort(Dice& dice);
// "30001, 30002": `separator` between two to five different ports, ascending.
std::string RandomPorts(Dice& dice, absl::string_view separator);
// "30001-30004", with `dash` in the middle.
std::string RandomRange(Dice& dice, absl::string_view dash);

struct RandomRules {
  uint64_t seed = 0;
  Syntax syntax = Syntax::kNft;
  Spice spice = Spice::kNone;
  bool legacy = false;  // the engine of `v4` and `v6`
  std::string nft;      // for nft -f
  std::string ipset;    // for ipset restore
  std::string v4, v6;   // for iptables-restore and ip6tables-restore
};

RandomRules Generate(Syntax syntax, uint64_t seed);

// Into the calling thread's network namespace. The error has the command's message.
absl::Status Install(const RandomRules& rules);

// The generated text, for a report.
std::string ToText(const RandomRules& rules);

}  // namespace npg::rules::random_rules

#endif  // NODEPORT_GUARD_TESTS_INTEGRATION_RULES_RANDOM_RULES_H_
