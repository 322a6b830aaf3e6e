// SPDX-License-Identifier: Apache-2.0

#include <sys/socket.h>
#include <sys/types.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "base/errno_status.h"
#include "base/unique_fd.h"
#include "bench/comparisons.h"
#include "bench/http_load.h"
#include "bench/measure.h"
#include "bench/packet_node.h"
#include "testing/transport.h"

namespace npg::bench {
namespace {

using ::npg::testing::Transport;

using Batch = std::function<absl::StatusOr<double>()>;
using Node = std::shared_ptr<PacketNode>;
using Rules = NodeState::Rules;

// The places of the first variants of all comparisons.
constexpr size_t kFloor = 1, kFloorAgain = 2, kTable = 3;

// Of the time with the table to that with an empty chain: at least 0.99 of the throughput.
constexpr double kThroughputGoal = 1.01;
// Of exempt traffic to the same on a port that is no NodePort, both with the table.
constexpr double kExemptGoal = 1.00;
constexpr double kExemptConnectionGoal = 0.80;

absl::Status Ping(int from, int to) {
  std::array<char, 64> data{};
  if (send(from, data.data(), data.size(), 0) != static_cast<ssize_t>(data.size())) {
    return base::ErrnoStatus(errno, "send");
  }
  if (recv(to, data.data(), data.size(), 0) != static_cast<ssize_t>(data.size())) {
    return base::ErrnoStatus(errno, "recv");
  }
  return absl::OkStatus();
}

// A request and its response on the connection that stays.
absl::StatusOr<double> PingPong(const PacketNode& node) {
  constexpr int kTimes = 100;
  const double start = ThreadNanoseconds();
  for (int i = 0; i < kTimes; ++i) {
    NPG_RETURN_IF_ERROR(Ping(node.client(), node.server()));
    NPG_RETURN_IF_ERROR(Ping(node.server(), node.client()));
  }
  return (ThreadNanoseconds() - start) / kTimes;
}

// Connect, a request, its response, close.
absl::StatusOr<double> WholeConnections(const PacketNode& node) {
  constexpr size_t kTimes = 16;
  absl::StatusOr<std::vector<base::UniqueFd>> clients = node.OpenClients(kTimes);
  if (!clients.ok()) return clients.status();
  const testing::SocketAddress& to = node.address();
  const double start = ThreadNanoseconds();
  for (base::UniqueFd& client : *clients) {
    if (connect(client.get(), to.get(), to.size) != 0) return base::ErrnoStatus(errno, "connect");
    const base::UniqueFd server(accept4(node.listener(), nullptr, nullptr, SOCK_CLOEXEC));
    if (!server) return base::ErrnoStatus(errno, "accept");
    NPG_RETURN_IF_ERROR(Ping(client.get(), server.get()));
    NPG_RETURN_IF_ERROR(Ping(server.get(), client.get()));
    client.Reset();
  }
  return (ThreadNanoseconds() - start) / static_cast<double>(kTimes);
}

// Many bytes on the connection that stays, in writes as large as those of iperf or of a proxy;
// per write.
absl::StatusOr<double> Bulk(const PacketNode& node) {
  constexpr size_t kWriteBytes = size_t{64} << 10;
  constexpr size_t kWrites = 64;
  std::vector<char> data(kWriteBytes);
  const double start = ThreadNanoseconds();
  for (size_t i = 0; i < kWrites; ++i) {
    size_t sent = 0, received = 0;
    while (received < kWriteBytes) {
      // As much as the socket takes: one thread does both halves, and must not wait.
      if (sent < kWriteBytes) {
        const ssize_t size =
            send(node.client(), data.data(), kWriteBytes - sent, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (size < 0 && errno != EAGAIN) return base::ErrnoStatus(errno, "send");
        sent += static_cast<size_t>(std::max<ssize_t>(size, 0));
      }
      const ssize_t size = recv(node.server(), data.data(), data.size(), MSG_DONTWAIT);
      if (size == 0) return absl::InternalError("recv: the connection ended");
      if (size < 0 && errno != EAGAIN) return base::ErrnoStatus(errno, "recv");
      received += static_cast<size_t>(std::max<ssize_t>(size, 0));
    }
  }
  return (ThreadNanoseconds() - start) / static_cast<double>(kWrites);
}

// What is done on each node of a comparison.
using MakeBatch = std::function<absl::StatusOr<Batch>(const Node&)>;

MakeBatch Plain(absl::StatusOr<double> (*batch)(const PacketNode&)) {
  return [batch](const Node& node) -> absl::StatusOr<Batch> {
    return [node, batch] { return batch(*node); };
  };
}

MakeBatch Http(bool keep_alive) {
  return [keep_alive](const Node& node) -> absl::StatusOr<Batch> {
    absl::StatusOr<std::unique_ptr<HttpLoad>> load = HttpLoad::Create(node, keep_alive);
    if (!load.ok()) return load.status();
    return [load = std::shared_ptr<HttpLoad>(*std::move(load))] { return load->Run(); };
  };
}

class NodeComparisons {
 public:
  // A comparison on nodes without the table, with an empty chain, and with the table; `common` is
  // equal on all of them.
  absl::Status Begin(const std::string& what, const NodeState& common, MakeBatch make_batch,
                     std::optional<Goal> goal = std::nullopt) {
    common_ = common;
    make_batch_ = std::move(make_batch);
    comparisons_.push_back({"packets", what, {}, kFloor, kFloorAgain});
    NPG_RETURN_IF_ERROR(Add("no table", Rules::kNone));
    NPG_RETURN_IF_ERROR(Add("empty chain", Rules::kEmptyChain));
    NPG_RETURN_IF_ERROR(Add("empty chain, once more", Rules::kEmptyChain));
    return Add("table", Rules::kTable, 0, false, goal);
  }

  // One more variant of the last comparison.
  absl::Status Add(const std::string& name, Rules rules, size_t flows = 0, bool exempt = false,
                   std::optional<Goal> goal = std::nullopt) {
    Comparison& comparison = comparisons_.back();
    NodeState state = common_;
    state.rules = rules;
    state.flows = flows;
    state.exempt = exempt;
    const std::string what = absl::StrCat(comparison.what, ", ", name);
    const absl::StatusOr<Node> node = PacketNode::Create(state);
    if (!node.ok()) return base::Annotate(node.status(), what);
    const absl::StatusOr<Batch> batch = make_batch_(*node);
    if (!batch.ok()) return base::Annotate(batch.status(), what);
    comparison.variants.push_back({name, nullptr, nullptr, *batch, goal});
    return absl::OkStatus();
  }

  // Begin(), and the table with many flows, and, beside kube-proxy's rules, exempt packets.
  absl::Status AddAll(const std::string& what, const NodeState& common, const MakeBatch& make_batch,
                      std::optional<Goal> exempt_goal) {
    NPG_RETURN_IF_ERROR(
        Begin(absl::StrCat(what, common.kube_proxy ? ", kube-proxy" : ""), common, make_batch));
    NPG_RETURN_IF_ERROR(Add("table, 1,000 exempt flows", Rules::kTable, 1000));
    NPG_RETURN_IF_ERROR(Add("table, 10,000 exempt flows", Rules::kTable, 10000));
    // Without the rules of kube-proxy, there is nothing to be exempt from.
    if (!common.kube_proxy) return absl::OkStatus();
    NPG_RETURN_IF_ERROR(Add("exempt", Rules::kTable, 0, true, exempt_goal));
    return Add("exempt, 10,000 other exempt flows", Rules::kTable, 10000, true);
  }

  std::vector<Comparison> Build() && { return std::move(comparisons_); }

 private:
  NodeState common_;
  MakeBatch make_batch_;
  std::vector<Comparison> comparisons_;
};

}  // namespace

absl::StatusOr<std::vector<Comparison>> PacketComparisons() {
  NodeComparisons comparisons;
  for (const bool kube_proxy : {false, true}) {
    NodeState tcp;
    tcp.kube_proxy = kube_proxy;
    NodeState udp = tcp;
    udp.transport = Transport::kUdp;
    NPG_RETURN_IF_ERROR(
        comparisons.AddAll("TCP ping-pong", tcp, Plain(PingPong), Goal{kExemptGoal, kTable}));
    NPG_RETURN_IF_ERROR(comparisons.AddAll("UDP ping-pong", udp, Plain(PingPong), std::nullopt));
    NPG_RETURN_IF_ERROR(comparisons.AddAll("TCP connection", tcp, Plain(WholeConnections),
                                           Goal{kExemptConnectionGoal, kTable}));
  }
  const NodeState tcp4;
  NodeState tcp6;
  tcp6.address = "::1";
  const Goal throughput{kThroughputGoal, kFloor};
  NPG_RETURN_IF_ERROR(comparisons.Begin("TCP ping-pong, IPv6", tcp6, Plain(PingPong)));
  NPG_RETURN_IF_ERROR(comparisons.Begin("bulk TCP, 64 KiB writes", tcp4, Plain(Bulk), throughput));
  NPG_RETURN_IF_ERROR(comparisons.Begin("HTTP, new connections", tcp4, Http(false), throughput));
  NPG_RETURN_IF_ERROR(comparisons.Begin("HTTP, keep-alive", tcp4, Http(true), throughput));
  return std::move(comparisons).Build();
}

}  // namespace npg::bench
