// SPDX-License-Identifier: Apache-2.0
// Start, restart and unload of a guard: each is complete or has no effect, and no connect
// meets a moment without a guard during a restart.
#include <bpf/bpf.h>
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/bpf.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "base/errno_status.h"
#include "base/unique_fd.h"
#include "dataplane/bpf/controller_lock.h"
#include "dataplane/bpf/pin_paths.h"
#include "guard_abi.h"
#include "testing/client.h"
#include "testing/command.h"
#include "testing/echo_server.h"
#include "testing/guard_fixture.h"
#include "testing/guard_maps.h"
#include "testing/guard_process.h"
#include "testing/hammer.h"
#include "testing/status_asserts.h"
#include "testing/stream.h"
#include "testing/transport.h"
#include "testing/wait_until.h"

namespace npg::testing::lifecycle_test {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

constexpr uint16_t kPort = 33589;
constexpr std::array<const char*, 4> kPrograms = {"npg_connect4", "npg_connect6", "npg_bind4",
                                                  "npg_bind6"};

Dial Tcp(const std::string& destination = "127.0.0.1") {
  return {destination, kPort, Transport::kTcp};
}

absl::StatusOr<std::string> NftTables() { return RunCommand({"nft", "list", "tables"}); }

size_t Lines(const std::string& text) {
  return static_cast<size_t>(std::count(text.begin(), text.end(), '\n'));
}

class GuardLifecycleTest : public GuardTest {
 protected:
  void SetUp() override {
    ASSERT_NO_FATAL_FAILURE(GuardTest::SetUp());
    NPG_ASSERT_OK_AND_ASSIGN(host_, Host({{"127.0.0.1", kPort, Transport::kTcp},
                                          {"127.0.0.1", kPort, Transport::kUdp}}));
    NPG_ASSERT_OK(Allocate(NodePorts({kPort})));
  }

  void ExpectNothingOfTheGuard() {
    EXPECT_FALSE(std::filesystem::exists(maps().root()));
    NPG_ASSERT_OK_AND_ASSIGN(const int attached, AttachedPrograms(node().cgroup().path()));
    EXPECT_EQ(attached, 0);
    NPG_ASSERT_OK_AND_ASSIGN(const std::string tables, NftTables());
    EXPECT_THAT(tables, Not(HasSubstr("nodeport_guard")));
  }

  // Expects that `nodeport-guard run` fails.
  void ExpectStartFails(int exit_code, const std::string& reason,
                        const std::vector<std::string>& more = {}) {
    std::vector<std::string> arguments = {"run", "--source", "file", "--nodeports-file",
                                          node().File("nodeports.json")};
    arguments.insert(arguments.end(), more.begin(), more.end());
    NPG_ASSERT_OK_AND_ASSIGN(const CommandResult result,
                             RunForResult(GuardCommand(node(), arguments)));
    EXPECT_EQ(result.exit_code, exit_code) << result.err;
    EXPECT_THAT(result.err, HasSubstr(reason));
    EXPECT_EQ(Lines(result.err), 1U) << result.err;
  }

  absl::StatusOr<CommandResult> Unload() { return RunForResult(GuardCommand(node(), {"unload"})); }

