// SPDX-License-Identifier: Apache-2.0
#include "bench/fleet_arithmetic.h"

#include <cstddef>

namespace npg::bench {
namespace {

constexpr double kHoursOfDay = 24;
constexpr double kSecondsOfDay = kHoursOfDay * 60 * 60;

}  // namespace

DayOfNode CostOfDay(const Messages& messages, const MessageBytes& bytes) {
  return {messages.lists + messages.watches,
          messages.lists * bytes.lists + messages.watches * bytes.watches +
              messages.bookmarks * bytes.bookmarks + messages.events * bytes.events +
              messages.other_events * bytes.other_events};
}

FleetLoad LoadOfFleet(const DayOfNode& day, size_t nodes) {
  const auto count = static_cast<double>(nodes);
  return {count * day.requests / kSecondsOfDay, count * day.bytes / kSecondsOfDay,
          count * day.bytes};
}

double MostEventRequests(double conflicts, int tries, double silence_hours) {
  return conflicts * (1 + 2 * tries) * kHoursOfDay / silence_hours;
}

}  // namespace npg::bench
