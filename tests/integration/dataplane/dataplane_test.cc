// SPDX-License-Identifier: Apache-2.0
// The BPF half of the guard on the real kernel: what it pins and attaches, when, and what a start
// that fails leaves.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/capability.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "abi/entries.h"
#include "abi/names.h"
#include "absl/status/status.h"
#include "base/unique_fd.h"
#include "dataplane/bpf/bpf_guard.h"
#include "dataplane/bpf/controller_lock.h"
#include "dataplane/bpf/guard_state.h"
#include "dataplane/bpf/netns_cookie.h"
#include "dataplane/bpf/skeleton.h"
#include "guard_abi.h"
#include "integration/dataplane/dataplane_fixture.h"
#include "node/cgroups.h"
#include "testing/command.h"
#include "testing/status_asserts.h"

namespace npg::dataplane::dataplane_test {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

TEST_F(DataplaneTest, RecognizesTheRootOfTheHierarchy) {
  struct stat folder {};
  ASSERT_EQ(fstat(cgroup_fd_.get(), &folder), 0);
  NPG_ASSERT_OK_AND_ASSIGN(const uint64_t id, node::CgroupId(cgroup_fd_.get()));
  EXPECT_EQ(id, folder.st_ino);
  EXPECT_FALSE(node::IsHierarchyRoot(cgroup_fd_.get()));

  // A new mount shows the root of the cgroup namespace. In the initial one, whose inode
  // number is fixed (PROC_CGROUP_INIT_INO), that is the root of the hierarchy.
  const std::string root = node_->File("cgroup2");
  std::filesystem::create_directory(root);
  ASSERT_EQ(mount("none", root.c_str(), "cgroup2", 0, nullptr), 0);
  const base::UniqueFd fd(open(root.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  ASSERT_TRUE(fd);
  EXPECT_EQ(node::IsHierarchyRoot(fd.get()),
            std::filesystem::read_symlink("/proc/self/ns/cgroup") == "cgroup:[4026531835]");
  EXPECT_EQ(umount2(root.c_str(), MNT_DETACH), 0);
}

TEST_F(DataplaneTest, AttachPinsEverythingAndLoadPinsNothing) {
  NPG_ASSERT_OK_AND_ASSIGN(const auto lock, ControllerLock::Acquire(pins_));
  NPG_ASSERT_OK_AND_ASSIGN(const std::unique_ptr<BpfGuard> guard,
                           BpfGuard::Load(pins_, ProgramConstants{}));
  EXPECT_TRUE(std::filesystem::is_empty(pins_.Root()));
  EXPECT_TRUE(absl::IsNotFound(GuardState::Open(pins_).status()));

  NPG_ASSERT_OK(guard->ApplyNodePorts(Ports({kPort})));
  NPG_ASSERT_OK(guard->Attach(cgroup_fd_.get(), Config()));
  NPG_ASSERT_OK_AND_ASSIGN(const GuardState state, GuardState::Open(pins_));
  NPG_ASSERT_OK_AND_ASSIGN(const std::vector<LinkState> links, state.Links());
  ASSERT_EQ(links.size(), kLinkNames.size());
  for (const LinkState& link : links) EXPECT_NE(link.cgroup_id, 0) << link.name;
  NPG_ASSERT_OK_AND_ASSIGN(const auto ports, state.NodePorts());
  ASSERT_EQ(ports.size(), 1);
  EXPECT_EQ(ports[0].first.port, kPort);
  EXPECT_EQ(ports[0].second.service, "default/web");
}

TEST_F(DataplaneTest, AStartThatFailsLeavesNothing) {
  {
    NPG_ASSERT_OK_AND_ASSIGN(const auto lock, ControllerLock::Acquire(pins_));
    NPG_ASSERT_OK_AND_ASSIGN(const std::unique_ptr<BpfGuard> guard,
                             BpfGuard::Load(pins_, ProgramConstants{}));
    const base::UniqueFd not_a_cgroup(open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    EXPECT_FALSE(guard->Attach(not_a_cgroup.get(), Config()).ok());
    EXPECT_TRUE(std::filesystem::is_empty(pins_.Root()));
  }
  EXPECT_FALSE(std::filesystem::exists(pins_.Root()));
}

TEST_F(DataplaneTest, ARestartReplacesProgramsInPlaceAndKeepsCounters) {
  std::vector<LinkState> before;
  {
    NPG_ASSERT_OK_AND_ASSIGN(const std::unique_ptr<BpfGuard> guard, Guard());
    EXPECT_FALSE(guard->adopted());
    NPG_ASSERT_OK_AND_ASSIGN(const GuardState state, GuardState::Open(pins_));
    NPG_ASSERT_OK_AND_ASSIGN(before, state.Links());
  }
  const base::UniqueFd listener = Listen(kPort);
  ASSERT_TRUE(listener);
  Connect(kPort);  // while no controller runs
  NPG_ASSERT_OK_AND_ASSIGN(const std::unique_ptr<BpfGuard> guard, Guard());
  EXPECT_TRUE(guard->adopted());
  EXPECT_THAT(guard->notes(), IsEmpty());
  Connect(kPort);
  NPG_ASSERT_OK_AND_ASSIGN(const uint64_t exempted, Exempted());
  EXPECT_EQ(exempted, 2);
  NPG_ASSERT_OK_AND_ASSIGN(const GuardState state, GuardState::Open(pins_));
  NPG_ASSERT_OK_AND_ASSIGN(const std::vector<LinkState> after, state.Links());
  ASSERT_EQ(after.size(), before.size());
  for (size_t i = 0; i < after.size(); ++i) {
    EXPECT_EQ(after[i].id, before[i].id) << after[i].name;
    EXPECT_NE(after[i].program_id, before[i].program_id) << after[i].name;
  }
}

TEST_F(DataplaneTest, AFailedRestartLeavesTheFormerGuardUnchanged) {
  { NPG_ASSERT_OK_AND_ASSIGN(const std::unique_ptr<BpfGuard> guard, Guard()); }
  const base::UniqueFd listener = Listen(kPort);
  NPG_ASSERT_OK_AND_ASSIGN(const std::unique_ptr<BpfGuard> guard,
                           BpfGuard::Load(pins_, ProgramConstants{}));
  const base::UniqueFd not_a_cgroup(open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  abi::Config other = Config();
  other.mode = abi::Mode::kObserve;
  EXPECT_FALSE(guard->Attach(not_a_cgroup.get(), other).ok());
  Connect(kPort);
  NPG_ASSERT_OK_AND_ASSIGN(const uint64_t exempted, Exempted());
  EXPECT_EQ(exempted, 1);
}

TEST_F(DataplaneTest, AFailedRestartRestoresTheProgramsFromTheirPins) {
  { NPG_ASSERT_OK_AND_ASSIGN(const std::unique_ptr<BpfGuard> guard, Guard()); }
  const base::UniqueFd listener = Listen(kPort);
  const uint32_t before = Attached("npg_bind4");
  ASSERT_NE(before, 0);
  EXPECT_EQ(ProgramId(pins_.Program("npg_bind4")), before);
  ASSERT_NO_FATAL_FAILURE(BlockConnect6());
  for (const bool service : {true, false}) {
    SCOPED_TRACE(service ? "with the capabilities of the service" : "with all capabilities");
    const std::string failure = StartInVain(service);
    EXPECT_THAT(failure, HasSubstr("attach npg_connect6"));
    EXPECT_THAT(failure, Not(HasSubstr("restored")));
    EXPECT_EQ(Attached("npg_bind4"), before);
    EXPECT_EQ(ProgramId(pins_.Program("npg_bind4")), before);
    NPG_ASSERT_OK_AND_ASSIGN(const uint64_t counted, Exempted());
    Connect(kPort);
    NPG_ASSERT_OK_AND_ASSIGN(const uint64_t exempted, Exempted());
    EXPECT_EQ(exempted, counted + 1) << "the mode is the former one";
  }
}

// Guards of builds that pinned no programs.
TEST_F(DataplaneTest, AFailedRestartNamesTheProgramsThatItCannotRestore) {
  { NPG_ASSERT_OK_AND_ASSIGN(const std::unique_ptr<BpfGuard> guard, Guard()); }
  const base::UniqueFd listener = Listen(kPort);
  for (const char* name : kLinkNames) ASSERT_EQ(unlink(pins_.Program(name).c_str()), 0);
  ASSERT_EQ(rmdir(pins_.Programs().c_str()), 0);
  const uint32_t before = Attached("npg_bind4");
  ASSERT_NO_FATAL_FAILURE(BlockConnect6());

  EXPECT_THAT(StartInVain(/*service=*/false), Not(HasSubstr("restored")))
      << "CAP_SYS_ADMIN opens them by id";
  EXPECT_EQ(Attached("npg_bind4"), before);
  const std::string failure = StartInVain(/*service=*/true);
  EXPECT_THAT(failure, HasSubstr("attach npg_connect6"));
  EXPECT_THAT(failure,
              HasSubstr("the former programs of npg_bind4, npg_bind6 could not be restored"));
  EXPECT_THAT(failure, Not(HasSubstr("\n")));
  EXPECT_NE(Attached("npg_bind4"), before);
  EXPECT_FALSE(std::filesystem::exists(pins_.Programs())) << "as it was";
  Connect(kPort);
  NPG_ASSERT_OK_AND_ASSIGN(const uint64_t exempted, Exempted());
  EXPECT_EQ(exempted, 1) << "the new program guards with the former settings";
}

TEST_F(DataplaneTest, AttachMovesTheLinksToAnotherCgroup) {
  { NPG_ASSERT_OK_AND_ASSIGN(const std::unique_ptr<BpfGuard> guard, Guard()); }
  NPG_ASSERT_OK_AND_ASSIGN(const std::string child, node_->cgroup().MakeChild("elsewhere"));
  const base::UniqueFd child_fd(open(child.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  NPG_ASSERT_OK_AND_ASSIGN(const std::unique_ptr<BpfGuard> guard,
                           BpfGuard::Load(pins_, ProgramConstants{}));
  NPG_ASSERT_OK(guard->Attach(child_fd.get(), Config()));
  NPG_ASSERT_OK_AND_ASSIGN(
      const std::string attached,
      testing::RunCommand({"bpftool", "cgroup", "show", node_->cgroup().path()}));
  EXPECT_THAT(attached, Not(HasSubstr("npg_")));
  NPG_ASSERT_OK_AND_ASSIGN(const std::string moved,
                           testing::RunCommand({"bpftool", "cgroup", "show", child}));
  for (const char* name : kLinkNames) EXPECT_THAT(moved, HasSubstr(name));
}

TEST_F(DataplaneTest, RemovingPinsDetaches) {
  { NPG_ASSERT_OK_AND_ASSIGN(const std::unique_ptr<BpfGuard> guard, Guard()); }
  NPG_ASSERT_OK_AND_ASSIGN(const std::vector<std::string> removed, RemovePins(pins_));
  EXPECT_THAT(removed, Contains("npg_connect4"));
  EXPECT_THAT(removed, Contains("nodeports"));
  EXPECT_TRUE(std::filesystem::is_empty(pins_.Root()));
  NPG_ASSERT_OK_AND_ASSIGN(
      const std::string attached,
      testing::RunCommand({"bpftool", "cgroup", "show", node_->cgroup().path()}));
  EXPECT_THAT(attached, Not(HasSubstr("npg_")));
  NPG_ASSERT_OK_AND_ASSIGN(const std::vector<std::string> again, RemovePins(pins_));
  EXPECT_THAT(again, IsEmpty());
}

TEST_F(DataplaneTest, LearnsTheNetnsCookieFromAProgram) {
  NPG_ASSERT_OK_AND_ASSIGN(const uint64_t learned, LearnNetnsCookie(cgroup_fd_.get()));
  EXPECT_EQ(learned, cookie_);
}

}  // namespace
}  // namespace npg::dataplane::dataplane_test
