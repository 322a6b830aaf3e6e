// SPDX-License-Identifier: Apache-2.0
//
// What source kubernetes reports about the use of NodePorts on the node.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>

#include "core/bind_facts.h"
#include "core/port.h"
#include "sources/kubernetes/kubernetes_source.h"
#include "sources/source.h"
#include "testing/api_model.h"
#include "testing/api_object.h"
#include "testing/api_server.h"
#include "testing/status_asserts.h"
#include "testing/testdata.h"
#include "unit/sources/kubernetes_source_fixture.h"

namespace npg::sources::kubernetes_source_facts_test {
namespace {

using ::npg::testing::ServiceSpec;
using ::npg::testing::Tcp;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::Pair;

constexpr uint32_t kV4 = core::kServiceV4;
constexpr uint32_t kV6 = core::kServiceV6;

class KubernetesSourceFactsTest : public KubernetesSourceFixture {
 protected:
  void SetUp() override {
    KubernetesSourceFixture::SetUp();
    Change("first", [](ServiceSpec& spec) { spec.ports[0].target = "8080"; });
  }

  // Replaces a Service with nodePort 30001, of which `change` makes another.
  void Change(const std::string& name, const std::function<void(ServiceSpec&)>& change) {
    server_->Change([&](ApiModel& model) {
      ServiceSpec spec{.name = name, .ports = {{.node_port = 30001}}};
      change(spec);
      model.Put(spec);
    });
  }

  // Runs until a report after which the facts have this for 30001: the families, 0 for shared.
  // Returns false if a report with the facts does not come.
  bool RunUntilFamilies(uint32_t families) {
    const size_t before = reports_.size();
    return RunUntil([&] {
      const core::BindFacts* const facts = source_->bind_facts();
      if (facts == nullptr || reports_.size() == before) return false;
      if (families == 0) return facts->shared.contains(Tcp(30001)) && facts->refusable.empty();
      const auto found = facts->refusable.find(Tcp(30001));
      return found != facts->refusable.end() && found->second == families &&
             !facts->shared.contains(Tcp(30001));
    });
  }
};
INSTANTIATE_TEST_SUITE_P(Over, KubernetesSourceFactsTest, ::testing::Bool(), HttpName);

TEST_P(KubernetesSourceFactsTest, ReadHasThem) {
  Change("lb", [](ServiceSpec& spec) {
    spec = {.name = "lb", .type = "LoadBalancer", .ports = {}, .health_check_node_port = 32000};
  });
  KubernetesSource source(access_, options_);
  EXPECT_EQ(source.bind_facts(), nullptr);
  NPG_ASSERT_OK(source.Read());
  ASSERT_NE(source.bind_facts(), nullptr);
  EXPECT_THAT(source.bind_facts()->refusable, ElementsAre(Pair(Tcp(30001), kV4)));
  EXPECT_THAT(source.bind_facts()->shared, IsEmpty());
  EXPECT_THAT(source.bind_facts()->health_checks, ElementsAre(32000));
}

// The ports are the same all the time: the facts alone cause the reports.
TEST_P(KubernetesSourceFactsTest, ReportsEventsThatChangeThemAlone) {
  Follow();
  EXPECT_EQ(source_->bind_facts(), nullptr) << "before the first list";
  ASSERT_TRUE(RunUntilFamilies(kV4));
  ASSERT_TRUE(RunUntilSynced());
  Change("first", [](ServiceSpec& spec) { spec.ports[0].target = R"("http")"; });
  ASSERT_TRUE(RunUntilFamilies(0)) << "targetPort";
  Change("first", [](ServiceSpec& spec) {
    spec.ports[0].target = "8080";
    spec.extra_spec = R"("ipFamilies":["IPv6"])";
  });
  ASSERT_TRUE(RunUntilFamilies(kV6)) << "families";
  Change("first", [](ServiceSpec& spec) {
    spec.ports[0].target = "8080";
    spec.selector = "null";
  });
  ASSERT_TRUE(RunUntilFamilies(0)) << "selector";
  EXPECT_TRUE(Knows(30001));
  const size_t reports = reports_.size();
  // Nothing that counts has changed: the next report is of the event after it.
  Change("first", [](ServiceSpec& spec) {
    spec.ports[0].target = "8081";
    spec.selector = "{}";
  });
  Put("marker", 30002);
  ASSERT_TRUE(RunUntilKnown(30002));
  EXPECT_EQ(reports_.size(), reports + 1);
  server_->Change([](ApiModel& model) { NPG_EXPECT_OK(model.Delete("default", "first")); });
  ASSERT_TRUE(RunUntil([&] { return !Knows(30001); }));
  EXPECT_FALSE(source_->bind_facts()->shared.contains(Tcp(30001)));
  EXPECT_TRUE(NoErrors());
}

// The port moves: the new Service is there before the old one is removed.
TEST_P(KubernetesSourceFactsTest, APortThatMovesIsSharedMeanwhile) {
  Follow();
  ASSERT_TRUE(RunUntilFamilies(kV4));
  ASSERT_TRUE(RunUntilSynced());
  Change("second", [](ServiceSpec& spec) { spec.ports[0].target = "30001"; });
  ASSERT_TRUE(RunUntilFamilies(0));
  server_->Change([](ApiModel& model) { NPG_EXPECT_OK(model.Delete("default", "second")); });
  ASSERT_TRUE(RunUntilFamilies(kV4));
}

// The known version has expired meanwhile: a list has the change.
TEST_P(KubernetesSourceFactsTest, ARelistHasAChangeOfThemAlone) {
  Follow();
  ASSERT_TRUE(RunUntilFamilies(kV4));
  ASSERT_TRUE(RunUntilSynced());
  server_->Change([](ApiModel& model) {
    model.Put({.name = "first", .ports = {{.node_port = 30001, .target = R"("http")"}}});
    model.AdvanceTo(model.resource_version() + 10);
    model.Compact(model.resource_version());
    model.options().expired_as_code = true;
  });
  server_->CloseWatches();
  ASSERT_TRUE(RunUntilFamilies(0));
  EXPECT_TRUE(Knows(30001));
}

}  // namespace
}  // namespace npg::sources::kubernetes_source_facts_test
