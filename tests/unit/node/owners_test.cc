// SPDX-License-Identifier: Apache-2.0
#include "node/owners.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "base/unique_fd.h"
#include "core/listener.h"

namespace npg::node::owners_test {
namespace {

// A fake /proc in a temporary folder.
class OwnersTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = ::testing::TempDir() + "npg-owners-XXXXXX";
    ASSERT_NE(mkdtemp(pattern.data()), nullptr);
    root_ = pattern;
    // Other entries of a real /proc.
    std::filesystem::create_directories(root_ / "sys/net");
    std::filesystem::create_directories(root_ / "self-made");
    std::ofstream(root_ / "meminfo") << "MemTotal: 1 kB\n";
  }
  void TearDown() override {
    for (const std::filesystem::path& folder : locked_) {
      std::filesystem::permissions(folder, std::filesystem::perms::owner_all);
    }
    std::filesystem::remove_all(root_);
  }

  void AddProcess(int pid, const std::string& comm, const std::vector<std::string>& fds,
                  const std::string& cgroup = "0::/system.slice/some.service\n",
                  const std::string& uids = "0\t0\t0\t0") {
    const std::filesystem::path folder = root_ / std::to_string(pid);
    std::filesystem::create_directories(folder / "fd");
    std::ofstream(folder / "comm") << comm << "\n";
    std::ofstream(folder / "cgroup") << cgroup;
    std::ofstream(folder / "status") << "Name:\t" << comm << "\nUid:\t" << uids << "\nGid:\t5\n";
    std::filesystem::create_symlink("/usr/bin/" + comm, folder / "exe");
    int number = 0;
    for (const std::string& target : fds) {
      std::filesystem::create_symlink(target, folder / "fd" / std::to_string(number++));
    }
  }

  static core::Listener Socket(uint64_t inode) {
    core::Listener listener;
    listener.key.port = 33589;
    listener.inode = inode;
    return listener;
  }

  // Exits with 0 when exactly the first of the two sockets stayed out of sight.
  [[noreturn]] void WalkAsNobody() const {
    if (getuid() == 0 && setuid(65534) != 0) _exit(9);
    std::vector<core::Listener> listeners = {Socket(5), Socket(6)};
    const OwnerGaps gaps = FillOwners(listeners, root_);
    const bool right = gaps.unreadable_processes == 1 && listeners[0].owner.pid == 0 &&
                       listeners[1].owner.pid == 2;
    _exit(right ? 0 : 1);
  }

  std::filesystem::path root_;
  std::vector<std::filesystem::path> locked_;
};

TEST_F(OwnersTest, FindsTheHolderOfASocket) {
  AddProcess(812, "containerd", {"/dev/null", "pipe:[123]", "socket:[123]", "anon_inode:[123]"});
  std::vector<core::Listener> listeners = {Socket(123)};
  const OwnerGaps gaps = FillOwners(listeners, root_);
  EXPECT_EQ(gaps.unreadable_processes, 0);
  EXPECT_EQ(listeners[0].owner.pid, 812);
  EXPECT_EQ(listeners[0].owner.comm, "containerd");
  EXPECT_EQ(listeners[0].owner.executable, "/usr/bin/containerd");
  EXPECT_EQ(listeners[0].owner.cgroup, "/system.slice/some.service");
  EXPECT_EQ(listeners[0].owner.workload.unit, "some.service");
  EXPECT_THAT(listeners[0].owner.holders, ::testing::ElementsAre(812));
}

// systemd keeps the socket that it has handed to a unit.
TEST_F(OwnersTest, PrefersAnyOtherHolderToInit) {
  AddProcess(1, "systemd", {"socket:[7]", "socket:[8]"});
  AddProcess(30, "agent", {"socket:[7]"});
  AddProcess(40, "worker", {"socket:[7]"});
  std::vector<core::Listener> listeners = {Socket(7), Socket(8)};
  FillOwners(listeners, root_);
  EXPECT_EQ(listeners[0].owner.comm, "agent");
  EXPECT_THAT(listeners[0].owner.holders, ::testing::ElementsAre(1, 30, 40));
  EXPECT_EQ(listeners[1].owner.comm, "systemd");
  EXPECT_THAT(listeners[1].owner.holders, ::testing::ElementsAre(1));
}

