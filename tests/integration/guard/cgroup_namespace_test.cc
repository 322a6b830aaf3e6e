// SPDX-License-Identifier: Apache-2.0
// In a container with its own cgroup namespace, the apparent root of the cgroups is the
// container's own cgroup. A guard attached there would see no other process's connects.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "testing/command.h"
#include "testing/guard_process.h"
#include "testing/status_asserts.h"
#include "testing/test_node.h"

namespace npg::testing::cgroup_namespace_test {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

class CgroupNamespaceTest : public ::testing::Test {
 protected:
  void SetUp() override { NPG_ASSERT_OK_AND_ASSIGN(node_, TestNode::Create()); }

  // Runs the binary as a container runtime would: the only cgroup2 it sees is mounted in
  // a cgroup namespace that begins at the test's cgroup. `before` is shell code that may
  // mount more, `after` runs after all mounts, `more` adds options of unshare.
  absl::StatusOr<CommandResult> InContainer(const std::string& before,
                                            const std::vector<std::string>& arguments,
                                            const std::string& after = "",
                                            const std::vector<std::string>& more = {}) {
    const std::string binary = GuardCommand(*node_, {}).front();
    const std::string own = node_->File("own");
    const std::string script = absl::StrCat(
        "set -e\n"
        "mkdir -p ",
        own, " ", node_->File("node"),
        "\n"
        "mount --make-rprivate /\n"
        "awk '/ - cgroup2 / { print $5 }' /proc/self/mountinfo | tac >/run/mounts\n"
        "root=$(tail -n 1 /run/mounts)\n",
        before,
        "\nwhile read -r mount; do umount -l \"$mount\"; done </run/mounts\n"
        "mount -t cgroup2 none ",
        own, "\n", after, "\nexec ", binary, " ", absl::StrJoin(arguments, " "), " --bpffs ",
        node_->bpffs());
    std::vector<std::string> command = {"unshare", "--mount", "--cgroup"};
    command.insert(command.end(), more.begin(), more.end());
    command.insert(command.end(), {"bash", "-c", script});
    return RunForResult(command);
  }

  std::unique_ptr<TestNode> node_;
};

TEST_F(CgroupNamespaceTest, RunRefusesTheCgroupOfItsContainer) {
  for (const std::string& flag : {std::string(), "--cgroup " + node_->File("own")}) {
    SCOPED_TRACE(flag);
    NPG_ASSERT_OK_AND_ASSIGN(const CommandResult refused,
                             InContainer("", {"run", "--source", "netfilter", flag}));
    EXPECT_EQ(refused.exit_code, 4) << refused.err;
    EXPECT_THAT(refused.err, HasSubstr(node_->File("own")));
    EXPECT_THAT(refused.err, HasSubstr("begins below the root of the cgroups"));
    EXPECT_THAT(refused.err, HasSubstr("hostPath /sys/fs/cgroup"));
    EXPECT_FALSE(std::filesystem::exists(node_->bpffs() + "/nodeport-guard"));
  }
}

// doctor attaches nothing, and names the cgroup that it would attach to.
TEST_F(CgroupNamespaceTest, DoctorFindsTheMountedCgroupOfTheNode) {
  const std::string node = node_->File("node");
  NPG_ASSERT_OK_AND_ASSIGN(const CommandResult found,
                           InContainer(absl::StrCat("mount --bind \"$root\" ", node), {"doctor"}));
  EXPECT_THAT(found.out, HasSubstr(node)) << found.err;
}

// kind, k3d and LXC: the node is itself a container, which cannot see the root of all
// cgroups. A service of such a node is below the cgroup where its namespace begins.
TEST_F(CgroupNamespaceTest, DoctorAcceptsTheNamespaceRootOfANodeThatIsAContainer) {
  NPG_ASSERT_OK_AND_ASSIGN(const std::string service, node_->cgroup().MakeChild("service"));
  const std::string own = node_->File("own");
  NPG_ASSERT_OK_AND_ASSIGN(
      const CommandResult found,
      InContainer("", {"doctor", "-o", "json"},
                  absl::StrCat("mount -t proc proc /proc\necho $$ >", own, "/service/cgroup.procs"),
                  {"--pid", "--fork"}));
  EXPECT_THAT(found.out, HasSubstr(own + " is")) << found.err;
  EXPECT_THAT(found.out, Not(HasSubstr("begins below"))) << found.err;
}

TEST_F(CgroupNamespaceTest, DoctorReportsThatTheCgroupOfTheNodeIsNotMounted) {
  NPG_ASSERT_OK_AND_ASSIGN(const CommandResult found, InContainer("", {"doctor", "-o", "json"}));
  EXPECT_EQ(found.exit_code, 4);
  EXPECT_THAT(found.out, HasSubstr("begins below the root of the cgroups")) << found.err;
}

}  // namespace
}  // namespace npg::testing::cgroup_namespace_test
