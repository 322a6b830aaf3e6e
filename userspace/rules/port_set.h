// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_RULES_PORT_SET_H_
#define NODEPORT_GUARD_RULES_PORT_SET_H_

#include <cstddef>
#include <cstdint>

#include "absl/container/inlined_vector.h"
#include "absl/types/span.h"

namespace npg::rules {

// A set of port numbers, 1 to 65535, host order, as sorted ranges that do not touch each other.
// Adding or removing one range costs a binary search and a move of the ranges behind it.
class PortSet {
 public:
  struct Range {
    uint16_t first = 0;
    uint16_t last = 0;  // inclusive
    bool operator==(const Range&) const = default;
  };

  PortSet() = default;
  static PortSet All() { return Of(1, 65535); }
  static PortSet Of(uint16_t first, uint16_t last);  // empty if first > last; 0 is left out
  static PortSet Of(uint16_t port) { return Of(port, port); }

  bool empty() const { return ranges_.empty(); }
  void Clear() { ranges_.clear(); }
  size_t size() const;  // in ports
  bool Contains(uint16_t port) const;
  absl::Span<const Range> ranges() const { return ranges_; }

  void Add(Range range);
  void Add(const PortSet& other);
  void Remove(Range range);
  void Remove(const PortSet& other);

  friend PortSet operator&(const PortSet& a, const PortSet& b);
  bool operator==(const PortSet&) const = default;

 private:
  // The first range that ends at `port` or behind it.
  size_t IndexOf(uint16_t port) const;
  // Puts ranges in the place of those from `first` up to, not including, `last`.
  void Replace(size_t first, size_t last, absl::Span<const Range> with);

  absl::InlinedVector<Range, 4> ranges_;
};

PortSet operator&(const PortSet& a, const PortSet& b);

}  // namespace npg::rules

#endif  // NODEPORT_GUARD_RULES_PORT_SET_H_
