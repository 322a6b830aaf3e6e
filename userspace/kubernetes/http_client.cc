// SPDX-License-Identifier: Apache-2.0
#include "kubernetes/http_client.h"

#include <arpa/inet.h>
#include <curl/curl.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "base/errno_status.h"
#include "base/event_loop.h"
#include "core/service_name.h"
#include "kubernetes/cluster_access.h"
#include "kubernetes/proxy.h"

namespace npg::kubernetes {
namespace {

constexpr int kKeepaliveProbes = 3;
constexpr long kReceiveBuffer = 64L << 10;  // NOLINT(google-runtime-int): what libcurl takes

long Milliseconds(absl::Duration duration) {  // NOLINT(google-runtime-int): what libcurl takes
  return static_cast<long>(absl::ToInt64Milliseconds(duration));  // NOLINT(google-runtime-int)
}

int Seconds(absl::Duration duration) {
  return static_cast<int>(std::max<int64_t>(absl::ToInt64Seconds(duration), 1));
}

// Of the count of references to libcurl, which versions before 7.84 do not synchronize.
std::mutex& LibraryMutex() {
  static std::mutex mutex;
  return mutex;
}

// Keeps the first error of several calls.
class Setter {
 public:
  explicit Setter(CURL* easy) : easy_(easy) {}

  template <typename T>
  Setter& Set(CURLoption option, T value) {
    if (code_ == CURLE_OK) code_ = curl_easy_setopt(easy_, option, value);
    return *this;
  }

  Setter& SetBlob(CURLoption option, const std::string& data) {
    // libcurl does not write to it, and copies it.
    curl_blob blob{const_cast<char*>(data.data()),  // NOLINT(cppcoreguidelines-pro-type-const-cast)
                   data.size(), CURL_BLOB_COPY};
    return Set(option, &blob);
  }

  // PEM, from a file or from memory.
  Setter& SetPem(CURLoption file_option, CURLoption blob_option, const Pem& pem) {
    if (!pem.data.empty()) return SetBlob(blob_option, pem.data);
    if (!pem.file.empty()) return Set(file_option, pem.file.c_str());
    return *this;
  }

  CURLcode code() const { return code_; }

