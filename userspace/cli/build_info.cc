// SPDX-License-Identifier: Apache-2.0
#include "cli/build_info.h"

#include "absl/strings/string_view.h"

namespace npg::cli {

// The build gives both to this file alone: a new commit compiles nothing else.
absl::string_view Version() { return NPG_VERSION; }
absl::string_view Commit() { return NPG_COMMIT; }

}  // namespace npg::cli
