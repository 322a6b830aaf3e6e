// SPDX-License-Identifier: Apache-2.0
// --reserve-ports where the sysctl cannot be written, where too few ports would be left, and in
// another network namespace.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mount.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <system_error>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "integration/guard/reserve_fixture.h"
#include "testing/client.h"
#include "testing/guard_fixture.h"
#include "testing/status_asserts.h"
#include "testing/test_node.h"
#include "testing/transport.h"
#include "testing/wait_until.h"

namespace npg::testing::reserve_ports_limits_test {
namespace {

using ::testing::HasSubstr;
using Json = nlohmann::json;

constexpr const char* kFile = "/proc/sys/net/ipv4/ip_local_reserved_ports";

class GuardReserveLimitsTest : public ReservePortsTest {
 protected:
  // For all processes of this mount namespace.
  static void MakeReadOnly() {
    ASSERT_EQ(mount(kFile, kFile, nullptr, MS_BIND, nullptr), 0);
    ASSERT_EQ(mount(nullptr, kFile, nullptr, MS_BIND | MS_REMOUNT | MS_RDONLY, nullptr), 0)
        << std::generic_category().message(errno);
  }
  static void MakeWritable() { ASSERT_EQ(umount2(kFile, MNT_DETACH), 0); }

  // How often the guard logged that it reserves nothing.
  size_t LoggedFaults() {
    const std::vector<std::string> parts = absl::StrSplit(guard().Log(), "reserve NodePorts: ");
    return parts.size() - 1;
  }
};

// As in a container without deploy/components/reserve-ports.
TEST_P(GuardReserveLimitsTest, ReadOnlySysctl) {
  node().HurryGuards();
  NPG_ASSERT_OK_AND_ASSIGN(const auto host, Host({{"0.0.0.0", kPort, Transport::kTcp}}));
  NPG_ASSERT_OK(Allocate(NodePorts({kPort})));
  MakeReadOnly();
  NPG_ASSERT_OK(StartReserving());
  EXPECT_EQ(State(), "failed 0");
  const Json status = Status();
  EXPECT_THAT(status["protection"]["reserve_ports"]["error"].get<std::string>(),
              HasSubstr("deploy/components/reserve-ports"));
  EXPECT_THAT(status["problems"].dump(), HasSubstr("NodePorts are not reserved"));
  EXPECT_THAT(guard().Log(), HasSubstr("NodePorts are not reserved"));
  EXPECT_EQ(Ask({.destination = "127.0.0.1", .port = kPort}), kHost);

  // Each of these makes it try again.
  for (uint16_t port = 34001; port < 34004; ++port) {
    NPG_ASSERT_OK(WritePorts({kPort, port}, {kPort}));
    ASSERT_TRUE(WaitUntil(kPatience, [&] { return Knows(port); }));
  }
  EXPECT_EQ(LoggedFaults(), 1U) << guard().Log();
  EXPECT_EQ(Reserved(), kAdmin);
  MakeWritable();
  EXPECT_TRUE(Becomes("8080,9000-9100,33589,33595,34003")) << Reserved();
  EXPECT_TRUE(StateBecomes("ok 2")) << State();
  EXPECT_THAT(guard().Log(), HasSubstr("reserve NodePorts: works again"));
}

TEST_P(GuardReserveLimitsTest, AReadOnlySysctlKeepsThePins) {
  NPG_ASSERT_OK(WritePorts({kPort}));
  NPG_ASSERT_OK(StartReserving());
  NPG_ASSERT_OK(guard().Kill());
  MakeReadOnly();
  const absl::Status failed = RunUnload();
  EXPECT_THAT(failed.message(), HasSubstr("stay for another 'unload'"));
  EXPECT_FALSE(maps().LinkId("connect4").ok());
  MakeWritable();
  EXPECT_EQ(Reserved(), "8080,9000-9100,33589,33595");
  NPG_ASSERT_OK(RunUnload());
  EXPECT_EQ(Reserved(), kAdmin);
  EXPECT_FALSE(std::filesystem::exists(maps().root()));
}

TEST_P(GuardReserveLimitsTest, TooFewPortsWouldBeLeft) {
  NPG_ASSERT_OK(SetSysctl(kRange, "34000 34063"));
  NPG_ASSERT_OK(WritePorts(ScatteredPorts(34001, 10)));
  NPG_ASSERT_OK(StartReserving());
  EXPECT_EQ(State(), "ok 10");
  // 31 of 64 would be left.
  std::vector<uint16_t> ports(33);
  for (size_t i = 0; i < ports.size(); ++i) ports[i] = static_cast<uint16_t>(34001 + i);
  NPG_ASSERT_OK(WritePorts(ports));
  EXPECT_TRUE(StateBecomes("too_few 0")) << State();
  EXPECT_EQ(Reserved(), kAdmin);
  EXPECT_EQ(LoggedFaults(), 1U) << guard().Log();
  EXPECT_THAT(guard().Log(), HasSubstr("reserve NodePorts: none is reserved, because too few"));
  ports.pop_back();
  NPG_ASSERT_OK(WritePorts(ports));
  EXPECT_TRUE(StateBecomes("ok 32")) << State();
  EXPECT_EQ(Reserved(), absl::StrCat(kAdmin, ",34001-34032"));
}

TEST_P(GuardReserveLimitsTest, OtherNamespaceUntouched) {
  const auto in_pod = [this] {
    std::string reserved;
    NPG_EXPECT_OK(node().pod().Run([&reserved] {
      reserved = Reserved();
      return absl::OkStatus();
    }));
    return reserved;
  };
  NPG_ASSERT_OK(node().pod().Run([] { return SetSysctl(kSysctl, "7777"); }));
  NPG_ASSERT_OK(WritePorts({kPort}));
  NPG_ASSERT_OK(StartReserving());
  EXPECT_EQ(Reserved(), "8080,9000-9100,33589,33595");
  EXPECT_EQ(in_pod(), "7777");
  NPG_ASSERT_OK(guard().Kill());

  // From there, `unload` can remove neither the table nor the ports.
  const absl::Status elsewhere = node().pod().Run([this] { return RunUnload(); });
  EXPECT_THAT(elsewhere.message(), HasSubstr("served another network namespace"));
  EXPECT_EQ(in_pod(), "7777");
  EXPECT_EQ(Reserved(), "8080,9000-9100,33589,33595");
  NPG_ASSERT_OK(RunUnload());
  EXPECT_EQ(Reserved(), kAdmin);
  EXPECT_EQ(in_pod(), "7777");
}

INSTANTIATE_TEST_SUITE_P(Rules, GuardReserveLimitsTest, ::testing::Values(RuleShape{}),
                         RuleShapeName);

}  // namespace
}  // namespace npg::testing::reserve_ports_limits_test
