// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_RULES_OWNER_NAME_H_
#define NODEPORT_GUARD_RULES_OWNER_NAME_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/string_view.h"
#include "core/service_ref.h"
#include "rules/rule_set.h"
#include "rules/rule_store.h"

namespace npg::rules {

// A rule, or an element of the map that it looked up, which a packet matched on its way from the
// base chain; `parent` is the one before.
struct Way {
  const Way* parent = nullptr;
  RuleSet::ChainId chain = 0;
  uint32_t rule = 0;  // its index in the chain
  TextId comment = 0;
  TextId element_comment = 0;
  std::optional<RuleSet::ChainId> target = std::nullopt;  // of a jump or goto
  bool names = false;                                     // asked for the destination port
  bool named = false;                                     // this one or one before does
  size_t width = 0;  // how many ports are left by what asked for them so far; 65535: all
};

// The Service in the name of a chain of kube-proxy's nftables mode:
// "external-SUSTUHLJ-default/web/tcp/http" is of "default/web". Empty: none.
std::string ServiceOfChainName(absl::string_view chain);

// "nft table ip nat, chain X", for the owner of a port: printable, without a slash, which would
// make it look like a Service, and short enough for the map `nodeports`.
std::string OwnerOfChain(const ChainName& chain);

// The owners of ports, numbered.
class Owners {
 public:
  using Id = uint32_t;

  explicit Owners(const RuleSet::Store& store) : store_(store) {}

  // Of the ports that came this way. See Evaluation::taken.
  Id OwnerOf(const Way* way);
  bool IsService(Id id) const { return owners_[id].service; }
  const core::ServiceRef& ref(Id id) const { return owners_[id].ref; }

 private:
  struct Owner {
    core::ServiceRef ref;
    bool service = false;
  };

  std::optional<Id> ServiceOfText(TextId comment);
  std::optional<Id> ServiceOfTarget(RuleSet::ChainId chain);
  std::optional<Id> AddService(const std::string& service);
  Id Add(Owner owner);

  const RuleSet::Store& store_;
  std::vector<Owner> owners_;
  absl::flat_hash_map<TextId, std::optional<Id>> of_comments_;
  absl::flat_hash_map<RuleSet::ChainId, std::optional<Id>> of_targets_;
  absl::flat_hash_map<RuleSet::ChainId, Id> of_chains_;
};

}  // namespace npg::rules

#endif  // NODEPORT_GUARD_RULES_OWNER_NAME_H_
