// SPDX-License-Identifier: Apache-2.0
#include "controller/bind_keeper.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <vector>

#include "abi/names.h"
#include "core/bind_facts.h"
#include "core/desired_state.h"
#include "core/port.h"
#include "dataplane/bpf/bpf_guard.h"

namespace npg::controller::bind_keeper_test {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::Pair;
using Refusable = dataplane::BpfGuard::Refusable;

constexpr uint32_t kV4 = core::kServiceV4;
constexpr uint32_t kV6 = core::kServiceV6;
constexpr core::PortKey kPort = {30080, core::Protocol::kTcp};
constexpr core::PortKey kOther = {30081, core::Protocol::kUdp};

class RefusablePlanTest : public ::testing::Test {
 protected:
  RefusablePlanTest() {
    for (const core::PortKey& key : {kPort, kOther}) {
      entries_[key] = {abi::Bit(abi::Source::kKubernetes), {}};
    }
  }

  RefusablePlan Plan(const Refusable& now, bool complete = true) const {
    return PlanRefusable(now, entries_, {&facts_}, complete);
  }

  core::PortEntries entries_;
  core::BindFacts facts_;
};

TEST_F(RefusablePlanTest, LooksAtNewPortsFirst) {
  facts_.refusable[kPort] = kV4;
  const RefusablePlan plan = Plan({});
  EXPECT_THAT(plan.keep, IsEmpty());
  EXPECT_THAT(plan.want, ElementsAre(Pair(kPort, kV4)));
  EXPECT_THAT(plan.fresh, ElementsAre(kPort));
}

TEST_F(RefusablePlanTest, LeavesKnownPortsAlone) {
  facts_.refusable[kPort] = kV4 | kV6;
  const RefusablePlan plan = Plan({{kPort, kV4 | kV6}});
  EXPECT_THAT(plan.keep, ElementsAre(Pair(kPort, kV4 | kV6)));
  EXPECT_EQ(plan.want, plan.keep);
  EXPECT_THAT(plan.fresh, IsEmpty());
}

TEST_F(RefusablePlanTest, LooksAgainForAnotherFamily) {
  facts_.refusable[kPort] = kV4 | kV6;
  const RefusablePlan plan = Plan({{kPort, kV4}});
  EXPECT_THAT(plan.keep, ElementsAre(Pair(kPort, kV4)));
  EXPECT_THAT(plan.want, ElementsAre(Pair(kPort, kV4 | kV6)));
  EXPECT_THAT(plan.fresh, ElementsAre(kPort));

  facts_.refusable[kPort] = kV6;
  const RefusablePlan changed = Plan({{kPort, kV4}});
  EXPECT_THAT(changed.keep, IsEmpty());
  EXPECT_THAT(changed.fresh, ElementsAre(kPort));
}

TEST_F(RefusablePlanTest, DropsAFamilyWithoutALook) {
  facts_.refusable[kPort] = kV6;
  const RefusablePlan plan = Plan({{kPort, kV4 | kV6}});
  EXPECT_THAT(plan.keep, ElementsAre(Pair(kPort, kV6)));
  EXPECT_EQ(plan.want, plan.keep);
  EXPECT_THAT(plan.fresh, IsEmpty());
}

TEST_F(RefusablePlanTest, DropsPortsThatAreGoneOrSharedOrUnknown) {
  facts_.refusable[kPort] = kV4;
  facts_.shared.insert(kPort);
  const core::PortKey gone = {30099, core::Protocol::kTcp};
  facts_.refusable[gone] = kV4;
  const RefusablePlan plan = Plan({{kPort, kV4}, {kOther, kV4}, {gone, kV4}});
  EXPECT_THAT(plan.keep, IsEmpty());
  EXPECT_THAT(plan.want, IsEmpty());
  EXPECT_THAT(plan.fresh, IsEmpty());
}

TEST_F(RefusablePlanTest, KeepsWhatAnEarlierRunLeftUntilAllFactsAreKnown) {
  const Refusable earlier = {{kPort, kV4}, {kOther, kV4 | kV6}};
  EXPECT_EQ(Plan(earlier, /*complete=*/false).want, earlier);
  EXPECT_EQ(Plan(earlier, /*complete=*/false).keep, earlier);
  EXPECT_THAT(Plan(earlier, /*complete=*/true).want, IsEmpty());

  facts_.shared.insert(kPort);
  EXPECT_THAT(Plan(earlier, /*complete=*/false).want, ElementsAre(Pair(kOther, kV4 | kV6)));
  entries_.erase(kOther);
  EXPECT_THAT(Plan(earlier, /*complete=*/false).want, IsEmpty());
}

// A source that was not read yet may say that a backend of the Service binds the port.
TEST_F(RefusablePlanTest, AddsNothingUntilAllFactsAreKnown) {
  facts_.refusable[kPort] = kV4;
  const RefusablePlan plan = Plan({}, /*complete=*/false);
  EXPECT_THAT(plan.want, IsEmpty());
  EXPECT_THAT(plan.fresh, IsEmpty());
}

}  // namespace
}  // namespace npg::controller::bind_keeper_test
