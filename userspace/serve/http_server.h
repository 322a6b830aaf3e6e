// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_SERVE_HTTP_SERVER_H_
#define NODEPORT_GUARD_SERVE_HTTP_SERVER_H_

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "serve/http_address.h"
#include "serve/http_connections.h"
#include "serve/http_message.h"

namespace npg::serve {

// What answers a path. Called by several threads at once.
struct HttpRoute {
  std::string path;
  bool slow = false;  // it reads the node: never by so many that none is left for the others
  std::function<HttpResponse(const HttpRequest&)> handler;
};

// Serves GET and HEAD, one request for each connection. The protocol is
// cpp-httplib's; connections, threads and deadlines are HttpConnections'.
class HttpServer {
 public:
  // Binds, listens, and serves. The error of an address that cannot be bound
  // says what to do.
  static absl::StatusOr<std::unique_ptr<HttpServer>> Start(const HttpAddress& address,
                                                           std::vector<HttpRoute> routes,
                                                           const HttpLimits& limits = {});
  // As HttpConnections' destructor.
  ~HttpServer();
  HttpServer(const HttpServer&) = delete;
  HttpServer& operator=(const HttpServer&) = delete;

  // Where it listens; with the port that the kernel chose, if that was left to it.
  const HttpAddress& address() const { return address_; }

 private:
  class Protocol;

  HttpServer(const HttpAddress& address, std::unique_ptr<Protocol> protocol);

  HttpAddress address_;
  std::unique_ptr<Protocol> protocol_;
  std::unique_ptr<HttpConnections> connections_;  // uses what is above
};

}  // namespace npg::serve

#endif  // NODEPORT_GUARD_SERVE_HTTP_SERVER_H_
