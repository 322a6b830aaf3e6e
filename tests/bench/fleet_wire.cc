// SPDX-License-Identifier: Apache-2.0
#include "bench/fleet_wire.h"

#include <arpa/inet.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <system_error>
#include <utility>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "base/errno_status.h"
#include "base/event_loop.h"
#include "bench/cluster.h"
#include "kubernetes/cluster_access.h"
#include "log/log.h"
#include "sources/kubernetes/kubernetes_source.h"
#include "sources/source.h"
#include "testing/api_model.h"
#include "testing/api_server.h"

namespace npg::bench {
namespace {

using ::npg::testing::ApiModel;
using ::npg::testing::ApiServer;

constexpr size_t kServices[] = {100, 1000, 10000};
constexpr size_t kOneOf = 10;  // a tenth of the Services have NodePorts
constexpr uint16_t kFirstPort = 10000;
constexpr uint16_t kNewPort = 30000;
constexpr size_t kNewService = 20000;
constexpr size_t kRounds = 20;
constexpr size_t kTokenBytes = 1000;
constexpr absl::Duration kDeadline = absl::Seconds(60);
// For what the node sends after the last byte: window updates.
constexpr absl::Duration kSettled = absl::Milliseconds(30);

struct Bytes {
  double sent = 0;
  double received = 0;
};

// Of the sockets of this process that are connected to `port`: those of the node.
Bytes BytesOfConnections(uint16_t port) {
  Bytes bytes;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd", error)) {
    int fd = -1;
    if (!absl::SimpleAtoi(entry.path().filename().string(), &fd)) continue;
    sockaddr_in peer{};
    socklen_t size = sizeof(peer);
    if (getpeername(fd, reinterpret_cast<sockaddr*>(&peer), &size) != 0) continue;
    if (peer.sin_family != AF_INET || ntohs(peer.sin_port) != port) continue;
    tcp_info info{};
    size = sizeof(info);
    if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &size) != 0) continue;
    bytes.sent += static_cast<double>(info.tcpi_bytes_sent);
    bytes.received += static_cast<double>(info.tcpi_bytes_received);
  }
  return bytes;
}

// The product's source, with its own connection to the server.
class Node {
 public:
  static absl::StatusOr<std::unique_ptr<Node>> Start(Cluster& cluster,
                                                     absl::FunctionRef<bool()> stop) {
    absl::StatusOr<std::unique_ptr<base::EventLoop>> loop = base::EventLoop::Create();
    if (!loop.ok()) return loop.status();
    cluster.server().AcceptTokens({Token()});
    std::unique_ptr<Node> node(new Node(cluster.server(), *std::move(loop), stop));
    NPG_RETURN_IF_ERROR(node->source_.Follow(
        *node->loop_, [raw = node.get()](const absl::StatusOr<sources::Reading>& reading) {
          if (!reading.ok()) raw->failure_ = reading.status();
        }));
    NPG_RETURN_IF_ERROR(node->Synced());
    return node;
  }

  // Runs until the source has a list and the server an open watch of it.
  absl::Status Synced() {
    NPG_RETURN_IF_ERROR(Run([this] {
      return source_.State().last_reading > absl::UnixEpoch() && source_.State().connected &&
             server_.traffic().open_watches == 1;
    }));
    return Settle();
  }

  absl::Status Settle() {
    const absl::Time end = absl::Now() + kSettled;
    return Run([end] { return absl::Now() >= end; });
  }

  Bytes bytes() const { return BytesOfConnections(server_.port()); }

  // The bytes that `change` causes, in both directions.
  absl::StatusOr<double> Cost(absl::FunctionRef<absl::Status()> change) {
    const Bytes before = bytes();
    NPG_RETURN_IF_ERROR(change());
    NPG_RETURN_IF_ERROR(Settle());
    const Bytes after = bytes();
    return after.sent - before.sent + after.received - before.received;
  }

 private:
  Node(ApiServer& server, std::unique_ptr<base::EventLoop> loop, absl::FunctionRef<bool()> stop)
      : server_(server), stop_(stop), loop_(std::move(loop)), source_(Access(server), Options()) {}

  // As long as that of a service account.
  static std::string Token() { return std::string(kTokenBytes, 'x'); }

  static kubernetes::ClusterAccess Access(const ApiServer& server) {
    kubernetes::ClusterAccess access;
    access.server = server.url();
    access.ca.data = server.ca_pem();
    access.token = Token();
    access.origin = "a benchmark";
    return access;
  }

  static sources::KubernetesSource::Options Options() {
    sources::KubernetesSource::Options options;
    options.reflector.first_spread = absl::ZeroDuration();
    // The watches end sooner than those of a real server, which delays the next one.
    options.reflector.backoff_first = absl::Milliseconds(1);
    options.reflector.backoff_max = absl::Milliseconds(1);
    return options;
  }

