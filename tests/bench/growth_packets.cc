// SPDX-License-Identifier: Apache-2.0

#include <netinet/in.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "base/errno_status.h"
#include "base/unique_fd.h"
#include "bench/growth.h"
#include "bench/growth_bench.h"
#include "bench/measure.h"
#include "core/flow.h"
#include "dataplane/nft/nft_table.h"
#include "testing/command.h"
#include "testing/net_namespace.h"
#include "testing/transport.h"

namespace npg::bench {
namespace {

using ::npg::testing::ListenOn;
using ::npg::testing::MakeAddress;
using ::npg::testing::NetNamespace;
using ::npg::testing::OpenSocket;
using ::npg::testing::SocketAddress;
using ::npg::testing::Transport;

constexpr std::array<size_t, 5> kFlows = {0, 100, 1000, 10000, 60000};
constexpr uint32_t kPacketMark = 0x1000;
// The live flows: clients on these ports, of these NodePorts in turn.
constexpr uint16_t kFirstFlowClient = 32768, kFlowClients = 30000;
constexpr uint16_t kFirstFlowServer = 30000;

// A connection that is measured, between given ports.
struct Connection {
  const char* name;
  uint16_t server_port;
  uint16_t client_port;
  bool exempt;
};
constexpr std::array<Connection, 3> kConnections = {{
    {"unrelated", 9999, 20000, false},
    {"unrelated, port among the NodePorts", 29999, 20002, false},
    {"exempt", 30050, 20001, true},
}};

struct Ends {
  base::UniqueFd client, server;
};

// A network namespace with a table, and one connection of each kind.
struct Node {
  std::string name;
  std::optional<size_t> flows;  // of the guard's table; none: a chain without rules

