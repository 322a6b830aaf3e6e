// SPDX-License-Identifier: Apache-2.0
#include "core/desired_state.h"

#include <cstdint>
#include <utility>
#include <vector>

#include "core/port.h"
#include "core/port_blocks.h"
#include "core/service_ref.h"

namespace npg::core {
namespace {

// One step from a snapshot to its successor: a new or changed Service, or null for a
// removed port.
struct Step {
  PortKey key;
  const ServiceRef* service = nullptr;
};

// The steps from `before` to `after`; they point into `after`.
std::vector<Step> Steps(const PortSnapshot& before, const PortSnapshot& after) {
  std::vector<Step> steps;
  auto old = before.begin();
  for (const auto& [key, service] : after) {
    for (; old != before.end() && old->first < key; ++old) steps.push_back({old->first});
    const bool known = old != before.end() && old->first == key;
    // Also take an equal name with another text, so that the older text can be freed.
    if (!known || !old->second.Shares(service)) steps.push_back({key, &service});
    if (known) ++old;
  }
  for (; old != before.end(); ++old) steps.push_back({old->first});
  return steps;
}

}  // namespace

PortBlocks BlocksOf(const PortEntries& entries) {
  PortBlocks blocks;
  for (const auto& [key, entry] : entries) blocks.Add(key.port);
  return blocks;
}

void DesiredState::Adopt(const PortEntries& in_map, uint32_t sources) {
  entries_ = in_map;
  for (const auto& [key, entry] : in_map) {
    for (uint32_t bit = 1; bit != 0 && bit <= entry.sources; bit <<= 1) {
      if ((entry.sources & sources & bit) != 0) by_source_[bit][key] = entry.service;
    }
    Merge(key);
  }
}

void DesiredState::Set(uint32_t bit, const PortSnapshot& snapshot) {
  PortSnapshot& known = by_source_[bit];
  for (const Step& step : Steps(known, snapshot)) {
    if (step.service != nullptr) {
      known[step.key] = *step.service;
    } else {
      known.erase(step.key);
    }
    Merge(step.key);
  }
}

void DesiredState::Update(uint32_t bit, const PortSnapshot& snapshot,
                          const std::vector<PortKey>& changed) {
  PortSnapshot& known = by_source_[bit];
  for (const PortKey& key : changed) {
    const auto now = snapshot.find(key);
    if (now != snapshot.end()) {
      known[key] = now->second;
    } else {
      known.erase(key);
    }
    Merge(key);
  }
}

void DesiredState::Add(uint32_t bit, const PortSnapshot& snapshot) {
  PortSnapshot& known = by_source_[bit];
  for (const auto& [key, service] : snapshot) {
    known[key] = service;
    Merge(key);
  }
}

void DesiredState::Merge(const PortKey& key) {
  PortEntry merged;
  for (const auto& [bit, snapshot] : by_source_) {
    const auto it = snapshot.find(key);
    if (it == snapshot.end()) continue;
    merged.sources |= bit;
    if (merged.service.empty()) merged.service = it->second;
  }
  if (merged.sources == 0) {
    if (entries_.erase(key) > 0) pending_.insert(key);
    return;
  }
  PortEntry& entry = entries_[key];
  if (entry != merged) pending_.insert(key);
  entry = std::move(merged);
}

Difference DesiredState::Pending() const {
  Difference difference;
  for (const PortKey& key : pending_) {
    const auto it = entries_.find(key);
    if (it == entries_.end()) {
      difference.remove.push_back(key);
    } else {
      difference.put.emplace_back(key, it->second);
    }
  }
  return difference;
}

}  // namespace npg::core
