// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_CLI_BUILD_INFO_H_
#define NODEPORT_GUARD_CLI_BUILD_INFO_H_

#include "absl/strings/string_view.h"

namespace npg::cli {

// "0.1.0", and the commit it was built from ("unknown" outside a checkout).
absl::string_view Version();
absl::string_view Commit();

}  // namespace npg::cli

#endif  // NODEPORT_GUARD_CLI_BUILD_INFO_H_
