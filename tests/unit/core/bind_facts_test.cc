// SPDX-License-Identifier: Apache-2.0
#include "core/bind_facts.h"

#include <gtest/gtest.h>

#include "core/port.h"

namespace npg::core::bind_facts_test {
namespace {

constexpr PortKey kTcp = {30080, Protocol::kTcp};
constexpr PortKey kUdp = {30080, Protocol::kUdp};

BindFacts Refuses(const PortKey& key, uint32_t families) {
  BindFacts facts;
  facts.refusable[key] = families;
  return facts;
}

TEST(BindFactsTest, RefusesNothingWithoutFacts) {
  EXPECT_EQ(RefusableFamilies({}, kTcp), 0U);
  const BindFacts none;
  EXPECT_EQ(RefusableFamilies({&none}, kTcp), 0U);
}

TEST(BindFactsTest, TellsProtocolsApart) {
  const BindFacts facts = Refuses(kTcp, kServiceV4);
  EXPECT_EQ(RefusableFamilies({&facts}, kTcp), kServiceV4);
  EXPECT_EQ(RefusableFamilies({&facts}, kUdp), 0U);
  EXPECT_EQ(RefusableFamilies({&facts}, {30081, Protocol::kTcp}), 0U);
}

TEST(BindFactsTest, JoinsTheFamiliesOfSources) {
  const BindFacts v4 = Refuses(kTcp, kServiceV4);
  const BindFacts v6 = Refuses(kTcp, kServiceV6);
  EXPECT_EQ(RefusableFamilies({&v4, &v6}, kTcp), kServiceV4 | kServiceV6);
}

TEST(BindFactsTest, LetsSharedOverruleInAnyOrder) {
  const BindFacts refuses = Refuses(kTcp, kServiceV4);
  BindFacts shares;
  shares.shared.insert(kTcp);
  EXPECT_EQ(RefusableFamilies({&refuses, &shares}, kTcp), 0U);
  EXPECT_EQ(RefusableFamilies({&shares, &refuses}, kTcp), 0U);
  EXPECT_EQ(RefusableFamilies({&shares}, kTcp), 0U);
}

TEST(BindFactsTest, TakesHealthChecksForNoNodePorts) {
  BindFacts facts;
  facts.health_checks.insert(kTcp.port);
  EXPECT_EQ(RefusableFamilies({&facts}, kTcp), 0U);
}

}  // namespace
}  // namespace npg::core::bind_facts_test
