// SPDX-License-Identifier: Apache-2.0
// --bind-protection deny, when a process and a Service get the same port at about the same time:
// a process that had the port first may bind it again, any number of times.
#include <gtest/gtest.h>
#include <sys/types.h>
#include <sys/utsname.h>

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <fstream>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "base/unique_fd.h"
#include "guard_abi.h"
#include "node/sock_diag.h"
#include "testing/bind_fixture.h"
#include "testing/binder.h"
#include "testing/command.h"
#include "testing/guard_fixture.h"
#include "testing/guard_process.h"
#include "testing/status_asserts.h"
#include "testing/transport.h"
#include "testing/wait_until.h"

namespace npg::testing::bind_race_test {
namespace {

constexpr uint16_t kPort = 33589;
constexpr uint16_t kOtherPort = 33590;
constexpr const char* kBound = "bound";

// Seconds that the first thread of a process has run on a processor: that of the controller's loop.
double LoopSeconds(pid_t pid) {
  std::ifstream file(absl::StrCat("/proc/", pid, "/task/", pid, "/schedstat"));
  uint64_t nanoseconds = 0;
  file >> nanoseconds;
  return static_cast<double>(nanoseconds) / 1e9;
}

class GuardBindRaceTest : public BindProtectionTest {
 protected:
  bool BecomesFirstHolder(uint16_t port, uint32_t uid,
                          Transport transport = Transport::kTcp) const {
    return WaitUntil(kPatience, [&] { return IsFirstHolder(port, uid, transport); });
  }
  // How many ports are; nullopt if that cannot be read.
  std::optional<size_t> Refusable() const {
    const auto count = maps().Count("refusable");
    return count.ok() ? std::optional<size_t>(*count) : std::nullopt;
  }
  bool IsNodePort(uint16_t port) const {
    const auto entry = maps().NodePort(port, Transport::kTcp);
    return entry.ok() && entry->has_value();
  }
};

TEST_P(GuardBindRaceTest, NodePortFirst) {
  NPG_ASSERT_OK(WritePorts({}));
  NPG_ASSERT_OK(StartProtection("deny"));
  EXPECT_EQ(TryBind({.port = kPort}), kBound);
  NPG_ASSERT_OK(WritePorts({kPort}));
  ASSERT_TRUE(BecomesRefusable(kPort));
  EXPECT_EQ(TryBind({.port = kPort}), RefusalErrno()) << "the first socket was closed before";
  EXPECT_FALSE(IsFirstHolder(kPort, 0));
}

TEST_P(GuardBindRaceTest, BindFirst) {
  NPG_ASSERT_OK(WritePorts({}));
  NPG_ASSERT_OK(StartProtection("deny"));
  for (const Transport transport : {Transport::kTcp, Transport::kUdp}) {
    SCOPED_TRACE(TransportName(transport));
    const uint16_t port = transport == Transport::kTcp ? kPort : kOtherPort;
    const BindCall first{
        .address = "127.0.0.1", .port = port, .transport = transport, .nobody = true};
    NPG_ASSERT_OK_AND_ASSIGN(auto held, HoldBind(first));
    NPG_ASSERT_OK(WritePorts({kPort}, {kOtherPort}));
    ASSERT_TRUE(WaitUntil(kPatience, [&] { return IsRefusable(port, transport); }));
    EXPECT_TRUE(IsFirstHolder(port, kNobodyUid, transport));
    EXPECT_FALSE(IsFirstHolder(port, 0, transport));
    // On another address than that of the live socket, with which the kernel finds a conflict.
    BindCall elsewhere = first;
    elsewhere.address = kNodeAddress;
    EXPECT_EQ(TryBind(elsewhere), kBound);
    elsewhere.nobody = false;
    EXPECT_EQ(TryBind(elsewhere), RefusalErrno());
    // Its process starts again, several times.
    held.Reset();
    for (int i = 0; i < 3; ++i) EXPECT_EQ(TryBind(first), kBound);
    EXPECT_EQ(TryBind(elsewhere), RefusalErrno());
    NPG_ASSERT_OK(WritePorts({}));
    ASSERT_TRUE(WaitUntil(kPatience, [this] { return Refusable() == 0; }));
  }
}

// Since Linux 6.8 the kernel lists such sockets (91051f003948).
bool KernelListsIdleSockets() {
  utsname name{};
  uname(&name);
  int major = 0;
  int minor = 0;
  // NOLINTNEXTLINE(cert-err34-c): the kernel's own text
  std::sscanf(name.release, "%d.%d", &major, &minor);
  return major > 6 || (major == 6 && minor >= 8);
}

TEST_P(GuardBindRaceTest, BoundAndNotListening) {
  NPG_ASSERT_OK(WritePorts({}));
  NPG_ASSERT_OK(StartProtection("deny"));
  const BindCall first{.address = "127.0.0.1", .port = kPort, .nobody = true, .listen = false};
  NPG_ASSERT_OK_AND_ASSIGN(auto held, HoldBind(first));
  NPG_ASSERT_OK_AND_ASSIGN(const auto listed,
                           node::ListIdleTcpOn([](const auto& key) { return key.port == kPort; }));
  if (!KernelListsIdleSockets()) GTEST_SKIP() << "kernels before 6.8 do not list bound sockets";
  ASSERT_FALSE(listed.listeners.empty());
  NPG_ASSERT_OK(WritePorts({kPort}));
  ASSERT_TRUE(BecomesRefusable(kPort));
  held.Reset();
  EXPECT_EQ(TryBind(first), kBound);
  EXPECT_EQ(TryBind({.address = "127.0.0.1", .port = kPort}), RefusalErrno());
}

// The bind comes before, while, or after the port becomes refusable.
TEST_P(GuardBindRaceTest, BothAtOnce) {
  constexpr int kRounds = 60;
  NPG_ASSERT_OK(WritePorts({}));
  NPG_ASSERT_OK(StartProtection("deny"));
  std::vector<uint16_t> ports;
  int first = 0;
  for (int round = 0; round < kRounds; ++round) {
    const auto port = static_cast<uint16_t>(kPort + round);
    SCOPED_TRACE(absl::StrCat("round ", round));
    ports.push_back(port);
    const BindCall call{.address = "127.0.0.1", .port = port};
    absl::StatusOr<base::UniqueFd> held;
    std::thread binder([&] {
      // Up to twice as long as the controller waits for more changes.
      absl::SleepFor(absl::Microseconds(400) * round);
      held = HoldBind(call);
    });
    const absl::Status written = WritePorts(ports);
    binder.join();
    NPG_ASSERT_OK(written);
    ASSERT_TRUE(BecomesRefusable(port));
    if (held.ok()) {
      ++first;
      EXPECT_TRUE(BecomesFirstHolder(port, 0));
      held->Reset();
      EXPECT_EQ(TryBind(call), kBound);
    } else {
      EXPECT_EQ(TryBind(call), RefusalErrno()) << held.status();
    }
  }
  std::printf("%d of %d binds were first\n", first, kRounds);
}

// A Service is deleted, and another one gets its number, perhaps before bind protection has
// followed the first change.
TEST_P(GuardBindRaceTest, RecreatedService) {
  NPG_ASSERT_OK(WritePorts({kPort}));
  NPG_ASSERT_OK(StartProtection("deny"));
  const BindCall first{.address = "127.0.0.1", .port = kPort, .nobody = true};
  BindCall elsewhere = first;
  elsewhere.address = kNodeAddress;
  for (int round = 0; round < 5; ++round) {
    SCOPED_TRACE(absl::StrCat("round ", round));
    ASSERT_EQ(TryBind(first), RefusalErrno());
    NPG_ASSERT_OK(WritePorts({}));
    ASSERT_TRUE(WaitUntil(kPatience, [this] { return !IsNodePort(kPort); }));
    NPG_ASSERT_OK_AND_ASSIGN(auto held, HoldBind(first));
    NPG_ASSERT_OK(WritePorts({kPort}));
    ASSERT_TRUE(WaitUntil(kPatience, [this] { return IsNodePort(kPort); }));
    // The port is not refusable yet, or its holder is noted.
    EXPECT_TRUE(WaitUntil(kPatience, [&] {
      const bool noted = IsRefusable(kPort) && IsFirstHolder(kPort, kNobodyUid);
      EXPECT_EQ(TryBind(elsewhere), kBound);
      return noted;
    }));
    held.Reset();
    EXPECT_EQ(TryBind(first), kBound);
    // Allocated once more while no process has it.
    NPG_ASSERT_OK(WritePorts({}));
    ASSERT_TRUE(WaitUntil(kPatience, [this] { return !IsFirstHolder(kPort, kNobodyUid); }));
    NPG_ASSERT_OK(WritePorts({kPort}));
    ASSERT_TRUE(BecomesRefusable(kPort));
  }
}

TEST_P(GuardBindRaceTest, Burst10000) {
  constexpr size_t kPorts = 10000;
  constexpr size_t kStep = 100;
  constexpr uint16_t kFirst = 33000;
  NPG_ASSERT_OK(WritePorts({}));
  NPG_ASSERT_OK(StartProtection("deny"));
  const double before = LoopSeconds(guard().pid());
  const absl::Time begun = absl::Now();
  std::vector<uint16_t> ports;
  while (ports.size() < kPorts) {
    for (size_t i = 0; i < kStep; ++i) {
      ports.push_back(static_cast<uint16_t>(kFirst + ports.size()));
    }
    NPG_ASSERT_OK(WritePorts(ports));
  }
  EXPECT_TRUE(WaitUntil(kPatience, [&] { return Refusable() == kPorts; }));
  const double took = absl::ToDoubleSeconds(absl::Now() - begun);
  std::printf("%zu ports refusable after %.2f s, %.2f s of a processor\n", kPorts, took,
              LoopSeconds(guard().pid()) - before);
  EXPECT_TRUE(IsRefusable(kFirst));
  EXPECT_EQ(TryBind({.port = static_cast<uint16_t>(kFirst + kPorts - 1)}), RefusalErrno());
  EXPECT_EQ(TryBind({.port = static_cast<uint16_t>(kFirst + kPorts)}), kBound);
  NPG_ASSERT_OK(WritePorts({}));
  EXPECT_TRUE(WaitUntil(kPatience, [this] { return Refusable() == 0; }));
}

TEST_P(GuardBindRaceTest, RestartBetween) {
  NPG_ASSERT_OK(WritePorts({kPort}));
  NPG_ASSERT_OK(StartProtection("deny"));
  NPG_ASSERT_OK(guard().Kill());
  EXPECT_EQ(TryBind({.port = kPort}), RefusalErrno()) << "no controller runs";
  const BindCall other{.address = "127.0.0.1", .port = kOtherPort, .nobody = true};
  NPG_ASSERT_OK_AND_ASSIGN(auto held, HoldBind(other));
  NPG_ASSERT_OK(WritePorts({kPort, kOtherPort}));
  NPG_ASSERT_OK(StartProtection("deny"));
  ASSERT_TRUE(BecomesRefusable(kOtherPort));
  EXPECT_TRUE(IsFirstHolder(kOtherPort, kNobodyUid));
  held.Reset();
  EXPECT_EQ(TryBind(other), kBound);
  EXPECT_EQ(TryBind({.port = kOtherPort}), RefusalErrno());
  EXPECT_EQ(TryBind({.port = kPort}), RefusalErrno());
  EXPECT_EQ(TryBind({.port = kPort, .nobody = true}), RefusalErrno());
}

INSTANTIATE_TEST_SUITE_P(Rules, GuardBindRaceTest, ::testing::Values(RuleShape{}), RuleShapeName);

}  // namespace
}  // namespace npg::testing::bind_race_test
