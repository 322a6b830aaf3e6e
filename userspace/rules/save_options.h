// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_RULES_SAVE_OPTIONS_H_
#define NODEPORT_GUARD_RULES_SAVE_OPTIONS_H_

#include <cstdint>
#include <string>

#include "absl/functional/function_ref.h"
#include "absl/strings/string_view.h"
#include "rules/rule.h"
#include "rules/save_words.h"

// The parts of ParseSavedRule(). Each adds to `rule` what it finds, and returns false if the words
// are not what iptables-save prints.

namespace npg::rules {

using SavedChains = absl::FunctionRef<bool(absl::string_view name)>;

// All of it, in the words behind "-A CHAIN".
bool ParseSavedOptions(uint8_t family, SaveCursor words, SavedChains is_chain, Rule& rule);

// The options behind "-m NAME".
bool ParseSavedMatch(uint8_t family, absl::string_view name, SaveCursor& words, Rule& rule);

// The options behind "-j NAME".
bool ParseSavedTarget(uint8_t family, absl::string_view name, SaveCursor words,
                      SavedChains is_chain, Rule& rule);

// A condition of one operand, as wide as `size` says.
Test SavedTest(Field field, uint8_t size, Interval interval);

// A condition whose answer is open: kChance, or kUnknown with the name of what is not known.
Test SavedOpenTest(Field field, std::string unknown);

}  // namespace npg::rules

#endif  // NODEPORT_GUARD_RULES_SAVE_OPTIONS_H_
