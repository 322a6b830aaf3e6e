// SPDX-License-Identifier: Apache-2.0
#include "bench/packet_node.h"

#include <netinet/in.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "absl/memory/memory.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "base/errno_status.h"
#include "base/unique_fd.h"
#include "core/flow.h"
#include "dataplane/nft/nft_table.h"
#include "testing/command.h"
#include "testing/kube_proxy_rules.h"
#include "testing/net_namespace.h"
#include "testing/transport.h"

namespace npg::bench {
namespace {

using ::npg::testing::MakeAddress;
using ::npg::testing::OpenSocket;
using ::npg::testing::SocketAddress;
using ::npg::testing::Transport;

constexpr uint16_t kUnrelatedPort = 9999;  // no NodePort
constexpr uint16_t kFirstNodePort = 30000;
constexpr uint16_t kLastNodePort = 30099;
constexpr uint16_t kExemptPort = 30050;  // a NodePort with a listener
constexpr uint32_t kMark = 0x1000;

// What any table on the hook of the guard's costs: a chain there, without a rule.
constexpr const char* kEmptyChain =
    "add table inet empty\n"
    "add chain inet empty output { type filter hook output priority raw - 10; policy accept; }\n";

std::array<uint8_t, 16> Loopback(uint8_t last) {
  return {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 127, 0, 0, last};
}

absl::Status ConnectTo(int fd, const SocketAddress& to) {
  if (connect(fd, to.get(), to.size) != 0) return base::ErrnoStatus(errno, "connect");
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::shared_ptr<PacketNode>> PacketNode::Create(const NodeState& state) {
  absl::StatusOr<testing::NetNamespace> netns = testing::NetNamespace::Create();
  if (!netns.ok()) return netns.status();
  std::shared_ptr<PacketNode> node = absl::WrapUnique(new PacketNode(state, *std::move(netns)));
  const absl::Status ready = node->netns_.Run([&node]() -> absl::Status {
    NPG_RETURN_IF_ERROR(node->InstallRules());
    NPG_RETURN_IF_ERROR(node->OpenSockets());
    return node->state_.exempt ? node->CheckExempt() : absl::OkStatus();
  });
  if (!ready.ok()) return ready;
  return node;
}

absl::Status PacketNode::InstallRules() {
  if (state_.kube_proxy) {
    std::vector<uint16_t> ports;
    for (uint16_t port = kFirstNodePort; port <= kLastNodePort; ++port) ports.push_back(port);
    const testing::KubeProxyRules rules(testing::IptablesVariant::kNft, "10.244.1.2", 8080);
    NPG_RETURN_IF_ERROR(rules.Apply(testing::TcpAndUdp(ports, /*endpoint=*/true)));
  }
  if (state_.rules == NodeState::Rules::kNone) return absl::OkStatus();
  if (state_.rules == NodeState::Rules::kEmptyChain) {
    return testing::RunCommand({"nft", "-f", "-"}, kEmptyChain).status();
  }
  auto table = dataplane::NftTable::Install({.value = kMark, .mask = kMark});
  if (!table.ok()) return table.status();
  table_ = *std::move(table);
  return AddFlows();
}

absl::Status PacketNode::AddFlows() {
  if (state_.flows == 0) return absl::OkStatus();
  std::vector<core::Flow> flows(state_.flows);
  for (size_t i = 0; i < flows.size(); ++i) {
    flows[i].protocol = IPPROTO_TCP;
    flows[i].client_address = Loopback(2);
    flows[i].server_address = Loopback(1);
    flows[i].client_port = static_cast<uint16_t>(32768 + i);
    flows[i].server_port = kFirstNodePort;
  }
  NPG_RETURN_IF_ERROR(table_->Reconcile(flows, flows));
  const absl::StatusOr<dataplane::NftTableState> state = dataplane::ReadNftTable();
  if (!state.ok()) return state.status();
  if (state->flow_entries != flows.size()) {
    return absl::InternalError(absl::StrCat("the table has ", state->flow_entries,
                                            " flow entries instead of ", flows.size()));
  }
  return absl::OkStatus();
}

absl::StatusOr<base::UniqueFd> PacketNode::OpenClient() const {
  absl::StatusOr<base::UniqueFd> client = OpenSocket(address_.family(), state_.transport);
  if (!client.ok() || !state_.exempt) return client;
  if (setsockopt(client->get(), SOL_SOCKET, SO_MARK, &kMark, sizeof(kMark)) != 0) {
    return base::ErrnoStatus(errno, "SO_MARK");
  }
  return client;
}

absl::StatusOr<std::vector<base::UniqueFd>> PacketNode::OpenClients(size_t count) const {
  std::vector<base::UniqueFd> clients;
  // Sockets belong to the namespace they are opened in.
  NPG_RETURN_IF_ERROR(netns_.Run([this, count, &clients]() -> absl::Status {
    for (size_t i = 0; i < count; ++i) {
      absl::StatusOr<base::UniqueFd> client = OpenClient();
      if (!client.ok()) return client.status();
      clients.push_back(*std::move(client));
    }
    return absl::OkStatus();
  }));
  return clients;
}

absl::Status PacketNode::OpenSockets() {
  absl::StatusOr<SocketAddress> at =
      MakeAddress(state_.address, state_.exempt ? kExemptPort : kUnrelatedPort);
  if (!at.ok()) return at.status();
  address_ = *at;
  absl::StatusOr<base::UniqueFd> listener = OpenSocket(address_.family(), state_.transport);
  if (!listener.ok()) return listener.status();
  if (bind(listener->get(), address_.get(), address_.size) != 0) {
    return base::ErrnoStatus(errno, "bind");
  }
  if (state_.transport == Transport::kTcp && listen(listener->get(), 128) != 0) {
    return base::ErrnoStatus(errno, "listen");
  }
  absl::StatusOr<base::UniqueFd> client = OpenClient();
  if (!client.ok()) return client.status();
  client_ = *std::move(client);
  NPG_RETURN_IF_ERROR(ConnectTo(client_.get(), address_));
  if (state_.transport == Transport::kTcp) {
    server_.Reset(accept4(listener->get(), nullptr, nullptr, SOCK_CLOEXEC));
    if (!server_) return base::ErrnoStatus(errno, "accept");
    listener_ = *std::move(listener);
    return absl::OkStatus();
  }
  SocketAddress back;
  back.size = sizeof(back.storage);
  if (getsockname(client_.get(), back.get(), &back.size) != 0) {
    return base::ErrnoStatus(errno, "getsockname");
  }
  server_ = *std::move(listener);
  return ConnectTo(server_.get(), back);
}

// A datagram that is not exempt would not arrive: its receiver would wait for ever.
absl::Status PacketNode::CheckExempt() {
  char byte = 0;
  if (send(client_.get(), &byte, 1, 0) != 1) return base::ErrnoStatus(errno, "send");
  const absl::StatusOr<uint64_t> packets = table_->ExemptedPackets();
  if (!packets.ok()) return packets.status();
  if (*packets == 0) return absl::InternalError("the table does not exempt marked packets");
  if (recv(server_.get(), &byte, 1, 0) != 1) return base::ErrnoStatus(errno, "recv");
  return absl::OkStatus();
}

}  // namespace npg::bench
