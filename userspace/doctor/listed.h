// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_DOCTOR_LISTED_H_
#define NODEPORT_GUARD_DOCTOR_LISTED_H_

#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace npg::doctor {

// The first of the items, and how many more there are. Equal neighbours (sockets of SO_REUSEPORT)
// are one.
std::string Listed(const std::vector<std::string>& items, absl::string_view separator);

}  // namespace npg::doctor

#endif  // NODEPORT_GUARD_DOCTOR_LISTED_H_
