// SPDX-License-Identifier: Apache-2.0
#include "core/conflicts.h"

#include <algorithm>
#include <string>
#include <tuple>
#include <vector>

#include "core/desired_state.h"
#include "core/listener.h"

namespace npg::core {

std::vector<Conflict> FindConflicts(const PortEntries& ports,
                                    const std::vector<Listener>& listeners, const AddressSet& own) {
  std::vector<Conflict> conflicts;
  for (const Listener& listener : listeners) {
    const auto it = ports.find(listener.key);
    if (it == ports.end() || !ReachableOverLoopbackOr(own, listener)) continue;
    conflicts.push_back(
        {listener.key, it->second.sources, std::string(it->second.service.text()), listener});
  }
  std::stable_sort(conflicts.begin(), conflicts.end(), [](const Conflict& a, const Conflict& b) {
    return std::tie(a.key, a.listener.address) < std::tie(b.key, b.listener.address);
  });
  return conflicts;
}

}  // namespace npg::core
