// SPDX-License-Identifier: Apache-2.0
#include "serve/http_server.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>

#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/notification.h"
#include "absl/time/time.h"
#include "base/unique_fd.h"
#include "serve/http_address.h"
#include "serve/http_message.h"
#include "testing/http_exchange.h"
#include "testing/status_asserts.h"
#include "testing/wait_until.h"

namespace npg::serve::http_server_test {
namespace {

using ::npg::testing::ConnectToHttp;
using ::npg::testing::HttpGet;
using ::npg::testing::HttpReply;
using ::npg::testing::ParseReply;
using ::npg::testing::ReadReply;
using ::npg::testing::ReadToEnd;
using ::npg::testing::SendText;
using ::npg::testing::WaitForHangUp;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr HttpAddress kAnyPort = {false, {127, 0, 0, 1}, 0};
constexpr size_t kHuge = size_t{16} << 20;

HttpResponse Body(std::string text) {
  HttpResponse response;
  response.body = std::move(text);
  return response;
}

class HttpServerTest : public ::testing::Test {
 protected:
  ~HttpServerTest() override {
    if (!go_->HasBeenNotified()) go_->Notify();
  }

  void StartServer(const HttpLimits& limits = {}) {
    std::vector<HttpRoute> routes = {
        {"/", false, [](const HttpRequest& request) { return Body(request.path); }},
        {"/slow", true, [](const HttpRequest&) { return Body("slow"); }},
        {"/hang", hang_is_slow_,
         [go = go_, started = started_, once = started_once_](const HttpRequest&) {
           std::call_once(*once, [&started] { started->Notify(); });
           go->WaitForNotification();
           return Body("at last");
         }},
        {"/throw", true,
         [](const HttpRequest&) -> HttpResponse { throw std::runtime_error("of no use"); }},
        {"/huge", false, [](const HttpRequest&) { return Body(std::string(kHuge, 'x')); }},
    };
    auto server = HttpServer::Start(kAnyPort, std::move(routes), limits);
    NPG_ASSERT_OK(server);
    server_ = *std::move(server);
  }

  uint16_t port() const { return server_->address().port; }

  base::UniqueFd Ask(absl::string_view path) const {
    base::UniqueFd fd = ConnectToHttp(port());
    SendText(fd.get(), absl::StrCat("GET ", path, " HTTP/1.1\r\nHost: localhost\r\n\r\n"));
    return fd;
  }

