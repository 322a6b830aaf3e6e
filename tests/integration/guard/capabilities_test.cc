// SPDX-License-Identifier: Apache-2.0
// Every GuardProcess runs with the documented capabilities only, so the other tests
// show that these suffice. These tests show that the guard names each one that it
// lacks, and that it drops all others when it starts as root.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/capability.h>

#include <algorithm>
#include <csignal>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <map>
#include <string>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "base/capabilities.h"
#include "testing/client.h"
#include "testing/command.h"
#include "testing/guard_fixture.h"
#include "testing/guard_process.h"
#include "testing/kube_proxy_rules.h"
#include "testing/status_asserts.h"
#include "testing/transport.h"
#include "testing/wait_until.h"

namespace npg::testing::capabilities_test {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

constexpr uint16_t kPort = 33589;

uint64_t Bits(const std::vector<base::Capability::Need>& needs) {
  uint64_t bits = 0;
  for (const base::Capability& capability : base::kCapabilities) {
    for (const base::Capability::Need need : needs) {
      if (need == capability.need) bits |= uint64_t{1} << capability.number;
    }
  }
  return bits;
}

// The lines of a thread's status, by name.
std::map<std::string, std::string> ThreadStatus(const std::filesystem::path& task) {
  std::map<std::string, std::string> fields;
  std::ifstream file(task / "status");
  for (std::string line; std::getline(file, line);) {
    const size_t colon = line.find(':');
    if (colon != std::string::npos) {
      fields[line.substr(0, colon)] =
          std::string(absl::StripAsciiWhitespace(line.substr(colon + 1)));
    }
  }
  return fields;
}

uint64_t Hex(const std::string& digits) {
  uint64_t bits = ~uint64_t{0};
  EXPECT_TRUE(absl::SimpleHexAtoi(digits, &bits)) << digits;
  return bits;
}

class GuardCapabilitiesTest : public GuardTest {
 protected:
  void SetUp() override {
    ASSERT_NO_FATAL_FAILURE(GuardTest::SetUp());
    NPG_ASSERT_OK(Allocate(NodePorts({kPort})));
  }

