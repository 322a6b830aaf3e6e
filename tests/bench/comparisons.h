// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_TESTS_BENCH_COMPARISONS_H_
#define NODEPORT_GUARD_TESTS_BENCH_COMPARISONS_H_

#include <vector>

#include "absl/status/statusor.h"
#include "bench/measure.h"
#include "bench/programs.h"

namespace npg::bench {

// Addresses on lo that are not loopback addresses, for a connect that leaves
// the guard's programs at their first test. main() adds them.
inline constexpr const char* kElsewhere4 = "10.9.0.1";
inline constexpr const char* kElsewhere6 = "2001:db8::1";

// The cost of connect(): every row of the decision, with no program, an empty
// one, and the guard's. Here and below, what is empty is the floor. `programs` must outlive the
// comparisons, and the caller must be in their cgroup and network namespace.
absl::StatusOr<std::vector<Comparison>> ConnectComparisons(Programs& programs);

// The cost of bind().
absl::StatusOr<std::vector<Comparison>> BindComparisons(Programs& programs);

// The cost of loopback packets with the nft table, each variant in its own network
// namespace: for packets that do not concern the guard, from ping-pong to HTTP, and for exempt
// ones.
absl::StatusOr<std::vector<Comparison>> PacketComparisons();

}  // namespace npg::bench

#endif  // NODEPORT_GUARD_TESTS_BENCH_COMPARISONS_H_
