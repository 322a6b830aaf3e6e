// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_RULES_NFT_READER_H_
#define NODEPORT_GUARD_RULES_NFT_READER_H_

#include <linux/netlink.h>

#include <array>
#include <cstdint>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/netlink_socket.h"
#include "rules/evaluator.h"
#include "rules/rule.h"
#include "rules/rule_set.h"

namespace npg::rules {

// Reads rules of nf_tables, and ipsets, of this network namespace, piece by piece, as the
// evaluator reaches them. Never the guard's own table.
class NftReader : public RuleReader {
 public:
  // `own_table`: the name of the guard's table, of the family inet.
  // UNIMPLEMENTED: the kernel has no netfilter. PERMISSION_DENIED without CAP_NET_ADMIN.
  static absl::StatusOr<NftReader> Open(std::string own_table);

  // Into rules.SetBaseChains(). No nf_tables (loaded): none.
  absl::Status ReadBaseChains(RuleSet& rules);
  absl::Status ReadChain(const ChainName& chain, RuleSet& rules) override;
  absl::Status ReadSet(const TableId& table, const SetName& name, RuleSet& rules) override;

  // What ReadSet() puts for a set of nf_tables.
  absl::StatusOr<Set> ReadNftSet(const TableId& table, const std::string& name);

  // Of the rule set: changes with each transaction. (Not with ipsets.) No nf_tables (loaded): 0,
  // which the kernel does not use.
  absl::StatusOr<uint32_t> Generation();

 private:
  NftReader(base::NetlinkSocket socket, std::string own_table)
      : socket_(std::move(socket)), own_table_(std::move(own_table)) {}

  // A request for what is in a table or, with a `name`, in an object of that table, in `buffer_`.
  // nullptr: the kernel has no such object, because a name is longer than its names.
  nlmsghdr* Request(uint16_t type, uint16_t flags, const TableId& table, const std::string& name);

  base::NetlinkSocket socket_;
  std::string own_table_;
  // For the two names of up to 256 bytes. Reused: a large rule set has 30,000 chains.
  alignas(nlmsghdr) std::array<char, 1024> buffer_{};
};

}  // namespace npg::rules

#endif  // NODEPORT_GUARD_RULES_NFT_READER_H_