  std::vector<std::string> Run(const std::vector<std::string>& more) const {
    std::vector<std::string> arguments = {"run", "--source", "netfilter"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return GuardCommand(node(), arguments);
  }
};

TEST_P(GuardCapabilitiesTest, DropsUnneededCapabilitiesOfRoot) {
  using Need = base::Capability::Need;
  NPG_ASSERT_OK_AND_ASSIGN(auto guard,
                           ChildProcess::Start(Run({"--http-address", "127.0.0.1:9829"})));
  ASSERT_TRUE(WaitUntil(absl::Seconds(60), [&] {
    return !guard.Running() || absl::StrContains(guard.Err(), "ready: ");
  }));
  ASSERT_TRUE(guard.Running()) << guard.Err();
  const uint64_t mine = base::EffectiveCapabilities();
  const uint64_t kept = Bits({Need::kAlways, Need::kLegacy, Need::kOwners}) & mine;
  ASSERT_NE(mine, kept) << "there are capabilities to drop";
  int threads = 0;
  for (const auto& task :
       std::filesystem::directory_iterator(absl::StrCat("/proc/", guard.pid(), "/task"))) {
    auto status = ThreadStatus(task.path());
    SCOPED_TRACE(status["Name"]);
    EXPECT_EQ(Hex(status["CapPrm"]), kept);
    EXPECT_EQ(Hex(status["CapEff"]), kept);
    EXPECT_EQ(Hex(status["CapInh"]), 0U);
    EXPECT_EQ(Hex(status["CapAmb"]), 0U);
    EXPECT_EQ(Hex(status["CapBnd"]), (uint64_t{1} << CAP_NET_ADMIN) | (uint64_t{1} << CAP_NET_RAW))
        << "a program that it executes gets no more";
    EXPECT_EQ(status["NoNewPrivs"], "1");
    ++threads;
  }
  EXPECT_GT(threads, 1) << "the HTTP server has its own threads";
  guard.Signal(SIGTERM);
  NPG_ASSERT_OK_AND_ASSIGN(const CommandResult ended, guard.Wait());
  EXPECT_EQ(ended.exit_code, 0) << ended.err;
}

// `run` refuses to start, in one line that names the capability, and leaves nothing behind.
TEST_P(GuardCapabilitiesTest, NamesAMissingRequiredCapability) {
  for (const int capability : {CAP_BPF, CAP_NET_ADMIN}) {
    std::string name;
    for (const base::Capability& one : base::kCapabilities) {
      if (one.number == capability) name = std::string(one.name);
    }
    SCOPED_TRACE(name);
    NPG_ASSERT_OK_AND_ASSIGN(const CommandResult refused,
                             RunForResult(WithCapabilities(Run({}), {capability})));
    EXPECT_EQ(refused.exit_code, 4) << refused.err;
    EXPECT_THAT(refused.err, HasSubstr("this process lacks " + name));
    EXPECT_EQ(std::count(refused.err.begin(), refused.err.end(), '\n'), 1) << refused.err;
    EXPECT_FALSE(std::filesystem::exists(maps().root()));
  }
}

// The data plane does not need it, so the guard starts, and names it where rules cannot be read.
TEST_P(GuardCapabilitiesTest, StartsWithoutTheCapabilityForLegacyRules) {
  NPG_ASSERT_OK_AND_ASSIGN(const auto host, Host({{"127.0.0.1", kPort, Transport::kTcp}}));
  NPG_ASSERT_OK_AND_ASSIGN(auto guard,
                           ChildProcess::Start(WithCapabilities(Run({}), {CAP_NET_RAW})));
  EXPECT_TRUE(WaitUntil(absl::Seconds(60), [&] {
    return absl::StrContains(guard.Err(), "ready: ");
  })) << guard.Err();
  const bool legacy = GetParam().variant == IptablesVariant::kLegacy;
  EXPECT_EQ(absl::StrContains(guard.Err(), "this process lacks CAP_NET_RAW"), legacy)
      << guard.Err();
  EXPECT_EQ(Ask({"127.0.0.1", kPort, Transport::kTcp}), legacy ? Hijacked() : kHost);
  guard.Signal(SIGTERM);
  NPG_ASSERT_OK_AND_ASSIGN(const CommandResult ended, guard.Wait());
  EXPECT_EQ(ended.exit_code, 0) << ended.err;
}

// Only some kernels require CAP_PERFMON. On the others the guard works without it.
TEST_P(GuardCapabilitiesTest, NamesPerfmonWhereTheKernelRequiresIt) {
  NPG_ASSERT_OK_AND_ASSIGN(auto guard,
                           ChildProcess::Start(WithCapabilities(Run({}), {CAP_PERFMON})));
  ASSERT_TRUE(WaitUntil(absl::Seconds(60), [&] {
    return !guard.Running() || absl::StrContains(guard.Err(), "ready: ");
  }));
  if (guard.Running()) {
    guard.Signal(SIGTERM);
    NPG_ASSERT_OK_AND_ASSIGN(const CommandResult ended, guard.Wait());
    EXPECT_EQ(ended.exit_code, 0) << ended.err;
    return;
  }
  NPG_ASSERT_OK_AND_ASSIGN(const CommandResult refused, guard.Wait());
  EXPECT_EQ(refused.exit_code, 4);
  EXPECT_THAT(refused.err, HasSubstr("this process lacks CAP_PERFMON"));
  EXPECT_THAT(refused.err, Not(HasSubstr("kernel >= 5.10")))
      << "the kernel version is not the reason";
}

// The guard works without these, and logs which one it lacks.
TEST_P(GuardCapabilitiesTest, WorksWithoutTheCapabilitiesForOwners) {
  NPG_ASSERT_OK_AND_ASSIGN(const auto host, Host({{"127.0.0.1", kPort, Transport::kTcp}}));
  for (const auto& [capability, name] : std::vector<std::pair<int, std::string>>{
           {CAP_SYS_PTRACE, "CAP_SYS_PTRACE"}, {CAP_DAC_READ_SEARCH, "CAP_DAC_READ_SEARCH"}}) {
    SCOPED_TRACE(name);
    NPG_ASSERT_OK_AND_ASSIGN(auto guard,
                             ChildProcess::Start(WithCapabilities(Run({}), {capability})));
    EXPECT_TRUE(WaitUntil(absl::Seconds(60), [&] {
      return absl::StrContains(guard.Err(), "ready: ");
    })) << guard.Err();
    EXPECT_THAT(guard.Err(), HasSubstr("this process lacks " + name + ": owners"));
    EXPECT_EQ(Ask({"127.0.0.1", kPort, Transport::kTcp}), kHost);
    guard.Signal(SIGTERM);
    NPG_ASSERT_OK(guard.Wait().status());
  }
}

INSTANTIATE_TEST_SUITE_P(Rules, GuardCapabilitiesTest,
                         ::testing::Values(RuleShape{IptablesVariant::kNft},
                                           RuleShape{IptablesVariant::kLegacy}),
                         RuleShapeName);

}  // namespace
}  // namespace npg::testing::capabilities_test
