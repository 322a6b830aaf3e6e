// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_BASE_MEMORY_H_
#define NODEPORT_GUARD_BASE_MEMORY_H_

#include <cstdint>
#include <istream>
#include <vector>

namespace npg::base {

// Addresses of this process, from `begin` up to `end`.
struct MemoryRange {
  uint64_t begin = 0;
  uint64_t end = 0;

  bool operator==(const MemoryRange&) const = default;
};

// The mappings in `smaps`, as /proc/PID/smaps has it, whose pages are all as
// they are in a file: private, read-only, and with no page of their own, be it
// in memory or swapped out.
std::vector<MemoryRange> CleanFileMappings(std::istream& smaps);

// Gives back to the kernel what a start or a long list has needed and the
// process goes on without: free heap, and the pages of programs and libraries
// that were read (relocation, start-up code, tables of TLS). The latter stay in
// the page cache for as long as there is room, come back by a minor fault when
// they are touched, and are reclaimed before anything that is mapped.
//
// Takes a few milliseconds. Never fails: what cannot be given back is kept.
void ReleaseUnusedMemory();

}  // namespace npg::base

#endif  // NODEPORT_GUARD_BASE_MEMORY_H_