TEST_F(OwnersTest, ReportsEachHolderWithItsDescriptorUserAndCgroup) {
  AddProcess(9, "inetd", {"/dev/null", "socket:[7]", "socket:[7]"}, "0::/inetd.service\n");
  AddProcess(30, "service", {"socket:[7]"}, "4:cpu:/\n0::/../user.slice\n", "1000\t0\t0\t0");
  AddProcess(40, "old", {"socket:[8]"}, "4:cpu:/\n");
  std::filesystem::remove(root_ / "40" / "status");
  std::vector<core::Listener> listeners = {Socket(7), Socket(8)};
  Holders holders;
  FillOwners(listeners, root_, OwnerBudget{}, &holders);
  ASSERT_EQ(holders[7].size(), 2U);
  EXPECT_EQ(holders[7][0].pid, 9);
  // The order of a folder's entries is the file system's.
  EXPECT_THAT(holders[7][0].descriptor, ::testing::AnyOf(1, 2));
  EXPECT_EQ(holders[7][0].uid, 0U);
  EXPECT_EQ(holders[7][0].cgroup, "/inetd.service");
  EXPECT_EQ(holders[7][1].pid, 30);
  EXPECT_EQ(holders[7][1].descriptor, 0);
  EXPECT_EQ(holders[7][1].uid, 1000U);
  EXPECT_EQ(holders[7][1].cgroup, "/../user.slice");
  ASSERT_EQ(holders[8].size(), 1U);
  EXPECT_FALSE(holders[8][0].uid.has_value());
  EXPECT_EQ(holders[8][0].cgroup, "");
}

TEST_F(OwnersTest, TheLowestPidOwnsASharedSocket) {
  AddProcess(9, "nginx", {"socket:[7]"});
  AddProcess(10, "nginx-worker", {"socket:[7]", "socket:[8]"});
  AddProcess(100, "nginx-worker", {"socket:[7]", "socket:[8]"});
  std::vector<core::Listener> listeners = {Socket(8), Socket(7)};
  FillOwners(listeners, root_);
  EXPECT_EQ(listeners[0].owner.pid, 10);
  EXPECT_EQ(listeners[1].owner.pid, 9);
}

TEST_F(OwnersTest, FindsTheCgroupInAnyHierarchy) {
  AddProcess(1, "init", {"socket:[5]"}, "12:pids:/p\n1:name=systemd:/init.scope\n0::/init.scope\n");
  AddProcess(2, "old", {"socket:[6]"}, "12:pids:/p\n1:name=systemd:/init.scope\n");
  std::vector<core::Listener> listeners = {Socket(5), Socket(6)};
  FillOwners(listeners, root_);
  EXPECT_EQ(listeners[0].owner.cgroup, "/init.scope");
  EXPECT_EQ(listeners[1].owner.comm, "old");
  EXPECT_EQ(listeners[1].owner.cgroup, "/init.scope");
}

TEST_F(OwnersTest, LeavesUnknownSocketsWithoutOwner) {
  AddProcess(1, "init", {"socket:[5]", "socket:[", "socket:[x]", "socket:[0]", "socket:[6"});
  std::vector<core::Listener> listeners = {Socket(6), Socket(0)};
  FillOwners(listeners, root_);
  EXPECT_EQ(listeners[0].owner.pid, 0);
  EXPECT_EQ(listeners[1].owner.pid, 0);
}

TEST_F(OwnersTest, KeepsAnOwnerThatIsKnown) {
  AddProcess(1, "init", {"socket:[5]"});
  std::vector<core::Listener> listeners = {Socket(5)};
  listeners[0].owner.pid = 42;
  listeners[0].owner.comm = "known";
  FillOwners(listeners, root_);
  EXPECT_EQ(listeners[0].owner.pid, 42);
  EXPECT_EQ(listeners[0].owner.comm, "known");
}

// A process may end at any step of the walk, so that its folder exists but files in it do
// not. Then the next holder of the socket is the owner.
TEST_F(OwnersTest, SkipsProcessesThatEnd) {
  std::filesystem::create_directories(root_ / "3");
  AddProcess(4, "gone", {"socket:[5]"});
  std::filesystem::remove(root_ / "4" / "comm");
  AddProcess(5, "alive", {"socket:[5]"});
  std::filesystem::remove(root_ / "5" / "exe");
  std::filesystem::remove(root_ / "5" / "cgroup");
  std::vector<core::Listener> listeners = {Socket(5)};
  const OwnerGaps gaps = FillOwners(listeners, root_);
  EXPECT_EQ(gaps.unreadable_processes, 0);
  EXPECT_EQ(listeners[0].owner.pid, 5);
  EXPECT_EQ(listeners[0].owner.executable, "");
}

