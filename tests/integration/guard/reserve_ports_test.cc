// SPDX-License-Identifier: Apache-2.0
// --reserve-ports: the guard and the administrator share net.ipv4.ip_local_reserved_ports.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "core/port_ranges.h"
#include "integration/guard/reserve_fixture.h"
#include "node/node_files.h"
#include "testing/command.h"
#include "testing/guard_fixture.h"
#include "testing/guard_process.h"
#include "testing/status_asserts.h"
#include "testing/test_node.h"
#include "testing/wait_until.h"

namespace npg::testing::reserve_ports_test {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;
using Json = nlohmann::json;

class GuardReservePortsTest : public ReservePortsTest {};

TEST_P(GuardReservePortsTest, MergesIntoTheAdministratorsPart) {
  // Of these the kernel assigns neither 8443 nor 20001, and 33595 is the administrator's.
  NPG_ASSERT_OK(WritePorts({8443, 20001, kPort, kOtherPort, 33595}, {kPort, 33593}));
  NPG_ASSERT_OK(StartReserving());
  EXPECT_EQ(Reserved(), "8080,9000-9100,33589,33591,33593,33595");
  EXPECT_EQ(State(), "ok 3");
  EXPECT_THAT(guard().Log(), HasSubstr("reserving 3 ports"));
  NPG_ASSERT_OK(Unload());
  EXPECT_EQ(Reserved(), kAdmin);
}

TEST_P(GuardReservePortsTest, NothingIsReservedWithoutTheFlag) {
  NPG_ASSERT_OK(WritePorts({kPort}));
  NPG_ASSERT_OK(StartGuard());
  EXPECT_TRUE(Knows(kPort));
  NPG_ASSERT_OK(WritePorts({kPort, kOtherPort}));
  EXPECT_TRUE(WaitUntil(kPatience, [&] { return Knows(kOtherPort); }));
  EXPECT_EQ(State(), "off 0");
  EXPECT_EQ(Reserved(), kAdmin);
}

TEST_P(GuardReservePortsTest, FollowsAServiceBeforeTheNextMaintenance) {
  NPG_ASSERT_OK(WritePorts({}));
  NPG_ASSERT_OK(StartReserving());
  std::vector<uint16_t> ports;
  absl::Duration least = absl::InfiniteDuration();
  absl::Duration most;
  for (uint16_t port = 34001; port < 34011; ++port) {
    ports.push_back(port);
    const absl::Time begin = absl::Now();
    NPG_ASSERT_OK(WritePorts(ports));
    ASSERT_TRUE(WaitUntil(kPatience, [port] {
      const auto reserved = node::ReadReservedPorts("/proc");
      return reserved.ok() && core::Contains(*reserved, port);
    })) << guard().Log();
    least = std::min(least, absl::Now() - begin);
    most = std::max(most, absl::Now() - begin);
  }
  std::cout << "reserved " << least << " to " << most << " after the file was written\n";
  // Of ten services, one at least is no victim of a busy machine.
  EXPECT_LT(least, absl::Seconds(2));  // maintenance: every 10 s
}

TEST_P(GuardReservePortsTest, RemovesWhatIsNoLongerAllocated) {
  node().HurryGuards();
  NPG_ASSERT_OK(WritePorts({kPort, kOtherPort, 33595}));
  NPG_ASSERT_OK(StartReserving());
  EXPECT_EQ(Reserved(), "8080,9000-9100,33589,33591,33595");
  NPG_ASSERT_OK(WritePorts({kOtherPort}));
  EXPECT_TRUE(Becomes("8080,9000-9100,33591,33595")) << Reserved();
  NPG_ASSERT_OK(WritePorts({}));
  EXPECT_TRUE(Becomes(kAdmin)) << Reserved();
}

TEST_P(GuardReservePortsTest, AdministratorWritesAbsolutely) {
  node().HurryGuards();
  NPG_ASSERT_OK(WritePorts({kPort}));
  NPG_ASSERT_OK(StartReserving());
  // Configuration management, which knows only its own list and repeats it.
  for (int i = 0; i < 3; ++i) {
    NPG_ASSERT_OK(SetSysctl(kSysctl, "8472"));
    EXPECT_TRUE(Becomes("8472,33589")) << Reserved();
  }
  // All of it, now with the guard's port.
  NPG_ASSERT_OK(SetSysctl(kSysctl, "8472,33000-33999"));
  EXPECT_TRUE(StateBecomes("ok 0")) << State();
  NPG_ASSERT_OK(Unload());
  EXPECT_EQ(Reserved(), "8472,33000-33999");
}

TEST_P(GuardReservePortsTest, AdministratorAppends) {
  NPG_ASSERT_OK(WritePorts({kPort}));
  NPG_ASSERT_OK(StartReserving());
  NPG_ASSERT_OK(SetSysctl(kSysctl, absl::StrCat(Reserved(), ",9999")));
  NPG_ASSERT_OK(WritePorts({kPort, kOtherPort}));
  EXPECT_TRUE(Becomes("8080,9000-9100,9999,33589,33591,33595")) << Reserved();
  NPG_ASSERT_OK(Unload());
  EXPECT_EQ(Reserved(), "8080,9000-9100,9999,33595");
}

TEST_P(GuardReservePortsTest, SigkillThenUnloadRestores) {
  NPG_ASSERT_OK(WritePorts({kPort, kOtherPort}));
  NPG_ASSERT_OK(StartReserving());
  NPG_ASSERT_OK(guard().Kill());
  EXPECT_EQ(Reserved(), "8080,9000-9100,33589,33591,33595");
  // While no controller runs.
  NPG_ASSERT_OK(SetSysctl(kSysctl, absl::StrCat(Reserved(), ",9999")));
  NPG_ASSERT_OK_AND_ASSIGN(const std::string out, RunCommand(GuardCommand(node(), {"unload"})));
  EXPECT_THAT(out, HasSubstr("removed 2 ports from net.ipv4.ip_local_reserved_ports"));
  EXPECT_EQ(Reserved(), "8080,9000-9100,9999,33595");
  EXPECT_FALSE(std::filesystem::exists(maps().root()));
  NPG_ASSERT_OK(RunUnload());
  EXPECT_EQ(Reserved(), "8080,9000-9100,9999,33595");
}

TEST_P(GuardReservePortsTest, SigkillThenTheNextRunKeepsTheParts) {
  NPG_ASSERT_OK(WritePorts({kPort, kOtherPort}));
  NPG_ASSERT_OK(StartReserving());
  NPG_ASSERT_OK(guard().Kill());
  NPG_ASSERT_OK(StartReserving());
  EXPECT_EQ(State(), "ok 2");
  NPG_ASSERT_OK(Unload());
  EXPECT_EQ(Reserved(), kAdmin);
}

// At whichever step of its notes and its writes it ends.
TEST_P(GuardReservePortsTest, SigkillWhileItReserves) {
  NPG_ASSERT_OK(SetSysctl(kRange, "20000 60999"));
  for (size_t i = 0; i < 8; ++i) {
    NPG_ASSERT_OK(WritePorts({kPort}));
    NPG_ASSERT_OK(StartReserving());
    NPG_ASSERT_OK(WritePorts(ScatteredPorts(20001, 8000)));
    ASSERT_TRUE(WaitUntil(kPatience, [&] {
      const auto notes = maps().Count("reserved_ports");
      return notes.ok() && *notes > 500 + 1000 * i;
    }));
    NPG_ASSERT_OK(guard().Kill());
    NPG_ASSERT_OK(RunUnload());
    ASSERT_EQ(Reserved(), kAdmin) << i;
  }
}

TEST_P(GuardReservePortsTest, OffRestores) {
  NPG_ASSERT_OK(WritePorts({kPort, kOtherPort}));
  NPG_ASSERT_OK(StartReserving());
  NPG_ASSERT_OK(guard().Stop());
  // The programs guard on, and so do reserved ports.
  EXPECT_EQ(Reserved(), "8080,9000-9100,33589,33591,33595");
  NPG_ASSERT_OK(StartGuard({"--reserve-ports", "off"}));
  EXPECT_TRUE(Becomes(kAdmin)) << Reserved();
  EXPECT_TRUE(StateBecomes("off 0")) << State();
  EXPECT_THAT(guard().Log(), Not(HasSubstr("reserving")));
}

// kube-proxy listens on it, so it must not be assigned to others; no rule takes it.
TEST_P(GuardReservePortsTest, HealthCheckPorts) {
  const Json service = {{"metadata", {{"name", "web"}, {"namespace", "shop"}}},
                        {"spec",
                         {{"type", "LoadBalancer"},
                          {"externalTrafficPolicy", "Local"},
                          {"healthCheckNodePort", 33700},
                          {"ports", {{{"port", 80}, {"protocol", "TCP"}, {"nodePort", kPort}}}}}}};
  std::ofstream(node().File("nodeports.json"))
      << Json{{"kind", "ServiceList"}, {"apiVersion", "v1"}, {"items", {service}}}.dump();
  NPG_ASSERT_OK(StartReserving());
  EXPECT_EQ(Reserved(), "8080,9000-9100,33589,33595,33700");
  EXPECT_TRUE(Knows(kPort));
  EXPECT_FALSE(Knows(33700));
  NPG_ASSERT_OK(Unload());
  EXPECT_EQ(Reserved(), kAdmin);
}

// The list needs a dozen writes.
TEST_P(GuardReservePortsTest, TenThousandPorts) {
  NPG_ASSERT_OK(SetSysctl(kRange, "20000 60999"));
  const std::vector<uint16_t> ports = ScatteredPorts(20001, 10'000);
  NPG_ASSERT_OK(WritePorts(ports));
  NPG_ASSERT_OK(StartReserving());
  const core::PortRanges admin = *core::ParsePortRanges(kAdmin);
  const std::string all = core::PortRangesText(core::Union(admin, core::ToRanges(ports)));
  EXPECT_TRUE(Becomes(all)) << Reserved();
  // 33595 is the administrator's, too.
  EXPECT_EQ(State(), "ok 9999");
  NPG_ASSERT_OK(Unload());
  EXPECT_EQ(Reserved(), kAdmin);
}

INSTANTIATE_TEST_SUITE_P(Rules, GuardReservePortsTest, ::testing::Values(RuleShape{}),
                         RuleShapeName);

}  // namespace
}  // namespace npg::testing::reserve_ports_test
