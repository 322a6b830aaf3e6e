// SPDX-License-Identifier: Apache-2.0
//
// The faults of ApiServer, as a client sees them.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "testing/api_fault.h"
#include "testing/api_model.h"
#include "testing/api_server.h"
#include "testing/api_traffic.h"
#include "testing/status_asserts.h"
#include "unit/testing/test_client.h"

namespace npg::testing::api_server_fault_test {
namespace {

using ::nlohmann::json;
using ::testing::HasSubstr;

constexpr char kList[] = "/api/v1/services";
constexpr char kWatch[] = "/api/v1/services?watch=1";
// How long a test waits to see that nothing arrives.
constexpr absl::Duration kSilence = absl::Milliseconds(100);

class ApiFaultTest : public ::testing::TestWithParam<long> {  // NOLINT(google-runtime-int)
 protected:
  void SetUp() override {
    NPG_ASSERT_OK_AND_ASSIGN(server_, ApiServer::Start());
    client_ = std::make_unique<TestClient>(*server_, ClientOptions{.version = GetParam()});
    server_->Change([this](ApiModel& model) {
      for (int i = 0; i < 100; ++i) {
        model.Put({.name = absl::StrCat("s", i), .ports = {{.node_port = 30000 + i}}});
      }
      whole_ = model.List({}).body;
    });
  }

  // True if `transfer` makes no progress for kSilence.
  bool IsSilent(const Transfer& transfer) {
    const size_t size = transfer.body.size();
    return !client_->WaitUntil([&] { return transfer.done || transfer.body.size() != size; },
                               kSilence);
  }
  bool http1() const { return GetParam() == CURL_HTTP_VERSION_1_1; }