 private:
  CURL* easy_;
  CURLcode code_ = CURLE_OK;
};

HttpEnd::Kind KindOf(CURLcode code, bool answered) {
  switch (code) {
    case CURLE_SSL_CONNECT_ERROR:
    case CURLE_SSL_CERTPROBLEM:
    case CURLE_SSL_CIPHER:
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_SSL_ISSUER_ERROR:
    case CURLE_SSL_ENGINE_NOTFOUND:
    case CURLE_SSL_CLIENTCERT:
      return HttpEnd::Kind::kTls;
    case CURLE_COULDNT_RESOLVE_PROXY:
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_CONNECT:
    case CURLE_INTERFACE_FAILED:
    case CURLE_PROXY:
    case CURLE_URL_MALFORMAT:
      return HttpEnd::Kind::kConnect;
    case CURLE_OPERATION_TIMEDOUT:
      return answered ? HttpEnd::Kind::kStalled : HttpEnd::Kind::kConnect;
    default:
      return HttpEnd::Kind::kCut;
  }
}

// libcurl's message without the duration ("... after 3 ms: ..."), so that a repeated
// failure has the same text and is logged once.
std::string WithoutDuration(absl::string_view message) {
  const size_t after = message.find(" after ");
  if (after == absl::string_view::npos) return std::string(message);
  absl::string_view rest = message.substr(after + absl::string_view(" after ").size());
  const size_t digits = rest.find_first_not_of("0123456789");
  if (digits == 0 || digits == absl::string_view::npos) return std::string(message);
  rest.remove_prefix(digits);
  if (!absl::ConsumePrefix(&rest, " milliseconds") && !absl::ConsumePrefix(&rest, " ms")) {
    return std::string(message);
  }
  return absl::StrCat(message.substr(0, after), rest);
}

// host and port of "https://host:port/path".
absl::string_view Authority(absl::string_view server) {
  absl::string_view rest = absl::StripPrefix(server, "https://");
  return rest.substr(0, rest.find('/'));
}

// Where the port of an authority begins; npos where it has none. An IPv6
// address has colons of its own, inside brackets.
size_t PortColon(absl::string_view authority) {
  const size_t colon = authority.rfind(':');
  const size_t bracket = authority.rfind(']');
  if (colon == absl::string_view::npos) return colon;
  return bracket != absl::string_view::npos && bracket > colon ? absl::string_view::npos : colon;
}

// A TLS server name as the host of a URL. libcurl writes an IPv6 address in its shortest
// form, and compares texts.
std::string UrlHost(const std::string& name) {
  in6_addr address{};
  std::array<char, INET6_ADDRSTRLEN> text{};
  if (inet_pton(AF_INET6, name.c_str(), &address) != 1 ||
      inet_ntop(AF_INET6, &address, text.data(), text.size()) == nullptr) {
    return name;
  }
  return absl::StrCat("[", text.data(), "]");
}

std::optional<std::string> ProcessVariable(const std::string& name) {
  const char* const value = std::getenv(name.c_str());  // NOLINT(concurrency-mt-unsafe): never set
  return value == nullptr ? std::nullopt : std::optional<std::string>(value);
}

}  // namespace

CURLcode HttpClient::Library::Take() {
  const std::lock_guard lock(LibraryMutex());
  return curl_global_init(CURL_GLOBAL_DEFAULT);
}

HttpClient::Library::~Library() {
  const std::lock_guard lock(LibraryMutex());
  curl_global_cleanup();
}

HttpClient::HttpClient(base::EventLoop& loop, ClusterAccess access, std::string user_agent,
                       const Timeouts& timeouts)
    : loop_(loop),
      access_(std::move(access)),
      proxy_(ProxyOf(access_, ProcessVariable)),
      user_agent_(std::move(user_agent)),
      timeouts_(timeouts) {}

absl::StatusOr<std::unique_ptr<HttpClient>> HttpClient::Create(base::EventLoop& loop,
                                                               ClusterAccess access,
                                                               std::string user_agent,
                                                               const Timeouts& timeouts) {
  std::unique_ptr<HttpClient> client(
      new HttpClient(loop, std::move(access), std::move(user_agent), timeouts));
  if (const CURLcode code = client->library_.code(); code != CURLE_OK) {
    return absl::InternalError(absl::StrCat("start libcurl: ", curl_easy_strerror(code)));
  }
  if (absl::Status status = client->MakeMulti(); !status.ok()) return status;
  return client;
}

HttpClient::~HttpClient() {
  if (easy_) curl_multi_remove_handle(multi_.get(), easy_.get());
  easy_.reset();
  multi_.reset();
  // Last: libcurl arms its timer while it cleans up.
  loop_.Cancel(curl_timer_);
  loop_.Cancel(watchdog_);
}

absl::Status HttpClient::MakeMulti() {
  multi_.reset(curl_multi_init());
  if (!multi_) return absl::ResourceExhaustedError("start libcurl: out of memory");
  curl_multi_setopt(multi_.get(), CURLMOPT_SOCKETFUNCTION, &HttpClient::OnSocket);
  curl_multi_setopt(multi_.get(), CURLMOPT_SOCKETDATA, this);
  curl_multi_setopt(multi_.get(), CURLMOPT_TIMERFUNCTION, &HttpClient::OnTimer);
  curl_multi_setopt(multi_.get(), CURLMOPT_TIMERDATA, this);
  return absl::OkStatus();
}

int HttpClient::OnSocket(CURL* /*easy*/, curl_socket_t fd, int what, void* self, void* watched) {
  auto& client = *static_cast<HttpClient*>(self);
  if (watched != nullptr) client.loop_.RemoveFd(fd);
  if (what == CURL_POLL_REMOVE) return 0;
  const uint32_t events =
      (what != CURL_POLL_OUT ? EPOLLIN : 0U) | (what != CURL_POLL_IN ? EPOLLOUT : 0U);
  const absl::Status added = client.loop_.AddFd(fd, events, [&client, fd](uint32_t happened) {
    const bool broken = (happened & (EPOLLERR | EPOLLHUP)) != 0;
    client.Drive(fd, (broken || (happened & EPOLLIN) != 0 ? CURL_CSELECT_IN : 0) |
                         ((happened & EPOLLOUT) != 0 ? CURL_CSELECT_OUT : 0) |
                         (broken ? CURL_CSELECT_ERR : 0));
  });
  // Any non-null pointer marks the descriptor as watched.
  curl_multi_assign(client.multi_.get(), fd, self);
  return added.ok() ? 0 : -1;
}

// NOLINTNEXTLINE(google-runtime-int): what libcurl gives
int HttpClient::OnTimer(CURLM* /*multi*/, long milliseconds, void* self) {
  auto& client = *static_cast<HttpClient*>(self);
  client.loop_.Cancel(std::exchange(client.curl_timer_, 0));
  if (milliseconds >= 0) {
    client.curl_timer_ = client.loop_.After(absl::Milliseconds(milliseconds), [&client] {
      client.curl_timer_ = 0;
      client.Drive(CURL_SOCKET_TIMEOUT, 0);
    });
  }
  return 0;
}

int HttpClient::OnSocketMade(void* self, curl_socket_t fd, curlsocktype /*purpose*/) {
  const auto& client = *static_cast<HttpClient*>(self);
  // Child processes (iptables-save) must not inherit the API server's socket.
  fcntl(fd, F_SETFD, FD_CLOEXEC);
  const auto set = [fd](int option, int value) {
    setsockopt(fd, IPPROTO_TCP, option, &value, sizeof(value));
  };
  const absl::Duration vanished =
      client.timeouts_.keepalive_idle + kKeepaliveProbes * client.timeouts_.keepalive_interval;
  set(TCP_KEEPCNT, kKeepaliveProbes);
  // Keepalive does not run while sent data is unacknowledged.
  set(TCP_USER_TIMEOUT, static_cast<int>(absl::ToInt64Milliseconds(vanished)));
  return CURL_SOCKOPT_OK;
}

CURLcode HttpClient::ConfigureServer() {
  std::string server = access_.server;
  if (!access_.tls_server_name.empty()) {
    // libcurl sends and verifies the name in the URL. So the URL has that name, and the
    // connection is redirected to the server.
    const absl::string_view authority = Authority(access_.server);
    const size_t colon = PortColon(authority);
    const absl::string_view port =
        colon == absl::string_view::npos ? "443" : authority.substr(colon + 1);
    const std::string name = UrlHost(access_.tls_server_name);
    server = absl::StrCat("https://", name, ":", port,
                          absl::string_view(access_.server)
                              .substr(absl::string_view("https://").size() + authority.size()));
    const std::string connect_to =
        absl::StrCat(name, ":", port, ":", authority.substr(0, colon), ":", port);
    connect_to_.reset(curl_slist_append(nullptr, connect_to.c_str()));
    headers_.reset(
        curl_slist_append(headers_.release(), absl::StrCat("Host: ", authority).c_str()));
  }
  Setter setter(easy_.get());
  setter.Set(CURLOPT_URL, absl::StrCat(server, request_.target).c_str())
      .Set(CURLOPT_CONNECT_TO, connect_to_.get());
  // With Kubernetes' socks5, the proxy resolves names.
  absl::string_view proxy = proxy_;
  const bool socks = absl::ConsumePrefix(&proxy, "socks5://");
  // Both are set in any case: libcurl would apply its own rules to the environment.
  setter.Set(CURLOPT_PROXY, absl::StrCat(socks ? "socks5h://" : "", proxy).c_str())
      .Set(CURLOPT_NOPROXY, "");
  return setter.code();
}

CURLcode HttpClient::ConfigureTls() {
  Setter setter(easy_.get());
  setter.Set(CURLOPT_SSL_VERIFYPEER, 1L)
      .Set(CURLOPT_SSL_VERIFYHOST, 2L)
      .Set(CURLOPT_SSLVERSION, long{CURL_SSLVERSION_TLSv1_2});  // NOLINT(google-runtime-int)
  if (!access_.ca.empty()) {
    // Only that CA, and no cached copy, because CAs are replaced.
    setter.Set(CURLOPT_CAPATH, static_cast<const char*>(nullptr))
        .Set(CURLOPT_CA_CACHE_TIMEOUT, 0L)
        .SetPem(CURLOPT_CAINFO, CURLOPT_CAINFO_BLOB, access_.ca);
  }
  setter.SetPem(CURLOPT_SSLCERT, CURLOPT_SSLCERT_BLOB, access_.client_certificate)
      .SetPem(CURLOPT_SSLKEY, CURLOPT_SSLKEY_BLOB, access_.client_key);
  return setter.code();
}

// The request outlives the exchange, so that libcurl needs no copy of the body.
CURLcode HttpClient::ConfigureBody() {
  if (absl::string_view(request_.method) == "GET") return CURLE_OK;
  headers_.reset(curl_slist_append(headers_.release(),
                                   absl::StrCat("Content-Type: ", request_.body_type).c_str()));
  return Setter(easy_.get())
      .Set(CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(request_.body.size()))
      .Set(CURLOPT_POSTFIELDS, request_.body.c_str())
      .Set(CURLOPT_CUSTOMREQUEST, request_.method)
      .code();
}

CURLcode HttpClient::Configure() {
  headers_.reset(curl_slist_append(nullptr, "Accept: application/json"));
  if (!request_.token.empty()) {
    headers_.reset(curl_slist_append(
        headers_.release(), absl::StrCat("Authorization: Bearer ", request_.token).c_str()));
  }
  if (const CURLcode code = ConfigureServer(); code != CURLE_OK) return code;
  if (const CURLcode code = ConfigureBody(); code != CURLE_OK) return code;
  if (const CURLcode code = ConfigureTls(); code != CURLE_OK) return code;
  error_.assign(CURL_ERROR_SIZE, '\0');
  return Setter(easy_.get())
      .Set(CURLOPT_HTTPHEADER, headers_.get())
      .Set(CURLOPT_USERAGENT, user_agent_.c_str())
      .Set(CURLOPT_PROTOCOLS_STR, "https")
      .Set(CURLOPT_HTTP_VERSION, long{CURL_HTTP_VERSION_2TLS})  // NOLINT(google-runtime-int)
      .Set(CURLOPT_FOLLOWLOCATION, 0L)
      .Set(CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L)
      .Set(CURLOPT_NOSIGNAL, 1L)
      // Names are resolved on a thread of libcurl, which a handle that is closed would join:
      // the loop would wait for silent name servers. The thread is detached instead, and
      // frees what it has when it ends.
      .Set(CURLOPT_QUICK_EXIT, 1L)
      .Set(CURLOPT_BUFFERSIZE, kReceiveBuffer)
      .Set(CURLOPT_CONNECTTIMEOUT_MS, Milliseconds(timeouts_.connect))
      .Set(CURLOPT_TCP_KEEPALIVE, 1L)
      .Set(CURLOPT_TCP_KEEPIDLE, long{Seconds(timeouts_.keepalive_idle)})       // NOLINT
      .Set(CURLOPT_TCP_KEEPINTVL, long{Seconds(timeouts_.keepalive_interval)})  // NOLINT
      .Set(CURLOPT_SOCKOPTFUNCTION, &HttpClient::OnSocketMade)
      .Set(CURLOPT_SOCKOPTDATA, this)
      .Set(CURLOPT_HEADERFUNCTION, &HttpClient::OnHeader)
      .Set(CURLOPT_HEADERDATA, this)
      .Set(CURLOPT_WRITEFUNCTION, &HttpClient::OnData)
      .Set(CURLOPT_WRITEDATA, this)
      .Set(CURLOPT_ERRORBUFFER, error_.data())
      .code();
}

void HttpClient::Start(HttpRequest request, Handlers handlers) {
  request_ = std::move(request);
  handlers_ = std::move(handlers);
  head_ = {};
  stopped_ = false;
  phase_ = Phase::kWaiting;
  Touch();
  ArmWatchdog(timeouts_.connect + request_.answer_timeout);
  easy_.reset(curl_easy_init());
  const CURLcode code = easy_ ? Configure() : CURLE_OUT_OF_MEMORY;
  if (code != CURLE_OK) {
    // Not from here: the caller is not ready for on_end yet.
    loop_.Cancel(curl_timer_);
    curl_timer_ = loop_.After(absl::ZeroDuration(), [this, code] {
      curl_timer_ = 0;
      Fail(code);
    });
    return;
  }
  curl_multi_add_handle(multi_.get(), easy_.get());
}

void HttpClient::SetIdleTimeout(absl::Duration timeout) {
  if (phase_ != Phase::kReceiving || timeout == request_.idle_timeout) return;
  request_.idle_timeout = timeout;
  ArmWatchdog(timeout);
}

// A line of the head; an empty one ends it.
size_t HttpClient::OnHeader(char* data, size_t size, size_t count, void* self) {
  auto& client = *static_cast<HttpClient*>(self);
  const size_t bytes = size * count;
  const absl::string_view line = absl::StripAsciiWhitespace(absl::string_view(data, bytes));
  client.Touch();
  if (line.empty()) return client.HeadComplete() ? bytes : 0;
  if (const size_t colon = line.find(':');
      colon != absl::string_view::npos &&
      absl::EqualsIgnoreCase(line.substr(0, colon), "retry-after")) {
    int64_t seconds = 0;
    if (absl::SimpleAtoi(line.substr(colon + 1), &seconds) && seconds >= 0) {
      client.head_.retry_after = absl::Seconds(seconds);
    }
  }
  return bytes;
}

bool HttpClient::HeadComplete() {
  long status = 0;  // NOLINT(google-runtime-int): what libcurl gives
  curl_easy_getinfo(easy_.get(), CURLINFO_RESPONSE_CODE, &status);
  constexpr long kFirstFinal = 200;              // NOLINT(google-runtime-int)
  if (status < kFirstFinal) return true;         // 100 Continue and the like; the answer comes
  if (phase_ == Phase::kReceiving) return true;  // trailers
  phase_ = Phase::kReceiving;
  head_.status = static_cast<int>(status);
  ArmWatchdog(request_.idle_timeout);
  stopped_ = !handlers_.on_head(head_);
  return !stopped_;
}

size_t HttpClient::OnData(char* data, size_t size, size_t count, void* self) {
  auto& client = *static_cast<HttpClient*>(self);
  const size_t bytes = size * count;
  client.Touch();
  if (bytes == 0) return 0;
  client.stopped_ = !client.handlers_.on_body({data, bytes});
  return client.stopped_ ? 0 : bytes;
}

void HttpClient::Drive(curl_socket_t fd, int events) {
  int running = 0;
  curl_multi_socket_action(multi_.get(), fd, events, &running);
  CheckDone();
}

void HttpClient::CheckDone() {
  int left = 0;
  while (const CURLMsg* message = curl_multi_info_read(multi_.get(), &left)) {
    if (message->msg != CURLMSG_DONE || message->easy_handle != easy_.get()) continue;
    if (message->data.result == CURLE_OK) {
      End({HttpEnd::Kind::kComplete, ""}, true);
    } else {
      Fail(message->data.result);
    }
    return;  // the handlers may have started another exchange
  }
}

void HttpClient::Fail(CURLcode code) {
  if (stopped_) return End({HttpEnd::Kind::kStopped, ""}, true);
  std::string message = WithoutDuration(error_.c_str());
  if (message.empty()) message = curl_easy_strerror(code);
  long error = 0;  // NOLINT(google-runtime-int): what libcurl gives
  curl_easy_getinfo(easy_.get(), CURLINFO_OS_ERRNO, &error);
  if (code == CURLE_COULDNT_CONNECT && error != 0) {
    message = std::string(base::ErrnoStatus(static_cast<int>(error), message).message());
  }
  End({KindOf(code, phase_ == Phase::kReceiving), core::OneLine(std::move(message))}, false);
}

void HttpClient::Touch() { last_activity_ns_ = base::BootNanoseconds(); }

void HttpClient::ArmWatchdog(absl::Duration delay) {
  loop_.Cancel(watchdog_);
  watchdog_ = loop_.After(delay, [this] { OnWatchdog(); });
}

void HttpClient::OnWatchdog() {
  watchdog_ = 0;
  const bool receiving = phase_ == Phase::kReceiving;
  const absl::Duration limit =
      receiving ? request_.idle_timeout : timeouts_.connect + request_.answer_timeout;
  const absl::Duration silent = absl::Nanoseconds(base::BootNanoseconds() - last_activity_ns_);
  if (silent < limit) return ArmWatchdog(limit - silent);
  End({HttpEnd::Kind::kStalled,
       receiving ? absl::StrCat("silent for ", absl::FormatDuration(limit))
                 : absl::StrCat("no answer within ", absl::FormatDuration(limit))},
      false);
}

void HttpClient::End(HttpEnd end, bool reusable) {
  loop_.Cancel(std::exchange(watchdog_, 0));
  phase_ = Phase::kIdle;
  curl_multi_remove_handle(multi_.get(), easy_.get());
  easy_.reset();
  headers_.reset();
  connect_to_.reset();
  if (!reusable) {
    multi_.reset();  // closes its connections
    loop_.Cancel(std::exchange(curl_timer_, 0));
    if (const absl::Status made = MakeMulti(); !made.ok())
      end.message = std::string(made.message());
  }
  const Handlers handlers = std::exchange(handlers_, {});
  handlers.on_end(end);
}

}  // namespace npg::kubernetes
