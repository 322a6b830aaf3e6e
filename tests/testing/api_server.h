// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_TESTS_TESTING_API_SERVER_H_
#define NODEPORT_GUARD_TESTS_TESTING_API_SERVER_H_

#include <cstdint>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "testing/api_fault.h"
#include "testing/api_model.h"
#include "testing/api_status.h"
#include "testing/api_tls.h"
#include "testing/api_traffic.h"

namespace npg::testing {

class ApiServerLoop;

struct ApiServerOptions {
  std::string address = "127.0.0.1";  // an IP address of this network namespace
  uint16_t port = 0;                  // 0: any
  bool http2 = true;                  // false: HTTP/1.1 only
  std::string token = "test-token";   // accepted until AcceptTokens()
  // A minute in a real server; zero: bookmarks only by SendBookmarks().
  absl::Duration bookmark_period = absl::ZeroDuration();
};

// How the server treats new connections.
enum class Accepting {
  kServe,
  kMute,   // accepts them and sends nothing, not even in TLS
  kClose,  // accepts and closes them
};

// An API server for Services: HTTPS with its own certificates, HTTP/2 and HTTP/1.1, for
// an ApiModel, on its own thread. Tests can inject faults.
//
// Every member may be called from any thread (not from within Change()), and
// returns when it is done: the bytes to send are then in the kernel, as far as
// its buffers have room.
class ApiServer {
 public:
  static absl::StatusOr<std::unique_ptr<ApiServer>> Start(const ApiServerOptions& options = {});
  // Closes all connections.
  ~ApiServer();
  ApiServer(const ApiServer&) = delete;
  ApiServer& operator=(const ApiServer&) = delete;

  uint16_t port() const { return port_; }
  // "https://127.0.0.1:41234", without a slash at the end.
  std::string url() const;
  const std::string& token() const { return options_.token; }
  const std::string& ca_pem() const { return tls_.ca_pem(); }
  const std::string& client_certificate_pem() const { return tls_.client_certificate_pem(); }
  const std::string& client_key_pem() const { return tls_.client_key_pem(); }

  // Changes the store, on the thread of the server. Open watches receive the changes.
  void Change(absl::FunctionRef<void(ApiModel&)> change);

  // The Events that were created, as JSON.
  std::vector<std::string> Events();
  // Deletes the Events, as a server does after their TTL.
  void ForgetEvents();

  // Accepted credentials. At first: the token of the options, and client certificates
  // of the server's CA.
  void AcceptTokens(std::set<std::string> tokens);
  void AcceptClientCertificates(bool accept);
  // Refuses all requests of `user`, such as "system:serviceaccount:x:y", with 403;
  // empty: permits all again.
  void Forbid(const std::string& user);
  // Refuses changes of Events by all users, with 403.
  void ForbidEvents(bool forbid);
  // Takes effect with the next connection.
  void UseCertificate(ServerCertificate certificate);

  // Adds a fault after the pending ones.
  void Inject(Fault fault);
  void ClearFaults();

  // Sent to open watches.
  void SendBookmarks();
  void SetBookmarkPeriod(absl::Duration period);
  void SendToWatches(const std::string& bytes);  // any bytes
  // Ends them as a timeout does: the answer is complete, the connection stays.
  void CloseWatches();

  // Faults of connections.
  void SetAccepting(Accepting accepting);
  void KillConnections();
  // Stops reading from and writing to the open connections for good, as if the network
  // were down: the clients receive no FIN and no RST.
  void FreezeConnections();
  // Sends GOAWAY on the open connections of HTTP/2, as a server does before it stops and,
  // with --goaway-chance, to spread clients over servers: open answers go on, and the next
  // request needs a new connection.
  void SendGoAway();
  // Kills connections and refuses new ones; ListenAgain() uses the same port.
  void StopListening();
  absl::Status ListenAgain();

  // The requests and answers so far.
  Traffic traffic() const { return traffic_.Get(); }
  // Waits until `condition` holds, which is checked at every change of the traffic;
  // returns false at `deadline`.
  bool WaitUntil(absl::Duration deadline, absl::FunctionRef<bool(const Traffic&)> condition) const {
    return traffic_.WaitUntil(deadline, condition);
  }

 private:
  ApiServer(const ApiServerOptions& options, ApiTls tls);

  const ApiServerOptions options_;
  const ApiTls tls_;
  uint16_t port_ = 0;
  TrafficLog traffic_;
  std::unique_ptr<ApiServerLoop> loop_;
};

}  // namespace npg::testing

#endif  // NODEPORT_GUARD_TESTS_TESTING_API_SERVER_H_
