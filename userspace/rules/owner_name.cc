// SPDX-License-Identifier: Apache-2.0
#include "rules/owner_name.h"

#include <algorithm>
#include <cstddef>
#include <optional>
#include <string>
#include <utility>

#include "absl/container/inlined_vector.h"
#include "absl/strings/string_view.h"
#include "core/service_name.h"
#include "core/service_ref.h"
#include "rules/rule.h"
#include "rules/rule_set.h"
#include "rules/rule_store.h"

namespace npg::rules {
namespace {

// The map's value has 128 bytes, with a NUL.
constexpr size_t kMaxOwner = 127;

}  // namespace

std::string ServiceOfChainName(absl::string_view chain) {
  for (int dashes = 0; dashes < 2; ++dashes) {
    const size_t dash = chain.find('-');
    if (dash == absl::string_view::npos) return "";
    chain.remove_prefix(dash + 1);
  }
  const size_t slash = chain.find('/');
  if (slash == absl::string_view::npos) return "";
  const absl::string_view service = chain.substr(0, chain.find('/', slash + 1));
  return core::IsServiceName(service) ? std::string(service) : "";
}

std::string OwnerOfChain(const ChainName& chain) {
  std::string text = core::OneLine(ToString(chain));
  std::replace(text.begin(), text.end(), '/', '.');
  if (text.size() > kMaxOwner) text.resize(kMaxOwner);
  return text;
}

Owners::Id Owners::Add(Owner owner) {
  owners_.push_back(std::move(owner));
  return static_cast<Id>(owners_.size() - 1);
}

std::optional<Owners::Id> Owners::AddService(const std::string& service) {
  if (service.empty()) return std::nullopt;
  return Add({core::ServiceRef(service), true});
}

std::optional<Owners::Id> Owners::ServiceOfText(TextId comment) {
  if (comment == 0) return std::nullopt;
  const auto [entry, added] = of_comments_.try_emplace(comment);
  if (added) entry->second = AddService(core::ServiceOfComment(store_.text(comment)));
  return entry->second;
}

std::optional<Owners::Id> Owners::ServiceOfTarget(RuleSet::ChainId chain) {
  const auto [entry, added] = of_targets_.try_emplace(chain);
  if (added) entry->second = AddService(ServiceOfChainName(store_.PlainNameOf(chain)));
  return entry->second;
}

Owners::Id Owners::OwnerOf(const Way* way) {
  absl::InlinedVector<const Way*, 8> rules;  // from the last to the one that named the port first
  size_t first = 0;
  for (; way != nullptr; way = way->parent) {
    rules.push_back(way);
    if (way->names) first = rules.size() - 1;
  }
  rules.resize(first + 1);
  for (size_t i = rules.size(); i-- > 0;) {
    if (const std::optional<Id> owner = ServiceOfText(rules[i]->element_comment)) return *owner;
    if (const std::optional<Id> owner = ServiceOfText(rules[i]->comment)) return *owner;
  }
  for (size_t i = rules.size(); i-- > 0;) {
    if (!rules[i]->target) continue;
    if (const std::optional<Id> owner = ServiceOfTarget(*rules[i]->target)) return *owner;
  }
  const RuleSet::ChainId chain = rules.back()->chain;
  const auto [entry, added] = of_chains_.try_emplace(chain);
  if (added) entry->second = Add({core::ServiceRef(OwnerOfChain(store_.NameOf(chain))), false});
  return entry->second;
}

}  // namespace npg::rules
