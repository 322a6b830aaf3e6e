// SPDX-License-Identifier: Apache-2.0
// What BpfGuard repairs of links and pins.
#include <bpf/bpf.h>
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "base/unique_fd.h"
#include "dataplane/bpf/bpf_guard.h"
#include "dataplane/bpf/guard_state.h"
#include "dataplane/bpf/pinned_map.h"
#include "dataplane/bpf/skeleton.h"
#include "guard_abi.h"
#include "integration/dataplane/dataplane_fixture.h"
#include "testing/status_asserts.h"
#include "testing/wait_until.h"

namespace npg::dataplane::repair_test {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

TEST_F(DataplaneTest, RepairsRemovedPinsOfPrograms) {
  NPG_ASSERT_OK_AND_ASSIGN(const std::unique_ptr<BpfGuard> guard, Guard());
  ASSERT_EQ(unlink(pins_.Program("npg_connect6").c_str()), 0);
  NPG_ASSERT_OK_AND_ASSIGN(std::vector<std::string> repaired, guard->Repair(cgroup_fd_.get()));
  EXPECT_THAT(repaired, ElementsAre(HasSubstr("the pin of program npg_connect6")));
  EXPECT_NE(ProgramId(pins_.Program("npg_connect6")), 0);
  std::filesystem::remove_all(pins_.Root());
  NPG_ASSERT_OK(guard->Repair(cgroup_fd_.get()));
  for (const char* name : kLinkNames) {
    EXPECT_NE(ProgramId(pins_.Program(name)), 0) << name;
    EXPECT_TRUE(std::filesystem::exists(pins_.Link(name))) << name;
  }
  NPG_ASSERT_OK_AND_ASSIGN(repaired, guard->Repair(cgroup_fd_.get()));
  EXPECT_THAT(repaired, IsEmpty());
}

TEST_F(DataplaneTest, RepairsDetachedLinksAndRemovedPins) {
  NPG_ASSERT_OK_AND_ASSIGN(const std::unique_ptr<BpfGuard> guard, Guard());
  const base::UniqueFd listener = Listen(kPort);
  NPG_ASSERT_OK_AND_ASSIGN(std::vector<std::string> repaired, guard->Repair(cgroup_fd_.get()));
  EXPECT_THAT(repaired, IsEmpty());

  NPG_ASSERT_OK_AND_ASSIGN(const base::UniqueFd link, OpenPin(pins_.Link("npg_connect4")));
  ASSERT_EQ(bpf_link_detach(link.get()), 0);
  ASSERT_EQ(unlink(pins_.Link("npg_bind6").c_str()), 0);
  ASSERT_EQ(unlink(pins_.Map("counters").c_str()), 0);
  Connect(kPort);  // the detached program does not see it
  NPG_ASSERT_OK_AND_ASSIGN(repaired, guard->Repair(cgroup_fd_.get()));
  EXPECT_THAT(repaired, ElementsAre(HasSubstr("npg_connect4 was detached"), HasSubstr("npg_bind6"),
                                    HasSubstr("counters")));
  Connect(kPort);
  NPG_ASSERT_OK_AND_ASSIGN(const uint64_t exempted, Exempted());
  EXPECT_EQ(exempted, 1);
  NPG_ASSERT_OK_AND_ASSIGN(repaired, guard->Repair(cgroup_fd_.get()));
  EXPECT_THAT(repaired, IsEmpty());
}

// Another guard had pinned its objects there before it gave the lock away.
TEST_F(DataplaneTest, RepairsPinsOfOtherObjects) {
  NPG_ASSERT_OK_AND_ASSIGN(const std::unique_ptr<BpfGuard> guard, Guard());
  const auto replace = [](const std::string& pin, const std::string& by) {
    const base::UniqueFd other(bpf_obj_get(by.c_str()));
    return other && unlink(pin.c_str()) == 0 && bpf_obj_pin(other.get(), pin.c_str()) == 0;
  };
  ASSERT_TRUE(replace(pins_.Link("npg_bind4"), pins_.Link("npg_bind6")));
  ASSERT_TRUE(replace(pins_.Map("guard_uids"), pins_.Map("guard_cgroups")));
  ASSERT_TRUE(replace(pins_.Program("npg_connect6"), pins_.Program("npg_bind6")));
  NPG_ASSERT_OK_AND_ASSIGN(std::vector<std::string> repaired, guard->Repair(cgroup_fd_.get()));
  EXPECT_THAT(repaired, ElementsAre(HasSubstr("link npg_bind4"), HasSubstr("map guard_uids"),
                                    HasSubstr("program npg_connect6")));
  NPG_ASSERT_OK_AND_ASSIGN(repaired, guard->Repair(cgroup_fd_.get()));
  EXPECT_THAT(repaired, IsEmpty());
}

// The pins are another process's while this one does not have the lock.
TEST_F(DataplaneTest, RepairsLinksAndLeavesPinsWithoutTheLock) {
  NPG_ASSERT_OK_AND_ASSIGN(const std::unique_ptr<BpfGuard> guard, Guard());
  NPG_ASSERT_OK_AND_ASSIGN(base::UniqueFd link, OpenPin(pins_.Link("npg_connect4")));
  ASSERT_EQ(bpf_link_detach(link.get()), 0);
  std::filesystem::remove_all(pins_.Root());
  NPG_ASSERT_OK_AND_ASSIGN(const std::vector<std::string> repaired,
                           guard->Repair(cgroup_fd_.get(), /*pins=*/false));
  EXPECT_THAT(repaired, ElementsAre(HasSubstr("npg_connect4 was detached")));
  EXPECT_FALSE(std::filesystem::exists(pins_.Root()));
  NPG_EXPECT_OK(guard->CheckLinks(cgroup_fd_.get()));
}

// Nothing can be attached while the cgroup is gone, but the next repair must try again.
TEST_F(DataplaneTest, RepairsAfterARepairThatFailed) {
  NPG_ASSERT_OK_AND_ASSIGN(const std::string child, node_->cgroup().MakeChild("comes-back"));
  base::UniqueFd child_fd(open(child.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  std::filesystem::create_directories(pins_.Root());
  NPG_ASSERT_OK_AND_ASSIGN(const std::unique_ptr<BpfGuard> guard,
                           BpfGuard::Load(pins_, ProgramConstants{}));
  NPG_ASSERT_OK(guard->Attach(child_fd.get(), Config()));
  ASSERT_EQ(rmdir(child.c_str()), 0);
  // The kernel detaches the programs some time later.
  ASSERT_TRUE(
      testing::WaitUntil(absl::Seconds(30), [&] { return !guard->Repair(child_fd.get()).ok(); }));
  EXPECT_FALSE(guard->Repair(child_fd.get()).ok());
  EXPECT_THAT(std::string(guard->CheckLinks(child_fd.get()).message()),
              HasSubstr("npg_connect4 is not attached"));

  ASSERT_EQ(mkdir(child.c_str(), 0755), 0);
  child_fd.Reset(open(child.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  NPG_ASSERT_OK_AND_ASSIGN(const std::vector<std::string> repaired, guard->Repair(child_fd.get()));
  EXPECT_EQ(repaired.size(), kLinkNames.size());
  NPG_EXPECT_OK(guard->CheckLinks(child_fd.get()));
}

}  // namespace
}  // namespace npg::dataplane::repair_test
