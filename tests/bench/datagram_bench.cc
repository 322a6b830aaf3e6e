// SPDX-License-Identifier: Apache-2.0
#include "bench/datagram_bench.h"

#include <linux/netlink.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "base/errno_status.h"
#include "base/netlink_socket.h"
#include "base/unique_fd.h"
#include "bench/figure.h"
#include "bench/measure.h"
#include "dataplane/nft/nft_elements.h"
#include "testing/guard_process.h"
#include "testing/kube_proxy_rules.h"
#include "testing/test_node.h"
#include "testing/transport.h"

namespace npg::bench {
namespace {

using ::npg::testing::GuardProcess;
using ::npg::testing::TestNode;
using ::npg::testing::Transport;

constexpr uint16_t kListenerPort = 30053;
constexpr int kTakeovers = 200;
// The limit that the guard promises, for both.
constexpr double kTakeoverGoalMs = 50;
constexpr absl::Duration kTakeoverDeadline = absl::Seconds(5);
// A pause before each bind, so that the guard has handled the last close.
constexpr absl::Duration kLook = absl::Milliseconds(10);

// Milliseconds until the set of targets has the wanted number of entries.
absl::StatusOr<double> Await(base::NetlinkSocket& socket, size_t wanted) {
  const absl::Time start = absl::Now();
  for (;;) {
    const auto elements = dataplane::ReadNftElements(socket, "targets4");
    if (!elements.ok()) return elements.status();
    const absl::Duration waited = absl::Now() - start;
    if (elements->size() == wanted) return absl::ToDoubleMilliseconds(waited);
    if (waited > kTakeoverDeadline) {
      return absl::DeadlineExceededError(
          absl::StrCat("set targets4 has ", elements->size(), " entries, not ", wanted));
    }
  }
}

absl::StatusOr<base::UniqueFd> BindOne() {
  const auto address = testing::MakeAddress("127.0.0.1", kListenerPort);
  if (!address.ok()) return address.status();
  auto fd = testing::OpenSocket(AF_INET, Transport::kUdp);
  if (!fd.ok()) return fd.status();
  if (bind(fd->get(), address->get(), address->size) != 0) {
    return base::ErrnoStatus(errno, absl::StrCat("bind to port ", kListenerPort));
  }
  return fd;
}

}  // namespace

absl::StatusOr<std::vector<Figure>> DatagramFigures(absl::FunctionRef<bool()> stop) {
  auto node = TestNode::Create();
  if (!node.ok()) return node.status();
  const std::string file = (*node)->File("nodeports.json");
  NPG_RETURN_IF_ERROR(testing::WriteNodePortsFile(file, {{kListenerPort, Transport::kUdp}}));
  const auto guard = GuardProcess::Start(**node, {"--source", "file", "--nodeports-file", file});
  if (!guard.ok()) return guard.status();
  auto socket = base::NetlinkSocket::Open(NETLINK_NETFILTER);
  if (!socket.ok()) return socket.status();
  std::vector<double> come, go;
  for (int round = 0; round < kTakeovers; ++round) {
    if (stop()) return absl::CancelledError("interrupted");
    auto fd = BindOne();
    if (!fd.ok()) return fd.status();
    const absl::StatusOr<double> exempt = Await(*socket, 1);
    if (!exempt.ok()) return exempt.status();
    come.push_back(*exempt);
    fd->Reset();
    const absl::StatusOr<double> gone = Await(*socket, 0);
    if (!gone.ok()) return gone.status();
    go.push_back(*gone);
    absl::SleepFor(kLook);
  }
  const std::string group = "UDP listener on a NodePort, its clients not connected";
  return std::vector<Figure>{
      {group, "bind() to exempt, p50", "ms", Quantile(come, 0.5)},
      {group, "bind() to exempt, p99", "ms", Quantile(come, 0.99), kTakeoverGoalMs},
      {group, "close() to not exempt, p50", "ms", Quantile(go, 0.5)},
      {group, "close() to not exempt, p99", "ms", Quantile(go, 0.99), kTakeoverGoalMs},
  };
}

}  // namespace npg::bench
