// SPDX-License-Identifier: Apache-2.0
#include "sources/kubernetes/service_store.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "core/bind_facts.h"
#include "core/port.h"
#include "sources/service_decoder.h"
#include "sources/skipped_lines.h"

namespace npg::sources::kubernetes_service_store_test {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::Pair;

core::PortKey Tcp(uint16_t port) { return {port, core::Protocol::kTcp}; }
core::PortKey Udp(uint16_t port) { return {port, core::Protocol::kUdp}; }

ServicePorts Service(std::string name, std::vector<core::PortKey> ports,
                     uint16_t health_check_port = 0, std::vector<std::string> skipped = {}) {
  ServicePorts service;
  service.service = std::move(name);
  service.ports = std::move(ports);
  service.health_check_port = health_check_port;
  service.skipped = std::move(skipped);
  return service;
}

// With ports that may be refused for `families`, except those of `shared`.
ServicePorts WithFacts(std::string name, std::vector<core::PortKey> ports, uint32_t families,
                       std::vector<core::PortKey> shared = {}) {
  ServicePorts service = Service(std::move(name), std::move(ports));
  service.families = families;
  service.shared = std::move(shared);
  return service;
}

const core::PortSnapshot& Ports(const ServiceStore& store) { return store.reading()->ports; }

TEST(ServiceStoreTest, IsEmptyAndUnchangedAtFirst) {
  ServiceStore store;
  EXPECT_THAT(Ports(store), IsEmpty());
  EXPECT_FALSE(store.TakeChanged());
  store.Remove("a/nobody");
  EXPECT_FALSE(store.TakeChanged());
}

TEST(ServiceStoreTest, PutReplacesAndRemoveForgets) {
  ServiceStore store;
  store.Put(Service("a/web", {Tcp(30080), Tcp(30081)}));
  EXPECT_TRUE(store.TakeChanged());
  EXPECT_FALSE(store.TakeChanged());
  store.Put(Service("a/web", {Tcp(30081), Tcp(30082), Tcp(30082)}));
  EXPECT_TRUE(store.TakeChanged());
  EXPECT_THAT(Ports(store), ElementsAre(Pair(Tcp(30081), "a/web"), Pair(Tcp(30082), "a/web")));
  EXPECT_EQ(store.services(), 1U);
  store.Put(Service("a/web", {Tcp(30082), Tcp(30081)}));
  EXPECT_FALSE(store.TakeChanged()) << "the order and repetitions do not count";
  store.Put(Service("a/web", {}));
  EXPECT_TRUE(store.TakeChanged());
  EXPECT_THAT(Ports(store), IsEmpty());
  EXPECT_EQ(store.services(), 0U);
  store.Remove("a/web");
  EXPECT_FALSE(store.TakeChanged());
}

// A port moves to another Service, which may be reported before the deletion of the old.
TEST(ServiceStoreTest, TwoServicesWithOnePortInAnyOrder) {
  for (const bool first_before_second : {true, false}) {
    for (const bool first_goes : {true, false}) {
      SCOPED_TRACE(absl::StrCat(first_before_second, first_goes));
      ServiceStore store;
      const std::string early = first_before_second ? "a/first" : "b/second";
      const std::string late = first_before_second ? "b/second" : "a/first";
      store.Put(Service(early, {Tcp(30080)}));
      EXPECT_TRUE(store.TakeChanged());
      store.Put(Service(late, {Tcp(30080)}));
      // It belongs to the Service whose name sorts first.
      EXPECT_EQ(store.TakeChanged(), !first_before_second);
      EXPECT_THAT(Ports(store), ElementsAre(Pair(Tcp(30080), "a/first")));
      EXPECT_EQ(store.services(), 2U);
      store.Remove(first_goes ? "a/first" : "b/second");
      EXPECT_THAT(Ports(store), ElementsAre(Pair(Tcp(30080), first_goes ? "b/second" : "a/first")));
      store.Remove(first_goes ? "b/second" : "a/first");
      EXPECT_THAT(Ports(store), IsEmpty());
    }
  }
}

TEST(ServiceStoreTest, LosingAnInvisibleClaimIsNoChange) {
  ServiceStore store;
  store.Put(Service("a/first", {Tcp(30080)}));
  store.Put(Service("b/second", {Tcp(30080)}));
  store.TakeChanged();
  store.Remove("b/second");
  EXPECT_FALSE(store.TakeChanged());
}

TEST(ServiceStoreTest, TcpAndUdpOnOneNumberBelongToTheirServices) {
  ServiceStore store;
  store.Put(Service("b/tcp", {Tcp(30053)}));
  store.Put(Service("a/udp", {Udp(30053)}));
  EXPECT_THAT(Ports(store), ElementsAre(Pair(Tcp(30053), "b/tcp"), Pair(Udp(30053), "a/udp")));
  store.Remove("b/tcp");
  EXPECT_THAT(Ports(store), ElementsAre(Pair(Udp(30053), "a/udp")));
}

TEST(ServiceStoreTest, KeepsSkippedLinesWhileTheirReasonExists) {
  ServiceStore store;
  store.Put(Service("a/web", {Tcp(30080)}, 0, {"a/web port 2: nodePort 70000 is bad"}));
  store.Put(Service("b/none", {}, 0, {"b/none: no spec"}));
  EXPECT_TRUE(store.TakeChanged());
  EXPECT_THAT(store.reading()->skipped,
              ElementsAre("a/web port 2: nodePort 70000 is bad", "b/none: no spec"));
  store.Put(Service("b/none", {}, 0, {"b/none: no spec"}));
  EXPECT_FALSE(store.TakeChanged());
  store.Put(Service("a/web", {Tcp(30080)}));
  EXPECT_TRUE(store.TakeChanged());
  EXPECT_THAT(store.reading()->skipped, ElementsAre("b/none: no spec"));
  store.Remove("b/none");
  EXPECT_TRUE(store.TakeChanged());
  EXPECT_THAT(store.reading()->skipped, IsEmpty());
}

TEST(ServiceStoreTest, KeepsEachLineOfNamelessObjectsOnceUntilReplaced) {
  ServiceStore store;
  store.Put(Service("", {Tcp(30080)}, 32000, {"object without a name"}));
  store.Put(Service("", {}, 0, {"object without a name"}));
  EXPECT_THAT(store.reading()->skipped, ElementsAre("object without a name"));
  EXPECT_THAT(Ports(store), IsEmpty());
  EXPECT_EQ(store.health_check_ports(), 0U);
  for (int i = 0; i < 1000; ++i) store.Put(Service("", {}, 0, {absl::StrCat("nonsense ", i)}));
  EXPECT_LE(store.reading()->skipped.size(), SkippedLines::kNamed + 1);
  store.Replace(ServiceStore());
  EXPECT_THAT(store.reading()->skipped, IsEmpty());
}

TEST(ServiceStoreTest, ReplaceWithTheSameIsNoChange) {
  ServiceStore store;
  store.Put(Service("a/web", {Tcp(30080)}, 0, {"x"}));
  store.TakeChanged();
  ServiceStore same;
  same.Put(Service("a/web", {Tcp(30080)}, 0, {"x"}));
  store.Replace(std::move(same));
  EXPECT_FALSE(store.TakeChanged());

  ServiceStore other;
  other.Put(Service("b/web", {Tcp(30080)}, 0, {"x"}));
  store.Replace(std::move(other));
  EXPECT_TRUE(store.TakeChanged()) << "another Service";
  store.Replace(ServiceStore());
  EXPECT_TRUE(store.TakeChanged());
  EXPECT_EQ(store.services(), 0U);
}

TEST(ServiceStoreTest, ReplaceKeepsAPendingChange) {
  ServiceStore store;
  store.Put(Service("a/web", {Tcp(30080)}));
  ServiceStore same;
  same.Put(Service("a/web", {Tcp(30080)}));
  store.Replace(std::move(same));
  EXPECT_TRUE(store.TakeChanged());
}

TEST(ServiceStoreTest, HealthCheckPortsAreCountedNotGuarded) {
  ServiceStore store;
  store.Put(Service("a/lb", {Tcp(30080)}, 32000));
  store.Put(Service("b/lb", {}, 32001));
  EXPECT_THAT(Ports(store), ElementsAre(Pair(Tcp(30080), "a/lb")));
  EXPECT_EQ(store.health_check_ports(), 2U);
  EXPECT_EQ(store.services(), 1U);
  store.Put(Service("a/lb", {Tcp(30080)}, 32005));
  EXPECT_EQ(store.health_check_ports(), 2U);
  store.Put(Service("a/lb", {Tcp(30080)}));
  EXPECT_EQ(store.health_check_ports(), 1U);
  store.Remove("b/lb");
  EXPECT_EQ(store.health_check_ports(), 0U);
  EXPECT_EQ(store.services(), 1U);
}

constexpr uint32_t kV4 = core::kServiceV4;
constexpr uint32_t kV6 = core::kServiceV6;

TEST(ServiceStoreFactsTest, AChangeOfThemAloneIsAChange) {
  ServiceStore store;
  const core::BindFacts& facts = store.bind_facts();
  EXPECT_EQ(facts, core::BindFacts());
  store.Put(WithFacts("a/web", {Tcp(30080), Udp(30081)}, kV4, {Udp(30081)}));
  EXPECT_TRUE(store.TakeChanged());
  EXPECT_THAT(facts.refusable, ElementsAre(Pair(Tcp(30080), kV4)));
  EXPECT_THAT(facts.shared, ElementsAre(Udp(30081)));
  store.Put(WithFacts("a/web", {Udp(30081), Tcp(30080), Tcp(30080)}, kV4, {Udp(30081)}));
  EXPECT_FALSE(store.TakeChanged());
  store.Put(WithFacts("a/web", {Tcp(30080), Udp(30081)}, kV4 | kV6, {Udp(30081)}));
  EXPECT_TRUE(store.TakeChanged()) << "another family";
  EXPECT_THAT(facts.refusable, ElementsAre(Pair(Tcp(30080), kV4 | kV6)));
  store.Put(WithFacts("a/web", {Tcp(30080), Udp(30081)}, kV4 | kV6, {Tcp(30080)}));
  EXPECT_TRUE(store.TakeChanged()) << "another targetPort";
  EXPECT_THAT(facts.refusable, ElementsAre(Pair(Udp(30081), kV4 | kV6)));
  EXPECT_THAT(facts.shared, ElementsAre(Tcp(30080)));
  store.Put(WithFacts("a/web", {Tcp(30080), Udp(30081)}, 0));
  EXPECT_TRUE(store.TakeChanged()) << "no selector";
  EXPECT_THAT(facts.refusable, IsEmpty());
  EXPECT_THAT(facts.shared, ElementsAre(Tcp(30080), Udp(30081)));
  EXPECT_THAT(Ports(store), ElementsAre(Pair(Tcp(30080), "a/web"), Pair(Udp(30081), "a/web")));
  store.Put(WithFacts("a/web", {Tcp(30080)}, kV6));
  store.Remove("a/web");
  EXPECT_TRUE(store.TakeChanged());
  EXPECT_EQ(facts, core::BindFacts());
}

// While a port moves, it is not refused if one of its Services may bind it.
TEST(ServiceStoreFactsTest, SharedOverrulesTheOtherServiceOfAPort) {
  for (const bool shared_first : {true, false}) {
    for (const char* sharer : {"a/first", "b/second"}) {
      SCOPED_TRACE(absl::StrCat(shared_first, sharer));
      const std::string other = std::string(sharer) == "a/first" ? "b/second" : "a/first";
      ServiceStore store;
      const core::BindFacts& facts = store.bind_facts();
      if (shared_first) store.Put(WithFacts(sharer, {Tcp(30080)}, kV4, {Tcp(30080)}));
      store.Put(WithFacts(other, {Tcp(30080)}, kV4));
      if (!shared_first) {
        EXPECT_THAT(facts.refusable, ElementsAre(Pair(Tcp(30080), kV4)));
        store.TakeChanged();
        store.Put(WithFacts(sharer, {Tcp(30080)}, kV4, {Tcp(30080)}));
        EXPECT_TRUE(store.TakeChanged());
      }
      EXPECT_THAT(facts.refusable, IsEmpty());
      EXPECT_THAT(facts.shared, ElementsAre(Tcp(30080)));
      store.TakeChanged();
      store.Remove(sharer);
      EXPECT_TRUE(store.TakeChanged());
      EXPECT_THAT(facts.refusable, ElementsAre(Pair(Tcp(30080), kV4)));
      EXPECT_THAT(facts.shared, IsEmpty());
    }
  }
}

TEST(ServiceStoreFactsTest, APortOfTwoServicesHasTheFamiliesOfBoth) {
  ServiceStore store;
  store.Put(WithFacts("a/first", {Tcp(30080)}, kV4));
  store.TakeChanged();
  store.Put(WithFacts("b/second", {Tcp(30080)}, kV6));
  EXPECT_TRUE(store.TakeChanged());
  EXPECT_THAT(store.bind_facts().refusable, ElementsAre(Pair(Tcp(30080), kV4 | kV6)));
  store.Remove("a/first");
  EXPECT_THAT(store.bind_facts().refusable, ElementsAre(Pair(Tcp(30080), kV6)));
}

TEST(ServiceStoreFactsTest, HasEachHealthCheckPortWhileAServiceHasIt) {
  ServiceStore store;
  const core::BindFacts& facts = store.bind_facts();
  store.Put(Service("a/lb", {}, 32000));
  EXPECT_TRUE(store.TakeChanged());
  store.Put(Service("b/lb", {Tcp(30080)}, 32000));
  store.TakeChanged();
  store.Put(Service("a/lb", {}, 32001));
  EXPECT_TRUE(store.TakeChanged());
  EXPECT_THAT(facts.health_checks, ElementsAre(32000, 32001));
  store.Remove("b/lb");
  EXPECT_THAT(facts.health_checks, ElementsAre(32001));
  store.Remove("a/lb");
  EXPECT_EQ(facts, core::BindFacts());
}

TEST(ServiceStoreFactsTest, ReplaceComparesThem) {
  ServiceStore store;
  const core::BindFacts* const facts = &store.bind_facts();
  const auto replace = [&store](const ServicePorts& service) {
    ServiceStore other;
    other.Put(service);
    store.Replace(std::move(other));
    return store.TakeChanged();
  };
  EXPECT_TRUE(replace(WithFacts("a/web", {Tcp(30080)}, kV4)));
  EXPECT_FALSE(replace(WithFacts("a/web", {Tcp(30080)}, kV4)));
  EXPECT_TRUE(replace(WithFacts("a/web", {Tcp(30080)}, kV6)));
  EXPECT_THAT(store.bind_facts().refusable, ElementsAre(Pair(Tcp(30080), kV6)));
  EXPECT_TRUE(replace(WithFacts("a/web", {Tcp(30080)}, kV6, {Tcp(30080)})));
  EXPECT_THAT(store.bind_facts().refusable, IsEmpty());
  EXPECT_EQ(facts, &store.bind_facts());
}

// Adds those of a Service, as if it were the only one.
void AddFacts(const ServicePorts& service, core::BindFacts& facts) {
  for (const core::PortKey& key : service.ports) {
    if (service.families == 0) facts.shared.insert(key);
    if (service.families != 0) facts.refusable[key] |= service.families;
  }
  facts.shared.insert(service.shared.begin(), service.shared.end());
  if (service.health_check_port != 0) facts.health_checks.insert(service.health_check_port);
}

// Everything whose change a store reports.
struct KnownState {
  core::PortSnapshot ports;
  std::vector<std::string> skipped;
  core::BindFacts facts;

