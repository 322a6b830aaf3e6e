// SPDX-License-Identifier: Apache-2.0
#include "serve/http_server.h"

#include <httplib.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <exception>
#include <functional>
#include <iterator>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/cleanup/cleanup.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "base/errno_status.h"
#include "base/unique_fd.h"
#include "serve/http_address.h"
#include "serve/http_connections.h"
#include "serve/http_message.h"
#include "serve/http_stream.h"

namespace npg::serve {
namespace {

absl::string_view Advice(int error) {
  switch (error) {
    case EADDRINUSE:
      return "; see who listens there with 'ss -ltnp', or name another with --http-address";
    case EADDRNOTAVAIL:
      return "; name an address of this node with --http-address";
    case EACCES:
      return "; name a port from 1024 on with --http-address";
    case EAFNOSUPPORT:
      return "; this node has no such addresses, name another with --http-address";
    default:
      return "; name another with --http-address, or off";
  }
}

absl::Status Failed(int error, const HttpAddress& address) {
  const absl::Status status =
      base::ErrnoStatus(error, absl::StrCat("listen for HTTP on ", ToString(address)));
  return {status.code(), absl::StrCat(status.message(), Advice(error))};
}

absl::StatusOr<base::UniqueFd> Listen(const HttpAddress& address) {
  base::UniqueFd fd(socket(address.v6 ? AF_INET6 : AF_INET,
                           SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, IPPROTO_TCP));
  if (!fd) return Failed(errno, address);
  const int on = 1;
  // A restart finds connections of the last run in TIME_WAIT.
  setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
  sockaddr_storage storage{};
  socklen_t size = 0;
  if (address.v6) {
    // [::] is not to take the IPv4 addresses along unsaid.
    setsockopt(fd.get(), IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on));
    sockaddr_in6 v6{};
    v6.sin6_family = AF_INET6;
    v6.sin6_port = htons(address.port);
    std::copy(address.bytes.begin(), address.bytes.end(), std::begin(v6.sin6_addr.s6_addr));
    size = sizeof(v6);
    std::memcpy(&storage, &v6, size);
  } else {
    sockaddr_in v4{};
    v4.sin_family = AF_INET;
    v4.sin_port = htons(address.port);
    std::memcpy(&v4.sin_addr, address.bytes.data(), sizeof(v4.sin_addr));
    size = sizeof(v4);
    std::memcpy(&storage, &v4, size);
  }
  constexpr int kBacklog = 64;
  if (bind(fd.get(), reinterpret_cast<const sockaddr*>(&storage), size) != 0 ||
      listen(fd.get(), kBacklog) != 0) {
    return Failed(errno, address);
  }
  return fd;
}

uint16_t PortOf(int fd) {
  sockaddr_in6 name{};  // the port is at the same place for both families
  socklen_t size = sizeof(name);
  getsockname(fd, reinterpret_cast<sockaddr*>(&name), &size);
  return ntohs(name.sin6_port);
}

}  // namespace

// The library's server without its sockets.
class HttpServer::Protocol : public httplib::Server {
 public:
  // `any_host`: whether requests may name the server as they like. A page of
  // somebody else's that a browser on this node has open can reach loopback,
  // through a name that leads there.
  Protocol(std::vector<HttpRoute> routes, const HttpLimits& limits, bool any_host)
      : slow_(static_cast<int>(limits.workers) - 2), any_host_(any_host) {
    set_default_headers({{"X-Content-Type-Options", "nosniff"}, {"Cache-Control", "no-store"}});
    set_pre_routing_handler([this](const httplib::Request& request, httplib::Response& response) {
      return Refuse(request, response) ? HandlerResponse::Handled : HandlerResponse::Unhandled;
    });
    // What no route answers.
    set_error_handler([](const httplib::Request& /*request*/, httplib::Response& response) {
      if (response.body.empty())
        Fill(TextResponse(response.status, Why(response.status)), response);
    });
    set_exception_handler([](const httplib::Request& /*request*/, httplib::Response& response,
                             const std::exception_ptr& exception) {
      try {
        std::rethrow_exception(exception);
      } catch (const std::exception& error) {
        Fill(TextResponse(500, error.what()), response);
      } catch (...) {
        Fill(TextResponse(500, "it failed without saying why"), response);
      }
    });
    for (HttpRoute& route : routes) {
      const std::string path = route.path;
      Get(path, [this, route = std::move(route)](const httplib::Request& request,
                                                 httplib::Response& response) {
        Fill(Answer(route, request), response);
      });
    }
  }

