// SPDX-License-Identifier: Apache-2.0
#include "testing/paths.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

namespace npg::testing {

std::string SourcePath(absl::string_view path) {
  return absl::StrCat(NPG_SOURCE_FOLDER, "/", path);
}

std::string TestdataPath(absl::string_view name) {
  return SourcePath(absl::StrCat("tests/testdata/", name));
}

std::string GuardBinary() { return NPG_GUARD_BINARY; }

std::string HurriedGuardBinary() { return NPG_HURRIED_GUARD_BINARY; }

}  // namespace npg::testing
