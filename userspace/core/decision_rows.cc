// SPDX-License-Identifier: Apache-2.0
#include "core/decision_rows.h"

#include <cstddef>

namespace npg::core {
namespace {

// Each verdict but kExempt is at the end of one row, in the order of the rows.
constexpr bool RowsMatchVerdicts() {
  size_t next = 0;
  for (const DecisionRow& row : kDecisionRows) {
    for (const DecisionEnd& end : {row.end, row.second_end}) {
      if (end.verdict == Verdict::kExempt) continue;
      if (static_cast<size_t>(end.verdict) != next++) return false;
    }
  }
  return static_cast<size_t>(Verdict::kExempt) == next;
}
static_assert(RowsMatchVerdicts());

Question FirstOfRow(Question question) {
  switch (question) {
    case Question::kOwnAddress:
      return Question::kDestination;
    case Question::kHolder:
      return Question::kOwner;
    default:
      return question;
  }
}

}  // namespace

const DecisionRow& RowOf(Question question) {
  const Question first = FirstOfRow(question);
  size_t index = 0;
  while (kDecisionRows.at(index).asks != first) ++index;
  return kDecisionRows.at(index);
}

const VerdictText& TextOf(Verdict verdict) {
  for (const DecisionRow& row : kDecisionRows) {
    if (row.end.verdict == verdict) return row.end.text;
    if (verdict != Verdict::kExempt && row.second_end.verdict == verdict) {
      return row.second_end.text;
    }
  }
  return kExemptText;
}

}  // namespace npg::core