  void Serve(HttpStream& stream, const std::function<void()>& read) {
    bool closed = false;
    const auto set_up = [&read](httplib::Request& /*request*/) { read(); };
    // Later versions of the library have its caller ask for the addresses.
    const auto process = [&](auto& server) {
      constexpr bool kClose = true;
      if constexpr (requires { server.process_request(stream, kClose, closed, set_up); }) {
        server.process_request(stream, kClose, closed, set_up);
      } else {
        std::string remote;
        std::string local;
        int remote_port = 0;
        int local_port = 0;
        stream.get_remote_ip_and_port(remote, remote_port);
        stream.get_local_ip_and_port(local, local_port);
        server.process_request(stream, remote, remote_port, local, local_port, kClose, closed,
                               set_up);
      }
    };
    process(*this);
    stream.Linger();
  }

 private:
  static absl::string_view Why(int status) {
    return status == 404 ? "there is /, /healthz, /readyz, /metrics and /api/v1/status"
                         : "not a request that can be answered";
  }

  static void Fill(const HttpResponse& from, httplib::Response& response) {
    response.status = from.status;
    response.set_header("Content-Security-Policy", from.security_policy);
    response.set_content(from.body, from.content_type);
  }

  bool Refuse(const httplib::Request& request, httplib::Response& response) const {
    if (request.method != "GET" && request.method != "HEAD") {
      response.set_header("Allow", "GET, HEAD");
      Fill(TextResponse(405, "only GET and HEAD: nothing can be changed here"), response);
      return true;
    }
    if (!any_host_ && !IsTrustedHost(request.get_header_value("Host"))) {
      Fill(TextResponse(421, "this host name is not known here; connect by address"), response);
      return true;
    }
    return false;
  }

  HttpResponse Answer(const HttpRoute& route, const httplib::Request& request) {
    const HttpRequest asked{
        request.path, absl::StrContains(request.get_header_value("Accept"), "application/json")};
    if (!route.slow) return route.handler(asked);
    if (--slow_ < 0) {
      ++slow_;
      return TextResponse(503, "others have asked for the same and are still waiting");
    }
    const absl::Cleanup give_back = [this] { ++slow_; };
    return route.handler(asked);
  }

  std::atomic<int> slow_;  // how many more workers may be in a slow handler
  const bool any_host_;
};

HttpServer::HttpServer(const HttpAddress& address, std::unique_ptr<Protocol> protocol)
    : address_(address), protocol_(std::move(protocol)) {}

HttpServer::~HttpServer() = default;

absl::StatusOr<std::unique_ptr<HttpServer>> HttpServer::Start(const HttpAddress& address,
                                                              std::vector<HttpRoute> routes,
                                                              const HttpLimits& limits) {
  absl::StatusOr<base::UniqueFd> listener = Listen(address);
  if (!listener.ok()) return listener.status();
  HttpAddress bound = address;
  bound.port = PortOf(listener->get());
  std::unique_ptr<HttpServer> server(new HttpServer(
      bound, std::make_unique<Protocol>(std::move(routes), limits, !IsLoopback(address))));
  Protocol* const protocol = server->protocol_.get();
  auto connections =
      HttpConnections::Start(*std::move(listener), limits,
                             [protocol](HttpStream& stream, const std::function<void()>& read) {
                               protocol->Serve(stream, read);
                             });
  if (!connections.ok()) return connections.status();
  server->connections_ = *std::move(connections);
  return server;
}

}  // namespace npg::serve
