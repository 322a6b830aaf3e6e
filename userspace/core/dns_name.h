// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_CORE_DNS_NAME_H_
#define NODEPORT_GUARD_CORE_DNS_NAME_H_

#include <cstddef>

#include "absl/strings/string_view.h"

namespace npg::core {

// What one label, and what a whole name has at most in DNS.
inline constexpr size_t kMaxDnsLabel = 63;
inline constexpr size_t kMaxDnsName = 253;

// True for 1 to `max` letters, digits, '-', '_' and '.': what no terminal, log or
// URL is surprised by, whether or not DNS would take it.
bool IsNameText(absl::string_view text, size_t max);

// True for a label as RFC 1123 and Kubernetes want it: lower-case letters, digits and,
// not at the ends, '-'.
bool IsDnsLabel(absl::string_view text);

// True for the name of a host, in any case; '_' is let through, which some have.
bool IsHostName(absl::string_view text);

}  // namespace npg::core

#endif  // NODEPORT_GUARD_CORE_DNS_NAME_H_