// Sockets of the kernel itself are in no process. Only where every process is in sight, that is
// known.
TEST_F(OwnersTest, TellsSocketsOfTheKernelFromThoseOutOfSight) {
  AddProcess(1, "init", {"socket:[6]"});
  const auto no_process = [this] {
    std::vector<core::Listener> listeners = {Socket(5), Socket(6)};
    FillOwners(listeners, root_);
    EXPECT_FALSE(listeners[1].owner.no_process);
    EXPECT_EQ(listeners[0].owner.pid, 0);
    return listeners[0].owner.no_process;
  };
  EXPECT_FALSE(no_process()) << "not known which pid namespace this is";
  std::filesystem::create_directories(root_ / "self/ns");
  std::filesystem::create_symlink("pid:[4026531836]", root_ / "self/ns/pid");
  EXPECT_TRUE(no_process());
  std::vector<core::Listener> listeners = {Socket(5)};
  OwnerBudget budget;
  budget.descriptors = 0;
  const OwnerGaps gaps = FillOwners(listeners, root_, budget);
  EXPECT_GT(gaps.skipped_processes, 0);
  EXPECT_FALSE(listeners[0].owner.no_process);
  std::filesystem::remove(root_ / "self/ns/pid");
  std::filesystem::create_symlink("pid:[4026532000]", root_ / "self/ns/pid");
  EXPECT_FALSE(no_process()) << "a pid namespace of a container";
}

TEST_F(OwnersTest, FindsNoOwnerWithoutProc) {
  std::vector<core::Listener> listeners = {Socket(5)};
  const OwnerGaps gaps = FillOwners(listeners, root_ / "missing");
  EXPECT_EQ(gaps.unreadable_processes, 0);
  EXPECT_EQ(listeners[0].owner.pid, 0);
}

// Permissions do not restrict root, so a child does the walk as user nobody.
TEST_F(OwnersTest, CountsProcessesItMayNotRead) {
  AddProcess(1, "init", {"socket:[5]"});
  AddProcess(2, "mine", {"socket:[6]"});
  locked_.push_back(root_ / "1" / "fd");
  std::filesystem::permissions(locked_.back(), std::filesystem::perms::none);
  std::filesystem::permissions(root_, std::filesystem::perms::all);
  EXPECT_EXIT(WalkAsNobody(), ::testing::ExitedWithCode(0), "");
}

TEST_F(OwnersTest, ReportsTheNameOfAProcess) {
  AddProcess(9, "nginx", {});
  EXPECT_EQ(CommOf(9, root_), "nginx");
  EXPECT_EQ(CommOf(10, root_), "");
}

// A process with very many descriptors costs no more than the budget, and hides no other.
TEST_F(OwnersTest, SkipsTheRestOfAProcessBeyondTheBudget) {
  std::vector<std::string> many(50, "socket:[1]");
  many.emplace_back("socket:[7]");
  AddProcess(5, "hoarder", many);
  AddProcess(9, "nginx", {"socket:[8]"});
  OwnerBudget budget;
  budget.descriptors_of_process = 10;
  std::vector<core::Listener> listeners(2);
  listeners[0].inode = 7;
  listeners[1].inode = 8;
  EXPECT_EQ(FillOwners(listeners, root_, budget).skipped_processes, 1);
  EXPECT_EQ(listeners[0].owner.pid, 0);
  EXPECT_EQ(listeners[1].owner.pid, 9);
  budget.descriptors_of_process = 100;
  EXPECT_EQ(FillOwners(listeners, root_, budget).skipped_processes, 0);
  EXPECT_EQ(listeners[0].owner.pid, 5);
}

TEST_F(OwnersTest, ReadsTheProcessesThatBoundFirst) {
  AddProcess(5, "hoarder", std::vector<std::string>(50, "socket:[1]"));
  AddProcess(9, "nginx", {"socket:[8]"});
  OwnerBudget budget;
  budget.descriptors = 10;
  std::vector<core::Listener> listeners(1);
  listeners[0].inode = 8;
  listeners[0].binder = core::Binder{9, "nginx", 0, 0, 80};
  EXPECT_EQ(FillOwners(listeners, root_, budget).skipped_processes, 1);
  EXPECT_EQ(listeners[0].owner.pid, 9);
}

