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
  std::string token = "test-token";   // the one that is accepted at first
  // As the real one's minute; zero: bookmarks only by SendBookmarks().
  absl::Duration bookmark_period = absl::ZeroDuration();
};

// What the server does with connections that come in.
enum class Accepting {
  kServe,
  kMute,   // accepts them and says nothing, not even in TLS
  kClose,  // accepts and closes them
};

// An API server for Services: HTTPS with certificates of its own, HTTP/2 and
// HTTP/1.1, over an ApiModel, on a thread of its own. It misbehaves on command.
//
// Every member may be called from any thread (not from within Change()), and
// returns when it is done: what it has to send is then handed to the kernel,
// as far as that takes it.
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

  // The store, on the server's thread. Open watches hear of what has changed.
  void Change(absl::FunctionRef<void(ApiModel&)> change);

  // The Events that were created, as JSON.
  std::vector<std::string> Events();
  // As when the time that a server keeps them is over.
  void ForgetEvents();

  // Who is let in. At first: the token of the options, and client certificates
  // of our CA.
  void AcceptTokens(std::set<std::string> tokens);
  void AcceptClientCertificates(bool accept);
  // Refuses everything to `user`, as "system:serviceaccount:x:y", with 403;
  // empty: lets everybody do everything again.
  void Forbid(const std::string& user);
  // Refuses changes of Events to everybody, with 403.
  void ForbidEvents(bool forbid);
  // From the next connection on.
  void UseCertificate(ServerCertificate certificate);

  // Adds a fault after those that are still to come.
  void Inject(Fault fault);
  void ClearFaults();

  // What open watches get.
  void SendBookmarks();
  void SetBookmarkPeriod(absl::Duration period);
  void SendToWatches(const std::string& bytes);  // whatever they are
  // Ends them as a timeout does: the answer is complete, the connection stays.
  void CloseWatches();

  // What connections suffer.
  void SetAccepting(Accepting accepting);
  void KillConnections();
  // Neither reads from nor writes to the connections there are, ever again, as
  // if the network had gone: the other side is told nothing.
  void FreezeConnections();
  // Kills connections and refuses new ones; listens on the same port again.
  void StopListening();
  absl::Status ListenAgain();

  // What has come in and gone out.
  Traffic traffic() const { return traffic_.Get(); }
  // Waits until `condition` holds, which is asked at every change of the
  // traffic; false when `deadline` is over first.
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