  NetNamespace netns;
  std::unique_ptr<dataplane::NftTable> nft;
  std::array<Ends, kConnections.size()> connections;
};

std::array<uint8_t, 16> Loopback(uint8_t last) {
  return {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 127, 0, 0, last};
}

// What any base chain costs on the hook of the guard's.
absl::Status InstallEmptyChain() {
  return testing::RunCommand({"nft",
                              "add table inet bench; add chain inet bench output { type filter "
                              "hook output priority raw - 10; policy accept; }"})
      .status();
}

absl::Status InstallTable(Node& node) {
  absl::StatusOr<std::unique_ptr<dataplane::NftTable>> nft =
      dataplane::NftTable::Install({.value = kPacketMark, .mask = kPacketMark});
  if (!nft.ok()) return nft.status();
  node.nft = *std::move(nft);
  std::vector<core::Flow> flows(*node.flows);
  for (size_t i = 0; i < flows.size(); ++i) {
    flows[i].protocol = IPPROTO_TCP;
    flows[i].client_address = Loopback(2);
    flows[i].server_address = Loopback(1);
    flows[i].client_port = static_cast<uint16_t>(kFirstFlowClient + i % kFlowClients);
    flows[i].server_port = static_cast<uint16_t>(kFirstFlowServer + i / kFlowClients);
  }
  if (flows.empty()) return absl::OkStatus();
  NPG_RETURN_IF_ERROR(node.nft->Reconcile(flows, flows));
  const absl::StatusOr<dataplane::NftTableState> state = dataplane::ReadNftTable();
  if (!state.ok()) return state.status();
  if (state->flow_entries == flows.size()) return absl::OkStatus();
  return absl::InternalError(absl::StrCat("the table has ", state->flow_entries,
                                          " flow entries instead of ", flows.size()));
}

absl::StatusOr<Ends> Open(const Connection& connection) {
  const absl::StatusOr<base::UniqueFd> listener = ListenOn("127.0.0.1", connection.server_port);
  if (!listener.ok()) return listener.status();
  const absl::StatusOr<SocketAddress> from = MakeAddress("127.0.0.1", connection.client_port);
  if (!from.ok()) return from.status();
  const absl::StatusOr<SocketAddress> to = MakeAddress("127.0.0.1", connection.server_port);
  if (!to.ok()) return to.status();
  absl::StatusOr<base::UniqueFd> client = OpenSocket(AF_INET, Transport::kTcp);
  if (!client.ok()) return client.status();
  if (connection.exempt &&
      setsockopt(client->get(), SOL_SOCKET, SO_MARK, &kPacketMark, sizeof(kPacketMark)) != 0) {
    return base::ErrnoStatus(errno, "SO_MARK");
  }
  if (bind(client->get(), from->get(), from->size) != 0) return base::ErrnoStatus(errno, "bind");
  if (connect(client->get(), to->get(), to->size) != 0) return base::ErrnoStatus(errno, "connect");
  base::UniqueFd server(accept4(listener->get(), nullptr, nullptr, SOCK_CLOEXEC));
  if (!server) return base::ErrnoStatus(errno, "accept");
  return Ends{*std::move(client), std::move(server)};
}

absl::StatusOr<std::shared_ptr<Node>> MakeNode(const std::string& name,
                                               std::optional<size_t> flows) {
  absl::StatusOr<NetNamespace> netns = NetNamespace::Create();
  if (!netns.ok()) return netns.status();
  auto node = std::make_shared<Node>(Node{name, flows, *std::move(netns), nullptr, {}});
  const absl::Status ready = node->netns.Run([&node]() -> absl::Status {
    NPG_RETURN_IF_ERROR(node->flows ? InstallTable(*node) : InstallEmptyChain());
    for (size_t i = 0; i < kConnections.size(); ++i) {
      absl::StatusOr<Ends> ends = Open(kConnections[i]);
      if (!ends.ok()) return base::Annotate(ends.status(), kConnections[i].name);
      node->connections[i] = *std::move(ends);
    }
    return absl::OkStatus();
  });
  NPG_RETURN_IF_ERROR(base::Annotate(ready, name));
  return node;
}

absl::Status Ping(const base::UniqueFd& from, const base::UniqueFd& to) {
  std::array<char, 64> data{};
  if (send(from.get(), data.data(), data.size(), 0) != static_cast<ssize_t>(data.size())) {
    return base::ErrnoStatus(errno, "send");
  }
  if (recv(to.get(), data.data(), data.size(), 0) != static_cast<ssize_t>(data.size())) {
    return base::ErrnoStatus(errno, "recv");
  }
  return absl::OkStatus();
}

absl::StatusOr<double> PingPong(const Ends& ends) {
  constexpr int kTimes = 100;
  const double start = ThreadNanoseconds();
  for (int i = 0; i < kTimes; ++i) {
    NPG_RETURN_IF_ERROR(Ping(ends.client, ends.server));
    NPG_RETURN_IF_ERROR(Ping(ends.server, ends.client));
  }
  return (ThreadNanoseconds() - start) / kTimes;
}

// The table exempted the packets of the exempt connections. Otherwise the wrong path was measured.
absl::Status CheckExempted(const std::vector<std::shared_ptr<Node>>& nodes) {
  for (const std::shared_ptr<Node>& node : nodes) {
    if (!node->nft) continue;
    const absl::StatusOr<uint64_t> packets = node->nft->ExemptedPackets();
    if (!packets.ok()) return packets.status();
    if (*packets == 0) return absl::InternalError(absl::StrCat(node->name, ": nothing was exempt"));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<Growth> PacketGrowth(absl::Duration time, absl::FunctionRef<bool()> stop) {
  std::vector<std::shared_ptr<Node>> nodes;
  const auto add = [&nodes](const std::string& name, std::optional<size_t> flows) -> absl::Status {
    absl::StatusOr<std::shared_ptr<Node>> node = MakeNode(name, flows);
    if (!node.ok()) return node.status();
    nodes.push_back(*std::move(node));
    return absl::OkStatus();
  };
  NPG_RETURN_IF_ERROR(add("empty chain", std::nullopt));
  NPG_RETURN_IF_ERROR(add("empty chain, once more", std::nullopt));
  for (const size_t flows : kFlows) {
    NPG_RETURN_IF_ERROR(add(absl::StrCat("table with ", flows, " flows"), flows));
  }

  Growth growth{"packets", "What a TCP request and its response cost, by the live exempt flows",
                "flows in the table", "ns over an empty chain"};
  for (size_t i = 0; i < kConnections.size(); ++i) {
    std::vector<Variant> variants;
    for (const std::shared_ptr<Node>& node : nodes) {
      variants.push_back(
          {node->name, nullptr, nullptr, [node, i] { return PingPong(node->connections[i]); }});
    }
    const auto spreads =
        DifferencesToFirst(variants, time / static_cast<double>(kConnections.size()), stop);
    if (!spreads.ok()) return base::Annotate(spreads.status(), kConnections[i].name);
    if (!growth.noise) growth.noise = (*spreads)[1];
    GrowthSeries series{kConnections[i].name, {}};
    for (size_t j = 0; j < kFlows.size(); ++j) {
      series.points.push_back({static_cast<double>(kFlows[j]), (*spreads)[j + 2]});
    }
    growth.series.push_back(std::move(series));
  }
  NPG_RETURN_IF_ERROR(CheckExempted(nodes));
  return growth;
}

}  // namespace npg::bench
