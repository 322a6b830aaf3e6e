// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_BASE_MEMORY_H_
#define NODEPORT_GUARD_BASE_MEMORY_H_

namespace npg::base {

// Gives free heap back to the kernel: what a start or a long list has needed and
// the process goes on without. Takes a few milliseconds. Never fails: what cannot be
// given back is kept.
void ReleaseUnusedMemory();

}  // namespace npg::base

#endif  // NODEPORT_GUARD_BASE_MEMORY_H_