  std::unique_ptr<ApiServer> server_;
  std::unique_ptr<TestClient> client_;
  std::string whole_;  // the list
};

INSTANTIATE_TEST_SUITE_P(Http, ApiFaultTest,
                         ::testing::Values(CURL_HTTP_VERSION_1_1, CURL_HTTP_VERSION_2_0),
                         [](const auto& version) {
                           return version.param == CURL_HTTP_VERSION_1_1 ? "http1" : "http2";
                         });

TEST_P(ApiFaultTest, AnswersWithAnyCode) {
  struct Case {
    int code;
    int retry_after;
    std::string reason;
  };
  const std::vector<Case> cases = {
      {400, 0, "BadRequest"},          {401, 0, "Unauthorized"},
      {403, 0, "Forbidden"},           {410, 0, "Expired"},
      {429, 2, "TooManyRequests"},     {500, 0, "InternalError"},
      {503, 30, "ServiceUnavailable"}, {504, 0, "Timeout"},
  };
  for (const Case& c : cases) {
    for (const char* target : {kList, kWatch}) {
      server_->Inject({.answer = FaultAnswer(c.code, c.retry_after)});
      const auto answer = client_->Get(target);
      EXPECT_EQ(answer->result, CURLE_OK);
      EXPECT_EQ(answer->code(), c.code);
      EXPECT_EQ(json::parse(answer->body)["reason"], c.reason);
      EXPECT_EQ(json::parse(answer->body)["code"], c.code);
      EXPECT_EQ(answer->headers["retry-after"],
                c.retry_after == 0 ? "" : absl::StrCat(c.retry_after));
    }
  }
  EXPECT_EQ(client_->Get(kList)->code(), 200);
  EXPECT_EQ(server_->traffic().connections, 1U);
}

TEST_P(ApiFaultTest, AnswersWithAWebPage) {
  server_->Inject({.answer = HtmlAnswer()});
  const auto answer = client_->Get(kList);
  EXPECT_EQ(answer->code(), 200);
  EXPECT_THAT(answer->headers["content-type"], HasSubstr("text/html"));
  EXPECT_THAT(answer->body, HasSubstr("<html>"));
}

TEST_P(ApiFaultTest, CutsTheConnection) {
  // Also at the end: all bytes arrive, but the response is not complete.
  for (const uint64_t bytes : {uint64_t{0}, uint64_t{1}, uint64_t{5000}, uint64_t{whole_.size()}}) {
    server_->Inject({.cut_after = bytes});
    const auto cut = client_->Get(kList);
    EXPECT_NE(cut->result, CURLE_OK);
    EXPECT_NE(cut->result, CURLE_OPERATION_TIMEDOUT);
    EXPECT_EQ(cut->body, whole_.substr(0, bytes));
    EXPECT_EQ(cut->code(), 200);
  }
  EXPECT_EQ(client_->Get(kList)->body, whole_);
  EXPECT_EQ(server_->traffic().connections, 5U);
}

TEST_P(ApiFaultTest, CutsAWatch) {
  server_->Inject({.on = RequestKind::kWatch, .cut_after = 60000});
  const auto watch = client_->Start(kWatch);
  ASSERT_TRUE(client_->WaitUntil([&] { return !watch->body.empty(); }));
  EXPECT_LT(watch->body.size(), 60000U);
  server_->Change([](ApiModel& model) {
    for (int i = 0; i < 200; ++i) model.Put({.name = "s1"});
  });
  ASSERT_TRUE(client_->WaitUntil([&] { return watch->done; }));
  EXPECT_NE(watch->result, CURLE_OK);
  EXPECT_EQ(watch->body.size(), 60000U);
}

TEST_P(ApiFaultTest, Resets) {
  server_->Inject({.reset_after = 5000});
  const auto reset = client_->Get(kList);
  EXPECT_EQ(reset->result, http1() ? CURLE_RECV_ERROR : CURLE_HTTP2_STREAM);
  EXPECT_EQ(client_->Get(kList)->body, whole_);
  // With HTTP/2 only the stream is reset.
  EXPECT_EQ(server_->traffic().connections, http1() ? 2U : 1U);
}

TEST_P(ApiFaultTest, Stalls) {
  server_->Inject({.stall_after = 5000});
  const auto stalled = client_->Start(kList);
  ASSERT_TRUE(client_->WaitUntil([&] { return stalled->body.size() == 5000; }));
  EXPECT_TRUE(IsSilent(*stalled));
  EXPECT_EQ(stalled->body, whole_.substr(0, 5000));
  EXPECT_EQ(client_->Get(kList)->body, whole_);
  EXPECT_FALSE(stalled->done);
}

TEST_P(ApiFaultTest, StallsOnlyOneWatch) {
  server_->Inject({.on = RequestKind::kWatch, .stall_after = 10});
  const auto stalled = client_->Start(kWatch);
  ASSERT_TRUE(client_->WaitUntil([&] { return stalled->body.size() == 10; }));
  const auto watch = client_->Start(kWatch);
  server_->Change([](ApiModel& model) { model.Put({.name = "next"}); });
  ASSERT_TRUE(client_->WaitUntil([&] { return absl::StrContains(watch->body, R"("next")"); }));
  EXPECT_TRUE(IsSilent(*stalled));
  EXPECT_EQ(stalled->body.size(), 10U);
}

TEST_P(ApiFaultTest, Garbles) {
  std::string expected = whole_;
  for (const uint64_t at : {uint64_t{0}, uint64_t{20000}, uint64_t{whole_.size() - 1}}) {
    server_->Inject({.garble_at = at});
    const auto garbled = client_->Get(kList);
    EXPECT_EQ(garbled->result, CURLE_OK);
    expected = whole_;
    expected[at] = '\x01';
    EXPECT_EQ(garbled->body, expected) << at;
    EXPECT_FALSE(json::accept(garbled->body));
  }
}

TEST_P(ApiFaultTest, Drips) {
  server_->Inject({.drip_bytes = whole_.size() / 20, .drip_every = absl::Milliseconds(2)});
  const absl::Time begin = absl::Now();
  const auto slow = client_->Get(kList);
  EXPECT_EQ(slow->body, whole_);
  EXPECT_GE(absl::Now() - begin, absl::Milliseconds(38));

  constexpr absl::Duration kEvery = absl::Milliseconds(5);
  server_->Inject({.drip_bytes = 1, .drip_every = kEvery});
  const absl::Time start = absl::Now();
  const auto slower = client_->Start(kList);
  ASSERT_TRUE(client_->WaitUntil([&] { return slower->body.size() > 5; }));
  EXPECT_LE(static_cast<double>(slower->body.size()), 1 + (absl::Now() - start) / kEvery);
}

TEST_P(ApiFaultTest, ClosesBeforeItAnswers) {
  client_->Get(kList);
  // curl retries once if a kept connection is dead.
  server_->Inject({.count = 2, .close_before = true});
  const auto closed = client_->Get(kList);
  EXPECT_NE(closed->result, CURLE_OK);
  EXPECT_EQ(closed->code(), 0);
  server_->ClearFaults();
  EXPECT_EQ(client_->Get(kList)->code(), 200);
}

TEST_P(ApiFaultTest, NeverAnswers) {
  server_->Inject({.never_answer = true});
  const auto waits = client_->Start(kList);
  ASSERT_TRUE(client_->WaitUntil([&] { return server_->traffic().requests.size() == 1; }));
  EXPECT_TRUE(IsSilent(*waits));
  EXPECT_EQ(waits->code(), 0);
  EXPECT_EQ(server_->traffic().requests[0].code, 0);
}

TEST_P(ApiFaultTest, AppliesToMatchingRequestsOnly) {
  const auto code = [this](const std::string& target) { return client_->Get(target)->code(); };
  server_->Inject({.on = RequestKind::kWatch, .answer = FaultAnswer(503)});
  server_->Inject({.count = 2, .answer = FaultAnswer(500)});
  server_->Inject(
      {.count = -1,
       .only_if = [](const ApiRequest& request) { return request.query.count("continue") != 0; },
       .answer = FaultAnswer(410)});
  EXPECT_EQ(code(kList), 500);
  EXPECT_EQ(code(kWatch), 503);
  EXPECT_EQ(code(kWatch), 500);
  EXPECT_EQ(code(kList), 200);
  for (int i = 0; i < 3; ++i) EXPECT_EQ(code("/api/v1/services?continue=abc"), 410);
  server_->ClearFaults();
  EXPECT_EQ(code("/api/v1/services?continue=abc"), 400);
}

TEST_P(ApiFaultTest, KillsConnections) {
  const auto watch = client_->Start(kWatch);
  ASSERT_TRUE(client_->WaitUntil([&] { return !watch->body.empty(); }));
  server_->KillConnections();
  ASSERT_TRUE(client_->WaitUntil([&] { return watch->done; }));
  EXPECT_NE(watch->result, CURLE_OK);
  EXPECT_EQ(server_->traffic().open_connections, 0);
  EXPECT_EQ(server_->traffic().open_watches, 0);
  EXPECT_EQ(client_->Get(kList)->code(), 200);
}

TEST_P(ApiFaultTest, FreezesConnections) {
  const auto watch = client_->Start("/api/v1/services?watch=1&resourceVersion=101");
  ASSERT_TRUE(client_->WaitUntil([&] { return watch->code() == 200; }));
  server_->FreezeConnections();
  server_->Change([](ApiModel& model) { model.Put({.name = "next"}); });
  TestClient other(*server_, {.version = GetParam()});
  EXPECT_THAT(other.Get(kList)->body, HasSubstr("\"next\""));
  // The old connection delivers nothing, not even its end.
  if (http1()) {
    EXPECT_EQ(client_->Get(kList)->code(), 200) << "curl opens another connection";
  } else {
    EXPECT_TRUE(IsSilent(*client_->Start(kList)));
  }
  EXPECT_TRUE(IsSilent(*watch));
  EXPECT_EQ(watch->body, "");
}

TEST_P(ApiFaultTest, StopsAndResumesListening) {
  EXPECT_EQ(client_->Get(kList)->code(), 200);
  server_->StopListening();
  EXPECT_EQ(client_->Get(kList)->result, CURLE_COULDNT_CONNECT);
  NPG_ASSERT_OK(server_->ListenAgain());
  EXPECT_EQ(client_->Get(kList)->body, whole_);
}

TEST_P(ApiFaultTest, AcceptsWithoutAnswering) {
  server_->SetAccepting(Accepting::kMute);
  auto waits = client_->Start(kList);
  ASSERT_TRUE(client_->WaitUntil([&] { return server_->traffic().open_connections == 1; }));
  EXPECT_TRUE(IsSilent(*waits));
  waits.reset();
  server_->SetAccepting(Accepting::kClose);
  EXPECT_EQ(client_->Get(kList)->result, CURLE_SSL_CONNECT_ERROR);
  server_->SetAccepting(Accepting::kServe);
  EXPECT_EQ(client_->Get(kList)->code(), 200);
  server_->KillConnections();
  EXPECT_EQ(server_->traffic().open_connections, 0);
}

}  // namespace
}  // namespace npg::testing::api_server_fault_test
