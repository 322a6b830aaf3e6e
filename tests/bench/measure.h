// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_TESTS_BENCH_MEASURE_H_
#define NODEPORT_GUARD_TESTS_BENCH_MEASURE_H_

#include <cstddef>
#include <functional>
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

// One variant of a comparison: without a program, with the guard, ...
struct Variant {
  std::string name;
  // Sets the variant up and removes it. Not timed.
  std::function<absl::Status()> enter;
  std::function<void()> leave;
  // Does the operation many times; returns the nanoseconds of one. It measures the time
  // itself, so that its own setup does not count.
  std::function<absl::StatusOr<double>()> batch;
};

struct Comparison {
  std::string group;              // "connect"
  std::string what;               // "UDP, not loopback"
  std::vector<Variant> variants;  // the first one is the baseline
};

// Of one variant, over all rounds. The difference to the baseline and the ratio
// are taken round by round, so that drift of the machine cancels out.
struct VariantResult {
  std::string name;
  double nanoseconds = 0;  // median
  double difference = 0;   // median, nanoseconds
  double ratio = 1;        // median
  double ratio_low = 1;    // the middle half of the rounds lies between
  double ratio_high = 1;   // these two
};

struct Result {
  std::string group;
  std::string what;
  size_t rounds = 0;
  std::vector<VariantResult> variants;
};

// The value below which `part` (0 to 1) of the values lie; there is at least one.
double Quantile(std::vector<double> values, double part);

// Runs the variants in turn, round after round and each round in another order,
// for `budget`, but at least a few rounds. CANCELLED if `stop` returns true.
absl::StatusOr<Result> Compare(const Comparison& comparison, absl::Duration budget,
                               absl::FunctionRef<bool()> stop);

}  // namespace npg::bench

#endif  // NODEPORT_GUARD_TESTS_BENCH_MEASURE_H_
