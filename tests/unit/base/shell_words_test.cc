// SPDX-License-Identifier: Apache-2.0
#include "base/shell_words.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <optional>

namespace npg::base::shell_words_test {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::Optional;

TEST(ShellWords, BlanksSeparate) {
  EXPECT_THAT(ShellWords(""), Optional(IsEmpty()));
  EXPECT_THAT(ShellWords("  "), Optional(IsEmpty()));
  EXPECT_THAT(ShellWords(" -A  X -j Y "), Optional(ElementsAre("-A", "X", "-j", "Y")));
}

TEST(ShellWords, QuotesAndBackslashesKeep) {
  EXPECT_THAT(ShellWords(R"(--comment "a b" "")"), Optional(ElementsAre("--comment", "a b", "")));
  EXPECT_THAT(ShellWords(R"("a \" b" c\ d e"f g"h)"),
              Optional(ElementsAre("a \" b", "c d", "ef gh")));
  EXPECT_THAT(ShellWords("a\\"), Optional(ElementsAre("a\\")));
}

TEST(ShellWords, RefusesAnOpenQuote) {
  EXPECT_EQ(ShellWords(R"(a "b c)"), std::nullopt);
  EXPECT_EQ(ShellWords(R"(")"), std::nullopt);
}

}  // namespace
}  // namespace npg::base::shell_words_test
