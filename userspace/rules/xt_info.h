// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_RULES_XT_INFO_H_
#define NODEPORT_GUARD_RULES_XT_INFO_H_

// glibc's in.h must precede linux/in.h, which then omits its own definitions.
#include <netinet/in.h>

#include <linux/netfilter.h>
#include <linux/netfilter/x_tables.h>

#include <cstdint>
#include <cstring>
#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/string_view.h"
#include "rules/rule.h"

// For the decoders of extensions: see xt_extensions.h.

namespace npg::rules {

// A match or a target of a rule.
struct XtExtension {
  uint8_t family = 0;
  absl::string_view name;
  uint32_t revision = 0;
  absl::string_view info;
};

// The kernel's structure in the bytes of an extension, which the kernel pads to XT_ALIGN
// (net/netfilter/nft_compat.c: nft_extension_dump_info()). nullopt if they are of another size.
template <typename Info>
std::optional<Info> XtInfo(absl::string_view bytes) {
  if (bytes.size() != sizeof(Info) && bytes.size() != XT_ALIGN(sizeof(Info))) return std::nullopt;
  Info info;
  std::memcpy(&info, bytes.data(), sizeof(info));
  return info;
}

// Size and value of an address of `family`.
uint8_t XtAddressSize(uint8_t family);
Value XtAddress(uint8_t family, const nf_inet_addr& address);

inline Operand XtOperand(Field field, uint8_t size, Value mask = kAllBits) {
  Operand operand;
  operand.field = field;
  operand.size = size;
  operand.mask = mask;
  return operand;
}

inline Test XtTest(Operand operand, std::vector<Interval> intervals, bool negated) {
  Test test;
  test.operands.push_back(std::move(operand));
  test.negated = negated;
  test.intervals = std::move(intervals);
  return test;
}

// Holds if the connection's state is one of `states` (NF_CT_STATE_BIT and the like).
Test XtStateTest(uint32_t states, bool negated);

// Holds if conntrack has an entry for the packet.
Test XtTrackedTest();

// A condition that cannot be evaluated.
Test XtUnknownTest(absl::string_view what);

// Decoders of xt_conntrack.cc. nullopt: of a revision or size that is not known.
std::optional<std::vector<Step>> DecodeXtConntrack(const XtExtension& match);
std::optional<std::vector<Step>> DecodeXtState(const XtExtension& match);

}  // namespace npg::rules

#endif  // NODEPORT_GUARD_RULES_XT_INFO_H_
