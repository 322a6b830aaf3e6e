// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_CORE_DESIRED_STATE_H_
#define NODEPORT_GUARD_CORE_DESIRED_STATE_H_

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/btree_map.h"
#include "core/port.h"

namespace npg::core {

// What the nodeports map says of one port.
struct PortEntry {
  uint32_t sources = 0;  // npg_source bits
  std::string service;   // "namespace/name", may be empty

  bool operator==(const PortEntry&) const = default;
};

using PortEntries = absl::btree_map<PortKey, PortEntry>;

// The union of what the sources say. A source that has not spoken yet keeps
// what an earlier run had entered in its name: a restart forgets nothing.
class DesiredState {
 public:
  // Takes over the entries of an earlier run, for the sources in `sources`
  // (npg_source bits). Entries of other sources are dropped.
  void Adopt(const PortEntries& entries, uint32_t sources);

  // Replaces all that the source `bit` (one npg_source) wants.
  void Set(uint32_t bit, PortSnapshot snapshot);

  // What should be in the map. Where sources differ on the Service, the lowest
  // bit that names one wins.
  PortEntries Entries() const;

 private:
  absl::btree_map<uint32_t, PortSnapshot> by_source_;
};

// What turns `applied` into `desired`.
struct Difference {
  std::vector<std::pair<PortKey, PortEntry>> put;  // new or changed
  std::vector<PortKey> remove;

  bool empty() const { return put.empty() && remove.empty(); }
};

Difference Diff(const PortEntries& applied, const PortEntries& desired);

}  // namespace npg::core

#endif  // NODEPORT_GUARD_CORE_DESIRED_STATE_H_
