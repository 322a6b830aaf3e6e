// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_TESTS_BENCH_MEASURE_H_
#define NODEPORT_GUARD_TESTS_BENCH_MEASURE_H_

#include <cstddef>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace npg::bench {

// Nanoseconds of this thread's processor time. What a comparison measures are
// system calls that do all their work, also the receiver's half of a loopback
// packet, in the caller's context; other processes on the machine do not count.
double ThreadNanoseconds();

// Pins the thread to one CPU, so that migrations do not disturb a round of a comparison.
absl::Status StayOnOneCpu();

// An upper limit of the time of a variant, as a ratio to that of another one.
struct Goal {
  double ratio = 0;
  size_t to = 0;  // the place of the other one among the variants
};

// One variant of a comparison: without a program, with the guard, ...
struct Variant {
  std::string name;
  // Sets the variant up and removes it. Not timed.
  std::function<absl::Status()> enter;
  std::function<void()> leave;
  // Does the operation many times; returns the nanoseconds of one. It measures the time
  // itself, so that its own setup does not count.
  std::function<absl::StatusOr<double>()> batch;
  std::optional<Goal> goal = std::nullopt;
};

struct Comparison {
  std::string group;              // "connect"
  std::string what;               // "UDP, not loopback"
  std::vector<Variant> variants;  // the first one is the baseline
  // The variant with an empty program or chain. No guard can cost less than this.
  size_t floor = 1;
  // Another one that is the same as the floor. What it differs by is noise.
  size_t floor_again = 2;
};

// Of the times of one variant to those of another one, over all rounds.
struct Ratio {
  double median = 1;
  double low = 1;   // the middle half of the rounds lies between
  double high = 1;  // these two
};

struct GoalResult {
  std::string to;  // the name of the other variant
  double limit = 0;
  Ratio ratio;

  bool met() const { return ratio.median <= limit; }
};

// Of one variant, over all rounds. Differences and ratios are taken round by round, so that
// drift of the machine cancels out.
struct VariantResult {
  std::string name;
  double nanoseconds = 0;  // median
  double difference = 0;   // to the baseline; median, nanoseconds
  Ratio to_first;
  Ratio to_floor;
  std::optional<GoalResult> goal = std::nullopt;
};

struct Result {
  std::string group;
  std::string what;
  size_t rounds = 0;
  std::string floor;  // the name of this variant
  double noise = 0;   // by how much the two equal variants differ: 0.01 is 1 %
  std::vector<VariantResult> variants;
};

// The value below which `part` (0 to 1) of the values lie; there is at least one.
double Quantile(std::vector<double> values, double part);

// What the times of each variant, in nanoseconds and in the order of the rounds, amount to; there
// is at least one round.
Result Summarize(const Comparison& comparison, const std::vector<std::vector<double>>& samples);

// Runs the variants in turn, round after round and each round in another order,
// for `budget`, but at least a few rounds. CANCELLED if `stop` returns true.
absl::StatusOr<Result> Compare(const Comparison& comparison, absl::Duration budget,
                               absl::FunctionRef<bool()> stop);

}  // namespace npg::bench

#endif  // NODEPORT_GUARD_TESTS_BENCH_MEASURE_H_
