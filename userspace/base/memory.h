// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_BASE_MEMORY_H_
#define NODEPORT_GUARD_BASE_MEMORY_H_

namespace npg::base {

// Returns free heap to the kernel, after a start or a long list. Takes a few milliseconds.
// Never fails.
void ReleaseUnusedMemory();

}  // namespace npg::base

#endif  // NODEPORT_GUARD_BASE_MEMORY_H_
