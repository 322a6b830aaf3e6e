// SPDX-License-Identifier: Apache-2.0
#include "core/desired_state.h"

#include <cstdint>
#include <utility>

#include "core/port.h"

namespace npg::core {

void DesiredState::Adopt(const PortEntries& entries, uint32_t sources) {
  for (const auto& [key, entry] : entries) {
    for (uint32_t bit = 1; bit != 0 && bit <= entry.sources; bit <<= 1) {
      if ((entry.sources & sources & bit) != 0) by_source_[bit][key] = entry.service;
    }
  }
}

void DesiredState::Set(uint32_t bit, PortSnapshot snapshot) {
  by_source_[bit] = std::move(snapshot);
}

PortEntries DesiredState::Entries() const {
  PortEntries entries;
  for (const auto& [bit, snapshot] : by_source_) {
    for (const auto& [key, service] : snapshot) {
      PortEntry& entry = entries[key];
      entry.sources |= bit;
      if (entry.service.empty()) entry.service = service;
    }
  }
  return entries;
}

Difference Diff(const PortEntries& applied, const PortEntries& desired) {
  Difference difference;
  for (const auto& [key, entry] : desired) {
    const auto it = applied.find(key);
    if (it == applied.end() || it->second != entry) difference.put.emplace_back(key, entry);
  }
  for (const auto& [key, entry] : applied) {
    if (!desired.contains(key)) difference.remove.push_back(key);
  }
  return difference;
}

}  // namespace npg::core
