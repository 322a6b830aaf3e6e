// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_BASE_PRINTABLE_H_
#define NODEPORT_GUARD_BASE_PRINTABLE_H_

#include <string>

#include "absl/strings/string_view.h"

namespace npg::base {

// `text` with everything escaped that a terminal would act on or could not
// show: control characters and what is not UTF-8. What is left is UTF-8.
std::string Printable(absl::string_view text);

}  // namespace npg::base

#endif  // NODEPORT_GUARD_BASE_PRINTABLE_H_
