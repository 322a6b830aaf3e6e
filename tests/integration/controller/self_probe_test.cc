// SPDX-License-Identifier: Apache-2.0
// The self-probe fails if anything keeps the guard from taking effect, and it leaves
// nothing behind.
#include "controller/self_probe.h"

#include <bpf/bpf.h>
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/bpf.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "abi/entries.h"
#include "abi/names.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "base/unique_fd.h"
#include "core/desired_state.h"
#include "core/mark.h"
#include "core/owner_policy.h"
#include "core/port.h"
#include "dataplane/bpf/bpf_guard.h"
#include "dataplane/bpf/events_reader.h"
#include "dataplane/bpf/guard_state.h"
#include "dataplane/bpf/netns_cookie.h"
#include "dataplane/bpf/pin_paths.h"
#include "dataplane/bpf/pinned_map.h"
#include "dataplane/nft/nft_table.h"
#include "testing/command.h"
#include "testing/status_asserts.h"
#include "testing/test_node.h"

namespace npg::controller::self_probe_test {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

constexpr core::Mark kMark;

base::UniqueFd OpenFolder(const std::string& path) {
  return base::UniqueFd(open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
}

class SelfProbeTest : public ::testing::Test {
 protected:
  void SetUp() override {
    NPG_ASSERT_OK_AND_ASSIGN(node_, testing::TestNode::Create());
    pins_ = dataplane::PinPaths(node_->bpffs());
    cgroup_fd_ = OpenFolder(node_->cgroup().path());
    ASSERT_TRUE(cgroup_fd_);
    NPG_ASSERT_OK_AND_ASSIGN(config_.netns_cookie, dataplane::NetnsCookie(cgroup_fd_.get()));
    config_.abi_version = abi::kVersion;
    config_.mark = kMark.value;
    config_.mark_mask = kMark.mask;
    NPG_ASSERT_OK_AND_ASSIGN(table_, dataplane::NftTable::Install(kMark));
    std::filesystem::create_directories(pins_.Root());
    NPG_ASSERT_OK_AND_ASSIGN(guard_, dataplane::BpfGuard::Load(pins_, abi::Scope::kLoopback));
  }

  // Probes the guard, and attaches it before if necessary.
  absl::StatusOr<absl::Duration> Probe() {
    if (!probe_) {
      const absl::Status attached = guard_->Attach(cgroup_fd_.get(), config_);
      if (!attached.ok()) return attached;
      probe_ = std::make_unique<SelfProbe>(*guard_, *table_, kMark, config_.mode);
    }
    return probe_->Run(cgroup_fd_.get(), nodeports_);
  }

  uint64_t Counted(abi::Counter counter) const { return guard_->Counter(counter).value_or(999); }

  std::unique_ptr<testing::TestNode> node_;
  dataplane::PinPaths pins_{dataplane::PinPaths::kDefaultBpffs};
  base::UniqueFd cgroup_fd_;
  abi::Config config_;
  std::unique_ptr<dataplane::NftTable> table_;
  std::unique_ptr<dataplane::BpfGuard> guard_;
  core::PortEntries nodeports_;
  std::unique_ptr<SelfProbe> probe_;
};

TEST_F(SelfProbeTest, ExercisesBothProgramsAndLeavesNothing) {
  NPG_ASSERT_OK(Probe().status());
  NPG_ASSERT_OK_AND_ASSIGN(const auto events, dataplane::EventsReader::Open(pins_));
  for (uint64_t round = 2; round <= 4; ++round) {
    NPG_ASSERT_OK(Probe().status());
    EXPECT_EQ(Counted(abi::Counter::kProbed), 2 * round);
  }
  EXPECT_EQ(Counted(abi::Counter::kExempted), 0);
  uint64_t lost = 0;
  EXPECT_THAT(events->Drain(&lost), IsEmpty());
  NPG_ASSERT_OK_AND_ASSIGN(const dataplane::GuardState state, dataplane::GuardState::Open(pins_));
  NPG_ASSERT_OK_AND_ASSIGN(const auto nodeports, state.NodePorts());
  EXPECT_THAT(nodeports, IsEmpty());
  NPG_ASSERT_OK_AND_ASSIGN(const auto stats, state.PortStats());
  EXPECT_THAT(stats, IsEmpty());
  NPG_ASSERT_OK_AND_ASSIGN(const std::string sockets, testing::RunCommand({"ss", "-Htan"}));
  for (const uint16_t port : probe_->ports()) {
    EXPECT_THAT(sockets, Not(HasSubstr(absl::StrCat(":", port, " "))));
  }
}

TEST_F(SelfProbeTest, ItsEntriesInTheTableCountAsNoConnections) {
  NPG_ASSERT_OK_AND_ASSIGN(const bool before, table_->Quiet({}));
  EXPECT_TRUE(before);
  NPG_ASSERT_OK(Probe().status());
  NPG_ASSERT_OK_AND_ASSIGN(const bool to_others, table_->Quiet({}));
  EXPECT_FALSE(to_others);
  NPG_ASSERT_OK_AND_ASSIGN(const bool knowing, table_->Quiet(probe_->ports()));
  EXPECT_TRUE(knowing);
}

TEST_F(SelfProbeTest, NamesEachProgramThatIsDetached) {
  NPG_ASSERT_OK(Probe().status());
  for (const char* name : dataplane::kLinkNames) {
    NPG_ASSERT_OK_AND_ASSIGN(const base::UniqueFd link, dataplane::OpenPin(pins_.Link(name)));
    ASSERT_EQ(bpf_link_detach(link.get()), 0);
    EXPECT_THAT(Probe().status().message(), AllOf(HasSubstr(name), HasSubstr("not attached")));
    NPG_ASSERT_OK(guard_->Repair(cgroup_fd_.get()).status());
    NPG_EXPECT_OK(Probe().status());
  }
}

TEST_F(SelfProbeTest, NamesAReplacedProgram) {
  NPG_ASSERT_OK(Probe().status());
  const std::array<bpf_insn, 2> proceed = {
      {{BPF_ALU64 | BPF_MOV | BPF_K, 0, 0, 0, 1}, {BPF_JMP | BPF_EXIT, 0, 0, 0, 0}}};
  bpf_prog_load_opts options{};
  options.sz = sizeof(options);
  options.expected_attach_type = BPF_CGROUP_INET6_CONNECT;
  const base::UniqueFd other(bpf_prog_load(BPF_PROG_TYPE_CGROUP_SOCK_ADDR, "somebodys", "GPL",
                                           proceed.data(), proceed.size(), &options));
  ASSERT_TRUE(other);
  NPG_ASSERT_OK_AND_ASSIGN(const base::UniqueFd link,
                           dataplane::OpenPin(pins_.Link("npg_connect6")));
  ASSERT_EQ(bpf_link_update(link.get(), other.get(), nullptr), 0);
  EXPECT_THAT(Probe().status().message(), AllOf(HasSubstr("npg_connect6"), HasSubstr("replaced")));
  NPG_ASSERT_OK_AND_ASSIGN(const std::vector<std::string> repaired,
                           guard_->Repair(cgroup_fd_.get()));
  EXPECT_EQ(repaired.size(), 1);
  NPG_EXPECT_OK(Probe().status());
}

TEST_F(SelfProbeTest, FailsWithoutTheTable) {
  NPG_ASSERT_OK(Probe().status());
  NPG_ASSERT_OK(table_->Remove());
  EXPECT_FALSE(Probe().ok());
}

TEST_F(SelfProbeTest, FailsIfTheProgramsGuardAnotherNetworkNamespace) {
  ++config_.netns_cookie;
  EXPECT_THAT(Probe().status().message(),
              AllOf(HasSubstr("npg_connect4"), HasSubstr("did not see")));
}

TEST_F(SelfProbeTest, FailsIfTheTableMatchesAnotherMark) {
  config_.mark = config_.mark_mask = 0x2000;
  EXPECT_THAT(Probe().status().message(), HasSubstr("mark"));
}

TEST_F(SelfProbeTest, NeedsNeitherMarkNorTableInObserveMode) {
  config_.mode = abi::Mode::kObserve;
  NPG_ASSERT_OK(table_->Remove());
  NPG_EXPECT_OK(Probe().status());
  EXPECT_EQ(Counted(abi::Counter::kProbed), 2);
  EXPECT_EQ(Counted(abi::Counter::kObserved), 0);
}

TEST_F(SelfProbeTest, WorksIfThePolicyIgnoresTheController) {
  config_.default_verdict = abi::OwnerVerdict::kIgnored;
  core::OwnerPolicy policy;
  policy.only = {"containerd"};
  NPG_ASSERT_OK(guard_->SetOwnerPolicy(policy));
  NPG_EXPECT_OK(Probe().status());
}

TEST_F(SelfProbeTest, UsesNoPortThatIsANodePort) {
  NPG_ASSERT_OK(Probe().status());
  const core::PortKey taken{probe_->ports()[0], core::Protocol::kTcp};
  nodeports_[taken] = {abi::Bit(abi::Source::kFile), "default/web"};
  NPG_ASSERT_OK(guard_->ApplyNodePorts({{{taken, nodeports_[taken]}}, {}}).status());
  NPG_ASSERT_OK(Probe().status());
  EXPECT_NE(probe_->ports()[0], taken.port);
  NPG_ASSERT_OK_AND_ASSIGN(const core::PortEntries in_map, guard_->NodePorts());
  EXPECT_EQ(in_map, nodeports_);
}

TEST_F(SelfProbeTest, ProbesACgroupThatThisProcessIsNotIn) {
  const std::string inner = node_->cgroup().path() + "/inner";
  ASSERT_TRUE(std::filesystem::create_directory(inner));
  cgroup_fd_ = OpenFolder(inner);
  NPG_EXPECT_OK(Probe().status());
  EXPECT_EQ(Counted(abi::Counter::kProbed), 2);
  // It fails if the cgroup is gone.
  ASSERT_EQ(rmdir(inner.c_str()), 0);
  EXPECT_FALSE(Probe().ok());
}

// The probe must not wait for a process that the freezer has stopped.
TEST_F(SelfProbeTest, FailsSoonInAFrozenCgroup) {
  const std::string inner = node_->cgroup().path() + "/inner";
  ASSERT_TRUE(std::filesystem::create_directory(inner));
  cgroup_fd_ = OpenFolder(inner);
  NPG_ASSERT_OK(Probe().status());
  std::ofstream(inner + "/cgroup.freeze") << 1;
  const absl::Status frozen = Probe().status();
  std::ofstream(inner + "/cgroup.freeze") << 0;
  EXPECT_TRUE(absl::IsUnavailable(frozen)) << frozen;
  EXPECT_THAT(frozen.message(), HasSubstr("frozen"));
  NPG_EXPECT_OK(Probe().status());
  EXPECT_EQ(rmdir(inner.c_str()), 0) << "no process was left in it";
}

// A program does not see processes outside its cgroup, so a link on another cgroup counts
// as not attached.
TEST_F(SelfProbeTest, FailsIfTheLinksAreOnAnotherCgroup) {
  const std::string inner = node_->cgroup().path() + "/inner";
  ASSERT_TRUE(std::filesystem::create_directory(inner));
  const base::UniqueFd wrong = OpenFolder(inner);
  NPG_ASSERT_OK(guard_->Attach(wrong.get(), config_));
  SelfProbe probe(*guard_, *table_, kMark, abi::Mode::kEnforce);
  EXPECT_THAT(probe.Run(cgroup_fd_.get(), {}).status().message(),
              AllOf(HasSubstr("npg_connect4"), HasSubstr("is attached to cgroup id")));
  NPG_ASSERT_OK(guard_->Repair(cgroup_fd_.get()).status());
  NPG_EXPECT_OK(probe.Run(cgroup_fd_.get(), {}).status());
  rmdir(inner.c_str());
}

}  // namespace
}  // namespace npg::controller::self_probe_test
