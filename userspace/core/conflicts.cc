// SPDX-License-Identifier: Apache-2.0
#include "core/conflicts.h"

#include <algorithm>
#include <string>
#include <tuple>
#include <vector>

#include "absl/functional/function_ref.h"
#include "core/desired_state.h"
#include "core/listener.h"
#include "core/owner_policy.h"

namespace npg::core {

std::vector<Conflict> FindConflicts(const PortEntries& ports,
                                    const std::vector<Listener>& listeners, const AddressSet& own,
                                    const PortHistories& histories,
                                    absl::FunctionRef<OwnerVerdict(const Listener&)> judge) {
  std::vector<Conflict> conflicts;
  for (const Listener& listener : listeners) {
    const auto it = ports.find(listener.key);
    if (it == ports.end() || !ReachableOverLoopbackOr(own, listener)) continue;
    const OwnerVerdict verdict = judge(listener);
    if (verdict == OwnerVerdict::kNoListener) continue;
    const auto history = histories.find(listener.key);
    conflicts.push_back({listener.key, it->second.sources, std::string(it->second.service.text()),
                         listener, verdict,
                         history == histories.end() ? PortHistory() : history->second});
  }
  std::stable_sort(conflicts.begin(), conflicts.end(), [](const Conflict& a, const Conflict& b) {
    return std::tie(a.key, a.listener.address) < std::tie(b.key, b.listener.address);
  });
  return conflicts;
}

}  // namespace npg::core
