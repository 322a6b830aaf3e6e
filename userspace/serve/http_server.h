// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_SERVE_HTTP_SERVER_H_
#define NODEPORT_GUARD_SERVE_HTTP_SERVER_H_

#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "serve/http_address.h"
#include "serve/http_connections.h"
#include "serve/http_message.h"
#include "serve/http_workers.h"

namespace npg::serve {

// The handler of a path. Several threads may call it at once.
struct HttpRoute {
  std::string path;
  bool slow = false;  // it reads the node: never runs on all workers at once
  std::function<HttpResponse(const HttpRequest&)> handler;
};

// Serves GET and HEAD, one request for each connection. Handlers run on their own
// threads, so that each delays only its own connection.
class HttpServer {
 public:
  // Binds, listens, and serves. The error of a failed bind has a remedy.
  static absl::StatusOr<std::unique_ptr<HttpServer>> Start(const HttpAddress& address,
                                                           std::vector<HttpRoute> routes,
                                                           const HttpLimits& limits = {});
  // Closes all connections. Waits for running handlers, but for no client.
  ~HttpServer() = default;
  HttpServer(const HttpServer&) = delete;
  HttpServer& operator=(const HttpServer&) = delete;

  // Where it listens, with the port that the kernel chose for port 0.
  const HttpAddress& address() const { return address_; }

 private:
  HttpServer(const HttpAddress& address, std::vector<HttpRoute> routes, const HttpLimits& limits);

  void Serve(const HttpRequest& request, HttpConnections::Reply reply);

  const HttpAddress address_;
  const std::vector<HttpRoute> routes_;
  std::atomic<int> slow_;  // how many more workers may be in a slow handler
  std::unique_ptr<HttpWorkers> workers_;
  std::unique_ptr<HttpConnections> connections_;  // uses the members above
};

}  // namespace npg::serve

#endif  // NODEPORT_GUARD_SERVE_HTTP_SERVER_H_
