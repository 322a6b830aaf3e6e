// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_KUBERNETES_HTTP_CLIENT_H_
#define NODEPORT_GUARD_KUBERNETES_HTTP_CLIENT_H_

#include <curl/curl.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "base/event_loop.h"
#include "kubernetes/cluster_access.h"

namespace npg::kubernetes {

struct HttpRequest {
  std::string target;          // path and query: "/api/v1/services?limit=500"
  std::string token = {};      // bearer token; empty: none
  const char* method = "GET";  // or "POST", "PATCH", with a body
  std::string body = {};       // empty with GET
  std::string body_type = {};  // its Content-Type
  // How long the server may take to begin its response after connecting, and how long
  // it may then be silent.
  absl::Duration answer_timeout = absl::Seconds(60);
  absl::Duration idle_timeout = absl::Seconds(30);
};

// The head of a response.
struct HttpHead {
  int status = 0;                             // 200
  std::optional<absl::Duration> retry_after;  // of the header, where it has seconds
};

// How an exchange ended.
struct HttpEnd {
  enum class Kind {
    kComplete,  // the complete response has arrived
    kStopped,   // a handler returned false
    kConnect,   // no connection: name, route, refused, or it took too long
    kTls,       // no trust: certificate, name, key, or no common version
    kStalled,   // the server was silent for too long
    kCut,       // the connection broke before the response was complete
  };
  Kind kind = Kind::kComplete;
  std::string message;  // one line: what failed and why; empty on success
};

// One request at a time to one API server, over verified TLS, as HTTP/2 or HTTP/1.1,
// depending on the server. Runs on the event loop. Keeps the connection for the next
// request, except after an error: a half-open connection would lose the next one, too.
//
// Reads certificate and key files for every new connection, because they rotate. Does
// not follow redirects: they would send the token to a server that the configuration
// does not name. Uses the proxy that proxy.h finds.
class HttpClient {
 public:
  struct Timeouts {
    absl::Duration connect = absl::Seconds(10);  // name, TCP and TLS together
    // A peer that has vanished is noticed after idle + 3 * interval.
    absl::Duration keepalive_idle = absl::Seconds(15);
    absl::Duration keepalive_interval = absl::Seconds(5);
  };
  // All but on_end may be called any number of times, from the loop; false ends
  // the exchange. on_end is called once, last, and may start the next exchange.
  // None of them may destroy the client.
  struct Handlers {
    std::function<bool(const HttpHead&)> on_head;
    std::function<bool(absl::string_view)> on_body;
    std::function<void(const HttpEnd&)> on_end;
  };

  static absl::StatusOr<std::unique_ptr<HttpClient>> Create(base::EventLoop& loop,
                                                            ClusterAccess access,
                                                            std::string user_agent,
                                                            const Timeouts& timeouts);
  ~HttpClient();
  HttpClient(const HttpClient&) = delete;
  HttpClient& operator=(const HttpClient&) = delete;

  // Call it when no exchange is in progress.
  void Start(HttpRequest request, Handlers handlers);

  // Sets how long the present response may be silent. May be called from a handler.
  void SetIdleTimeout(absl::Duration timeout);

 private:
  struct EasyDeleter {
    void operator()(CURL* easy) const { curl_easy_cleanup(easy); }
  };
  struct MultiDeleter {
    void operator()(CURLM* multi) const { curl_multi_cleanup(multi); }
  };
  struct HeadersDeleter {
    void operator()(curl_slist* list) const { curl_slist_free_all(list); }
  };
  // A reference to libcurl's process-wide state. Threads may have some at the same time.
  class Library {
   public:
    Library() : code_(Take()) {}
    ~Library();
    Library(const Library&) = delete;
    Library& operator=(const Library&) = delete;
    CURLcode code() const { return code_; }

   private:
    static CURLcode Take();

    CURLcode code_;
  };
  enum class Phase { kIdle, kWaiting, kReceiving };

  HttpClient(base::EventLoop& loop, ClusterAccess access, std::string user_agent,
             const Timeouts& timeouts);

  static int OnSocket(CURL* easy, curl_socket_t fd, int what, void* self, void* watched);
  static int OnTimer(CURLM* multi, long milliseconds, void* self);  // NOLINT(google-runtime-int)
  static int OnSocketMade(void* self, curl_socket_t fd, curlsocktype purpose);
  static size_t OnHeader(char* data, size_t size, size_t count, void* self);
  static size_t OnData(char* data, size_t size, size_t count, void* self);

  absl::Status MakeMulti();
  CURLcode Configure();
  CURLcode ConfigureTls();
  CURLcode ConfigureServer();
  CURLcode ConfigureBody();
  bool HeadComplete();
  void Drive(curl_socket_t fd, int events);
  void CheckDone();
  void Fail(CURLcode code);
  void ArmWatchdog(absl::Duration delay);
  void OnWatchdog();
  // Ends the exchange; `reusable`: the connection may serve another one.
  void End(HttpEnd end, bool reusable);
  void Touch();

  base::EventLoop& loop_;
  const ClusterAccess access_;
  const std::string proxy_;  // empty: none
  const std::string user_agent_;
  const Timeouts timeouts_;

  const Library library_;
  std::unique_ptr<CURLM, MultiDeleter> multi_;
  std::unique_ptr<CURL, EasyDeleter> easy_;  // must be removed from multi_ before that is freed
  std::unique_ptr<curl_slist, HeadersDeleter> headers_;
  std::unique_ptr<curl_slist, HeadersDeleter> connect_to_;
  base::EventLoop::TimerId curl_timer_ = 0;
  base::EventLoop::TimerId watchdog_ = 0;

  HttpRequest request_;
  Handlers handlers_;
  Phase phase_ = Phase::kIdle;
  HttpHead head_;
  bool stopped_ = false;  // a handler returned false
  uint64_t last_activity_ns_ = 0;
  std::string error_;  // libcurl's message, of CURL_ERROR_SIZE
};

}  // namespace npg::kubernetes

#endif  // NODEPORT_GUARD_KUBERNETES_HTTP_CLIENT_H_
