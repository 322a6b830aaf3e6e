// SPDX-License-Identifier: Apache-2.0
#include "abi/names.h"

#include <array>
#include <cstddef>
#include <string>
#include <vector>

#include "absl/strings/str_join.h"
#include "absl/strings/string_view.h"
#include "guard_abi.h"

namespace npg::abi {
namespace {

// Rows are indexed by their value, so that arrays of the tables' size have a place for each.
template <typename R, size_t N>
consteval bool AreDense(const std::array<R, N>& rows, size_t count) {
  for (size_t i = 0; i < N; ++i) {
    if (static_cast<size_t>(rows[i].value) != i) return false;
  }
  return N == count;
}

static_assert(AreDense(kCounters, NPG_COUNTER_MAX));
static_assert(AreDense(kSourceErrors, NPG_SOURCE_ERROR_MAX));

template <typename R, size_t N>
consteval bool AreDistinctBits(const std::array<R, N>& rows) {
  SourceBits seen = Bit(kProbeSource.value);
  for (const R& row : rows) {
    const SourceBits bit = Bit(row.value);
    if (bit == 0 || (bit & (bit - 1)) != 0 || (seen & bit) != 0) return false;
    seen |= bit;
  }
  return true;
}

static_assert(AreDistinctBits(kSources));

struct Text {
  absl::string_view name = "unknown";
  absl::string_view meaning = "not known to this build";
};

template <typename R, size_t N>
Text TextOf(const std::array<R, N>& rows, decltype(R::value) value) {
  for (const R& row : rows) {
    if (row.value == value) return {row.name, row.meaning};
  }
  return {};
}

Text SourceTextOf(Source source) {
  if (source == kProbeSource.value) return {kProbeSource.name, kProbeSource.meaning};
  return TextOf(kSources, source);
}

}  // namespace

absl::string_view Name(Source source) { return SourceTextOf(source).name; }
absl::string_view Name(Counter counter) { return TextOf(kCounters, counter).name; }
absl::string_view Name(OwnerVerdict verdict) { return TextOf(kOwnerVerdicts, verdict).name; }
absl::string_view Name(Mode mode) { return TextOf(kModes, mode).name; }
absl::string_view Name(Scope scope) { return TextOf(kScopes, scope).name; }
absl::string_view Name(Traffic traffic) { return TextOf(kTraffic, traffic).name; }
absl::string_view Name(SourceError error) { return TextOf(kSourceErrors, error).name; }
absl::string_view Name(BindProtection protection) {
  return TextOf(kBindProtections, protection).name;
}
absl::string_view Name(ReservePorts reserve) { return TextOf(kReservePorts, reserve).name; }
absl::string_view Name(ReserveState state) { return TextOf(kReserveStates, state).name; }
absl::string_view Name(BindOutcome outcome) { return TextOf(kBindOutcomes, outcome).name; }

absl::string_view Meaning(Source source) { return SourceTextOf(source).meaning; }
absl::string_view Meaning(Counter counter) { return TextOf(kCounters, counter).meaning; }
absl::string_view Meaning(OwnerVerdict verdict) { return TextOf(kOwnerVerdicts, verdict).meaning; }
absl::string_view Meaning(Mode mode) { return TextOf(kModes, mode).meaning; }
absl::string_view Meaning(Scope scope) { return TextOf(kScopes, scope).meaning; }
absl::string_view Meaning(Traffic traffic) { return TextOf(kTraffic, traffic).meaning; }
absl::string_view Meaning(SourceError error) { return TextOf(kSourceErrors, error).meaning; }
absl::string_view Meaning(BindProtection protection) {
  return TextOf(kBindProtections, protection).meaning;
}
absl::string_view Meaning(ReservePorts reserve) { return TextOf(kReservePorts, reserve).meaning; }
absl::string_view Meaning(ReserveState state) { return TextOf(kReserveStates, state).meaning; }
absl::string_view Meaning(BindOutcome outcome) { return TextOf(kBindOutcomes, outcome).meaning; }

std::vector<absl::string_view> SourceNames(SourceBits sources) {
  std::vector<absl::string_view> names;
  for (SourceBits rest = sources; rest != 0; rest &= rest - 1) {
    names.push_back(Name(static_cast<Source>(rest & (~rest + 1))));
  }
  return names;
}

std::string TrafficText(TrafficBits traffic) {
  if ((traffic & AllTraffic()) == AllTraffic()) return "all connects";
  std::vector<absl::string_view> meanings;
  for (const auto& row : kTraffic) {
    if ((traffic & Bit(row.value)) != 0) meanings.push_back(row.meaning);
  }
  return absl::StrJoin(meanings, " and ");
}

std::string SourcesText(SourceBits sources) { return absl::StrJoin(SourceNames(sources), ","); }

}  // namespace npg::abi
