// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_SERVE_HTTP_CONNECTIONS_H_
#define NODEPORT_GUARD_SERVE_HTTP_CONNECTIONS_H_

#include <condition_variable>
#include <cstddef>
#include <functional>
#include <list>
#include <memory>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/unique_fd.h"
#include "serve/http_stream.h"

namespace npg::serve {

// How much of the server others can take up. The defaults are those of the product.
struct HttpLimits {
  size_t workers = 6;                              // threads that answer
  size_t connections = 32;                         // at a time; more are closed at once
  absl::Duration request = absl::Seconds(3);       // until the request is there
  absl::Duration patience = absl::Seconds(1) / 4;  // the same of both, while others wait
  absl::Duration response = absl::Seconds(10);     // until the client has taken the response
};

// Accepts connections and has a few threads serve them, one request each. A
// client that is slow, on purpose or not, occupies a thread for seconds; when
// others wait for one, whoever has kept the server waiting longest is cut off, be
// it for a request, for taking the response, or for closing after it.
class HttpConnections {
 public:
  // Serves one connection on a worker's thread. It calls `read` once the request
  // is there: from then on, and until the response begins, what takes time is the
  // server's own doing, and the connection is not cut off.
  using Serve = std::function<void(HttpStream& stream, const std::function<void()>& read)>;

  static absl::StatusOr<std::unique_ptr<HttpConnections>> Start(base::UniqueFd listener,
                                                                const HttpLimits& limits,
                                                                Serve serve);
  // Closes all connections. Waits for no client, but for a handler that runs.
  ~HttpConnections();
  HttpConnections(const HttpConnections&) = delete;
  HttpConnections& operator=(const HttpConnections&) = delete;

 private:
  enum class Stage { kWaiting, kReading, kAnswering, kWriting, kCutOff };
  struct Connection {
    base::UniqueFd fd;
    absl::Time since;  // when its stage began
    Stage stage = Stage::kWaiting;
  };
  using Connections = std::list<Connection>;

  HttpConnections(base::UniqueFd listener, base::UniqueFd stop, const HttpLimits& limits,
                  Serve serve)
      : listener_(std::move(listener)),
        stop_(std::move(stop)),
        limits_(limits),
        serve_(std::move(serve)) {}

  void Accept();
  void Take(base::UniqueFd fd);
  bool CutOffSlowest();
  void MakeRoom();
  void Work();
  // The first that no worker has taken; end() when the server stops.
  Connections::iterator Next();
  void SetStage(Connection& connection, Stage stage);
  Connections::iterator FirstWaiting();

  const base::UniqueFd listener_;
  const base::UniqueFd stop_;  // an eventfd, readable from the stop on
  const HttpLimits limits_;
  const Serve serve_;
  std::mutex mutex_;
  Connections connections_;       // oldest first
  std::condition_variable work_;  // there may be some
  size_t waiting_ = 0;            // of them, for a worker
  bool stopping_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace npg::serve

#endif  // NODEPORT_GUARD_SERVE_HTTP_CONNECTIONS_H_
