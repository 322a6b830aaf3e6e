// SPDX-License-Identifier: Apache-2.0
#include "bench/measure.h"

#include <sched.h>
#include <time.h>  // NOLINT(modernize-deprecated-headers): clock_gettime() is POSIX, not <ctime>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstddef>
#include <optional>
#include <utility>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "base/errno_status.h"

namespace npg::bench {
namespace {

constexpr size_t kMinRounds = 5;

absl::StatusOr<double> RunVariant(const Variant& variant) {
  if (variant.enter) NPG_RETURN_IF_ERROR(variant.enter());
  // Once for the caches and the branch predictor, then for the record.
  absl::StatusOr<double> nanoseconds = variant.batch();
  if (nanoseconds.ok()) nanoseconds = variant.batch();
  if (variant.leave) variant.leave();
  return nanoseconds;
}

Ratio RatioOf(const std::vector<double>& samples, const std::vector<double>& to) {
  std::vector<double> ratios(samples.size());
  for (size_t i = 0; i < samples.size(); ++i) ratios[i] = samples[i] / to[i];
  return {Quantile(ratios, 0.5), Quantile(ratios, 0.25), Quantile(ratios, 0.75)};
}

double DifferenceOf(const std::vector<double>& samples, const std::vector<double>& to) {
  std::vector<double> differences(samples.size());
  for (size_t i = 0; i < samples.size(); ++i) differences[i] = samples[i] - to[i];
  return Quantile(std::move(differences), 0.5);
}

}  // namespace

double Quantile(std::vector<double> values, double part) {
  const auto at = values.begin() + std::lround(part * static_cast<double>(values.size() - 1));
  std::nth_element(values.begin(), at, values.end());
  return *at;
}

double ThreadNanoseconds() {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) * 1e9 + static_cast<double>(now.tv_nsec);
}

Result Summarize(const Comparison& comparison, const std::vector<std::vector<double>>& samples) {
  const std::vector<Variant>& variants = comparison.variants;
  const std::vector<double>& floor = samples[comparison.floor];
  Result result;
  result.group = comparison.group;
  result.what = comparison.what;
  result.rounds = floor.size();
  result.floor = variants[comparison.floor].name;
  result.noise = std::abs(RatioOf(samples[comparison.floor_again], floor).median - 1);
  for (size_t i = 0; i < variants.size(); ++i) {
    VariantResult variant;
    variant.name = variants[i].name;
    variant.nanoseconds = Quantile(samples[i], 0.5);
    variant.difference = DifferenceOf(samples[i], samples.front());
    variant.to_first = RatioOf(samples[i], samples.front());
    variant.to_floor = RatioOf(samples[i], floor);
    if (const std::optional<Goal>& goal = variants[i].goal) {
      variant.goal =
          GoalResult{variants[goal->to].name, goal->ratio, RatioOf(samples[i], samples[goal->to])};
    }
    result.variants.push_back(std::move(variant));
  }
  return result;
}

absl::Status StayOnOneCpu() {
  cpu_set_t cpu;
  CPU_ZERO(&cpu);
  CPU_SET(static_cast<size_t>(std::max(sched_getcpu(), 0)), &cpu);
  if (sched_setaffinity(0, sizeof(cpu), &cpu) != 0) {
    return base::ErrnoStatus(errno, "sched_setaffinity");
  }
  return absl::OkStatus();
}

absl::StatusOr<Result> Compare(const Comparison& comparison, absl::Duration budget,
                               absl::FunctionRef<bool()> stop) {
  const size_t count = comparison.variants.size();
  std::vector<std::vector<double>> samples(count);
  const absl::Time end = absl::Now() + budget;
  size_t rounds = 0;
  for (; rounds < kMinRounds || absl::Now() < end; ++rounds) {
    for (size_t i = 0; i < count; ++i) {
      if (stop()) return absl::CancelledError("interrupted");
      // Forwards and backwards in turn, from another start each time.
      const size_t step = rounds % 2 == 0 ? i : count - 1 - i;
      const size_t at = (rounds / 2 + step) % count;
      const absl::StatusOr<double> nanoseconds = RunVariant(comparison.variants[at]);
      if (!nanoseconds.ok()) {
        return base::Annotate(nanoseconds.status(),
                              absl::StrCat(comparison.group, ", ", comparison.what, ", ",
                                           comparison.variants[at].name));
      }
      samples[at].push_back(*nanoseconds);
    }
  }
  return Summarize(comparison, samples);
}

}  // namespace npg::bench
