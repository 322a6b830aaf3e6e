// SPDX-License-Identifier: Apache-2.0
#include "base/printable.h"

#include <gtest/gtest.h>

#include <string>

#include "absl/strings/escaping.h"
#include "absl/strings/string_view.h"

namespace npg::base::printable_test {
namespace {

TEST(PrintableTest, KeepsTextAndEscapesTheRest) {
  EXPECT_EQ(Printable("containerd"), "containerd");
  EXPECT_EQ(Printable("Grüße, 世界 😀"), "Grüße, 世界 😀");
  EXPECT_EQ(Printable("\xff\xc3"), "\\xff\\xc3");
  EXPECT_EQ(Printable("\xc2\x9b"), "\\xc2\\x9b") << "CSI as one character";
  EXPECT_EQ(Printable("\xc0\x80"), "\\xc0\\x80") << "overlong";
  EXPECT_EQ(Printable("\xed\xa0\x80"), "\\xed\\xa0\\x80") << "surrogate";
  EXPECT_EQ(Printable(absl::string_view("a\0b\n", 4)), "a\\x00b\\n");
}

TEST(PrintableTest, QuotedIsShort) {
  EXPECT_EQ(Quoted("x"), "\"x\"");
  EXPECT_EQ(Quoted(std::string(65, 'x')), "\"" + std::string(64, 'x') + "...\"");
}

// A process name with one of these would change the order of the text around it.
TEST(PrintableTest, EscapesCharactersThatReorderText) {
  for (const absl::string_view mark :
       {"\u061c", "\u200e", "\u200f", "\u202a", "\u202b", "\u202c", "\u202d", "\u202e", "\u2066",
        "\u2067", "\u2068", "\u2069"}) {
    EXPECT_EQ(Printable(mark), absl::CHexEscape(mark));
  }
}

}  // namespace
}  // namespace npg::base::printable_test
