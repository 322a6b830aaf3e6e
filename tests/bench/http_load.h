// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_TESTS_BENCH_HTTP_LOAD_H_
#define NODEPORT_GUARD_TESTS_BENCH_HTTP_LOAD_H_

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/unique_fd.h"
#include "bench/packet_node.h"

namespace npg::bench {

// An HTTP/1.1 server on the listener of a node, and its client. Both run in the calling thread,
// in turn, so that its processor time is all that a request costs.
class HttpLoad {
 public:
  // The node is one of TCP. Without `keep_alive`, each request has a connection of its own.
  static absl::StatusOr<std::unique_ptr<HttpLoad>> Create(std::shared_ptr<PacketNode> node,
                                                          bool keep_alive);

  // Makes some requests; returns the nanoseconds of one.
  absl::StatusOr<double> Run();

 private:
  HttpLoad(std::shared_ptr<PacketNode> node, bool keep_alive, base::UniqueFd epoll)
      : node_(std::move(node)), keep_alive_(keep_alive), epoll_(std::move(epoll)) {}

  absl::Status Watch(int fd);
  // The server: handles what is ready until nothing is.
  absl::Status Serve();
  absl::Status Accept();
  absl::Status Answer(int connection);
  // The client.
  absl::Status Request(int client);

  std::shared_ptr<PacketNode> node_;
  bool keep_alive_;
  base::UniqueFd epoll_;
  std::map<int, base::UniqueFd> connections_;
};

}  // namespace npg::bench

#endif  // NODEPORT_GUARD_TESTS_BENCH_HTTP_LOAD_H_
