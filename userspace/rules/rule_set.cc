// SPDX-License-Identifier: Apache-2.0
#include "rules/rule_set.h"

#include <netinet/in.h>
// After netinet/in.h, with which the kernel's headers agree only in this order.
#include <linux/netfilter.h>
#include <linux/netfilter_ipv4.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <memory>
#include <optional>
#include <tuple>
#include <utility>
#include <vector>

#include "core/listener.h"
#include "rules/connect.h"
#include "rules/rule.h"
#include "rules/rule_store.h"

namespace npg::rules {
namespace {

// Less garbage than this is not worth a copy.
constexpr size_t kMinForgotten = 1000;

// Sorts as the kernel calls them: (input, place, after others at this place, among themselves).
std::tuple<bool, int32_t, bool, int32_t> HookPlace(const BaseChain& base) {
  const int32_t place = base.nat ? int32_t{NF_IP_PRI_NAT_DST} : base.priority;
  return {base.hook == NF_INET_LOCAL_IN, place, base.nat, base.priority};
}

}  // namespace

RuleSet::RuleSet(std::vector<Connect> connects, const core::AddressSet& own)
    : store_(std::make_unique<Store>(std::move(connects), own)) {}

RuleSet::~RuleSet() = default;

const std::vector<Connect>& RuleSet::connects() const { return store_->connects(); }

void RuleSet::SetBaseChains(Engine engine, std::vector<BaseChain> bases) {
  store_->bases.at(static_cast<size_t>(engine)) = std::move(bases);
}

std::vector<BaseChain> RuleSet::base_chains() const {
  std::vector<BaseChain> all;
  for (const std::vector<BaseChain>& bases : store_->bases) {
    // net/netfilter/core.c, nf_hook_entries_grow(): of equal priorities, the last added is first.
    std::copy_if(bases.rbegin(), bases.rend(), std::back_inserter(all), [](const BaseChain& base) {
      return base.hook == NF_INET_LOCAL_OUT || base.hook == NF_INET_LOCAL_IN;
    });
  }
  std::stable_sort(all.begin(), all.end(), [](const BaseChain& a, const BaseChain& b) {
    return HookPlace(a) < HookPlace(b);
  });
  return all;
}

void RuleSet::BeginChain(const ChainName& chain) { store_->Begin(store_->FindOrAddChain(chain)); }

void RuleSet::Append(const ChainName& chain, const Rule& rule) {
  store_->Append(store_->FindOrAddChain(chain), rule);
}

bool RuleSet::HasRule(const ChainName& chain, uint64_t handle) const {
  const std::optional<ChainId> id = store_->FindChain(chain);
  return id && store_->FindRule(*id, handle);
}

bool RuleSet::Insert(const ChainName& chain, uint64_t after, const Rule& rule) {
  const ChainId id = store_->FindOrAddChain(chain);
  size_t at = 0;
  if (after != 0) {
    const std::optional<size_t> before = store_->FindRule(id, after);
    if (!before) return false;
    at = *before + 1;
  }
  store_->Insert(id, at, rule);
  return true;
}

void RuleSet::Remove(const ChainName& chain, uint64_t handle) {
  const std::optional<ChainId> id = store_->FindChain(chain);
  if (!id) return;
  if (const std::optional<size_t> at = store_->FindRule(*id, handle)) store_->Erase(*id, *at);
}

bool RuleSet::HasChain(const ChainName& chain) const {
  const std::optional<ChainId> id = store_->FindChain(chain);
  return id && store_->Known(*id);
}

void RuleSet::ForgetChain(const ChainName& chain) {
  if (const std::optional<ChainId> id = store_->FindChain(chain)) store_->Forget(*id);
}

void RuleSet::ForgetTable(const TableId& table) { store_->ForgetTable(table); }

void RuleSet::PutSet(const TableId& table, const SetName& name, Set set) {
  const SetId id = store_->FindOrAddSet(table, name);
  store_->PutSet(id, std::move(set));
}

bool RuleSet::HasSet(const TableId& table, const SetName& name) const {
  const std::optional<SetId> id = store_->FindSet(table, name);
  return id && store_->set(*id).known;
}

void RuleSet::ForgetSet(const TableId& table, const SetName& name) {
  if (const std::optional<SetId> id = store_->FindSet(table, name)) store_->ForgetSet(*id);
}

void RuleSet::ForgetIpSets() { store_->ForgetIpSets(); }

void RuleSet::Compact() {
  if (store_->forgotten() < kMinForgotten + store_->rules() + store_->elements()) return;
  store_ = std::make_unique<Store>(*store_);
}

size_t RuleSet::rules() const { return store_->rules(); }

}  // namespace npg::rules
