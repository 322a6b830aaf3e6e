// SPDX-License-Identifier: Apache-2.0
#include "core/mark.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace npg::core::mark_test {
namespace {

TEST(Mark, AsText) {
  EXPECT_EQ(ToString(Mark{}), "0x1000/0x1000");
  EXPECT_EQ(ToString(Mark{0x40, 0xffffffff}), "0x40/0xffffffff");
  EXPECT_EQ(HexText(0), "0x0");
}

TEST(ParseMarkBits, HexadecimalOrDecimal) {
  EXPECT_EQ(*ParseMarkBits("0x1000"), 0x1000U);
  EXPECT_EQ(*ParseMarkBits("0XfF"), 0xffU);
  EXPECT_EQ(*ParseMarkBits("4096"), 0x1000U);
  EXPECT_EQ(*ParseMarkBits("0"), 0U);
  EXPECT_EQ(*ParseMarkBits("0xffffffff"), UINT32_MAX);
}

TEST(ParseMarkBits, RefusesTextThatIsNoNumberOf32Bits) {
  for (const char* text :
       {"", "0x", "+1", "-1", " 1", "1 ", "0x-1", "1000h", "0x100000000", "4294967296"}) {
    const absl::StatusOr<uint32_t> bits = ParseMarkBits(text);
    EXPECT_EQ(bits.status().code(), absl::StatusCode::kInvalidArgument) << text;
    EXPECT_EQ(bits.status().message(),
              "\"" + std::string(text) + "\" is not a number of 32 bits, as 0x1000 or 4096");
  }
}

TEST(ParseMark, WithAndWithoutAMask) {
  EXPECT_EQ(*ParseMark("0x4000/0xc000"), (Mark{0x4000, 0xc000}));
  EXPECT_EQ(*ParseMark("0x1"), (Mark{1, UINT32_MAX}));
  EXPECT_EQ(*ParseMark("0/8"), (Mark{0, 8}));
  for (const Mark& mark : {Mark{}, Mark{0, 0x10}, Mark{0xdeadbeef, 0xffffffff}}) {
    EXPECT_EQ(*ParseMark(ToString(mark)), mark);
  }
}

TEST(ParseMark, RefusesHalfAMark) {
  for (const char* text : {"", "/", "1/", "/1", "1/2/3", "mark"}) {
    EXPECT_FALSE(ParseMark(text).ok()) << text;
  }
}

}  // namespace
}  // namespace npg::core::mark_test
