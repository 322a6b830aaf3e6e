// SPDX-License-Identifier: Apache-2.0
#include "core/decision_rows.h"

#include <cstddef>

namespace npg::core {
namespace {

// The verdicts are in the order of the rows, and so an index.
constexpr bool RowsMatchVerdicts() {
  for (size_t i = 0; i < kDecisionRows.size(); ++i) {
    if (static_cast<size_t>(kDecisionRows[i].verdict) != i) return false;
  }
  return static_cast<size_t>(Verdict::kExempt) == kDecisionRows.size();
}
static_assert(RowsMatchVerdicts());

}  // namespace

const DecisionRow& RowOf(Question question) {
  const Question first = question == Question::kOwnAddress ? Question::kDestination : question;
  size_t index = 0;
  while (kDecisionRows.at(index).asks != first) ++index;
  return kDecisionRows.at(index);
}

const VerdictText& TextOf(Verdict verdict) {
  return verdict == Verdict::kExempt ? kExemptText
                                     : kDecisionRows.at(static_cast<size_t>(verdict)).text;
}

}  // namespace npg::core
