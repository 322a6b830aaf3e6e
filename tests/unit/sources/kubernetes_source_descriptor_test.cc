// SPDX-License-Identifier: Apache-2.0
//
// Source kubernetes: the descriptors that it holds and closes.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/socket.h>

#include <cstddef>
#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <system_error>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "base/event_loop.h"
#include "testing/api_server.h"
#include "testing/api_traffic.h"
#include "testing/status_asserts.h"
#include "unit/sources/kubernetes_source_fixture.h"

namespace npg::sources::kubernetes_source_descriptor_test {
namespace {

using ::npg::testing::Accepting;
using ::npg::testing::Traffic;

class KubernetesDescriptorTest : public KubernetesSourceFixture {};
INSTANTIATE_TEST_SUITE_P(Over, KubernetesDescriptorTest, ::testing::Bool(), HttpName);

// The descriptors that an event loop watches, according to the kernel.
std::set<std::string> Watched(const std::string& epoll) {
  std::set<std::string> watched;
  std::ifstream info("/proc/self/fdinfo/" + epoll);
  std::string word;
  while (info >> word) {
    if (word == "tfd:" && info >> word) watched.insert(word);
  }
  return watched;
}

// The open descriptors: number → target.
std::map<std::string, std::string> Descriptors() {
  std::map<std::string, std::string> descriptors;
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
    std::error_code gone;
    descriptors[entry.path().filename()] = std::filesystem::read_symlink(entry, gone).string();
  }
  return descriptors;
}

TEST_P(KubernetesDescriptorTest, DestructionAtAnyMomentLeavesNothingInTheLoop) {
  auto before = Descriptors();
  NPG_ASSERT_OK_AND_ASSIGN(auto loop, base::EventLoop::Create());
  std::string epoll;
  for (const auto& [number, target] : Descriptors()) {
    if (absl::StrContains(target, "eventpoll") && before[number] != target) epoll = number;
  }
  ASSERT_NE(epoll, "");
  loop_.swap(loop);
  size_t with_something = 0;
  for (const bool mute : {false, true}) {
    server_->SetAccepting(mute ? Accepting::kMute : Accepting::kServe);
    for (int turns = 0; turns < 120; turns += mute ? 10 : 1) {
      SCOPED_TRACE(absl::StrCat("after ", turns, " turns of the loop"));
      server_->Inject({.drip_bytes = 20});
      Follow();
      int left = turns;
      const std::function<void()> turn = [&] {
        if (left-- == 0) return loop_->Stop();
        loop_->After(absl::ZeroDuration(), turn);
      };
      loop_->After(absl::ZeroDuration(), turn);
      NPG_ASSERT_OK(loop_->Run());
      with_something += Watched(epoll).empty() ? 0 : 1;
      source_.reset();
      EXPECT_EQ(Watched(epoll), std::set<std::string>());
      const size_t reports = reports_.size();
      // A remaining timer would use the destroyed source.
      loop_->After(absl::Milliseconds(2), [&] { loop_->Stop(); });
      NPG_ASSERT_OK(loop_->Run());
      EXPECT_EQ(reports_.size(), reports);
      server_->ClearFaults();
    }
  }
  EXPECT_GT(with_something, 20U);
  server_->SetAccepting(Accepting::kServe);
  server_->KillConnections();
}

TEST_P(KubernetesDescriptorTest, DestructionClosesTheConnection) {
  Follow();
  ASSERT_TRUE(RunUntilSynced());
  source_.reset();
  EXPECT_TRUE(server_->WaitUntil(
      absl::Seconds(20), [](const Traffic& traffic) { return traffic.open_connections == 0; }));
}

// A child such as iptables-save must not inherit the socket to the API server.
TEST_P(KubernetesDescriptorTest, NoDescriptorIsInherited) {
  const auto before = Descriptors();
  Follow();
  ASSERT_TRUE(RunUntilSynced());
  size_t sockets = 0;
  for (const auto& [number, target] : Descriptors()) {
    if (before.contains(number)) continue;
    int fd = -1;
    ASSERT_TRUE(absl::SimpleAtoi(number, &fd));
    // Skips the socket pairs that libcurl uses internally.
    sockaddr_storage address{};
    socklen_t size = sizeof(address);
    if (getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size) != 0) continue;
    if (address.ss_family != AF_INET) continue;
    ++sockets;
    EXPECT_NE(fcntl(fd, F_GETFD) & FD_CLOEXEC, 0) << number << " " << target;
  }
  EXPECT_GE(sockets, 2U) << "those of the client and the server";
}

}  // namespace
}  // namespace npg::sources::kubernetes_source_descriptor_test
