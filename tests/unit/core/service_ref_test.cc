// SPDX-License-Identifier: Apache-2.0
#include "core/service_ref.h"

#include <compare>
#include <string>
#include <utility>

#include "absl/strings/string_view.h"
#include "gtest/gtest.h"

namespace npg::core::service_ref_test {
namespace {

TEST(ServiceRef, EmptyInEveryWay) {
  for (const ServiceRef& ref : {ServiceRef(), ServiceRef(""), ServiceRef(absl::string_view()),
                                ServiceRef(absl::string_view("\0x", 2))}) {
    EXPECT_TRUE(ref.empty());
    EXPECT_EQ(ref.text(), "");
    EXPECT_EQ(ref, ServiceRef());
  }
}

TEST(ServiceRef, OwnsItsText) {
  std::string text = "shop/web";
  const ServiceRef ref = text;
  text = "another";
  EXPECT_EQ(ref, "shop/web");
  EXPECT_FALSE(ref.empty());
  EXPECT_EQ(ref.text().size(), 8U);
  EXPECT_EQ(ref.text().data()[8], '\0');
}

TEST(ServiceRef, ATextEndsAtItsFirstNul) {
  EXPECT_EQ(ServiceRef(absl::string_view("a/b\0junk", 8)), "a/b");
}

TEST(ServiceRef, CopiesShareAndOutliveEachOther) {
  ServiceRef copy;
  {
    const ServiceRef ref = "shop/web";
    copy = ref;
    EXPECT_TRUE(copy.Shares(ref));
  }
  EXPECT_EQ(copy, "shop/web");
  const ServiceRef moved = std::move(copy);
  EXPECT_EQ(moved, "shop/web");
  EXPECT_FALSE(moved.Shares(ServiceRef("shop/web")));
}

TEST(ServiceRef, ComparesByText) {
  const ServiceRef a = "a/a";
  const ServiceRef same = "a/a";
  const ServiceRef b = "a/b";
  EXPECT_EQ(a, same);
  EXPECT_NE(a, b);
  EXPECT_EQ(a <=> a, std::strong_ordering::equal);
  EXPECT_EQ(a <=> same, std::strong_ordering::equal);
  EXPECT_LT(a, b);
  EXPECT_GT(b, a);
  EXPECT_LT(ServiceRef(), a);
  EXPECT_LT(ServiceRef("a"), a);
}

TEST(ServiceRef, Prints) { EXPECT_EQ(::testing::PrintToString(ServiceRef("a/b")), "a/b"); }

}  // namespace
}  // namespace npg::core::service_ref_test
