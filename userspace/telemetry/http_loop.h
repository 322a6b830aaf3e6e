// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_TELEMETRY_HTTP_LOOP_H_
#define NODEPORT_GUARD_TELEMETRY_HTTP_LOOP_H_

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "base/event_loop.h"
#include "base/unique_fd.h"
#include "telemetry/http_message.h"
#include "telemetry/http_server.h"
#include "telemetry/http_worker.h"

namespace npg::telemetry {

// The connections of an HttpServer. All but Stop() runs on one thread.
class HttpLoop {
 public:
  // `listener` is bound, listens and does not block. Unless `any_host`, requests
  // that name another host than an address or localhost are refused.
  static absl::StatusOr<std::unique_ptr<HttpLoop>> Create(base::UniqueFd listener,
                                                          std::vector<HttpRoute> routes,
                                                          const HttpLimits& limits, bool any_host);
  ~HttpLoop();
  HttpLoop(const HttpLoop&) = delete;
  HttpLoop& operator=(const HttpLoop&) = delete;

  void Run();
  // From any thread.
  void Stop();

 private:
  using Id = uint64_t;

  // What handlers on the worker's thread have answered.
  struct Mailbox;

  enum class Phase : uint8_t {
    kReading,    // a head, or for one to begin
    kAnswering,  // by the worker
    kWriting,
    kDraining,  // what was sent and not read would, on close, take the response back
  };

  struct Connection {
    base::UniqueFd fd;
    Phase phase = Phase::kReading;
    uint32_t events = 0;  // what is waited for
    std::string input;
    HttpRequest request;
    int requests = 0;
    bool keep_alive = false;
    absl::Time waiting_since;  // for the client
    std::string head;          // of the response
    std::shared_ptr<const std::string> body;
    size_t sent = 0;
    base::EventLoop::TimerId timer = 0;
  };

  HttpLoop(base::UniqueFd listener, std::vector<HttpRoute> routes, const HttpLimits& limits,
           bool any_host);
  absl::Status Register();

  void Accept();
  void PauseAccepting();
  bool MakeRoom();
  void Close(Id id);
  void SetDeadline(Id id, Connection& connection, absl::Duration limit);
  void WaitFor(Id id, Connection& connection, uint32_t events);

  void OnEvents(Id id, uint32_t events);
  void OnDeadline(Id id);
  void OnMail();
  // False when the connection is gone.
  bool Read(Id id, Connection& connection);
  void Drain(Id id, Connection& connection);
  void Process(Id id, Connection& connection);
  void Dispatch(Id id, Connection& connection);
  void Refuse(Id id, Connection& connection, HttpResponse response);
  void Respond(Id id, Connection& connection, const HttpResponse& response);
  void Write(Id id, Connection& connection);
  void AfterResponse(Id id, Connection& connection);

  const base::UniqueFd listener_;
  const std::shared_ptr<const std::vector<HttpRoute>> routes_;
  const HttpLimits limits_;
  const bool any_host_;
  const std::shared_ptr<Mailbox> mailbox_;
  std::unique_ptr<base::EventLoop> loop_;
  std::unique_ptr<HttpWorker> worker_;
  std::map<Id, Connection> connections_;  // in the order of their arrival
  Id next_id_ = 1;
};

}  // namespace npg::telemetry

#endif  // NODEPORT_GUARD_TELEMETRY_HTTP_LOOP_H_
