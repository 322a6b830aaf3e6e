// SPDX-License-Identifier: Apache-2.0
#include "rules/legacy_reader.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/eventfd.h>

#include <cstdint>
#include <filesystem>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "base/unique_fd.h"
#include "core/listener.h"
#include "rules/connect.h"
#include "rules/rule.h"
#include "rules/rule_set.h"
#include "testing/status_asserts.h"
#include "testing/testdata.h"

namespace npg::rules::legacy_reader_test {
namespace {

using testing::TempFolder;
using testing::WriteFile;
using testing::WriteScript;

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr uint8_t kIp4 = 2;   // NFPROTO_IPV4
constexpr uint8_t kIp6 = 10;  // NFPROTO_IPV6

// A system whose save commands are scripts of the test.
class LegacyReaderTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::filesystem::create_directory(folder_ / "bin");
    std::filesystem::create_directory(folder_ / "net");
  }
  LegacyReader::Options Options() {
    return {.command_folders = {folder_ / "bin"},
            .proc_net = folder_ / "net",
            .command_timeout = absl::Seconds(20)};
  }
  // Makes a command that prints `text` (with the escapes of printf) and leaves a file.
  void Command(const std::string& name, const std::string& text, const std::string& more = "") {
    WriteScript(folder_ / "bin/" + name,
                absl::StrCat("touch ", folder_ / "ran", "\nprintf '%b' '", text, "'\n", more));
  }
  void Tables(const std::string& names) { WriteFile(folder_ / "net/ip_tables_names", names); }
  bool Ran() { return std::filesystem::remove(folder_ / "ran"); }
  static ChainName Chain(const std::string& table, const std::string& name) {
    return {{Engine::kLegacy, kIp4, table}, name};
  }

  const TempFolder folder_;
  RuleSet rules_{ConnectsToLoopbackAnd(core::AddressSet())};
};

constexpr const char* kNat =
    R"(*nat\n:OUTPUT ACCEPT [0:0]\n:KUBE-NODEPORTS - [0:0]\n-A OUTPUT -j KUBE-NODEPORTS\nCOMMIT\n)";

TEST_F(LegacyReaderTest, ReadsTheTables) {
  Tables("nat\n");
  Command("iptables-legacy-save", kNat);
  Command("ip6tables-legacy-save", kNat);
  LegacyReader reader(kIp4, Options());
  EXPECT_TRUE(reader.Read(rules_));
  NPG_EXPECT_OK(reader.status());
  EXPECT_THAT(reader.skipped(), IsEmpty());
  EXPECT_FALSE(reader.unread());
  EXPECT_TRUE(rules_.HasChain(Chain("nat", "KUBE-NODEPORTS")));
  ASSERT_EQ(reader.base_chains().size(), 1U);
  EXPECT_EQ(reader.base_chains()[0].chain, Chain("nat", "OUTPUT"));
  EXPECT_EQ(rules_.rules(), 1U);
  // Does not read IPv6 tables that do not exist, because that would create them.
  Ran();
  LegacyReader other(kIp6, Options());
  EXPECT_FALSE(other.Read(rules_));
  EXPECT_FALSE(Ran());
  EXPECT_EQ(rules_.rules(), 1U);
}

TEST_F(LegacyReaderTest, RunsNoCommandWithoutTables) {
  Command("iptables-legacy-save", "broken", "exit 1");
  LegacyReader reader(kIp4, Options());
  EXPECT_FALSE(reader.Read(rules_));
  Tables("");
  EXPECT_FALSE(reader.Read(rules_));
  Tables("broute\n");
  EXPECT_FALSE(reader.Read(rules_));
  NPG_EXPECT_OK(reader.status());
  EXPECT_FALSE(Ran());
}

TEST_F(LegacyReaderTest, ForgetsTablesThatAreGone) {
  Tables("nat\n");
  Command("iptables-legacy-save", kNat);
  LegacyReader reader(kIp4, Options());
  EXPECT_TRUE(reader.Read(rules_));
  Tables("");
  EXPECT_TRUE(reader.Read(rules_));
  EXPECT_THAT(reader.base_chains(), IsEmpty());
  EXPECT_FALSE(rules_.HasChain(Chain("nat", "KUBE-NODEPORTS")));
  EXPECT_FALSE(reader.Read(rules_));
}

TEST_F(LegacyReaderTest, AMissingCommandIsNoErrorUnlessTablesWereRead) {
  Tables("filter\nnat\n");
  LegacyReader reader(kIp4, Options());
  EXPECT_FALSE(reader.Read(rules_));
  NPG_EXPECT_OK(reader.status());
  EXPECT_TRUE(reader.unread());
  EXPECT_THAT(reader.skipped(),
              ElementsAre("the legacy tables filter, nat cannot be read: there is no "
                          "iptables-legacy-save; install the package iptables"));
  // The package is installed, and removed again.
  Command("iptables-legacy-save", kNat);
  EXPECT_TRUE(reader.Read(rules_));
  EXPECT_FALSE(reader.unread());
  EXPECT_THAT(reader.skipped(), IsEmpty());
  std::filesystem::remove(folder_ / "bin/iptables-legacy-save");
  EXPECT_FALSE(reader.Read(rules_));
  EXPECT_EQ(reader.status().code(), absl::StatusCode::kNotFound);
  EXPECT_TRUE(rules_.HasChain(Chain("nat", "KUBE-NODEPORTS"))) << "as last read";
}

TEST_F(LegacyReaderTest, NamesLinesThatAreNoRules) {
  Tables("nat\n");
  Command("iptables-legacy-save", R"(*nat\nodd\nCOMMIT\n)");
  LegacyReader reader(kIp4, Options());
  reader.Read(rules_);
  EXPECT_THAT(reader.skipped(),
              ElementsAre(AllOf(HasSubstr("bin/iptables-legacy-save: "), HasSubstr("odd"))));
}

TEST_F(LegacyReaderTest, AFailingCommandIsAnErrorUntilOneSucceeds) {
  Tables("nat\n");
  Command("iptables-legacy-save", kNat, "echo no luck >&2\nexit 4");
  LegacyReader reader(kIp4, Options());
  reader.Read(rules_);
  EXPECT_THAT(std::string(reader.status().message()),
              HasSubstr("iptables-legacy-save failed with exit code 4: no luck"));
  Command("iptables-legacy-save", R"(*nat\n:OUTPUT ACCEPT [0:0]\n)");
  reader.Read(rules_);
  EXPECT_THAT(std::string(reader.status().message()),
              AllOf(HasSubstr("iptables-legacy-save"), HasSubstr("ends within table nat")));
  Command("iptables-legacy-save", kNat);
  EXPECT_TRUE(reader.Read(rules_));
  NPG_EXPECT_OK(reader.status());
}

TEST_F(LegacyReaderTest, ACommandThatHangsIsKilled) {
  Tables("nat\n");
  Command("iptables-legacy-save", "", "sleep 1000");
  LegacyReader::Options options = Options();
  options.command_timeout = absl::Milliseconds(100);
  LegacyReader limited(kIp4, options);
  limited.Read(rules_);
  EXPECT_EQ(limited.status().code(), absl::StatusCode::kDeadlineExceeded);

  const base::UniqueFd stop(eventfd(1, EFD_CLOEXEC));
  options.command_timeout = absl::Minutes(10);
  options.stop_fd = stop.get();
  LegacyReader stopped(kIp4, options);
  stopped.Read(rules_);
  EXPECT_EQ(stopped.status().code(), absl::StatusCode::kCancelled);
}

}  // namespace
}  // namespace npg::rules::legacy_reader_test
