// SPDX-License-Identifier: Apache-2.0
#include "core/port_blocks.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <vector>

namespace npg::core::port_blocks_test {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

using Prefix = PortBlocks::Prefix;

PortBlocks Of(const std::vector<uint16_t>& ports) {
  PortBlocks blocks;
  for (const uint16_t port : ports) blocks.Add(port);
  return blocks;
}

bool Matches(const std::vector<Prefix>& prefixes, uint32_t port) {
  for (const Prefix& prefix : prefixes) {
    if ((port & prefix.mask) == prefix.value) return true;
  }
  return false;
}

TEST(PortBlocksTest, TheDefaultRangeIsOneBlockWithoutAutomaticPorts) {
  EXPECT_THAT(PortBlocks::Default().Prefixes(), ElementsAre(Prefix{0x7000, 0xf000}));
  const std::vector<uint16_t> inside = {30000, 32767};
  const std::vector<uint16_t> outside = {28671, 32768, 60999, 0, 65535};
  for (const uint16_t port : inside) EXPECT_TRUE(PortBlocks::Default().Contains(port)) << port;
  for (const uint16_t port : outside) {
    EXPECT_FALSE(PortBlocks::Default().Contains(port)) << port;
  }
}

TEST(PortBlocksTest, NeighboursShareAPrefix) {
  EXPECT_THAT(Of({}).Prefixes(), IsEmpty());
  EXPECT_THAT(Of({0}).Prefixes(), ElementsAre(Prefix{0, 0xf000}));
  EXPECT_THAT(Of({8192, 12288}).Prefixes(), ElementsAre(Prefix{0x2000, 0xe000}));
  // Not aligned.
  EXPECT_THAT(Of({4096, 8192}).Prefixes(),
              ElementsAre(Prefix{0x1000, 0xf000}, Prefix{0x2000, 0xf000}));
  EXPECT_THAT(PortBlocks::All().Prefixes(), ElementsAre(Prefix{0, 0}));
  EXPECT_TRUE(PortBlocks::All().NeedAllPorts());
  EXPECT_FALSE(PortBlocks::Default().NeedAllPorts());
  EXPECT_FALSE(Of({}).NeedAllPorts());
}

// Every set of blocks: each of its ports is matched, and no other one unless there would be too
// many rules.
TEST(PortBlocksTest, PrefixesAreTheBlocks) {
  for (uint32_t set = 0; set < 0x10000; ++set) {
    PortBlocks blocks;
    for (uint32_t block = 0; block < 16; ++block) {
      if ((set >> block & 1) != 0) blocks.Add(static_cast<uint16_t>(block * 4096 + block));
    }
    const std::vector<Prefix> prefixes = blocks.Prefixes();
    ASSERT_LE(prefixes.size(), PortBlocks::kMaxPrefixes);
    for (uint32_t block = 0; block < 16; ++block) {
      const bool in = (set >> block & 1) != 0;
      for (const uint32_t port : {block * 4096, block * 4096 + 4095}) {
        ASSERT_EQ(blocks.Contains(static_cast<uint16_t>(port)), in);
        ASSERT_EQ(Matches(prefixes, port), in || blocks.NeedAllPorts()) << set << ' ' << port;
      }
    }
  }
}

TEST(PortBlocksTest, ContainsAndAdd) {
  PortBlocks blocks = PortBlocks::Default();
  EXPECT_TRUE(blocks.Contains(PortBlocks{}));
  EXPECT_TRUE(blocks.Contains(PortBlocks::Of(32000)));
  EXPECT_FALSE(blocks.Contains(PortBlocks::Of(40000)));
  blocks.Add(Of({40000, 50000}));
  EXPECT_EQ(blocks, Of({50001, 30000, 40001}));
  EXPECT_TRUE(PortBlocks::All().Contains(blocks));
  EXPECT_FALSE(blocks.Contains(PortBlocks::All()));
}

}  // namespace
}  // namespace npg::core::port_blocks_test
