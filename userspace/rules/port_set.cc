// SPDX-License-Identifier: Apache-2.0
#include "rules/port_set.h"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>

#include "absl/types/span.h"

namespace npg::rules {

PortSet PortSet::Of(uint16_t first, uint16_t last) {
  PortSet set;
  first = std::max<uint16_t>(first, 1);
  if (first <= last) set.ranges_.push_back({first, last});
  return set;
}

size_t PortSet::size() const {
  size_t ports = 0;
  for (const Range& range : ranges_) ports += size_t{range.last} - range.first + 1;
  return ports;
}

size_t PortSet::IndexOf(uint16_t port) const {
  const auto* const found =
      std::lower_bound(ranges_.begin(), ranges_.end(), port,
                       [](const Range& range, uint16_t wanted) { return range.last < wanted; });
  return static_cast<size_t>(found - ranges_.begin());
}

bool PortSet::Contains(uint16_t port) const {
  const size_t at = IndexOf(port);
  return at < ranges_.size() && ranges_[at].first <= port;
}

// std::copy() of ranges is one memmove(), which InlinedVector's own insert() and erase() are not.
void PortSet::Replace(size_t first, size_t last, absl::Span<const Range> with) {
  const size_t size = ranges_.size();
  const size_t new_size = size - (last - first) + with.size();
  if (new_size > size) ranges_.resize(new_size);
  const absl::Span<Range> all = absl::MakeSpan(ranges_);
  const absl::Span<Range> behind = all.subspan(last, size - last);
  const absl::Span<Range> to = all.subspan(first + with.size(), behind.size());
  if (to.data() > behind.data()) {
    std::copy_backward(behind.begin(), behind.end(), to.end());
  } else if (to.data() < behind.data()) {
    std::copy(behind.begin(), behind.end(), to.begin());
  }
  std::copy(with.begin(), with.end(), all.subspan(first, with.size()).begin());
  if (new_size < size) ranges_.resize(new_size);
}

void PortSet::Add(Range range) {
  range.first = std::max<uint16_t>(range.first, 1);
  if (range.first > range.last) return;
  // Ranges that touch become one.
  const size_t first = IndexOf(static_cast<uint16_t>(range.first - 1));
  size_t last = first;
  while (last < ranges_.size() && ranges_[last].first <= range.last + 1) ++last;
  if (first < last) {
    range.first = std::min(range.first, ranges_[first].first);
    range.last = std::max(range.last, ranges_[last - 1].last);
  }
  Replace(first, last, {&range, 1});
}

void PortSet::Add(const PortSet& other) {
  if (ranges_.empty()) {
    ranges_ = other.ranges_;
    return;
  }
  for (const Range& range : other.ranges_) Add(range);
}

void PortSet::Remove(Range range) {
  if (range.first > range.last) return;
  const size_t first = IndexOf(range.first);
  size_t last = first;
  while (last < ranges_.size() && ranges_[last].first <= range.last) ++last;
  if (first == last) return;
  std::array<Range, 2> rest;
  size_t count = 0;
  if (ranges_[first].first < range.first) {
    rest.at(count++) = {ranges_[first].first, static_cast<uint16_t>(range.first - 1)};
  }
  if (ranges_[last - 1].last > range.last) {
    rest.at(count++) = {static_cast<uint16_t>(range.last + 1), ranges_[last - 1].last};
  }
  Replace(first, last, absl::MakeConstSpan(rest).first(count));
}

void PortSet::Remove(const PortSet& other) {
  for (const Range& range : other.ranges_) Remove(range);
}

PortSet operator&(const PortSet& a, const PortSet& b) {
  const PortSet& few = a.ranges_.size() < b.ranges_.size() ? a : b;
  const PortSet& many = &few == &a ? b : a;
  PortSet both;
  for (const PortSet::Range& range : few.ranges_) {
    for (size_t i = many.IndexOf(range.first);
         i < many.ranges_.size() && many.ranges_[i].first <= range.last; ++i) {
      both.ranges_.push_back({std::max(range.first, many.ranges_[i].first),
                              std::min(range.last, many.ranges_[i].last)});
    }
  }
  return both;
}

}  // namespace npg::rules
