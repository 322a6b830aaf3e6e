// SPDX-License-Identifier: Apache-2.0
// What --reserve-ports is for: the kernel assigns no allocated NodePort.
#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstdint>
#include <functional>
#include <iostream>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "base/errno_status.h"
#include "base/unique_fd.h"
#include "testing/guard_fixture.h"
#include "testing/guard_process.h"
#include "testing/kube_proxy_rules.h"
#include "testing/status_asserts.h"
#include "testing/test_node.h"
#include "testing/transport.h"

namespace npg::testing::reserve_ports_never_picked_test {
namespace {

constexpr const char* kRange = "42000 42063";
// For TCP, the kernel prefers the odd ports of this range for bind(), and the even ones for
// connect(); with SO_REUSEADDR, those of the lower half.
constexpr uint16_t kOdd = 42013;
constexpr uint16_t kEven = 42010;
constexpr uint16_t kListenPort = 8081;

struct sockaddr_in Loopback(uint16_t port) {
  struct sockaddr_in address {};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return address;
}

const struct sockaddr* Raw(const struct sockaddr_in& address) {
  return reinterpret_cast<const struct sockaddr*>(&address);
}

absl::StatusOr<base::UniqueFd> NewSocket(int type) {
  base::UniqueFd fd(socket(AF_INET, type | SOCK_CLOEXEC, 0));
  if (!fd) return base::ErrnoStatus(errno, "socket");
  return fd;
}

absl::StatusOr<uint16_t> PortOf(int fd) {
  struct sockaddr_in address {};
  socklen_t size = sizeof(address);
  if (getsockname(fd, reinterpret_cast<struct sockaddr*>(&address), &size) != 0) {
    return base::ErrnoStatus(errno, "getsockname");
  }
  return ntohs(address.sin_port);
}

// The port that the kernel assigns in bind() to port 0.
absl::StatusOr<uint16_t> PickedByBind(int type, bool reuse) {
  const absl::StatusOr<base::UniqueFd> fd = NewSocket(type);
  if (!fd.ok()) return fd.status();
  const int on = 1;
  if (reuse && setsockopt(fd->get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) != 0) {
    return base::ErrnoStatus(errno, "SO_REUSEADDR");
  }
  const struct sockaddr_in any = Loopback(0);
  if (bind(fd->get(), Raw(any), sizeof(any)) != 0) return base::ErrnoStatus(errno, "bind");
  return PortOf(fd->get());
}

// The source port that it assigns in connect().
absl::StatusOr<uint16_t> PickedByUdpConnect() {
  const absl::StatusOr<base::UniqueFd> fd = NewSocket(SOCK_DGRAM);
  if (!fd.ok()) return fd.status();
  const struct sockaddr_in server = Loopback(kListenPort);
  if (connect(fd->get(), Raw(server), sizeof(server)) != 0) {
    return base::ErrnoStatus(errno, "connect");
  }
  return PortOf(fd->get());
}

// Closes with RST, so that no port stays in TIME_WAIT.
absl::StatusOr<uint16_t> PickedByTcpConnect(int listener) {
  const absl::StatusOr<base::UniqueFd> fd = NewSocket(SOCK_STREAM);
  if (!fd.ok()) return fd.status();
  const struct linger reset = {.l_onoff = 1, .l_linger = 0};
  if (setsockopt(fd->get(), SOL_SOCKET, SO_LINGER, &reset, sizeof(reset)) != 0) {
    return base::ErrnoStatus(errno, "SO_LINGER");
  }
  const struct sockaddr_in server = Loopback(kListenPort);
  if (connect(fd->get(), Raw(server), sizeof(server)) != 0) {
    return base::ErrnoStatus(errno, "connect");
  }
  const base::UniqueFd peer(accept4(listener, nullptr, nullptr, SOCK_CLOEXEC));
  if (!peer) return base::ErrnoStatus(errno, "accept");
  return PortOf(fd->get());
}

struct Way {
  std::string name;
  std::function<absl::StatusOr<uint16_t>()> pick;
  int tries = 0;
};

class GuardNeverPickedTest : public GuardTest {
 protected:
  void SetUp() override {
    GuardTest::SetUp();
    if (HasFatalFailure()) return;
    NPG_ASSERT_OK(SetSysctl("net/ipv4/ip_local_port_range", kRange));
    NPG_ASSERT_OK_AND_ASSIGN(listener_, NewSocket(SOCK_STREAM));
    const struct sockaddr_in address = Loopback(kListenPort);
    ASSERT_EQ(bind(listener_.get(), Raw(address), sizeof(address)), 0);
    ASSERT_EQ(listen(listener_.get(), 16), 0);
  }

  // 200,000 tries in all.
  std::vector<Way> Ways() const {
    return {
        {"TCP bind(0)", [] { return PickedByBind(SOCK_STREAM, false); }, 50'000},
        {"TCP bind(0), SO_REUSEADDR", [] { return PickedByBind(SOCK_STREAM, true); }, 50'000},
        {"UDP bind(0)", [] { return PickedByBind(SOCK_DGRAM, false); }, 50'000},
        {"UDP connect()", [] { return PickedByUdpConnect(); }, 30'000},
        {"TCP connect()", [this] { return PickedByTcpConnect(listener_.get()); }, 20'000},
    };
  }

  // At which try the kernel assigned one of the two NodePorts.
  static absl::StatusOr<std::optional<int>> FirstPick(const Way& way, int tries) {
    for (int i = 1; i <= tries; ++i) {
      const absl::StatusOr<uint16_t> port = way.pick();
      if (!port.ok()) return port.status();
      if (*port < 42000 || *port > 42063) return absl::InternalError("not an automatic port");
      if (*port == kOdd || *port == kEven) return i;
    }
    return std::nullopt;
  }

  base::UniqueFd listener_;
};

TEST_P(GuardNeverPickedTest, TheKernelAssignsNoNodePort) {
  for (const Way& way : Ways()) {
    // At most 64 ports are equally likely: that none of 20,000 is it has the probability 1e-130.
    NPG_ASSERT_OK_AND_ASSIGN(const std::optional<int> pick, FirstPick(way, 20'000));
    EXPECT_TRUE(pick.has_value()) << way.name << " does not show what the guard prevents";
  }
  NPG_ASSERT_OK(WriteNodePortsFile(node().File("nodeports.json"),
                                   {{kOdd, Transport::kTcp}, {kEven, Transport::kUdp}}));
  NPG_ASSERT_OK(StartGuard({"--reserve-ports", "allocated"}));
  const absl::Time begin = absl::Now();
  for (const Way& way : Ways()) {
    NPG_ASSERT_OK_AND_ASSIGN(const std::optional<int> pick, FirstPick(way, way.tries));
    EXPECT_EQ(pick, std::nullopt) << way.name;
  }
  std::cout << "200,000 tries: " << absl::Now() - begin << "\n";
  // A program can still ask for one.
  NPG_ASSERT_OK_AND_ASSIGN(const base::UniqueFd asks, NewSocket(SOCK_STREAM));
  const struct sockaddr_in address = Loopback(kOdd);
  EXPECT_EQ(bind(asks.get(), Raw(address), sizeof(address)), 0);
}

INSTANTIATE_TEST_SUITE_P(Rules, GuardNeverPickedTest, ::testing::Values(RuleShape{}),
                         RuleShapeName);

}  // namespace
}  // namespace npg::testing::reserve_ports_never_picked_test
