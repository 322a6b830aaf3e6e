// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_SERVE_HTTP_CONNECTIONS_H_
#define NODEPORT_GUARD_SERVE_HTTP_CONNECTIONS_H_

#include <cstddef>
#include <functional>
#include <list>
#include <memory>
#include <thread>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/unique_fd.h"
#include "serve/http_message.h"

struct MHD_Connection;
struct MHD_Daemon;

namespace npg::serve {

// Limits on clients. The defaults are those of the product.
struct HttpLimits {
  size_t workers = 6;                                 // threads that run handlers
  size_t connections = 128;                           // at a time
  absl::Duration request = absl::Seconds(3);          // until the request is complete
  absl::Duration patience = absl::Milliseconds(100);  // replaces both while others wait
  absl::Duration response = absl::Seconds(10);        // until the client has read the response
};

// Connections to a listening socket, one request each, on libmicrohttpd. It runs on one
// thread, which waits only for the network. libmicrohttpd's timeout restarts with every
// byte; the deadlines here are for the whole request and the whole response.
class HttpConnections {
 public:
  // Sends the response. Call it once, on any thread, before or after the end of the
  // HttpConnections.
  using Reply = std::function<void(HttpResponse response)>;
  // Called on the thread of the connections, which it must not block.
  using Serve = std::function<void(const HttpRequest& request, Reply reply)>;

  static absl::StatusOr<std::unique_ptr<HttpConnections>> Start(base::UniqueFd listener,
                                                                const HttpLimits& limits,
                                                                Serve serve);
  // Closes all connections. Waits for no client and no reply.
  ~HttpConnections();
  HttpConnections(const HttpConnections&) = delete;
  HttpConnections& operator=(const HttpConnections&) = delete;

 private:
  enum class Stage { kReading, kAnswering, kWriting, kCutOff };
  struct Connection {
    MHD_Connection* handle;
    int fd;            // libmicrohttpd's
    absl::Time since;  // when its stage began
    Stage stage = Stage::kReading;
    HttpResponse response = {};  // whose body libmicrohttpd does not copy
  };
  struct Inbox;
  struct Callbacks;
  struct StopDaemon {
    void operator()(MHD_Daemon* daemon) const;
  };

  HttpConnections(base::UniqueFd listener, std::shared_ptr<Inbox> inbox, const HttpLimits& limits,
                  Serve serve)
      : listener_(std::move(listener)),
        inbox_(std::move(inbox)),
        limits_(limits),
        serve_(std::move(serve)) {}

  absl::Status Start();
  void Run();
  bool TakeReplies();
  static void Send(Connection& connection, HttpResponse response);
  // Waits for an event; true when a client can be accepted.
  bool Wait();
  void Accept();
  absl::Time Deadline(const Connection& connection) const;
  void CutOffLate();
  static void CutOff(Connection& connection);
  bool IsFull() const;
  // The slowest of those that wait for their clients; null if there is none.
  Connection* Slowest();

  const base::UniqueFd listener_;
  const std::shared_ptr<Inbox> inbox_;
  const HttpLimits limits_;
  const Serve serve_;
  std::list<Connection> connections_;
  absl::Time accept_from_ = absl::InfinitePast();
  std::unique_ptr<MHD_Daemon, StopDaemon> daemon_;
  std::thread thread_;
};

}  // namespace npg::serve

#endif  // NODEPORT_GUARD_SERVE_HTTP_CONNECTIONS_H_
