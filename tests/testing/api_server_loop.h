// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_TESTS_TESTING_API_SERVER_LOOP_H_
#define NODEPORT_GUARD_TESTS_TESTING_API_SERVER_LOOP_H_

#include <sys/socket.h>

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/unique_fd.h"
#include "testing/api_connection.h"
#include "testing/api_handler.h"
#include "testing/api_reply.h"
#include "testing/api_request.h"
#include "testing/api_server.h"
#include "testing/api_tls.h"
#include "testing/api_traffic.h"
#include "testing/loop_thread.h"

namespace npg::testing {

// The inner half of ApiServer: sockets, connections and timers, all on one thread.
// Members other than Make() and Do() must be called there, by Do().
class ApiServerLoop {
 public:
  // `tls` and `traffic` must outlive it.
  static absl::StatusOr<std::unique_ptr<ApiServerLoop>> Make(const ApiTls& tls, TrafficLog& traffic,
                                                             ApiAccess access);
  ~ApiServerLoop() = default;
  ApiServerLoop(const ApiServerLoop&) = delete;
  ApiServerLoop& operator=(const ApiServerLoop&) = delete;

  // Runs `work` on the thread, sends the pending data, and returns.
  void Do(absl::FunctionRef<void(ApiServerLoop&)> work);

  ApiHandler& handler() { return handler_; }
  void set_certificate(ServerCertificate certificate) { certificate_ = certificate; }
  void set_accepting(Accepting accepting) { accepting_ = accepting; }

  // Returns the port.
  absl::StatusOr<uint16_t> Listen(const std::string& address, uint16_t port);
  void StopListening();
  void KillConnections();
  void FreezeConnections();
  void SendGoAway();
  void SetBookmarkPeriod(absl::Duration period);
  void SendBookmarks();

 private:
  // A connection, and the events that its descriptor waits for.
  struct Slot {
    std::unique_ptr<ApiConnection> connection;
    uint32_t events = 0;
  };

  ApiServerLoop(std::unique_ptr<LoopThread> thread, const ApiTls& tls, TrafficLog& traffic,
                ApiAccess access);

  void Accept();
  void OnReady(int fd);
  // Waits for the events that the connection wants now.
  void Await(int fd, Slot& slot);
  void Drop(int fd);
  void PumpAll();
  std::shared_ptr<ApiReply> OnRequest(const ApiRequest& request);
  void EndAfter(absl::Duration delay, const std::shared_ptr<ApiReply>& watch);
  void Drip(const std::weak_ptr<ApiReply>& reply);
  void ArmBookmarks();

  const ApiTls& tls_;
  TrafficLog& traffic_;
  ApiHandler handler_;
  base::UniqueFd listening_;
  ServerCertificate certificate_ = ServerCertificate::kGood;
  Accepting accepting_ = Accepting::kServe;
  std::map<int, Slot> connections_;
  std::vector<std::unique_ptr<ApiConnection>> frozen_;
  std::vector<base::UniqueFd> mute_;
  absl::Duration bookmark_period_;
  uint64_t bookmark_timer_ = 0;
  const std::unique_ptr<LoopThread> thread_;  // destroyed first: it uses all the others
};

}  // namespace npg::testing

#endif  // NODEPORT_GUARD_TESTS_TESTING_API_SERVER_LOOP_H_
