// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_TELEMETRY_HTTP_SERVER_H_
#define NODEPORT_GUARD_TELEMETRY_HTTP_SERVER_H_

#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "telemetry/http_address.h"
#include "telemetry/http_message.h"

namespace npg::telemetry {

// What answers a path. Handlers own what they use: a slow one may still run
// when the server has ended.
struct HttpRoute {
  std::string path;
  bool slow = false;  // to be called on a thread of its own: it reads the node
  std::function<HttpResponse(const HttpRequest&)> handler;
};

// How much of it others can take up. The defaults are those of the product.
struct HttpLimits {
  size_t connections = 32;                    // at a time
  size_t waiting = 8;                         // requests for slow routes; more get a 503
  int requests = 100;                         // on one connection
  absl::Duration head = absl::Seconds(3);     // from connect, or the first byte, to the empty line
  absl::Duration idle = absl::Seconds(15);    // between two requests
  absl::Duration answer = absl::Seconds(10);  // until a slow route has answered
  absl::Duration write = absl::Seconds(10);   // until the client has taken the response
};

class HttpLoop;

// A small server of HTTP/1.1 for GET and HEAD. One thread does all input and
// output without ever blocking, so that a client that is slow, on purpose or
// not, takes up a connection and nothing else; when all are taken, the one
// that has kept the server waiting longest makes room. A second thread
// calls slow handlers. The others are called between two packets: whatever
// hangs elsewhere, they answer.
class HttpServer {
 public:
  // Binds, listens, and serves. The error of an address that cannot be bound
  // says what to do.
  static absl::StatusOr<std::unique_ptr<HttpServer>> Start(const HttpAddress& address,
                                                           std::vector<HttpRoute> routes,
                                                           const HttpLimits& limits = {});
  // Closes all connections at once. Never waits for a client or a handler.
  ~HttpServer();
  HttpServer(const HttpServer&) = delete;
  HttpServer& operator=(const HttpServer&) = delete;

  // Where it listens; with the port that the kernel chose, if that was left to it.
  const HttpAddress& address() const { return address_; }

 private:
  HttpServer(const HttpAddress& address, std::unique_ptr<HttpLoop> loop, std::thread thread);

  HttpAddress address_;
  std::unique_ptr<HttpLoop> loop_;
  std::thread thread_;
};

}  // namespace npg::telemetry

#endif  // NODEPORT_GUARD_TELEMETRY_HTTP_SERVER_H_
