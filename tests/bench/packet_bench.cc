// SPDX-License-Identifier: Apache-2.0

#include <netinet/in.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "base/errno_status.h"
#include "base/unique_fd.h"
#include "bench/comparisons.h"
#include "bench/measure.h"
#include "core/flow.h"
#include "dataplane/nft/nft_table.h"
#include "testing/kube_proxy_rules.h"
#include "testing/net_namespace.h"
#include "testing/transport.h"

namespace npg::bench {
namespace {

using ::npg::testing::IptablesVariant;
using ::npg::testing::KubeProxyRules;
using ::npg::testing::MakeAddress;
using ::npg::testing::NetNamespace;
using ::npg::testing::OpenSocket;
using ::npg::testing::SocketAddress;
using ::npg::testing::TcpAndUdp;
using ::npg::testing::Transport;

constexpr uint16_t kServerPort = 9999;  // no NodePort
constexpr size_t kFlows = 10000;        // of other connections
constexpr uint32_t kMark = 0x1000;

// A network namespace in one of the states that are compared.
struct Node {
  std::string name;
  bool kube_proxy = false;
  bool table = false;
  size_t flows = 0;
  bool exempt = false;  // its clients carry the mark

  NetNamespace netns;
  std::unique_ptr<dataplane::NftTable> nft;
  base::UniqueFd listener, client, server;
};

std::array<uint8_t, 16> Loopback(uint8_t last) {
  return {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 127, 0, 0, last};
}

absl::Status Mark(int fd) {
  if (setsockopt(fd, SOL_SOCKET, SO_MARK, &kMark, sizeof(kMark)) != 0) {
    return base::ErrnoStatus(errno, "SO_MARK");
  }
  return absl::OkStatus();
}

absl::Status ConnectTo(int fd, const SocketAddress& to) {
  if (connect(fd, to.get(), to.size) != 0) return base::ErrnoStatus(errno, "connect");
  return absl::OkStatus();
}

absl::Status InstallRules(Node& node) {
  if (node.kube_proxy) {
    std::vector<uint16_t> ports;
    for (uint16_t port = 30000; port < 30100; ++port) ports.push_back(port);
    const KubeProxyRules rules(IptablesVariant::kNft, "10.244.1.2", 8080);
    NPG_RETURN_IF_ERROR(rules.Apply(TcpAndUdp(ports, /*endpoint=*/true)));
  }
  if (!node.table) return absl::OkStatus();
  absl::StatusOr<std::unique_ptr<dataplane::NftTable>> nft =
      dataplane::NftTable::Install({.value = kMark, .mask = kMark});
  if (!nft.ok()) return nft.status();
  node.nft = *std::move(nft);
  std::vector<core::Flow> flows(node.flows);
  for (size_t i = 0; i < flows.size(); ++i) {
    flows[i].protocol = IPPROTO_TCP;
    flows[i].client_address = Loopback(2);
    flows[i].server_address = Loopback(1);
    flows[i].client_port = static_cast<uint16_t>(32768 + i);
    flows[i].server_port = 30000;
  }
  if (flows.empty()) return absl::OkStatus();
  NPG_RETURN_IF_ERROR(node.nft->Reconcile(flows, flows));
  const absl::StatusOr<dataplane::NftTableState> state = dataplane::ReadNftTable();
  if (!state.ok()) return state.status();
  if (state->flow_entries != flows.size()) {
    return absl::InternalError(absl::StrCat("the table has ", state->flow_entries,
                                            " flow entries instead of ", flows.size()));
  }
  return absl::OkStatus();
}

// A listener, and one connection to it that stays.
absl::Status OpenSockets(Node& node, Transport transport) {
  const absl::StatusOr<SocketAddress> at = MakeAddress("127.0.0.1", kServerPort);
  if (!at.ok()) return at.status();
  absl::StatusOr<base::UniqueFd> listener = OpenSocket(AF_INET, transport);
  if (!listener.ok()) return listener.status();
  if (bind(listener->get(), at->get(), at->size) != 0) return base::ErrnoStatus(errno, "bind");
  absl::StatusOr<base::UniqueFd> client = OpenSocket(AF_INET, transport);
  if (!client.ok()) return client.status();
  if (node.exempt) NPG_RETURN_IF_ERROR(Mark(client->get()));
  if (transport == Transport::kTcp && listen(listener->get(), 128) != 0) {
    return base::ErrnoStatus(errno, "listen");
  }
  NPG_RETURN_IF_ERROR(ConnectTo(client->get(), *at));
  node.client = *std::move(client);
  if (transport == Transport::kTcp) {
    node.server.Reset(accept4(listener->get(), nullptr, nullptr, SOCK_CLOEXEC));
    if (!node.server) return base::ErrnoStatus(errno, "accept");
    node.listener = *std::move(listener);
    return absl::OkStatus();
  }
  SocketAddress back;
  back.size = sizeof(back.storage);
  if (getsockname(node.client.get(), back.get(), &back.size) != 0) {
    return base::ErrnoStatus(errno, "getsockname");
  }
  node.server = *std::move(listener);
  return ConnectTo(node.server.get(), back);
}

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
absl::StatusOr<double> PingPong(const Node& node) {
  constexpr int kTimes = 100;
  const double start = ThreadNanoseconds();
  for (int i = 0; i < kTimes; ++i) {
    NPG_RETURN_IF_ERROR(Ping(node.client.get(), node.server.get()));
    NPG_RETURN_IF_ERROR(Ping(node.server.get(), node.client.get()));
  }
  return (ThreadNanoseconds() - start) / kTimes;
}

// Sockets belong to the namespace they are opened in.
absl::Status OpenClients(const Node& node, size_t count, std::vector<base::UniqueFd>& clients) {
  return node.netns.Run([&node, count, &clients]() -> absl::Status {
    for (size_t i = 0; i < count; ++i) {
      absl::StatusOr<base::UniqueFd> client = OpenSocket(AF_INET, Transport::kTcp);
      if (!client.ok()) return client.status();
      if (node.exempt) NPG_RETURN_IF_ERROR(Mark(client->get()));
      clients.push_back(*std::move(client));
    }
    return absl::OkStatus();
  });
}

// Connect, a request, its response, close.
absl::StatusOr<double> WholeConnections(const Node& node) {
  constexpr size_t kTimes = 16;
  const absl::StatusOr<SocketAddress> at = MakeAddress("127.0.0.1", kServerPort);
  if (!at.ok()) return at.status();
  std::vector<base::UniqueFd> clients;
  NPG_RETURN_IF_ERROR(OpenClients(node, kTimes, clients));
  const double start = ThreadNanoseconds();
  for (base::UniqueFd& client : clients) {
    NPG_RETURN_IF_ERROR(ConnectTo(client.get(), *at));
    const base::UniqueFd server(accept4(node.listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
    if (!server) return base::ErrnoStatus(errno, "accept");
    NPG_RETURN_IF_ERROR(Ping(client.get(), server.get()));
    NPG_RETURN_IF_ERROR(Ping(server.get(), client.get()));
    client.Reset();
  }
  return (ThreadNanoseconds() - start) / static_cast<double>(kTimes);
}

absl::StatusOr<Comparison> Make(const std::string& what, Transport transport, bool kube_proxy,
                                const std::function<absl::StatusOr<double>(const Node&)>& batch) {
  struct State {
    const char* name;
    bool table;
    size_t flows;
    bool exempt;
  };
  std::vector<State> states = {
      {"no table", false, 0, false},
      // The difference between two namespaces of the same kind is noise.
      {"no table, once more", false, 0, false},
      {"table", true, 0, false},
      {"table, 10,000 other flow entries", true, kFlows, false},
  };
  if (kube_proxy) states.push_back({"table, exempt", true, kFlows, true});
  Comparison comparison{"packets", what, {}};
  for (const State& state : states) {
    absl::StatusOr<NetNamespace> netns = NetNamespace::Create();
    if (!netns.ok()) return netns.status();
    const auto node = std::make_shared<Node>(Node{state.name,
                                                  kube_proxy,
                                                  state.table,
                                                  state.flows,
                                                  state.exempt,
                                                  *std::move(netns),
                                                  {},
                                                  {},
                                                  {},
                                                  {}});
    const absl::Status ready = node->netns.Run([&node, transport] {
      const absl::Status rules = InstallRules(*node);
      return rules.ok() ? OpenSockets(*node, transport) : rules;
    });
    NPG_RETURN_IF_ERROR(base::Annotate(ready, absl::StrCat(what, ", ", state.name)));
    comparison.variants.push_back(
        {state.name, nullptr, nullptr, [node, batch] { return batch(*node); }});
  }
  return comparison;
}

}  // namespace

absl::StatusOr<std::vector<Comparison>> PacketComparisons() {
  std::vector<Comparison> comparisons;
  for (const bool kube_proxy : {false, true}) {
    const std::string suffix = kube_proxy ? ", kube-proxy" : "";
    absl::StatusOr<Comparison> tcp =
        Make(absl::StrCat("TCP ping-pong", suffix), Transport::kTcp, kube_proxy, PingPong);
    if (!tcp.ok()) return tcp.status();
    comparisons.push_back(*std::move(tcp));
    absl::StatusOr<Comparison> udp =
        Make(absl::StrCat("UDP ping-pong", suffix), Transport::kUdp, kube_proxy, PingPong);
    if (!udp.ok()) return udp.status();
    comparisons.push_back(*std::move(udp));
    absl::StatusOr<Comparison> whole =
        Make(absl::StrCat("TCP connection", suffix), Transport::kTcp, kube_proxy, WholeConnections);
    if (!whole.ok()) return whole.status();
    comparisons.push_back(*std::move(whole));
  }
  return comparisons;
}

}  // namespace npg::bench
