// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_TESTS_TESTING_ECHO_SERVER_H_
#define NODEPORT_GUARD_TESTS_TESTING_ECHO_SERVER_H_

#include <sys/socket.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "base/unique_fd.h"
#include "testing/net_namespace.h"
#include "testing/transport.h"

namespace npg::testing {

// A socket to listen on.
struct Listen {
  std::string address;
  uint16_t port = 0;
  Transport transport = Transport::kTcp;
  bool reuse_port = false;
  bool fast_open = false;
};

// A server that sends its name and echoes, so that a client can identify it and compare
// every byte. A stream begins with the name and a newline; the echo follows until the
// client shuts down. The answer to a datagram is the name, a newline and the datagram,
// from the address it was sent to.
class EchoServer {
 public:
  // Listens on all of `sockets`, in `where` (nullptr: the current namespace), on its own
  // thread, until destroyed.
  static absl::StatusOr<std::unique_ptr<EchoServer>> Start(std::string name,
                                                           const std::vector<Listen>& sockets,
                                                           const NetNamespace* where = nullptr);
  // The same for one open socket, which listens or, for UDP, is bound.
  static absl::StatusOr<std::unique_ptr<EchoServer>> Adopt(std::string name, Transport transport,
                                                           base::UniqueFd socket);
  ~EchoServer();
  EchoServer(const EchoServer&) = delete;
  EchoServer& operator=(const EchoServer&) = delete;

  // Closes the listening sockets of `port` (0: all). Accepted connections stay open.
  void StopListening(uint16_t port = 0);

  // Sends `bytes` unrequested to the client with the port `client_port`: on its
  // connection, or to the source of its last datagram. NOT_FOUND without such a
  // client.
  absl::Status Push(uint16_t client_port, absl::string_view bytes);

  // Connections and datagrams that the socket `sockets[index]` received.
  size_t served(size_t index) const;

 private:
  struct Socket {
    Listen what;
    size_t index = 0;
    base::UniqueFd fd;
  };
  struct Connection {
    base::UniqueFd fd;
    uint16_t client_port = 0;
    std::string unsent;
    bool finished = false;  // the client shut down: close after the last byte
  };
  // The source and the destination of a datagram.
  struct Peer {
    int fd = -1;
    SocketAddress address;
    std::string control;  // has the local address to send from
  };

  explicit EchoServer(std::string name) : name_(std::move(name)) {}

  // Calls `open`, which must Add() sockets, in `where`; then starts to serve.
  absl::Status Begin(const std::function<absl::Status()>& open, const NetNamespace* where);
  absl::Status Open(const std::vector<Listen>& sockets);
  void Add(const Listen& what, base::UniqueFd socket);
  void Serve();
  void Accept(Socket& socket);
  void Answer(Socket& socket);
  void Continue(int fd, uint32_t events);
  void Flush(Connection& connection);
  void Drop(int fd);
  static void SendDatagram(const Peer& peer, absl::string_view bytes);

  const std::string name_;
  base::UniqueFd epoll_, stop_;
  mutable std::mutex mutex_;  // guards all below
  std::map<int, Socket> listening_;
  std::map<int, Connection> connections_;
  std::map<uint16_t, Peer> peers_;  // by port
  std::vector<size_t> served_;
  std::thread thread_;
};

}  // namespace npg::testing

#endif  // NODEPORT_GUARD_TESTS_TESTING_ECHO_SERVER_H_
