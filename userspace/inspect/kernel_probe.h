// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_INSPECT_KERNEL_PROBE_H_
#define NODEPORT_GUARD_INSPECT_KERNEL_PROBE_H_

#include <vector>

#include "abi/names.h"
#include "inspect/trial.h"

// Tries what the guard needs of BPF. What is made for it has no pin and is attached
// to nothing: it is gone when the function returns.
namespace npg::inspect {

// Loads the guard's own programs and maps.
Trial TryPrograms(abi::Scope scope);

// One for each helper that not every kernel has.
std::vector<Trial> TryHelpers();

Trial TryRingBuffer();

// bpf_link on a cgroup: asks for one on a descriptor that is none, and sees
// whether the kernel got as far as to say so.
Trial TryCgroupLink();

}  // namespace npg::inspect

#endif  // NODEPORT_GUARD_INSPECT_KERNEL_PROBE_H_
