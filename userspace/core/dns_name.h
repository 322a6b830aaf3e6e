// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_CORE_DNS_NAME_H_
#define NODEPORT_GUARD_CORE_DNS_NAME_H_

#include <cstddef>

#include "absl/strings/string_view.h"

namespace npg::core {

// The maximum length of a label and of a name in DNS.
inline constexpr size_t kMaxDnsLabel = 63;
inline constexpr size_t kMaxDnsName = 253;

// True for 1 to `max` letters, digits, '-', '_' and '.': safe in terminals, logs and URLs,
// whether or not valid in DNS.
bool IsNameText(absl::string_view text, size_t max);

// True for a label of RFC 1123 and Kubernetes: lower-case letters, digits and, not at the
// ends, '-'.
bool IsDnsLabel(absl::string_view text);

// True for a host name in any case; also allows '_', which some have.
bool IsHostName(absl::string_view text);

}  // namespace npg::core

#endif  // NODEPORT_GUARD_CORE_DNS_NAME_H_
