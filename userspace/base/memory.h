// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_BASE_MEMORY_H_
#define NODEPORT_GUARD_BASE_MEMORY_H_

namespace npg::base {

// Makes all threads share one heap, from which large blocks stay out, so that what one thread has
// freed serves the others, and ReleaseUnusedMemory() finds it. Call it before there are threads.
void ShareHeap();

// Returns free heap to the kernel, after a start or a long list. Takes a few milliseconds.
// Never fails.
void ReleaseUnusedMemory();

}  // namespace npg::base

#endif  // NODEPORT_GUARD_BASE_MEMORY_H_
