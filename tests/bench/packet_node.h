// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_TESTS_BENCH_PACKET_NODE_H_
#define NODEPORT_GUARD_TESTS_BENCH_PACKET_NODE_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/unique_fd.h"
#include "dataplane/nft/nft_table.h"
#include "testing/net_namespace.h"
#include "testing/transport.h"

namespace npg::bench {

// What the packets of a node meet, and of which kind they are.
struct NodeState {
  enum class Rules : uint8_t { kNone, kEmptyChain, kTable };

  Rules rules = Rules::kNone;
  bool kube_proxy = false;  // its rules, and so conntrack
  size_t flows = 0;         // exempt ones in the table, of other connections
  // The packets are those of an exempt connection: to a NodePort, and the clients carry the mark.
  // Otherwise they are to a port that is no NodePort.
  bool exempt = false;
  testing::Transport transport = testing::Transport::kTcp;
  const char* address = "127.0.0.1";
};

// A network namespace with a listener, and one connection to it that stays.
class PacketNode {
 public:
  static absl::StatusOr<std::shared_ptr<PacketNode>> Create(const NodeState& state);

  // The ends of the connection. They block.
  int client() const { return client_.get(); }
  int server() const { return server_.get(); }
  int listener() const { return listener_.get(); }  // of TCP

  // Where the listener is.
  const testing::SocketAddress& address() const { return address_; }

  // Sockets that are not connected yet, of the same kind as the client.
  absl::StatusOr<std::vector<base::UniqueFd>> OpenClients(size_t count) const;

 private:
  PacketNode(const NodeState& state, testing::NetNamespace netns)
      : state_(state), netns_(std::move(netns)) {}

  // These are called inside of the namespace.
  absl::Status InstallRules();
  absl::Status AddFlows();
  absl::StatusOr<base::UniqueFd> OpenClient() const;
  absl::Status OpenSockets();
  absl::Status CheckExempt();

  NodeState state_;
  testing::NetNamespace netns_;
  std::unique_ptr<dataplane::NftTable> table_;
  testing::SocketAddress address_;
  base::UniqueFd listener_, client_, server_;
};

}  // namespace npg::bench

#endif  // NODEPORT_GUARD_TESTS_BENCH_PACKET_NODE_H_