  bool hang_is_slow_ = true;
  std::shared_ptr<absl::Notification> go_ = std::make_shared<absl::Notification>();
  std::shared_ptr<absl::Notification> started_ = std::make_shared<absl::Notification>();
  // Several handlers may begin at once, but a notification can be sent only once.
  std::shared_ptr<std::once_flag> started_once_ = std::make_shared<std::once_flag>();
  std::unique_ptr<HttpServer> server_;
};

TEST_F(HttpServerTest, Answers) {
  StartServer();
  HttpReply reply = HttpGet(port(), "/?query");
  EXPECT_EQ(reply.status, 200);
  EXPECT_EQ(reply.body, "/");
  EXPECT_EQ(reply.headers["x-content-type-options"], "nosniff");
  EXPECT_EQ(reply.headers["cache-control"], "no-store");
  EXPECT_EQ(reply.headers["connection"], "close");
  EXPECT_EQ(HttpGet(port(), "/slow").body, "slow");
  EXPECT_EQ(HttpGet(port(), "/nothing").status, 404);
  EXPECT_EQ(HttpGet(port(), "//").status, 404);
  EXPECT_EQ(HttpGet(port(), "/huge").body.size(), kHuge);
  EXPECT_EQ(HttpGet(port(), "/throw").status, 500);
  EXPECT_THAT(HttpGet(port(), "/throw").body, HasSubstr("of no use"));
}

TEST_F(HttpServerTest, AnswersHeadWithoutABody) {
  StartServer();
  const base::UniqueFd fd = ConnectToHttp(port());
  ASSERT_TRUE(SendText(fd.get(), "HEAD /slow HTTP/1.1\r\nHost: localhost\r\n\r\n"));
  const HttpReply head = ReadReply(fd.get(), /*head=*/true);
  EXPECT_EQ(head.status, 200);
  EXPECT_EQ(head.headers.at("content-length"), "4");
  EXPECT_EQ(ReadToEnd(fd.get()), "");
}

// libmicrohttpd closes such a connection if it reads again before it begins the response,
// which it does while it has other connections.
TEST_F(HttpServerTest, AnswersAClientThatShutDownItsDirection) {
  StartServer();
  const base::UniqueFd other = ConnectToHttp(port());
  for (const char* path : {"/slow", "/nothing"}) {
    const base::UniqueFd fd = Ask(path);
    shutdown(fd.get(), SHUT_WR);
    EXPECT_NE(ReadReply(fd.get()).status, 0) << path;
  }
  const base::UniqueFd hung = Ask("/hang");
  shutdown(hung.get(), SHUT_WR);
  started_->WaitForNotification();
  go_->Notify();
  EXPECT_EQ(ReadReply(hung.get()).body, "at last");
}

TEST_F(HttpServerTest, AnswersOtherMethodsWithTheAllowedOnes) {
  StartServer();
  const base::UniqueFd fd = ConnectToHttp(port());
  // More than the server reads before it answers: an immediate close would reset the
  // connection, and the answer would be lost.
  const std::string body(200'000, 'b');
  ASSERT_TRUE(SendText(fd.get(), absl::StrCat("POST / HTTP/1.1\r\nHost: localhost\r\n"
                                              "Content-Length: ",
                                              body.size(), "\r\n\r\n", body)));
  HttpReply reply = ParseReply(ReadToEnd(fd.get()));
  EXPECT_EQ(reply.status, 405);
  EXPECT_EQ(reply.headers["allow"], "GET, HEAD");
}

// An unread body must not be parsed as the next request.
TEST_F(HttpServerTest, OneRequestForEachConnection) {
  StartServer();
  const base::UniqueFd fd = ConnectToHttp(port());
  ASSERT_TRUE(SendText(fd.get(),
                       "GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 40\r\n\r\n"
                       "GET /slow HTTP/1.1\r\nHost: localhost\r\n\r\n"));
  HttpReply reply = ReadReply(fd.get());
  EXPECT_EQ(reply.status, 200);
  EXPECT_EQ(reply.headers["connection"], "close");
  EXPECT_EQ(ReadToEnd(fd.get()), "");
}

TEST_F(HttpServerTest, BoundsTheSizeOfRequests) {
  StartServer();
  for (const size_t size : {size_t{9000}, size_t{1'000'000}}) {
    const base::UniqueFd fd = ConnectToHttp(port());
    // The server may close before it has received the whole request.
    SendText(fd.get(), absl::StrCat("GET / HTTP/1.1\r\nX: ", std::string(size, 'x'), "\r\n\r\n"));
    EXPECT_THAT(ReadToEnd(fd.get()), Not(HasSubstr("200 OK"))) << size;
  }
  const base::UniqueFd many = ConnectToHttp(port());
  std::string lines = "GET / HTTP/1.1\r\n";
  for (int i = 0; i < 10'000; ++i) absl::StrAppend(&lines, "X", i, ": y\r\n");
  SendText(many.get(), absl::StrCat(lines, "\r\n"));
  EXPECT_THAT(ReadToEnd(many.get()), Not(HasSubstr("200 OK")));
  EXPECT_EQ(HttpGet(port(), "/", absl::StrCat("X: ", std::string(9000, 'x'), "\r\n")).status, 431);
  const std::string fits(8000, 'x');
  EXPECT_EQ(HttpGet(port(), "/", absl::StrCat("X: ", fits, "\r\n")).status, 200);
}

// A server may ignore Range. With it, many overlapping ranges would multiply the size of
// the answer.
TEST_F(HttpServerTest, IgnoresRange) {
  StartServer();
  std::string many = "bytes=0-";
  for (int i = 1; i < 2000; ++i) many += ",0-";
  for (const std::string& range :
       {std::string("bytes=0-1"), std::string("bytes=9-"), std::string("of no sense"), many}) {
    for (const char* name : {"Range", "range", "RANGE"}) {
      HttpReply reply = HttpGet(port(), "/slow", absl::StrCat(name, ": ", range, "\r\n"));
      EXPECT_EQ(reply.status, 200) << name << ": " << range.substr(0, 20);
      EXPECT_EQ(reply.body, "slow") << name << ": " << range.substr(0, 20);
    }
  }
  // The same for a header that arrives in pieces.
  const base::UniqueFd fd = ConnectToHttp(port());
  for (const char* piece : {"GET /slow HTTP/1.1\r\nHost: localhost\r\nRan", "ge: bytes=0-1\r\n",
                            "Ranger: bytes=0-1\r\n\r\n"}) {
    ASSERT_TRUE(SendText(fd.get(), piece));
  }
  EXPECT_EQ(ReadReply(fd.get()).body, "slow");
}

TEST_F(HttpServerTest, DoesNotAnswerInvalidRequestsWith200) {
  HttpLimits limits;
  limits.request = absl::Milliseconds(500);  // empty lines may precede a request
  StartServer(limits);
  for (const char* text : {"\r\n\r\n", "GET\r\n\r\n", "\x16\x03\x01\x02\x01hello\r\n\r\n",
                           "GET / HTTP/9.9\r\n\r\n", "BREW / HTTP/1.1\r\n\r\n"}) {
    const base::UniqueFd fd = ConnectToHttp(port());
    SendText(fd.get(), text);
    shutdown(fd.get(), SHUT_WR);
    EXPECT_THAT(ReadToEnd(fd.get()), Not(HasSubstr(" 200 "))) << text;
  }
  EXPECT_EQ(HttpGet(port(), "/").status, 200);
}

TEST_F(HttpServerTest, ClosesSlowSendersWithoutDelayingOthers) {
  HttpLimits limits;
  limits.request = absl::Milliseconds(300);
  StartServer(limits);
  const std::string request = absl::StrCat("GET / HTTP/1.1\r\nX: ", std::string(5000, 'x'));
  const base::UniqueFd slow = ConnectToHttp(port());
  size_t sent = 0;
  for (; sent < request.size(); ++sent) {
    if (!SendText(slow.get(), absl::string_view(request).substr(sent, 1))) break;
    EXPECT_EQ(HttpGet(port(), "/slow").body, "slow");
    char seen = 0;
    if (recv(slow.get(), &seen, 1, MSG_PEEK | MSG_DONTWAIT) >= 0) break;
  }
  EXPECT_LT(sent, request.size()) << "closed before the whole request was sent";
}

TEST_F(HttpServerTest, ClosesSlowReadersWithoutDelayingOthers) {
  HttpLimits limits;
  limits.response = absl::Milliseconds(300);
  StartServer(limits);
  const base::UniqueFd fd = Ask("/huge");
  char byte = 0;
  ASSERT_EQ(recv(fd.get(), &byte, 1, MSG_PEEK), 1) << "the response has begun";
  EXPECT_EQ(HttpGet(port(), "/slow").body, "slow");
  // After the hang-up only the bytes in flight arrive.
  WaitForHangUp(fd.get());
  EXPECT_LT(ReadToEnd(fd.get()).size(), kHuge);
}

TEST_F(HttpServerTest, ClosesTheOldestIdleConnectionForANewOne) {
  HttpLimits limits;
  limits.connections = 3;
  limits.request = absl::Hours(1);
  limits.patience = absl::Milliseconds(20);
  StartServer(limits);
  std::vector<base::UniqueFd> idle;
  for (int i = 0; i < 3; ++i) {
    idle.push_back(ConnectToHttp(port()));
    ASSERT_TRUE(SendText(idle.back().get(), "GET /"));
  }
  EXPECT_EQ(HttpGet(port(), "/").status, 200);
  EXPECT_EQ(ReadToEnd(idle[0].get()), "") << "the oldest is closed";
}

TEST_F(HttpServerTest, ClosesFurtherConnectionsWhenAllWorkersAreBusy) {
  HttpLimits limits;
  limits.workers = limits.connections = 3;
  hang_is_slow_ = false;
  StartServer(limits);
  std::vector<base::UniqueFd> busy;
  for (int i = 0; i < 3; ++i) busy.push_back(Ask("/hang"));
  started_->WaitForNotification();
  // The server may not have accepted the second and the third yet, but accepts them first.
  const base::UniqueFd late = ConnectToHttp(port());
  EXPECT_EQ(ReadToEnd(late.get()), "");
  go_->Notify();
  for (const base::UniqueFd& fd : busy) EXPECT_EQ(ReadReply(fd.get()).body, "at last");
  for (const base::UniqueFd& fd : busy) EXPECT_EQ(ReadToEnd(fd.get()), "");
  busy.clear();
  EXPECT_TRUE(
      testing::WaitUntil(absl::Seconds(30), [this] { return HttpGet(port(), "/").status == 200; }));
}

TEST_F(HttpServerTest, HangingHandlersBlockSlowRoutesOnly) {
  HttpLimits limits;
  limits.workers = 3;  // of which one may be in a slow handler
  StartServer(limits);
  const base::UniqueFd running = Ask("/hang");
  started_->WaitForNotification();
  EXPECT_EQ(HttpGet(port(), "/slow").status, 503);
  EXPECT_EQ(HttpGet(port(), "/").status, 200);
  go_->Notify();
  EXPECT_EQ(ReadReply(running.get()).body, "at last");
  EXPECT_TRUE(testing::WaitUntil(absl::Seconds(30),
                                 [this] { return HttpGet(port(), "/slow").body == "slow"; }));
}

TEST_F(HttpServerTest, EndsWithAnyOpenConnections) {
  StartServer();
  const base::UniqueFd idle = ConnectToHttp(port());
  const base::UniqueFd half = ConnectToHttp(port());
  ASSERT_TRUE(SendText(half.get(), "GET / HTT"));
  const base::UniqueFd unread = Ask("/huge");
  char byte = 0;
  ASSERT_EQ(recv(unread.get(), &byte, 1, MSG_PEEK), 1) << "the response has begun";
  const uint16_t old = port();
  server_.reset();
  WaitForHangUp(idle.get());
  WaitForHangUp(half.get());
  WaitForHangUp(unread.get());
  EXPECT_FALSE(ConnectToHttp(old)) << "the port is closed";
}

TEST_F(HttpServerTest, CanBeStartedAgainAtOnce) {
  StartServer();
  const base::UniqueFd open = Ask("/");
  ASSERT_EQ(ReadReply(open.get()).status, 200);
  const HttpAddress address = server_->address();
  server_.reset();
  NPG_ASSERT_OK(HttpServer::Start(address, {}));
}

TEST_F(HttpServerTest, RefusesForeignHostNames) {
  StartServer();
  const base::UniqueFd fd = ConnectToHttp(port());
  ASSERT_TRUE(SendText(fd.get(), "GET / HTTP/1.1\r\nHost: attacker.example:9829\r\n\r\n"));
  EXPECT_EQ(ReadReply(fd.get()).status, 421);
}

TEST_F(HttpServerTest, NoSignalReachesItsThreads) {
  StartServer();
  const auto threads = [] {
    std::vector<std::string> found;
    for (const auto& task : std::filesystem::directory_iterator("/proc/self/task")) {
      std::ifstream status(task.path() / "status");
      std::string text((std::istreambuf_iterator<char>(status)), {});
      if (absl::StrContains(text, "Name:\tnpg-http")) found.push_back(std::move(text));
    }
    return found;
  };
  // A thread that has just begun has no name yet.
  ASSERT_TRUE(testing::WaitUntil(
      absl::Seconds(30), [&threads] { return threads().size() == HttpLimits().workers + 1; }));
  for (const std::string& thread : threads()) {
    // All but SIGKILL, SIGSTOP and the two that the C library reserves.
    EXPECT_THAT(thread, HasSubstr("SigBlk:\tfffffffe7ffbfeff"));
  }
}

TEST(HttpServerStartTest, NamesTheReasonIfItCannotListen) {
  NPG_ASSERT_OK_AND_ASSIGN(const auto first, HttpServer::Start(kAnyPort, {}));
  const absl::Status taken = HttpServer::Start(first->address(), {}).status();
  EXPECT_EQ(taken.message(),
            absl::StrCat("listen for HTTP on 127.0.0.1:", first->address().port,
                         ": Address already in use; see who listens there with 'ss -ltnp', or "
                         "name another with --http-address"));
  const absl::Status elsewhere = HttpServer::Start({false, {192, 0, 2, 1}, 9829}, {}).status();
  EXPECT_EQ(elsewhere.message(),
            "listen for HTTP on 192.0.2.1:9829: Cannot assign requested address; name an address "
            "of this node with --http-address");
}

}  // namespace
}  // namespace npg::serve::http_server_test
