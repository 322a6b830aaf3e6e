// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <cstddef>
#include <string>
#include <vector>

#include "doctor/finding.h"
#include "testing/testdata.h"

namespace npg::doctor::doctor_docs_test {
namespace {

// The page has a row for each finding, in order, and for nothing else.
TEST(DoctorDocsTest, EveryFindingHasARow) {
  const std::string page = testing::ReadSource("docs/doctor.md");
  std::vector<std::string> rows, kinds;
  size_t at = 0;
  while ((at = page.find("\n| `", at)) != std::string::npos) {
    at += 4;
    rows.push_back(page.substr(at, page.find('`', at) - at));
  }
  for (const FindingKind& kind : kFindingKinds) kinds.emplace_back(kind.name);
  EXPECT_EQ(rows, kinds);
}

}  // namespace
}  // namespace npg::doctor::doctor_docs_test