  bool operator==(const KnownState&) const = default;
};

KnownState Known(const ServiceStore& store) {
  return {store.reading()->ports, store.reading()->skipped, store.bind_facts()};
}

// After any history the store equals the union of its Services.
TEST(ServiceStoreTest, IsTheUnionOfItsServices) {
  std::mt19937 random(1);
  const auto below = [&](int bound) { return std::uniform_int_distribution(0, bound - 1)(random); };
  ServiceStore store;
  std::map<std::string, ServicePorts> model;
  KnownState known = Known(store);
  using Keys = std::vector<core::PortKey>;
  std::optional<core::PortSnapshot> reported;
  for (int step = 0; step < 5000; ++step) {
    const std::string name = absl::StrCat("a/s", below(6));
    if (below(4) == 0) {
      model.erase(name);
      store.Remove(name);
    } else {
      ServicePorts service = Service(name, {}, below(3) == 0 ? uint16_t{32000} : uint16_t{0});
      for (int i = below(4); i > 0; --i) {
        const auto port = static_cast<uint16_t>(30000 + below(5));
        service.ports.push_back(below(2) == 0 ? Tcp(port) : Udp(port));
      }
      if (below(5) == 0) service.skipped = {name + ": bad"};
      service.families = static_cast<uint32_t>(below(4));
      for (const core::PortKey& key : service.ports) {
        if (below(4) == 0) service.shared.push_back(key);
      }
      model[name] = service;
      store.Put(service);
    }
    core::PortSnapshot expected;
    std::vector<std::string> skipped;
    size_t with_ports = 0;
    size_t health_checks = 0;
    core::BindFacts facts;
    for (const auto& [service_name, service] : model) {
      for (const core::PortKey& key : service.ports) expected.try_emplace(key, service_name);
      skipped.insert(skipped.end(), service.skipped.begin(), service.skipped.end());
      with_ports += service.ports.empty() ? 0 : 1;
      health_checks += service.health_check_port == 0 ? 0 : 1;
      AddFacts(service, facts);
    }
    for (const core::PortKey& key : facts.shared) facts.refusable.erase(key);
    ASSERT_EQ(Ports(store), expected) << "step " << step;
    // Before the first report, all ports may have changed; later, those that are named.
    ASSERT_EQ(store.reading()->changed.has_value(), reported.has_value());
    core::PortSnapshot followed = reported.value_or(Ports(store));
    for (const core::PortKey& key : store.reading()->changed.value_or(Keys())) {
      followed.erase(key);
      if (const auto now = Ports(store).find(key); now != Ports(store).end()) followed.insert(*now);
    }
    ASSERT_EQ(followed, expected) << "step " << step;
    if (below(3) != 0) {
      store.NoteReported();
      reported = expected;
    }
    ASSERT_EQ(store.reading()->skipped, skipped);
    ASSERT_EQ(store.services(), with_ports);
    ASSERT_EQ(store.health_check_ports(), health_checks);
    ASSERT_TRUE(store.bind_facts() == facts) << "step " << step;
    const bool same = known == Known(store);
    known = Known(store);
    ASSERT_EQ(store.TakeChanged(), !same) << "step " << step;
  }
}

}  // namespace
}  // namespace npg::sources::kubernetes_service_store_test
