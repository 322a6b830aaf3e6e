// SPDX-License-Identifier: Apache-2.0
// A limit of reserved ports: the kernel chooses the source port of a masqueraded connection from
// all ports from 1024 on, reserved or not.
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/time.h>

#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <fstream>
#include <iterator>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "base/errno_status.h"
#include "base/unique_fd.h"
#include "testing/command.h"
#include "testing/guard_fixture.h"
#include "testing/guard_process.h"
#include "testing/kube_proxy_rules.h"
#include "testing/status_asserts.h"
#include "testing/test_node.h"
#include "testing/transport.h"
#include "testing/wait_until.h"

namespace npg::testing::masquerade_test {
namespace {

// All of Kubernetes' default range is allocated, which is 4% of what a masquerade chooses from.
constexpr uint16_t kFirst = 30000, kLast = 32767, kLastEphemeral = 60999;
constexpr int kTries = 1000;
constexpr uint16_t kPeerPort = 5000;

bool IsNodePort(uint16_t port) { return port >= kFirst && port <= kLast; }

// The source ports of a datagram: that of its socket, and the one that the receiver saw.
struct SourcePorts {
  uint16_t chosen = 0;
  uint16_t seen = 0;
};

class GuardMasqueradeTest : public GuardTest {
 protected:
  void SetUp() override {
    ASSERT_NO_FATAL_FAILURE(GuardTest::SetUp());
    NPG_ASSERT_OK(
        SetSysctl("net/ipv4/ip_local_port_range", absl::StrCat(kFirst, " ", kLastEphemeral)));
    std::vector<NodePort> nodeports;
    for (uint16_t port = kFirst; port <= kLast; ++port) nodeports.push_back({port});
    NPG_ASSERT_OK(WriteNodePortsFile(node().File("nodeports.json"), nodeports));
    NPG_ASSERT_OK(node().pod().Run([this] { return OpenReceiver(); }));
  }

  // A datagram of a new socket of the node to the pod.
  absl::StatusOr<SourcePorts> Send() const {
    const auto address = MakeAddress(TestNode::kPod, kPeerPort);
    if (!address.ok()) return address.status();
    const auto fd = OpenSocket(AF_INET, Transport::kUdp);
    if (!fd.ok()) return fd.status();
    if (sendto(fd->get(), "?", 1, MSG_NOSIGNAL, address->get(), address->size) != 1) {
      return base::ErrnoStatus(errno, "send");
    }
    SocketAddress from;
    from.size = sizeof(from.storage);
    std::array<char, 16> buffer{};
    if (recvfrom(receiver_.get(), buffer.data(), buffer.size(), 0, from.get(), &from.size) < 0) {
      return base::ErrnoStatus(errno, "receive");
    }
    return SourcePorts{LocalPort(fd->get()), from.port()};
  }

  static std::string Reserved() {
    std::ifstream file("/proc/sys/net/ipv4/ip_local_reserved_ports");
    return {std::istreambuf_iterator<char>(file), {}};
  }

 private:
  absl::Status OpenReceiver() {
    const auto address = MakeAddress(TestNode::kPod, kPeerPort);
    if (!address.ok()) return address.status();
    auto fd = OpenSocket(AF_INET, Transport::kUdp);
    if (!fd.ok()) return fd.status();
    const timeval patience{absl::ToInt64Seconds(kPatience), 0};
    if (setsockopt(fd->get(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)) != 0 ||
        bind(fd->get(), address->get(), address->size) != 0) {
      return base::ErrnoStatus(errno, "bind the receiver");
    }
    receiver_ = *std::move(fd);
    return absl::OkStatus();
  }

  base::UniqueFd receiver_;
};

TEST_P(GuardMasqueradeTest, MasqueradePicksReserved) {
  NPG_ASSERT_OK(StartGuard({"--reserve-ports", "allocated"}));
  EXPECT_EQ(Reserved(), absl::StrCat(kFirst, "-", kLast, "\n"));
  for (int i = 0; i < 100; ++i) {
    NPG_ASSERT_OK_AND_ASSIGN(const SourcePorts ports, Send());
    ASSERT_FALSE(IsNodePort(ports.chosen)) << ports.chosen;
    ASSERT_EQ(ports.seen, ports.chosen);
  }
  // As kube-proxy and CNI plugins do.
  NPG_ASSERT_OK(RunCommand({"iptables-nft", "-t", "nat", "-A", "POSTROUTING", "-d", TestNode::kPod,
                            "-j", "MASQUERADE", "--random-fully"}));
  int seen = 0;
  for (int i = 0; i < kTries && seen == 0; ++i) {
    NPG_ASSERT_OK_AND_ASSIGN(const SourcePorts ports, Send());
    ASSERT_FALSE(IsNodePort(ports.chosen)) << ports.chosen;
    if (IsNodePort(ports.seen)) ++seen;
  }
  EXPECT_EQ(seen, 1) << "in " << kTries << " tries";
}

INSTANTIATE_TEST_SUITE_P(Rules, GuardMasqueradeTest, ::testing::Values(RuleShape{}), RuleShapeName);

}  // namespace
}  // namespace npg::testing::masquerade_test