 private:
  std::unique_ptr<EchoServer> host_;
};

TEST_P(GuardLifecycleTest, GuardsEveryConnectDuringRestarts) {
  EXPECT_EQ(Ask(Tcp()), Hijacked());
  NPG_ASSERT_OK(StartGuard());
  Hammer hammer({Tcp(), Tcp("::ffff:127.0.0.1"), {"127.0.0.1", kPort, Transport::kUdp}});
  for (int round = 0; round < 20; ++round) {
    const uint64_t before = hammer.connects();
    if (round % 2 == 0) {
      NPG_ASSERT_OK(guard().Stop());
    } else {
      NPG_ASSERT_OK(guard().Kill());
    }
    NPG_ASSERT_OK(StartGuard());
    EXPECT_TRUE(WaitUntil(absl::Seconds(10), [&] { return hammer.connects() > before + 10; }));
  }
  EXPECT_THAT(hammer.Stop(), ::testing::IsEmpty());
  EXPECT_EQ(Counted(NPG_COUNTER_EXEMPTED), hammer.connects()) << "a restart keeps the counters";
}

// The programs set the mark and the table matches it: the table accepts the old mark until
// no program sets it any more.
TEST_P(GuardLifecycleTest, GuardsEveryConnectDuringAChangeOfTheMark) {
  NPG_ASSERT_OK(StartGuard());
  Hammer hammer({Tcp(), Tcp("::ffff:127.0.0.1"), {"127.0.0.1", kPort, Transport::kUdp}});
  for (const char* mark : {"--mark=0x2000", "--mark=0x4000", "--mark=0x1000", "--mark=0x1000"}) {
    const uint64_t before = hammer.connects();
    NPG_ASSERT_OK(guard().Stop());
    NPG_ASSERT_OK(StartGuard({mark}));
    EXPECT_TRUE(WaitUntil(absl::Seconds(10), [&] { return hammer.connects() > before + 10; }));
  }
  EXPECT_THAT(hammer.Stop(), ::testing::IsEmpty());
  const auto rules_with = [](const char* text) {
    const auto rules = RunCommand({"nft", "list", "chain", "inet", "nodeport_guard", "to_tcp"});
    return rules.ok() && absl::StrContains(*rules, text);
  };
  NPG_ASSERT_OK(guard().Stop());
  NPG_ASSERT_OK(StartGuard({"--mark=0x2000"}));
  EXPECT_TRUE(WaitUntil(absl::Seconds(10), [&] { return !rules_with("0x00001000"); }));
  EXPECT_TRUE(rules_with("0x00002000"));
}

TEST_P(GuardLifecycleTest, RestartAdoptsMapsAndLinks) {
  NPG_ASSERT_OK(StartGuard());
  EXPECT_EQ(Ask(Tcp()), kHost);
  NPG_ASSERT_OK_AND_ASSIGN(const std::string before, maps().Everything());
  NPG_ASSERT_OK_AND_ASSIGN(const uint32_t map, maps().MapId("counters"));
  std::vector<std::pair<uint32_t, uint32_t>> links;
  for (const char* name : kPrograms) {
    NPG_ASSERT_OK_AND_ASSIGN(const uint32_t link, maps().LinkId(name));
    NPG_ASSERT_OK_AND_ASSIGN(const uint32_t program, maps().LinkProgramId(name));
    links.emplace_back(link, program);
  }
  for (const bool killed : {false, true}) {
    SCOPED_TRACE(killed ? "after SIGKILL" : "after SIGTERM");
    NPG_ASSERT_OK(killed ? guard().Kill() : guard().Stop());
    NPG_ASSERT_OK(StartGuard());
    NPG_ASSERT_OK_AND_ASSIGN(const std::string after, maps().Everything());
    EXPECT_EQ(after, before) << "a restart keeps entries, counters and statistics";
    NPG_ASSERT_OK_AND_ASSIGN(const uint32_t same_map, maps().MapId("counters"));
    EXPECT_EQ(same_map, map);
    for (size_t i = 0; i < kPrograms.size(); ++i) {
      NPG_ASSERT_OK_AND_ASSIGN(const uint32_t link, maps().LinkId(kPrograms.at(i)));
      NPG_ASSERT_OK_AND_ASSIGN(const uint32_t program, maps().LinkProgramId(kPrograms.at(i)));
      EXPECT_EQ(link, links[i].first) << kPrograms.at(i) << " is replaced in its link";
      EXPECT_NE(program, links[i].second) << kPrograms.at(i) << " is this build's";
    }
    NPG_ASSERT_OK_AND_ASSIGN(const int attached, AttachedPrograms(node().cgroup().path()));
    EXPECT_EQ(attached, 4);
  }
}

TEST_P(GuardLifecycleTest, RestartAppliesPortsThatChangedMeanwhile) {
  NPG_ASSERT_OK(StartGuard());
  NPG_ASSERT_OK(guard().Kill());
  ForgetGuard();
  NPG_ASSERT_OK(Allocate(NodePorts({kPort + 1})));
  NPG_ASSERT_OK(StartGuard());
  NPG_ASSERT_OK_AND_ASSIGN(const auto old, maps().NodePort(kPort, Transport::kTcp));
  EXPECT_FALSE(old.has_value());
  NPG_ASSERT_OK_AND_ASSIGN(const auto now, maps().NodePort(kPort + 1, Transport::kTcp));
  EXPECT_TRUE(now.has_value());
}

TEST_P(GuardLifecycleTest, SecondControllerIsRefused) {
  NPG_ASSERT_OK(StartGuard());
  ExpectStartFails(1, absl::StrCat(guard().pid()));
  EXPECT_EQ(Ask(Tcp()), kHost) << "the first guard still works";
  NPG_ASSERT_OK(guard().Kill());
  NPG_ASSERT_OK(StartGuard()) << "the kernel releases the lock of a killed controller";
}

TEST_P(GuardLifecycleTest, PinsAreOnlyForRoot) {
  NPG_ASSERT_OK(StartGuard());
  struct stat info {};
  ASSERT_EQ(stat(maps().root().c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777U, 0700U);
}

TEST_P(GuardLifecycleTest, UnloadLeavesNothing) {
  for (const bool killed : {false, true}) {
    SCOPED_TRACE(killed ? "after SIGKILL" : "after SIGTERM");
    NPG_ASSERT_OK(StartGuard());
    EXPECT_EQ(Ask(Tcp()), kHost);
    NPG_ASSERT_OK(killed ? guard().Kill() : guard().Stop());
    EXPECT_EQ(Ask(Tcp()), kHost) << "the guard stays when its controller ends";
    for (int again = 0; again < 2; ++again) {
      NPG_ASSERT_OK_AND_ASSIGN(const CommandResult unloaded, Unload());
      EXPECT_EQ(unloaded.exit_code, 0) << unloaded.err;
      ExpectNothingOfTheGuard();
    }
    EXPECT_EQ(Ask(Tcp()), Hijacked());
  }
}

TEST_P(GuardLifecycleTest, UnloadRefusesWhileAControllerRuns) {
  NPG_ASSERT_OK(StartGuard());
  NPG_ASSERT_OK_AND_ASSIGN(const CommandResult refused, Unload());
  EXPECT_EQ(refused.exit_code, 1);
  EXPECT_THAT(refused.err, HasSubstr(absl::StrCat(guard().pid())));
  EXPECT_EQ(Ask(Tcp()), kHost);
}

TEST_P(GuardLifecycleTest, UnloadNamesLiveConnectionsAndWaitsForThem) {
  NPG_ASSERT_OK(StartGuard());
  NPG_ASSERT_OK_AND_ASSIGN(auto stream, Stream::Open(Tcp()));
  NPG_ASSERT_OK(guard().Stop());
  NPG_ASSERT_OK_AND_ASSIGN(auto unload,
                           ChildProcess::Start(GuardCommand(node(), {"unload", "--drain", "30"})));
  const std::string client = absl::StrCat(":", stream->local_port());
  EXPECT_TRUE(WaitUntil(absl::Seconds(10),
                        [&] { return absl::StrContains(unload.Out() + unload.Err(), client); }))
      << unload.Out() << unload.Err();
  EXPECT_TRUE(unload.Running());
  EXPECT_EQ(Ask(Tcp()), Hijacked()) << "no new connect is exempted";
  NPG_EXPECT_OK(stream->Exchange(1 << 20));
  NPG_EXPECT_OK(stream->Finish());
  stream.reset();
  NPG_ASSERT_OK_AND_ASSIGN(const CommandResult result, unload.Wait());
  EXPECT_EQ(result.exit_code, 0) << result.err;
  ExpectNothingOfTheGuard();
}

// In the place of a controller, as in a DaemonSet that removes the guard from all nodes.
TEST_P(GuardLifecycleTest, UnloadStaysUntilSigterm) {
  NPG_ASSERT_OK(StartGuard());
  NPG_ASSERT_OK(guard().Stop());
  NPG_ASSERT_OK_AND_ASSIGN(auto unload,
                           ChildProcess::Start(GuardCommand(node(), {"unload", "--stay"})));
  EXPECT_TRUE(WaitUntil(absl::Seconds(30), [&] {
    return absl::StrContains(unload.Out(), "waiting for SIGTERM");
  })) << unload.Out();
  ExpectNothingOfTheGuard();
  EXPECT_TRUE(unload.Running());
  unload.Signal(SIGTERM);
  NPG_ASSERT_OK_AND_ASSIGN(const CommandResult result, unload.Wait());
  EXPECT_EQ(result.exit_code, 0) << result.err;
}

TEST_P(GuardLifecycleTest, DetachOnExit) {
  NPG_ASSERT_OK(StartGuard({"--detach-on-exit"}));
  EXPECT_EQ(Ask(Tcp()), kHost);
  NPG_ASSERT_OK(guard().Stop());
  ExpectNothingOfTheGuard();
  EXPECT_EQ(Ask(Tcp()), Hijacked());
}

// Owns a table with the name of the guard's until its input is closed.
absl::StatusOr<ChildProcess> OwnTheTable() {
  auto owner =
      ChildProcess::Start({"nft", "-i"}, "add table inet nodeport_guard { flags owner; }\n",
                          /*keep_input_open=*/true);
  if (!owner.ok()) return owner.status();
  if (!WaitUntil(absl::Seconds(10),
                 [] { return absl::StrContains(NftTables().value_or(""), "nodeport_guard"); })) {
    return absl::DeadlineExceededError(owner->Out() + owner->Err());
  }
  return owner;
}

TEST_P(GuardLifecycleTest, StartThatCannotHaveTheTableLeavesNothing) {
  NPG_ASSERT_OK_AND_ASSIGN(auto owner, OwnTheTable());
  ExpectStartFails(4, "nodeport_guard");
  EXPECT_FALSE(std::filesystem::exists(maps().root()));
  NPG_ASSERT_OK_AND_ASSIGN(const int attached, AttachedPrograms(node().cgroup().path()));
  EXPECT_EQ(attached, 0);
  NPG_ASSERT_OK_AND_ASSIGN(const std::string tables, NftTables());
  EXPECT_THAT(tables, HasSubstr("nodeport_guard")) << "it belongs to another process";
  EXPECT_EQ(Ask(Tcp()), Hijacked());

  owner.CloseInput();
  NPG_ASSERT_OK(owner.Wait());
  ExpectNothingOfTheGuard();
  NPG_ASSERT_OK(StartGuard());
  EXPECT_EQ(Ask(Tcp()), kHost);
}

// A foreign program on the cgroup.
absl::StatusOr<base::UniqueFd> AttachForeignProgram(const std::string& cgroup, uint32_t flags) {
  // r0 = 1; exit: proceed.
  const std::array<bpf_insn, 2> proceed = {
      {{BPF_ALU64 | BPF_MOV | BPF_K, 0, 0, 0, 1}, {BPF_JMP | BPF_EXIT, 0, 0, 0, 0}}};
  LIBBPF_OPTS(bpf_prog_load_opts, options, .expected_attach_type = BPF_CGROUP_INET6_CONNECT);
  base::UniqueFd program(bpf_prog_load(BPF_PROG_TYPE_CGROUP_SOCK_ADDR, "foreign", "GPL",
                                       proceed.data(), proceed.size(), &options));
  if (!program) return base::ErrnoStatus(errno, "load a program");
  const base::UniqueFd group(open(cgroup.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!group) return base::ErrnoStatus(errno, absl::StrCat("open ", cgroup));
  if (bpf_prog_attach(program.get(), group.get(), BPF_CGROUP_INET6_CONNECT, flags) != 0) {
    return base::ErrnoStatus(errno, "attach a program");
  }
  return program;
}

TEST_P(GuardLifecycleTest, StartThatCannotAttachAllProgramsLeavesNothing) {
  // Attached exclusively, to connect6: the kernel refuses the second program of the guard.
  NPG_ASSERT_OK(AttachForeignProgram(node().cgroup().path(), 0));
  ExpectStartFails(4, "npg_connect6");
  EXPECT_FALSE(std::filesystem::exists(maps().root()));
  NPG_ASSERT_OK_AND_ASSIGN(const int attached, AttachedPrograms(node().cgroup().path()));
  EXPECT_EQ(attached, 1) << "the foreign program";
  NPG_ASSERT_OK_AND_ASSIGN(const std::string tables, NftTables());
  EXPECT_THAT(tables, Not(HasSubstr("nodeport_guard")));
  EXPECT_EQ(Ask(Tcp()), Hijacked());
}

TEST_P(GuardLifecycleTest, StartThatFailsLeavesAnAdoptedGuardAsItWas) {
  NPG_ASSERT_OK(StartGuard());
  NPG_ASSERT_OK(guard().Stop());
  NPG_ASSERT_OK_AND_ASSIGN(const std::string child, node().cgroup().MakeChild("taken"));
  NPG_ASSERT_OK(AttachForeignProgram(child, 0));
  NPG_ASSERT_OK_AND_ASSIGN(
      const CommandResult failed,
      RunForResult(WithCapabilities(
          {GuardCommand(node(), {}).front(), "run", "--bpffs", node().bpffs(), "--cgroup", child,
           "--source", "file", "--nodeports-file", node().File("nodeports.json"), "--mark=0x2000",
           "--only-process=nobody", "--http-address=off"})));
  EXPECT_EQ(failed.exit_code, 4) << failed.err;
  EXPECT_THAT(failed.err, HasSubstr("npg_connect6"));
  for (int i = 0; i < 20; ++i) EXPECT_EQ(Ask(Tcp()), kHost);
  NPG_ASSERT_OK(StartGuard());
  EXPECT_EQ(Ask(Tcp()), kHost);
}

// Some programs are replaced before the start fails. The service cannot open the former ones
// by id, which needs CAP_SYS_ADMIN.
TEST_P(GuardLifecycleTest, StartThatFailsRestoresTheReplacedPrograms) {
  NPG_ASSERT_OK(StartGuard());
  NPG_ASSERT_OK(guard().Stop());
  NPG_ASSERT_OK_AND_ASSIGN(const uint32_t before, maps().LinkProgramId("npg_bind4"));
  const std::string connect6 = maps().root() + "/links/npg_connect6";
  NPG_ASSERT_OK(RunCommand({"bpftool", "link", "detach", "pinned", connect6}));
  ASSERT_TRUE(std::filesystem::remove(connect6));
  NPG_ASSERT_OK(AttachForeignProgram(node().cgroup().path(), 0));
  const std::vector<std::string> start = WithCapabilities(
      GuardCommand(node(), {"run", "--source", "file", "--nodeports-file",
                            node().File("nodeports.json"), "--mark=0x2000", "--mode=observe"}));
  NPG_ASSERT_OK_AND_ASSIGN(const CommandResult failed, RunForResult(start));
  EXPECT_EQ(failed.exit_code, 4) << failed.err;
  EXPECT_THAT(failed.err, HasSubstr("npg_connect6"));
  EXPECT_THAT(failed.err, Not(HasSubstr("restored")));
  NPG_ASSERT_OK_AND_ASSIGN(const uint32_t after, maps().LinkProgramId("npg_bind4"));
  EXPECT_EQ(after, before);
  EXPECT_EQ(Ask(Tcp()), kHost);

  // A guard of an older version has no pins of programs.
  std::filesystem::remove_all(maps().root() + "/programs");
  NPG_ASSERT_OK_AND_ASSIGN(const CommandResult older, RunForResult(start));
  EXPECT_EQ(older.exit_code, 4) << older.err;
  EXPECT_THAT(older.err, HasSubstr("npg_bind4, npg_bind6 could not be restored"));
  EXPECT_EQ(Lines(older.err), 1U) << older.err;
  EXPECT_EQ(Ask(Tcp()), kHost) << "with the former settings";
  NPG_ASSERT_OK_AND_ASSIGN(const CommandResult unloaded, Unload());
  EXPECT_EQ(unloaded.exit_code, 0) << unloaded.err;
  EXPECT_FALSE(std::filesystem::exists(maps().root()));
}

// A guard that ran without its lock would let `unload`, and another controller, work on it.
TEST_P(GuardLifecycleTest, TakesTheLockAgainWhenThePinsAreRemoved) {
  node().HurryGuards();
  NPG_ASSERT_OK(StartGuard());
  std::filesystem::remove_all(maps().root());
  const std::string link = maps().root() + "/links/npg_connect4";
  EXPECT_TRUE(WaitUntil(absl::Seconds(60), [&] { return std::filesystem::exists(link); }))
      << guard().Log();
  NPG_ASSERT_OK_AND_ASSIGN(const CommandResult refused, Unload());
  EXPECT_EQ(refused.exit_code, 1);
  EXPECT_THAT(refused.err, HasSubstr(absl::StrCat(guard().pid())));
  EXPECT_EQ(Ask(Tcp()), kHost);
}

TEST_P(GuardLifecycleTest, NamesTheProcessThatTookTheLock) {
  node().HurryGuards();
  NPG_ASSERT_OK(StartGuard({"--http-address", "127.0.0.1:9829"}));
  const dataplane::PinPaths pins(node().bpffs());
  {
    std::optional<dataplane::ControllerLock> other;
    EXPECT_TRUE(WaitUntil(absl::Seconds(60), [&] {
      std::filesystem::remove_all(maps().root());
      auto lock = dataplane::ControllerLock::Acquire(pins);
      if (!lock.ok()) return false;  // the guard was faster
      other.emplace(*std::move(lock));
      return true;
    }));
    ASSERT_TRUE(other.has_value());
    const std::string fault = absl::StrCat("another nodeport-guard (pid ", getpid(), ") controls");
    EXPECT_TRUE(WaitUntil(absl::Seconds(60), [&] {
      return absl::StrContains(guard().Log(), fault);
    })) << guard().Log();
    EXPECT_TRUE(WaitUntil(absl::Seconds(60), [&] {
      const auto ready = RunForResult({"curl", "-sS", "http://127.0.0.1:9829/readyz"});
      return ready.ok() && absl::StrContains(ready->out, "FAIL lock on the pins: " + fault);
    }));
    EXPECT_EQ(Ask(Tcp()), kHost);
  }
  EXPECT_TRUE(WaitUntil(absl::Seconds(60), [&] {
    return std::filesystem::exists(pins.Link("npg_connect4"));
  })) << guard().Log();
  NPG_ASSERT_OK_AND_ASSIGN(const CommandResult refused, Unload());
  EXPECT_EQ(refused.exit_code, 1);
  EXPECT_THAT(refused.err, HasSubstr(absl::StrCat(guard().pid())));
}

// The entries of the live flows go into a new table: no other process changed it.
TEST_P(GuardLifecycleTest, UnloadAndStartKeepLiveFlowsWithoutAWarning) {
  for (const Transport transport : {Transport::kTcp, Transport::kUdp}) {
    SCOPED_TRACE(transport == Transport::kTcp ? "tcp" : "udp");
    NPG_ASSERT_OK(StartGuard());
    NPG_ASSERT_OK_AND_ASSIGN(const auto stream, Stream::Open({"127.0.0.1", kPort, transport}));
    NPG_EXPECT_OK(stream->Exchange(1000));
    // A packet that meets no table makes a connection of conntrack's to the pod.
    NPG_EXPECT_OK(stream->Acknowledge());
    NPG_ASSERT_OK(GuardTest::Unload());
    NPG_ASSERT_OK(StartGuard());
    // By then, the table is verified.
    EXPECT_TRUE(WaitUntil(absl::Seconds(60), [&] { return Counted(NPG_COUNTER_PROBED) > 0; }));
    NPG_EXPECT_OK(stream->Exchange(1000));
    EXPECT_THAT(guard().Log(), Not(HasSubstr("by another process")));
    EXPECT_EQ(Counted(NPG_COUNTER_RULES_RESTORED), 0U);
    NPG_ASSERT_OK(GuardTest::Unload());
  }
}

TEST_P(GuardLifecycleTest, WorksBesideForeignPrograms) {
  NPG_ASSERT_OK(AttachForeignProgram(node().cgroup().path(), BPF_F_ALLOW_MULTI));
  NPG_ASSERT_OK(StartGuard());
  EXPECT_EQ(Ask(Tcp("::ffff:127.0.0.1")), kHost);
  NPG_ASSERT_OK(guard().Stop());
  NPG_ASSERT_OK_AND_ASSIGN(const CommandResult unloaded, Unload());
  EXPECT_EQ(unloaded.exit_code, 0) << unloaded.err;
  NPG_ASSERT_OK_AND_ASSIGN(const int attached, AttachedPrograms(node().cgroup().path()));
  EXPECT_EQ(attached, 1) << "the foreign program stays";
}

TEST_P(GuardLifecycleTest, SurvivesFlushRuleset) {
  NPG_ASSERT_OK(StartGuard());
  NPG_ASSERT_OK_AND_ASSIGN(const auto stream, Stream::Open(Tcp()));
  NPG_ASSERT_OK(RunCommand({"nft", "flush", "ruleset"}));
  NPG_ASSERT_OK(Allocate(NodePorts({kPort})));
  EXPECT_EQ(Ask(Tcp()), kHost);
  NPG_EXPECT_OK(stream->Exchange(1 << 20));
  NPG_EXPECT_OK(stream->Finish());
}

INSTANTIATE_TEST_SUITE_P(Rules, GuardLifecycleTest, ::testing::ValuesIn(RuleShapes()),
                         RuleShapeName);

}  // namespace
}  // namespace npg::testing::lifecycle_test
