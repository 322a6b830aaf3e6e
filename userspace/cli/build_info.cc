// SPDX-License-Identifier: Apache-2.0
#include "cli/build_info.h"

#include "absl/strings/string_view.h"

namespace npg::cli {

// The build defines both for this file only, so that a new commit recompiles one file.
absl::string_view Version() { return NPG_VERSION; }
absl::string_view Commit() { return NPG_COMMIT; }

}  // namespace npg::cli
