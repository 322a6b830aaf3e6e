// SPDX-License-Identifier: Apache-2.0
#include "rules/xt_info.h"

#include <arpa/inet.h>

#include <linux/netfilter.h>
#include <linux/netfilter/nf_conntrack_common.h>

#include <cstdint>
#include <string>
#include <utility>

#include "absl/numeric/int128.h"
#include "absl/strings/string_view.h"
#include "rules/rule.h"

namespace npg::rules {

uint8_t XtAddressSize(uint8_t family) { return family == NFPROTO_IPV6 ? 16 : 4; }

Value XtAddress(uint8_t family, const nf_inet_addr& address) {
  if (family != NFPROTO_IPV6) return ntohl(address.ip);
  Value value = 0;
  for (const uint32_t word : address.ip6) value = (value << 32) | ntohl(word);
  return value;
}

Test XtStateTest(uint32_t states, bool negated) {
  return XtTest(XtOperand(Field::kState, 4, states), {{.first = 0, .last = 0}}, !negated);
}

Test XtTrackedTest() {
  return XtStateTest(NF_CT_STATE_INVALID_BIT | NF_CT_STATE_UNTRACKED_BIT, true);
}

Test XtUnknownTest(absl::string_view what) {
  Operand operand = XtOperand(Field::kUnknown, 0);
  operand.unknown = std::string(what);
  return XtTest(std::move(operand), {}, false);
}

}  // namespace npg::rules
