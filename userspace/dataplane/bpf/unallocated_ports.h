// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_DATAPLANE_BPF_UNALLOCATED_PORTS_H_
#define NODEPORT_GUARD_DATAPLANE_BPF_UNALLOCATED_PORTS_H_

#include <cstdint>

#include "absl/status/status.h"
#include "absl/types/span.h"

namespace npg::dataplane {

// The map `unallocated`, a bitmap of the ports that are not in `nodeports`: the programs look for
// no other port there. A bit that is not set only costs time; one that is set by mistake would
// leave a NodePort unguarded. Hence the order of calls: Allocate() before an entry is added,
// Release() after one is removed. Does not own the descriptors.
class UnallocatedPorts {
 public:
  UnallocatedPorts(int map, int nodeports) : map_(map), nodeports_(nodeports) {}

  // Writes all of it from `nodeports`. Needed at a start: a controller of an earlier version,
  // which does not know the map, may have added entries.
  absl::Status Rebuild() const;
  absl::Status Allocate(absl::Span<const uint16_t> ports) const;
  // Does nothing while the other protocol has an entry.
  absl::Status Release(uint16_t port) const;

 private:
  int map_, nodeports_;
};

}  // namespace npg::dataplane

#endif  // NODEPORT_GUARD_DATAPLANE_BPF_UNALLOCATED_PORTS_H_
