// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_CORE_DESIRED_STATE_H_
#define NODEPORT_GUARD_CORE_DESIRED_STATE_H_

#include <cstdint>
#include <utility>
#include <vector>

#include "absl/container/btree_map.h"
#include "absl/container/btree_set.h"
#include "core/port.h"
#include "core/port_blocks.h"
#include "core/service_ref.h"

namespace npg::core {

// The entry of one port in the map `nodeports`.
struct PortEntry {
  uint32_t sources = 0;  // a bit for each, see abi::Bit()
  ServiceRef service;    // may be empty

  bool operator==(const PortEntry&) const = default;
};

using PortEntries = absl::btree_map<PortKey, PortEntry>;

PortBlocks BlocksOf(const PortEntries& entries);

// A change of the map `nodeports`. Idempotent: removing a missing entry is no error.
struct Difference {
  std::vector<std::pair<PortKey, PortEntry>> put;  // new or changed
  std::vector<PortKey> remove;

  bool empty() const { return put.empty() && remove.empty(); }
};

// The union of the sources' ports, and its difference from the map. A source without a
// reading keeps the entries of an earlier run, so that a restart loses nothing.
//
// Level-triggered: every reading of a source is complete, and the desired state depends
// only on the last one of each. Work and writes are proportional to the difference, but for
// the search for it: a walk over two sorted lists, or, if the source knows what it has changed,
// over those ports.
class DesiredState {
 public:
  // Takes over the entries of an earlier run for `sources` (bits). Entries of only other
  // sources become pending for removal. Call it first, if at all.
  void Adopt(const PortEntries& in_map, uint32_t sources);

  // Replaces the ports of the source of this bit.
  void Set(uint32_t bit, const PortSnapshot& snapshot);

  // The same, where `snapshot` differs from the last one of this bit in no other port than these.
  void Update(uint32_t bit, const PortSnapshot& snapshot, const std::vector<PortKey>& changed);

  // Adds to the ports of the source of this bit, without removing any: for a reading that may lack
  // some.
  void Add(uint32_t bit, const PortSnapshot& snapshot);

  // The desired entries of the map. If sources differ on the Service, that of the lowest
  // bit with a name counts.
  const PortEntries& Entries() const { return entries_; }

  // The difference between the map and Entries(): all changes since MarkApplied(). All of
  // it stays pending until the next MarkApplied(), also if parts were applied.
  Difference Pending() const;

  // Call it when all pending changes are in the map.
  void MarkApplied() { pending_.clear(); }

 private:
  // Recomputes the merged entry of `key`.
  void Merge(const PortKey& key);

  absl::btree_map<uint32_t, PortSnapshot> by_source_;
  PortEntries entries_;
  absl::btree_set<PortKey> pending_;
};

}  // namespace npg::core

#endif  // NODEPORT_GUARD_CORE_DESIRED_STATE_H_
