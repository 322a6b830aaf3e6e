// SPDX-License-Identifier: Apache-2.0
#include "serve/http_server.h"

#include <algorithm>
#include <exception>
#include <memory>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "base/unique_fd.h"
#include "serve/http_address.h"
#include "serve/http_connections.h"
#include "serve/http_listener.h"
#include "serve/http_message.h"
#include "serve/http_workers.h"

namespace npg::serve {
namespace {

HttpResponse Answer(const HttpRoute& route, const HttpRequest& request) {
  try {
    return route.handler(request);
  } catch (const std::exception& error) {
    return TextResponse(500, error.what());
  } catch (...) {
    return TextResponse(500, "internal error");
  }
}

}  // namespace

HttpServer::HttpServer(const HttpAddress& address, std::vector<HttpRoute> routes,
                       const HttpLimits& limits)
    : address_(address), routes_(std::move(routes)), slow_(static_cast<int>(limits.workers) - 2) {}

absl::StatusOr<std::unique_ptr<HttpServer>> HttpServer::Start(const HttpAddress& address,
                                                              std::vector<HttpRoute> routes,
                                                              const HttpLimits& limits) {
  HttpAddress bound = address;
  absl::StatusOr<base::UniqueFd> listener = ListenForHttp(bound);
  if (!listener.ok()) return listener.status();
  std::unique_ptr<HttpServer> server(new HttpServer(bound, std::move(routes), limits));
  auto workers = HttpWorkers::Start(limits.workers);
  if (!workers.ok()) return workers.status();
  server->workers_ = *std::move(workers);
  auto connections = HttpConnections::Start(
      *std::move(listener), limits,
      [serving = server.get()](const HttpRequest& request, HttpConnections::Reply reply) {
        serving->Serve(request, std::move(reply));
      });
  if (!connections.ok()) return connections.status();
  server->connections_ = *std::move(connections);
  return server;
}

void HttpServer::Serve(const HttpRequest& request, HttpConnections::Reply reply) {
  if (request.method != "GET" && request.method != "HEAD") {
    reply(TextResponse(405, "only GET and HEAD: nothing can be changed here"));
    return;
  }
  // A web page in a browser on this node can reach loopback by a name that resolves to
  // it.
  if (IsLoopback(address_) && !IsTrustedHost(request.host)) {
    reply(TextResponse(421, "unknown host name; connect by address"));
    return;
  }
  const auto route = std::find_if(routes_.begin(), routes_.end(), [&request](const HttpRoute& one) {
    return one.path == request.path;
  });
  if (route == routes_.end()) {
    reply(TextResponse(404, "there is /, /healthz, /readyz, /metrics and /api/v1/status"));
    return;
  }
  // Only this thread decrements slow_; workers increment it.
  if (route->slow && slow_ <= 0) {
    reply(TextResponse(503, "too many requests that read the node are in progress"));
    return;
  }
  if (route->slow) --slow_;
  workers_->Run([this, &route = *route, request, reply = std::move(reply)] {
    HttpResponse response = Answer(route, request);
    if (route.slow) ++slow_;
    reply(std::move(response));
  });
}

}  // namespace npg::serve