  absl::Status Run(const std::function<bool()>& condition) {
    const absl::Time end = absl::Now() + kDeadline;
    absl::Status status;
    const std::function<void()> ask = [&] {
      if (condition()) return loop_->Stop();
      if (!failure_.ok()) status = failure_;
      if (stop_()) status = absl::CancelledError("interrupted");
      if (absl::Now() > end) status = absl::DeadlineExceededError("no answer of the API server");
      if (!status.ok()) return loop_->Stop();
      loop_->After(absl::Milliseconds(1), ask);
    };
    loop_->After(absl::ZeroDuration(), ask);
    NPG_RETURN_IF_ERROR(loop_->Run());
    return status;
  }

  ApiServer& server_;
  absl::FunctionRef<bool()> stop_;
  std::unique_ptr<base::EventLoop> loop_;  // outlives the source
  sources::KubernetesSource source_;
  absl::Status failure_;
};

void Configure(Cluster& cluster, bool selector, bool watch_list) {
  cluster.server().Change([&](ApiModel& model) {
    model.options().selects_by_type = selector;
    model.options().watch_list =
        watch_list ? testing::WatchList::kOffered : testing::WatchList::kForbidden;
  });
}

absl::Status MeasureLists(size_t services, size_t node_ports, FleetWire& wire,
                          absl::FunctionRef<bool()> stop) {
  absl::StatusOr<Cluster> cluster = Cluster::Start();
  if (!cluster.ok()) return cluster.status();
  NPG_RETURN_IF_ERROR(cluster->Add(kFirstPort, node_ports));
  NPG_RETURN_IF_ERROR(cluster->AddClusterIps(0, services - node_ports));
  for (const bool watch_list : {true, false}) {
    for (const bool selector : {true, false}) {
      Configure(*cluster, selector, watch_list);
      const size_t before = cluster->server().traffic().requests.size();
      const auto node = Node::Start(*cluster, stop);
      if (!node.ok()) return node.status();
      const Bytes bytes = (*node)->bytes();
      const size_t requests = cluster->server().traffic().requests.size() - before;
      wire.lists.push_back({services, node_ports, selector, watch_list,
                            static_cast<double>(requests), bytes.sent, bytes.received});
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<MessagesOnWire> MeasureMessages(bool selector, absl::FunctionRef<bool()> stop) {
  absl::StatusOr<Cluster> cluster = Cluster::Start();
  if (!cluster.ok()) return cluster.status();
  Configure(*cluster, selector, true);
  const auto node = Node::Start(*cluster, stop);
  if (!node.ok()) return node.status();
  ApiServer& server = cluster->server();
  MessagesOnWire wire;
  absl::Status status;
  const auto mean = [&](double& to, size_t parts, absl::FunctionRef<absl::Status()> change) {
    if (!status.ok()) return;
    const absl::StatusOr<double> cost = (*node)->Cost(change);
    status = cost.status();
    if (cost.ok()) to += *cost / static_cast<double>(parts * kRounds);
  };
  for (size_t i = 0; i < kRounds; ++i) {
    const auto port = static_cast<uint16_t>(kNewPort + i);
    const size_t other = kNewService + i;
    mean(wire.added, 1, [&] { return cluster->Add(port, 1); });
    mean(wire.modified, 1, [&] { return cluster->Add(port, 1); });
    mean(wire.deleted, 1, [&] { return cluster->Remove(port); });
    mean(wire.other, 3, [&] { return cluster->AddClusterIps(other, 1); });
    mean(wire.other, 3, [&] { return cluster->AddClusterIps(other, 1); });
    mean(wire.other, 3, [&] { return cluster->RemoveClusterIp(other); });
    mean(wire.bookmark, 1, [&] {
      server.SendBookmarks();
      return absl::OkStatus();
    });
    mean(wire.watch, 1, [&] {
      server.CloseWatches();
      return (*node)->Synced();
    });
  }
  if (!status.ok()) return status;
  return wire;
}

}  // namespace

absl::StatusOr<FleetWire> MeasureWire(absl::FunctionRef<bool()> stop) {
  // Standard output has only the figures.
  NPG_RETURN_IF_ERROR(log::SetUpLog("error", log::LogFormat::kText));
  FleetWire wire;
  for (const size_t services : kServices) {
    for (const size_t node_ports : {services / kOneOf, services}) {
      NPG_RETURN_IF_ERROR(MeasureLists(services, node_ports, wire, stop));
    }
  }
  absl::StatusOr<MessagesOnWire> selected = MeasureMessages(true, stop);
  if (!selected.ok()) return selected.status();
  absl::StatusOr<MessagesOnWire> unselected = MeasureMessages(false, stop);
  if (!unselected.ok()) return unselected.status();
  wire.selected = *selected;
  wire.unselected = *unselected;
  return wire;
}

}  // namespace npg::bench
