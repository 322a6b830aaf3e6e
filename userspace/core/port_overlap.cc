// SPDX-License-Identifier: Apache-2.0
#include "core/port_overlap.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <utility>
#include <vector>

#include "core/port_ranges.h"

namespace npg::core {
namespace {

// Ranges of ports in a line that is still readable.
constexpr size_t kMaxAdvisedRanges = 16;

// A port for each second number from `first`, below `end`.
std::vector<uint16_t> EverySecond(uint32_t first, uint32_t end) {
  std::vector<uint16_t> ports;
  for (uint32_t port = first; port < end; port += 2) ports.push_back(static_cast<uint16_t>(port));
  return ports;
}

// The probability that the kernel assigns a port of `allocated`: it begins at a random one of
// `window` and takes the next that is not reserved, so a port behind reserved ones is picked more
// often. `window` has one that is not.
double ShareOf(const std::vector<uint16_t>& window, const std::vector<bool>& reserved,
               const std::vector<bool>& allocated) {
  size_t hits = 0;
  bool hit = false;
  // From the last to the first, twice: the first pass finds what follows the end of the window.
  for (int pass = 0; pass < 2; ++pass) {
    for (size_t i = window.size(); i-- > 0;) {
      if (!reserved[window[i]]) hit = allocated[window[i]];
      if (pass == 1 && hit) ++hits;
    }
  }
  return static_cast<double>(hits) / static_cast<double>(window.size());
}

// How a bind() to port 0 of a TCP socket picks (inet_csk_find_open_port() in
// net/ipv4/inet_connection_sock.c): with SO_REUSEADDR, which servers in C, Go and Java set, it
// tries the lower half of the range first, and there the odd offsets from the first port, because
// connect() prefers the even ones. Only when all of these are in use or reserved it goes on to the
// even offsets, and then to the upper half.
double AssignedShare(const PortRange& local, const std::vector<bool>& reserved,
                     const std::vector<bool>& allocated) {
  const uint32_t low = local.first;
  const uint32_t high = uint32_t{local.last} + 1;
  const uint32_t half = high - low < 4 ? high : low + (((high - low) >> 2) << 1);
  for (const std::vector<uint16_t>& window :
       {EverySecond(low + 1, half), EverySecond(low, half), EverySecond(half + 1, high),
        EverySecond(half, high)}) {
    const bool assignable =
        std::any_of(window.begin(), window.end(), [&](uint16_t port) { return !reserved[port]; });
    if (assignable) return ShareOf(window, reserved, allocated);
  }
  return 0;
}

std::vector<bool> ToBits(const PortRanges& ranges) {
  std::vector<bool> bits(kMaxPort + 1);
  for (const PortRange& range : ranges) {
    for (uint32_t port = range.first; port <= range.last; ++port) bits[port] = true;
  }
  return bits;
}

// The API server gives a Service a random one of the NodePorts that are free, of its whole range.
double NextServiceShare(const PortRanges& allocated, const PortRanges& listeners) {
  const PortRanges usual = Intersect(listeners, kUsualNodePorts);
  size_t taken = 0;
  for (const PortRange& range : usual) taken += CountPorts(Without(range, allocated));
  const size_t free = CountPorts(Without(kUsualNodePorts, allocated));
  return free == 0 ? 0 : static_cast<double>(taken) / static_cast<double>(free);
}

// The setting that keeps the ports `overlap`, which are not empty, from being assigned.
void Advise(const OverlapInput& input, const PortRanges& overlap, PortOverlap& judged) {
  const size_t left = judged.automatic - judged.allocated;
  if (LeavesTooFew(judged.automatic, left)) {
    judged.advice = OverlapAdvice::kMoveRange;
    judged.ranges = RangeBeside(input.local, {overlap.front().first, overlap.back().last});
    if (judged.ranges.empty()) return;
    judged.cost = judged.automatic - CountPorts(Without(judged.ranges.front(), input.reserved));
    return;
  }
  judged.cost = judged.allocated;
  PortRanges all = input.reserved;
  all.insert(all.end(), overlap.begin(), overlap.end());
  all = Merged(all);
  if (all.size() > kMaxAdvisedRanges) {
    judged.advice = OverlapAdvice::kReserveFlag;
    return;
  }
  judged.advice = OverlapAdvice::kReserve;
  judged.ranges = std::move(all);
}

}  // namespace

PortOverlap JudgeOverlap(const OverlapInput& input) {
  PortOverlap judged;
  judged.local = input.local;
  const PortRanges automatic = Without(input.local, input.reserved);
  judged.automatic = CountPorts(automatic);
  judged.usual = CountPorts(Intersect(automatic, kUsualNodePorts));
  const PortRanges allocated = ToRanges(input.allocated);
  PortRanges overlap;
  for (const PortRange& range : automatic) {
    const PortRanges both = Intersect(allocated, range);
    overlap.insert(overlap.end(), both.begin(), both.end());
  }
  judged.allocated = CountPorts(overlap);
  // One port may have several listeners: on addresses of their own, or with SO_REUSEPORT. The
  // kernel assigned it once.
  std::vector<uint16_t> listeners;
  std::copy_if(input.listeners.begin(), input.listeners.end(), std::back_inserter(listeners),
               [&](uint16_t port) { return Contains({input.local}, port); });
  const PortRanges assigned = ToRanges(listeners);
  judged.listeners = CountPorts(assigned);
  judged.next_service = NextServiceShare(allocated, assigned);
  if (overlap.empty()) return judged;
  const double share = AssignedShare(input.local, ToBits(input.reserved), ToBits(allocated));
  judged.collision = 1 - std::pow(1 - share, static_cast<double>(judged.listeners));
  Advise(input, overlap, judged);
  return judged;
}

PortRanges RangeBeside(const PortRange& local, const PortRange& nodeports) {
  PortRanges widest;
  for (const PortRange& range : Without(local, {nodeports})) {
    const size_t count = CountPorts({range});
    if (count < kFewestAutomaticPorts) continue;
    if (widest.empty() || count > CountPorts(widest)) widest = {range};
  }
  return widest;
}

}  // namespace npg::core
