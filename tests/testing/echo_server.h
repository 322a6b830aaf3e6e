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

// Says who it is and echoes: a client can tell who answered, and compare every
// byte. A stream begins with the name and a newline, then comes the echo until
// the client shuts down. A datagram is answered with the name, a newline and
// the datagram, from the address it was sent to.
class EchoServer {
 public:
  // Listens on all of `sockets`, in `where` (nullptr: here), on a thread of its
  // own, until destroyed.
  static absl::StatusOr<std::unique_ptr<EchoServer>> Start(std::string name,
                                                           const std::vector<Listen>& sockets,
                                                           const NetNamespace* where = nullptr);
  // The same for one socket that is open already: that listens, or, for UDP, is
  // bound.
  static absl::StatusOr<std::unique_ptr<EchoServer>> Adopt(std::string name, Transport transport,
                                                           base::UniqueFd socket);
  ~EchoServer();
  EchoServer(const EchoServer&) = delete;
  EchoServer& operator=(const EchoServer&) = delete;

  // Closes the sockets of `port` that listen (0: all). Accepted connections
  // live on.
  void StopListening(uint16_t port = 0);

  // Sends `bytes` unasked to the client whose port is `client_port`: on its
  // connection, or to where its last datagram came from. NOT_FOUND when there
  // is no such client.
  absl::Status Push(uint16_t client_port, absl::string_view bytes);

  // Connections and datagrams that came in on the socket `sockets[index]`.
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
    bool finished = false;  // the client shut down: close when all is sent
  };
  // Where a datagram came from and was sent to.
  struct Peer {
    int fd = -1;
    SocketAddress address;
    std::string control;  // names the local address to send from
  };

  explicit EchoServer(std::string name) : name_(std::move(name)) {}

  // Calls `open`, which is to Add() sockets, in `where`; then starts to serve.
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
