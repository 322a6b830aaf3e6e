// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_TESTS_TESTING_STATUS_ASSERTS_H_
#define NODEPORT_GUARD_TESTS_TESTING_STATUS_ASSERTS_H_

#include <gtest/gtest.h>

#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace npg::testing {

inline absl::Status ToStatus(const absl::Status& status) { return status; }

template <typename T>
absl::Status ToStatus(const absl::StatusOr<T>& result) {
  return result.status();
}

// For ASSERT_PRED_FORMAT1: passes if a Status or StatusOr is OK, and prints it
// otherwise.
template <typename T>
::testing::AssertionResult IsOk(const char* expression, const T& result) {
  const absl::Status status = ToStatus(result);
  if (status.ok()) return ::testing::AssertionSuccess();
  return ::testing::AssertionFailure() << expression << ": " << status;
}

}  // namespace npg::testing

#define NPG_ASSERT_OK(expression) ASSERT_PRED_FORMAT1(::npg::testing::IsOk, expression)
#define NPG_EXPECT_OK(expression) EXPECT_PRED_FORMAT1(::npg::testing::IsOk, expression)

#define NPG_CONCAT_INNER_(a, b) a##b
#define NPG_CONCAT_(a, b) NPG_CONCAT_INNER_(a, b)
// NOLINTBEGIN(bugprone-macro-parentheses): declarations cannot stand in them.
#define NPG_ASSERT_OK_AND_ASSIGN_(result, declaration, expression) \
  auto result = (expression);                                      \
  ASSERT_PRED_FORMAT1(::npg::testing::IsOk, result);               \
  declaration = *std::move(result)
// NOLINTEND(bugprone-macro-parentheses)

// NPG_ASSERT_OK_AND_ASSIGN(const int x, Function()): fails the test if the
// StatusOr is not OK, else declares (or assigns) its value.
#define NPG_ASSERT_OK_AND_ASSIGN(declaration, expression) \
  NPG_ASSERT_OK_AND_ASSIGN_(NPG_CONCAT_(npg_result_, __LINE__), declaration, expression)

#endif  // NODEPORT_GUARD_TESTS_TESTING_STATUS_ASSERTS_H_
