// SPDX-License-Identifier: Apache-2.0
#include "core/port_ranges.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "base/decimal.h"

namespace npg::core {
namespace {

std::optional<uint16_t> EndOfRange(absl::string_view text) {
  const std::optional<uint32_t> port = base::ParseDecimal<uint32_t>(text);
  if (!port || *port > kMaxPort) return std::nullopt;
  return static_cast<uint16_t>(*port);
}

}  // namespace

PortRanges Merged(PortRanges ranges) {
  const auto before = [](const PortRange& a, const PortRange& b) { return a.first < b.first; };
  // Most are: to sort them anyway would take most of the time of all functions here.
  if (!std::is_sorted(ranges.begin(), ranges.end(), before)) {
    std::sort(ranges.begin(), ranges.end(), before);
  }
  PortRanges merged;
  for (const PortRange& range : ranges) {
    if (!merged.empty() && uint32_t{range.first} <= uint32_t{merged.back().last} + 1) {
      merged.back().last = std::max(merged.back().last, range.last);
    } else {
      merged.push_back(range);
    }
  }
  return merged;
}

absl::StatusOr<PortRanges> ParsePortRanges(absl::string_view text) {
  PortRanges ranges;
  text = absl::StripAsciiWhitespace(text);
  if (text.empty()) return ranges;
  for (const absl::string_view part : absl::StrSplit(text, ',')) {
    const size_t dash = part.find('-');
    // The kernel may reserve port 0, too.
    const std::optional<uint16_t> first = EndOfRange(part.substr(0, dash));
    const std::optional<uint16_t> last =
        dash == absl::string_view::npos ? first : EndOfRange(part.substr(dash + 1));
    if (!first || !last || *first > *last) {
      return absl::InvalidArgumentError(absl::StrCat("\"", part, "\" is no range of ports"));
    }
    ranges.push_back({*first, *last});
  }
  return Merged(std::move(ranges));
}

std::string PortRangesText(const PortRanges& ranges) {
  return absl::StrJoin(Merged(ranges), ",", [](std::string* out, const PortRange& range) {
    absl::StrAppend(out, range.first);
    if (range.last != range.first) absl::StrAppend(out, "-", range.last);
  });
}

bool Contains(const PortRanges& ranges, uint16_t port) {
  return std::any_of(ranges.begin(), ranges.end(), [port](const PortRange& range) {
    return range.first <= port && port <= range.last;
  });
}

PortRanges Without(const PortRange& range, const PortRanges& but) {
  PortRanges rest;
  uint32_t next = range.first;
  for (const PortRange& hole : Merged(but)) {
    if (hole.last < next) continue;
    if (hole.first > range.last) break;
    if (hole.first > next) {
      rest.push_back({static_cast<uint16_t>(next), static_cast<uint16_t>(hole.first - 1)});
    }
    next = uint32_t{hole.last} + 1;
  }
  if (next <= range.last) rest.push_back({static_cast<uint16_t>(next), range.last});
  return rest;
}

PortRanges Intersect(const PortRanges& a, const PortRange& b) {
  PortRanges both;
  for (const PortRange& range : Merged(a)) {
    const uint16_t first = std::max(range.first, b.first);
    const uint16_t last = std::min(range.last, b.last);
    if (first <= last) both.push_back({first, last});
  }
  return both;
}

PortRanges Intersect(const PortRanges& a, const PortRanges& b) {
  const PortRanges left = Merged(a);
  const PortRanges right = Merged(b);
  PortRanges both;
  for (size_t i = 0, j = 0; i < left.size() && j < right.size();) {
    const uint16_t first = std::max(left[i].first, right[j].first);
    const uint16_t last = std::min(left[i].last, right[j].last);
    if (first <= last) both.push_back({first, last});
    // The one that ends first has nothing in common with what follows.
    ++(left[i].last < right[j].last ? i : j);
  }
  return both;
}

PortRanges Without(const PortRanges& a, const PortRanges& but) {
  return Intersect(a, Without(PortRange{0, kMaxPort}, but));
}

PortRanges Union(const PortRanges& a, const PortRanges& b) {
  PortRanges all = a;
  all.insert(all.end(), b.begin(), b.end());
  return Merged(std::move(all));
}

size_t CountPorts(const PortRanges& ranges) {
  size_t count = 0;
  for (const PortRange& range : Merged(ranges)) count += size_t{range.last} - range.first + 1;
  return count;
}

PortRanges Coarse(const PortRanges& ranges, size_t most) {
  PortRanges merged = Merged(ranges);
  most = std::max<size_t>(most, 1);
  if (merged.size() <= most) return merged;
  PortRanges gaps;
  for (size_t i = 1; i < merged.size(); ++i) gaps.push_back({merged[i - 1].last, merged[i].first});
  std::sort(gaps.begin(), gaps.end(), [](const PortRange& a, const PortRange& b) {
    return a.last - a.first < b.last - b.first;
  });
  gaps.resize(merged.size() - most);
  gaps.insert(gaps.end(), merged.begin(), merged.end());
  return Merged(std::move(gaps));
}

PortRanges ToRanges(const std::vector<uint16_t>& ports) {
  PortRanges ranges;
  ranges.reserve(ports.size());
  for (const uint16_t port : ports) ranges.push_back({port, port});
  return Merged(std::move(ranges));
}

bool LeavesTooFew(size_t before, size_t left) {
  return left < std::min(kFewestAutomaticPorts, before / 2);
}

}  // namespace npg::core
