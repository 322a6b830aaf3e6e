// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_BASE_PRINTABLE_H_
#define NODEPORT_GUARD_BASE_PRINTABLE_H_

#include <string>

#include "absl/strings/string_view.h"

namespace npg::base {

// Escapes everything in `text` that a terminal or a browser interprets or cannot show:
// control characters, marks that reorder the text around them, and invalid UTF-8. The
// result is UTF-8 on one line. A process can choose its name, which must not control the
// terminal of a reader.
std::string Printable(absl::string_view text);

// `text` for an error message: printable, in quotes, truncated to 64 bytes.
std::string Quoted(absl::string_view text);

}  // namespace npg::base

#endif  // NODEPORT_GUARD_BASE_PRINTABLE_H_