// In the same order, whichever thread reads a process.
TEST_F(OwnersTest, FindsTheSameWithSeveralThreads) {
  constexpr pid_t kLast = 299;
  for (pid_t pid = 2; pid <= kLast; ++pid) {
    AddProcess(pid, absl::StrCat("worker-", pid),
               {"/dev/null", absl::StrCat("socket:[", pid, "]"), "socket:[1000]"});
  }
  const auto find = [this](size_t threads, size_t descriptors, Holders& holders) {
    std::vector<core::Listener> listeners = {Socket(17), Socket(299), Socket(1000), Socket(5000)};
    OwnerBudget budget;
    budget.threads = threads;
    budget.descriptors = descriptors;
    const OwnerGaps gaps = FillOwners(listeners, root_, budget, &holders);
    std::string found = absl::StrCat(gaps.skipped_processes, " skipped");
    for (const core::Listener& listener : listeners) {
      absl::StrAppend(&found, "; ", listener.owner.pid, " ", listener.owner.comm, " of ",
                      listener.owner.holders.size());
    }
    return found;
  };
  Holders one, two;
  const std::string alone = find(1, 10'000, one);
  EXPECT_EQ(alone, "0 skipped; 17 worker-17 of 1; 299 worker-299 of 1; 2 worker-2 of 298; 0  of 0");
  EXPECT_EQ(find(2, 10'000, two), alone);
  const auto pids = [](const Holders& holders) {
    std::vector<pid_t> all;
    for (const Holder& holder : holders.at(1000)) all.push_back(holder.pid);
    return all;
  };
  EXPECT_EQ(pids(two), pids(one));
  // The threads share the budget, of which a whole process takes three.
  Holders some;
  find(2, 100, some);
  EXPECT_LE(some.at(1000).size(), 34U);
}

TEST_F(OwnersTest, StopsAtTheEndOfItsTime) {
  AddProcess(9, "nginx", {"socket:[8]"});
  OwnerBudget budget;
  budget.time = absl::ZeroDuration();
  std::vector<core::Listener> listeners(1);
  listeners[0].inode = 8;
  EXPECT_EQ(FillOwners(listeners, root_, budget).skipped_processes, 1);
  EXPECT_EQ(listeners[0].owner.pid, 0);
}

TEST(DuplicateSocketTest, OfAnotherProcess) {
  const base::UniqueFd socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  ASSERT_TRUE(socket);
  struct stat own {};
  ASSERT_EQ(fstat(socket.get(), &own), 0);
  const auto copy = DuplicateSocket(getpid(), socket.get(), own.st_ino);
  ASSERT_TRUE(copy.ok()) << copy.status();
  struct stat other {};
  ASSERT_EQ(fstat(copy->get(), &other), 0);
  EXPECT_EQ(other.st_ino, own.st_ino);
  EXPECT_NE(copy->get(), socket.get());
  EXPECT_TRUE(absl::IsNotFound(DuplicateSocket(getpid(), socket.get(), 1).status()))
      << "another socket has the number now";
  EXPECT_TRUE(absl::IsNotFound(DuplicateSocket(getpid(), 1 << 20, own.st_ino).status()));
}

TEST_F(OwnersTest, ReportsTheCgroupOfAProcess) {
  AddProcess(9, "nginx", {}, "0::/system.slice/nginx.service\n");
  EXPECT_EQ(CgroupOf(9, root_), "/system.slice/nginx.service");
  EXPECT_EQ(CgroupOf(10, root_), "");
}

TEST(OwnersOfThisProcessTest, AreFoundInTheRealProc) {
  const base::UniqueFd socket_fd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  ASSERT_TRUE(socket_fd);
  struct stat info {};
  ASSERT_EQ(fstat(socket_fd.get(), &info), 0);
  core::Listener listener;
  listener.inode = info.st_ino;
  std::vector<core::Listener> listeners = {listener};
  FillOwners(listeners);
  EXPECT_EQ(listeners[0].owner.pid, getpid());
  EXPECT_EQ(listeners[0].owner.executable, std::filesystem::read_symlink("/proc/self/exe"));
}

}  // namespace
}  // namespace npg::node::owners_test
