// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_CORE_DESIRED_STATE_H_
#define NODEPORT_GUARD_CORE_DESIRED_STATE_H_

#include <cstdint>
#include <utility>
#include <vector>

#include "absl/container/btree_map.h"
#include "absl/container/btree_set.h"
#include "core/port.h"
#include "core/service_ref.h"

namespace npg::core {

// What the nodeports map says of one port.
struct PortEntry {
  uint32_t sources = 0;  // a bit for each, see abi::Bit()
  ServiceRef service;    // may be empty

  bool operator==(const PortEntry&) const = default;
};

using PortEntries = absl::btree_map<PortKey, PortEntry>;

// What is to be done to the nodeports map. Doing it twice is no different from
// doing it once, and removing what is not there no error.
struct Difference {
  std::vector<std::pair<PortKey, PortEntry>> put;  // new or changed
  std::vector<PortKey> remove;

  bool empty() const { return put.empty() && remove.empty(); }
};

// The union of what the sources say, and what of it the map does not have yet.
// A source that has not spoken yet keeps what an earlier run had entered in its
// name: a restart forgets nothing.
//
// Level-triggered: a source states all it knows each time, and what is desired
// depends only on what each said last. The work and the writes are
// those of what differs, though: with ten thousand ports, one that comes or goes
// costs a walk over two sorted lists and one map entry.
class DesiredState {
 public:
  // Takes over what an earlier run left in the map, for the sources in `sources`
  // (bits). What it left for others only is pending to be removed.
  // To be called first, if at all.
  void Adopt(const PortEntries& in_map, uint32_t sources);

  // Replaces all that the source of this bit wants.
  void Set(uint32_t bit, const PortSnapshot& snapshot);

  // What should be in the map. Where sources differ on the Service, the lowest
  // bit that names one wins.
  const PortEntries& Entries() const { return entries_; }

  // What the map needs to become Entries(): all that has changed since
  // MarkApplied(). Stays pending, whatever part of it was done, until then.
  Difference Pending() const;

  // All that was pending is in the map.
  void MarkApplied() { pending_.clear(); }

 private:
  // Makes the merged entry of `key` what the sources say.
  void Merge(const PortKey& key);

  absl::btree_map<uint32_t, PortSnapshot> by_source_;
  PortEntries entries_;
  absl::btree_set<PortKey> pending_;
};

}  // namespace npg::core

#endif  // NODEPORT_GUARD_CORE_DESIRED_STATE_H_
