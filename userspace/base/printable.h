// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_BASE_PRINTABLE_H_
#define NODEPORT_GUARD_BASE_PRINTABLE_H_

#include <string>

#include "absl/strings/string_view.h"

namespace npg::base {

// `text` with everything escaped that a terminal or a browser would act on or could
// not show: control characters, marks that reorder what stands around them, and what
// is not UTF-8. What is left is UTF-8, on one line. Any process can choose its own
// name; it is not to command the terminal of whoever reads it.
std::string Printable(absl::string_view text);

// `text` for an error message: printable, in quotes, cut to 64 bytes.
std::string Quoted(absl::string_view text);

}  // namespace npg::base

#endif  // NODEPORT_GUARD_BASE_PRINTABLE_H_
