// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_TESTS_TESTING_PATHS_H_
#define NODEPORT_GUARD_TESTS_TESTING_PATHS_H_

#include <string>

#include "absl/strings/string_view.h"

// Paths of this build. Only paths.cc is compiled with them, so that all other objects
// are equal in every checkout and a compiler cache finds them.
namespace npg::testing {

// The file at `path` below the root of the source tree, such as "docs/operations.md".
std::string SourcePath(absl::string_view path);

// The file `name` of tests/testdata.
std::string TestdataPath(absl::string_view name);

// The nodeport-guard of this build.
std::string GuardBinary();

// The same program with shorter intervals (hurried_guard.cc).
std::string HurriedGuardBinary();

}  // namespace npg::testing

#endif  // NODEPORT_GUARD_TESTS_TESTING_PATHS_H_
