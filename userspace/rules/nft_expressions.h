// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_RULES_NFT_EXPRESSIONS_H_
#define NODEPORT_GUARD_RULES_NFT_EXPRESSIONS_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "rules/nft_attributes.h"
#include "rules/nft_registers.h"
#include "rules/rule.h"

namespace npg::rules {

// Follows the expressions of one rule of nf_tables in the order in which the kernel runs them
// (net/netfilter/nf_tables_core.c), with fields of the packet in the registers instead of values,
// and appends the steps to `rule`. The bytes must outlive it.
class NftExpressions {
 public:
  // `family`: the table's.
  NftExpressions(uint8_t family, Rule& rule);

  // One element of NFTA_RULE_EXPRESSIONS. One that is not known, or is damaged, becomes a Verdict
  // kDivert that names it: it could end the rule, or change anything.
  void Run(absl::string_view name, absl::string_view data);

  // What follows is never run.
  bool ended() const { return ended_; }

 private:
  // False: damaged.
  using Handler = bool (NftExpressions::*)(const NftAttributes& attributes);
  struct Entry {
    absl::string_view name;
    Handler handler = nullptr;
  };
  // nullopt: the expression is not known.
  static std::optional<Handler> HandlerOf(absl::string_view name);

  // Loads (nft_loads.cc).
  bool Meta(const NftAttributes& attributes);
  bool Payload(const NftAttributes& attributes);
  bool Conntrack(const NftAttributes& attributes);
  bool Fib(const NftAttributes& attributes);
  bool ExtensionHeader(const NftAttributes& attributes);
  bool Inner(const NftAttributes& attributes);
  bool Socket(const NftAttributes& attributes);
  bool OsFingerprint(const NftAttributes& attributes);
  bool Route(const NftAttributes& attributes);
  bool Xfrm(const NftAttributes& attributes);
  bool Tunnel(const NftAttributes& attributes);
  bool NumberGenerator(const NftAttributes& attributes);
  bool Hash(const NftAttributes& attributes);
  bool SetMeta(const NftAttributes& attributes);
  bool SetPayload(const NftAttributes& attributes);
  bool LoadUnknown(std::optional<uint32_t> destination, size_t size, absl::string_view name);
  void LoadHeader(uint32_t header, uint32_t offset, uint8_t size, uint8_t start);
  void LoadHeaderGap(uint32_t header, size_t offset, size_t size, size_t start);

  // Tests, and what changes registers (nft_tests.cc).
  bool Compare(const NftAttributes& attributes);
  bool Range(const NftAttributes& attributes);
  bool Bitwise(const NftAttributes& attributes);
  bool Byteorder(const NftAttributes& attributes);
  bool Lookup(const NftAttributes& attributes);
  void ComparePiece(const NftRegisters::Piece& piece, absl::string_view data, uint32_t op);
  void CompareEtherType(uint64_t type, bool negated);
  // `values`: none is never. Ends the rule if it holds for no packet.
  void AddTest(const Operand& operand, std::optional<Interval> values, bool negated);
  bool NarrowLastTest(const Operand& operand, const Interval& accepted);
  void AddOpenTest(Field field, absl::string_view unknown);

  // Statements (nft_statements.cc).
  bool Immediate(const NftAttributes& attributes);
  bool Nat(const NftAttributes& attributes);
  bool Redirect(const NftAttributes& attributes);
  bool ObjectReference(const NftAttributes& attributes);
  bool Dynset(const NftAttributes& attributes);
  bool Match(const NftAttributes& attributes);
  bool Target(const NftAttributes& attributes);
  bool Reject(const NftAttributes& attributes);
  bool Untracked(const NftAttributes& attributes);
  bool Limited(const NftAttributes& attributes);
  bool Queue(const NftAttributes& attributes);
  bool Tproxy(const NftAttributes& attributes);
  bool Forward(const NftAttributes& attributes);
  bool Synproxy(const NftAttributes& attributes);
  void End(Verdict verdict);
  bool Divert(absl::string_view unknown);
  // Fills `value`, or `offset` in the data of a map. False: neither is known.
  bool NatValues(std::optional<uint32_t> min, std::optional<uint32_t> max,
                 std::optional<Interval>& value, int8_t& offset) const;
  std::optional<Value> ConstantIn(std::optional<uint32_t> number) const;

  uint8_t network_family_;  // 0: not known at this place of the rule
  Rule& rule_;
  NftRegisters registers_;
  bool ended_ = false;
};

// The verdict in NFTA_DATA_VERDICT; kDivert for codes that are not known. NFT_BREAK is
// `breaks`: the rule ends there.
Verdict DecodeNftVerdict(absl::string_view data, bool& breaks);

}  // namespace npg::rules

#endif  // NODEPORT_GUARD_RULES_NFT_EXPRESSIONS_H_
