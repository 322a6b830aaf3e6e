// SPDX-License-Identifier: Apache-2.0
#include "core/bind_facts.h"

#include <cstdint>
#include <vector>

#include "core/port.h"

namespace npg::core {

uint32_t RefusableFamilies(const std::vector<const BindFacts*>& facts, const PortKey& key) {
  uint32_t families = 0;
  for (const BindFacts* const one : facts) {
    if (one->shared.contains(key)) return 0;
    if (const auto known = one->refusable.find(key); known != one->refusable.end()) {
      families |= known->second;
    }
  }
  return families;
}

}  // namespace npg::core
