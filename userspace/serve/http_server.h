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

// What answers a path. Called by several threads at once.
struct HttpRoute {
  std::string path;
  bool slow = false;  // it reads the node: never by so many that none is left for the others
  std::function<HttpResponse(const HttpRequest&)> handler;
};

// Serves GET and HEAD, one request for each connection. Handlers run on threads of
// their own, so that none keeps a connection waiting but its own.
class HttpServer {
 public:
  // Binds, listens, and serves. The error of an address that cannot be bound
  // says what to do.
  static absl::StatusOr<std::unique_ptr<HttpServer>> Start(const HttpAddress& address,
                                                           std::vector<HttpRoute> routes,
                                                           const HttpLimits& limits = {});
  // Closes all connections. Waits for no client, but for a handler that runs.
  ~HttpServer() = default;
  HttpServer(const HttpServer&) = delete;
  HttpServer& operator=(const HttpServer&) = delete;

  // Where it listens; with the port that the kernel chose, if that was left to it.
  const HttpAddress& address() const { return address_; }

 private:
  HttpServer(const HttpAddress& address, std::vector<HttpRoute> routes, const HttpLimits& limits);

  void Serve(const HttpRequest& request, HttpConnections::Reply reply);

  const HttpAddress address_;
  const std::vector<HttpRoute> routes_;
  std::atomic<int> slow_;  // how many more workers may be in a slow handler
  std::unique_ptr<HttpWorkers> workers_;
  std::unique_ptr<HttpConnections> connections_;  // uses what is above
};

}  // namespace npg::serve

#endif  // NODEPORT_GUARD_SERVE_HTTP_SERVER_H_
