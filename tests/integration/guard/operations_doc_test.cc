// SPDX-License-Identifier: Apache-2.0
// Runs the commands of docs/operations.md verbatim on a node that has the incident.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mount.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <memory>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "absl/cleanup/cleanup.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "testing/client.h"
#include "testing/command.h"
#include "testing/guard_fixture.h"
#include "testing/kube_proxy_rules.h"
#include "testing/paths.h"
#include "testing/status_asserts.h"
#include "testing/transport.h"

namespace npg::testing::operations_doc_test {
namespace {

using ::testing::HasSubstr;
using ::testing::SizeIs;

constexpr uint16_t kPort = 33589;  // as in the examples of the document

struct Block {
  std::string section;  // "## ..." above it
  std::string commands;
};

// The fenced blocks of shell commands, in order.
std::vector<Block> ShellBlocks(const std::string& path) {
  std::vector<Block> blocks;
  std::ifstream file(path);
  std::string section;
  bool inside = false;
  for (std::string line; std::getline(file, line);) {
    if (line == "```sh") {
      inside = true;
      blocks.push_back({section, ""});
    } else if (line == "```") {
      inside = false;
    } else if (inside) {
      absl::StrAppend(&blocks.back().commands, line, "\n");
    } else if (absl::StartsWith(line, "## ")) {
      section = line.substr(3);
    }
  }
  return blocks;
}

std::vector<std::string> Sorted(absl::string_view lines) {
  std::vector<std::string> sorted = absl::StrSplit(lines, '\n');
  std::sort(sorted.begin(), sorted.end());
  return sorted;
}

class OperationsDocTest : public GuardTest {
 protected:
  static constexpr absl::string_view kUninstall = "Uninstall without the tool";

  void SetUp() override {
    GuardTest::SetUp();
    // The commands use default paths, so the test mounts over them in its mount namespace.
    ASSERT_EQ(mount(node().bpffs().c_str(), "/sys/fs/bpf", nullptr, MS_BIND, nullptr), 0);
    setenv("NODEPORT_GUARD_CGROUP", node().cgroup().path().c_str(), 1);
    const std::string folder = std::filesystem::path(GuardBinary()).parent_path();
    setenv("PATH", absl::StrCat(folder, ":", getenv("PATH")).c_str(), 1);
  }

  static CommandResult RunBlock(const Block& block) {
    const absl::StatusOr<CommandResult> result =
        RunForResult({"bash", "-euo", "pipefail", "-c", block.commands});
    if (!result.ok()) {
      ADD_FAILURE() << block.commands << result.status();
      return {};
    }
    EXPECT_EQ(result->exit_code, 0) << block.commands << result->out << result->err;
    return *result;
  }
};

TEST_P(OperationsDocTest, EveryCommandOfTheDocumentWorks) {
  const std::vector<Block> blocks = ShellBlocks(SourcePath("docs/operations.md"));
  ASSERT_THAT(blocks, SizeIs(::testing::Ge(8)));
  NPG_ASSERT_OK(Allocate(NodePorts({kPort})));
  NPG_ASSERT_OK_AND_ASSIGN(const auto host, Host({{"127.0.0.1", kPort, Transport::kTcp}}));
  ASSERT_EQ(Ask({"127.0.0.1", kPort}), Hijacked());
  NPG_ASSERT_OK(StartNetfilterGuard());
  ASSERT_EQ(Ask({"127.0.0.1", kPort}), kHost);

  // Tables of the administrator, which the document's commands keep.
  NPG_ASSERT_OK(RunCommand({"nft", "-f", "-"}, R"(
    table inet admin {
      set blocked { type ipv4_addr; elements = { 192.0.2.1 }; }
      chain in {
        type filter hook input priority 0; policy accept;
        ip saddr @blocked drop
      }
    }
    table ip local {
      chain in { tcp dport 4444 drop; }
    })"));
  NPG_ASSERT_OK_AND_ASSIGN(const std::string admin,
                           RunCommand({"nft", "list", "table", "inet", "admin"}));
  NPG_ASSERT_OK_AND_ASSIGN(const std::string local,
                           RunCommand({"nft", "list", "table", "ip", "local"}));
  NPG_ASSERT_OK_AND_ASSIGN(const std::string all, RunCommand({"nft", "list", "tables"}));

  std::string printed;
  {
    // Makes the events that `events` waits for.
    std::atomic<bool> stop = false;
    std::thread kubelet([&stop] {
      while (!stop) {
        Ask({"127.0.0.1", kPort});
        absl::SleepFor(absl::Milliseconds(50));
      }
    });
    const absl::Cleanup join = [&] {
      stop = true;
      kubelet.join();
    };
    for (const Block& block : blocks) {
      if (block.section != kUninstall) absl::StrAppend(&printed, RunBlock(block).out);
    }
  }
  EXPECT_THAT(printed, HasSubstr("33589/tcp"));
  EXPECT_THAT(printed, HasSubstr("ok   self-probe"));
  EXPECT_THAT(printed, HasSubstr("table inet nodeport_guard"));

  EXPECT_EQ(RunCommand({"nft", "list", "table", "inet", "admin"}).value_or(""), admin);
  EXPECT_EQ(RunCommand({"nft", "list", "table", "ip", "local"}).value_or(""), local);
  EXPECT_EQ(Sorted(RunCommand({"nft", "list", "tables"}).value_or("")), Sorted(all));

  NPG_ASSERT_OK(guard().Stop());
  int uninstalling = 0;
  for (const Block& block : blocks) {
    if (block.section != kUninstall) continue;
    RunBlock(block);
    ++uninstalling;
  }
  EXPECT_EQ(uninstalling, 1);
  EXPECT_EQ(Ask({"127.0.0.1", kPort}), Hijacked()) << "the guard is gone";
  EXPECT_FALSE(std::filesystem::exists(maps().root()));
  NPG_ASSERT_OK_AND_ASSIGN(const int attached, AttachedPrograms(node().cgroup().path()));
  EXPECT_EQ(attached, 0);
  NPG_ASSERT_OK_AND_ASSIGN(const std::string tables, RunCommand({"nft", "list", "tables"}));
  EXPECT_THAT(tables, ::testing::Not(HasSubstr("nodeport_guard")));
}

INSTANTIATE_TEST_SUITE_P(Rules, OperationsDocTest,
                         ::testing::Values(RuleShape{IptablesVariant::kNft, true},
                                           RuleShape{IptablesVariant::kLegacy, false}),
                         RuleShapeName);

}  // namespace
}  // namespace npg::testing::operations_doc_test
