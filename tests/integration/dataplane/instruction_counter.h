// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_TESTS_INTEGRATION_DATAPLANE_INSTRUCTION_COUNTER_H_
#define NODEPORT_GUARD_TESTS_INTEGRATION_DATAPLANE_INSTRUCTION_COUNTER_H_

#include <linux/bpf.h>

#include <cstddef>
#include <cstdint>

#include "absl/status/statusor.h"
#include "dataplane/bpf/skeleton.h"

struct bpf_program;

namespace npg::dataplane {

// What one run of a program executes.
struct Executed {
  size_t instructions = 0;
  // Calls. A lookup in an array is none: the verifier replaces it by instructions.
  size_t helpers = 0;
  uint64_t result = 0;
};

// What the context of a run has besides `address`.
struct RunFacts {
  bpf_sock_addr address{};
  bpf_sock socket{};
  uint64_t netns_cookie = 0;
};

// Runs a loaded program, as clang compiled it, on these facts and the real maps, and counts. Only
// for the paths of connects and binds that do not concern the guard: UNIMPLEMENTED for other
// instructions and helpers. No socket has a storage.
absl::StatusOr<Executed> CountInstructions(const Skeleton& skeleton, const bpf_program* program,
                                           RunFacts facts);

}  // namespace npg::dataplane

#endif  // NODEPORT_GUARD_TESTS_INTEGRATION_DATAPLANE_INSTRUCTION_COUNTER_H_
