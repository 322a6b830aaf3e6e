// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_SOURCES_MERGE_H_
#define NODEPORT_GUARD_SOURCES_MERGE_H_

#include "core/port.h"

namespace npg::sources {

// Adds `from` to `into`. If both have a port, the first non-empty Service stays.
inline void Merge(core::PortSnapshot& into, const core::PortSnapshot& from) {
  for (const auto& [key, service] : from) {
    auto& entry = into[key];
    if (entry.empty()) entry = service;
  }
}

}  // namespace npg::sources

#endif  // NODEPORT_GUARD_SOURCES_MERGE_H_
