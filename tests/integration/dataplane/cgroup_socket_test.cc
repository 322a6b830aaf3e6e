// SPDX-License-Identifier: Apache-2.0
// The process that creates a socket in the guarded cgroup: what it inherits stays open for
// as long as it lives, and in a frozen cgroup it can outlive the controller.
#include <arpa/inet.h>
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "base/unique_fd.h"
#include "dataplane/bpf/cgroup_socket.h"
#include "dataplane/bpf/controller_lock.h"
#include "dataplane/bpf/pin_paths.h"
#include "testing/status_asserts.h"
#include "testing/test_node.h"
#include "testing/wait_until.h"

namespace npg::dataplane::cgroup_socket_test {
namespace {

using ::testing::HasSubstr;
using ::testing::UnorderedElementsAre;

constexpr uint16_t kPort = 9829;

class CgroupSocketTest : public ::testing::Test {
 protected:
  void SetUp() override {
    NPG_ASSERT_OK_AND_ASSIGN(node_, testing::TestNode::Create());
    NPG_ASSERT_OK_AND_ASSIGN(group_, node_->cgroup().MakeChild("guarded"));
    group_fd_.Reset(open(group_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    ASSERT_TRUE(group_fd_);
    // Its orphans become children of this process, which can wait for them.
    ASSERT_EQ(prctl(PR_SET_CHILD_SUBREAPER, 1), 0);
  }

  void TearDown() override { Freeze(false); }

  void Freeze(bool frozen) const {
    std::ofstream(group_ + "/cgroup.freeze") << (frozen ? "1" : "0") << std::flush;
  }

  // The first process in the cgroup; 0 when there is none.
  pid_t ProcessInGroup() const {
    std::ifstream procs(group_ + "/cgroup.procs");
    pid_t pid = 0;
    procs >> pid;
    return pid;
  }

  static base::UniqueFd Listen() {
    base::UniqueFd fd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.sin_port = htons(kPort);
    if (bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0 ||
        listen(fd.get(), 1) != 0) {
      fd.Reset();
    }
    return fd;
  }

  static std::vector<std::string> OpenFiles(pid_t pid) {
    std::vector<std::string> files;
    for (const auto& entry :
         std::filesystem::directory_iterator(absl::StrCat("/proc/", pid, "/fd"))) {
      std::error_code error;
      files.push_back(std::filesystem::read_symlink(entry.path(), error).string());
    }
    return files;
  }

  // Of a family that no kernel has, too.
  absl::StatusOr<CgroupSockets::Made> MakeSockets() const {
    absl::StatusOr<std::unique_ptr<CgroupSockets>> sockets = CgroupSockets::Start(
        group_fd_.get(), {{AF_INET, SOCK_STREAM}, {AF_INET, SOCK_DGRAM}, {255, SOCK_DGRAM}});
    if (!sockets.ok()) return sockets.status();
    for (;;) {
      if (auto made = (*sockets)->Take(absl::Seconds(1))) return *std::move(made);
    }
  }

  std::unique_ptr<testing::TestNode> node_;
  std::string group_;
  base::UniqueFd group_fd_;
};

TEST_F(CgroupSocketTest, TheCallersDescriptorsStay) {
  const std::vector<std::string> before = OpenFiles(getpid());
  {
    NPG_ASSERT_OK_AND_ASSIGN(const CgroupSockets::Made made, MakeSockets());
    NPG_EXPECT_OK(made.entered);
    ASSERT_EQ(made.sockets.size(), 3U);
    for (size_t i = 0; i < 2; ++i) {
      NPG_ASSERT_OK(made.sockets[i].status());
      EXPECT_NE(fcntl(made.sockets[i]->get(), F_GETFD) & FD_CLOEXEC, 0);
    }
    EXPECT_TRUE(absl::IsUnimplemented(made.sockets[2].status())) << made.sockets[2].status();
  }
  // One is that of the iteration.
  EXPECT_EQ(OpenFiles(getpid()).size(), before.size());
  EXPECT_NE(fcntl(group_fd_.get(), F_GETFD), -1);
}

TEST_F(CgroupSocketTest, AProcessThatIsStuckHoldsNeitherLockNorPort) {
  const PinPaths pins(node_->bpffs());
  Freeze(true);
  pid_t stuck = 0;
  // The caller kills a process that is stuck for half a second, so kill the caller before.
  constexpr int kTries = 20;
  for (int i = 0; i < kTries && stuck == 0; ++i) {
    const pid_t caller = fork();
    ASSERT_GE(caller, 0);
    if (caller == 0) {
      const auto lock = ControllerLock::Acquire(pins);
      const base::UniqueFd listener = Listen();
      if (!lock.ok() || !listener) _exit(1);
      for (;;) MakeSockets().status().IgnoreError();
    }
    EXPECT_TRUE(testing::WaitUntil(absl::Seconds(10), [&] { return ProcessInGroup() != 0; }));
    kill(caller, SIGKILL);
    int status = 0;
    ASSERT_EQ(waitpid(caller, &status, 0), caller);
    ASSERT_TRUE(WIFSIGNALED(status)) << "it could not take the lock or the port";
    stuck = ProcessInGroup();
  }
  ASSERT_NE(stuck, 0);
  EXPECT_THAT(OpenFiles(stuck), UnorderedElementsAre(HasSubstr("guarded"), HasSubstr("socket:")));
  NPG_EXPECT_OK(ControllerLock::Acquire(pins));
  EXPECT_TRUE(Listen());
  kill(stuck, SIGKILL);
  EXPECT_EQ(waitpid(stuck, nullptr, 0), stuck);
}

}  // namespace
}  // namespace npg::dataplane::cgroup_socket_test
