// SPDX-License-Identifier: Apache-2.0
#include "bench/growth.h"

#include <cstddef>
#include <string>
#include <utility>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "base/errno_status.h"
#include "bench/environment.h"
#include "bench/measure.h"
#include "bench/report.h"
#include "nlohmann/json.hpp"

namespace npg::bench {
namespace {

constexpr size_t kMinRounds = 5, kBatches = 5;

// The median of a few batches: one in which this thread loses its processor does not count.
absl::StatusOr<double> RunVariant(const Variant& variant) {
  if (variant.enter) NPG_RETURN_IF_ERROR(variant.enter());
  // Once for the caches and the branch predictor, then for the record.
  absl::StatusOr<double> nanoseconds = variant.batch();
  std::vector<double> batches;
  while (nanoseconds.ok() && batches.size() < kBatches) {
    nanoseconds = variant.batch();
    if (nanoseconds.ok()) batches.push_back(*nanoseconds);
  }
  if (variant.leave) variant.leave();
  if (!nanoseconds.ok()) return nanoseconds;
  return Quantile(batches, 0.5);
}

nlohmann::json ToJson(const Spread& spread) {
  return {{"low", spread.low}, {"median", spread.median}, {"high", spread.high}};
}

}  // namespace

Spread SpreadOf(const std::vector<double>& values) {
  return {.low = Quantile(values, 0.25),
          .median = Quantile(values, 0.5),
          .high = Quantile(values, 0.75)};
}

absl::StatusOr<std::vector<Spread>> DifferencesToFirst(const std::vector<Variant>& variants,
                                                       absl::Duration budget,
                                                       absl::FunctionRef<bool()> stop) {
  const size_t count = variants.size();
  std::vector<std::vector<double>> samples(count);
  const absl::Time end = absl::Now() + budget;
  for (size_t round = 0; round < kMinRounds || absl::Now() < end; ++round) {
    for (size_t i = 0; i < count; ++i) {
      if (stop()) return absl::CancelledError("interrupted");
      // Forwards and backwards in turn, from another start each time.
      const size_t step = round % 2 == 0 ? i : count - 1 - i;
      const size_t at = (round / 2 + step) % count;
      const absl::StatusOr<double> nanoseconds = RunVariant(variants[at]);
      if (!nanoseconds.ok()) return base::Annotate(nanoseconds.status(), variants[at].name);
      samples[at].push_back(*nanoseconds);
    }
  }
  std::vector<Spread> differences;
  for (std::vector<double> sample : samples) {
    for (size_t round = 0; round < sample.size(); ++round) sample[round] -= samples[0][round];
    differences.push_back(SpreadOf(sample));
  }
  return differences;
}

std::string Table(const std::vector<Growth>& growths) {
  std::string text = absl::StrCat("Linux ", ReadEnvironment().kernel,
                                  ". The middle half of the values lies in 25-75 %.\n");
  for (const Growth& growth : growths) {
    absl::StrAppend(&text, "\n", growth.name, ": ", growth.y_label, "\n");
    if (growth.noise) {
      absl::StrAppendFormat(&text, "  %-36s%10s  %12.3f   %.3f to %.3f\n", "noise", "",
                            growth.noise->median, growth.noise->low, growth.noise->high);
    }
    for (const GrowthSeries& series : growth.series) {
      absl::StrAppendFormat(&text, "  %-36s%10s  %12s   25-75 %%\n", series.name, growth.x_label,
                            "median");
      for (const auto& [x, y] : series.points) {
        absl::StrAppendFormat(&text, "  %-36s%10.0f  %12.3f   %.3f to %.3f\n", "", x, y.median,
                              y.low, y.high);
      }
    }
  }
  return text;
}

std::string Json(const std::vector<Growth>& growths) {
  nlohmann::json all = nlohmann::json::array();
  for (const Growth& growth : growths) {
    nlohmann::json series = nlohmann::json::array();
    for (const GrowthSeries& one : growth.series) {
      nlohmann::json points = nlohmann::json::array();
      for (const auto& [x, y] : one.points) {
        nlohmann::json point = ToJson(y);
        point["x"] = x;
        points.push_back(std::move(point));
      }
      series.push_back({{"name", one.name}, {"points", std::move(points)}});
    }
    all.push_back({{"name", growth.name},
                   {"title", growth.title},
                   {"x", growth.x_label},
                   {"y", growth.y_label},
                   {"noise", growth.noise ? ToJson(*growth.noise) : nlohmann::json()},
                   {"series", std::move(series)}});
  }
  return Json(ReadEnvironment(), "growths", std::move(all));
}

}  // namespace npg::bench
