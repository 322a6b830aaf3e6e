// SPDX-License-Identifier: Apache-2.0
#include "doctor/finding.h"

#include <cstddef>

#include "absl/strings/string_view.h"

namespace npg::doctor {
namespace {

constexpr bool KindsAreInOrder() {
  for (size_t i = 0; i < kFindingKinds.size(); ++i) {
    if (static_cast<size_t>(kFindingKinds[i].id) != i) return false;
  }
  return static_cast<size_t>(FindingId::kNotSeen) + 1 == kFindingKinds.size();
}
static_assert(KindsAreInOrder());

}  // namespace

absl::string_view SeverityName(Severity severity) {
  switch (severity) {
    case Severity::kOk:
      return "ok";
    case Severity::kNote:
      return "note";
    case Severity::kWarn:
      return "warn";
    case Severity::kFail:
      return "fail";
  }
  return "";
}

const FindingKind& KindOf(FindingId id) { return kFindingKinds.at(static_cast<size_t>(id)); }

}  // namespace npg::doctor
