// SPDX-License-Identifier: Apache-2.0
#include "base/memory.h"

#include <malloc.h>

namespace npg::base {
namespace {

// Without it, glibc raises these limits whenever a large block is freed, and keeps what lies below.
constexpr int kLargeBlock = 128 << 10;
constexpr int kKeptAtTop = 128 << 10;

}  // namespace

void ShareHeap() {
  mallopt(M_ARENA_MAX, 1);
  mallopt(M_MMAP_THRESHOLD, kLargeBlock);
  mallopt(M_TRIM_THRESHOLD, kKeptAtTop);
}

void ReleaseUnusedMemory() { malloc_trim(0); }

}  // namespace npg::base
