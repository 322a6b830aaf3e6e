// SPDX-License-Identifier: Apache-2.0
// Which Events about the Node are sent, and when; without network and clock.
#include "serve/node_advice.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "absl/random/random.h"
#include "absl/status/status.h"
#include "absl/time/time.h"
#include "kubernetes/http_client.h"
#include "serve/kube_event_answer.h"
#include "testing/api_events.h"
#include "testing/api_request.h"
#include "testing/api_status.h"

namespace npg::serve::node_advice_test {
namespace {

using kubernetes::HttpRequest;
using ::testing::HasSubstr;
using ::testing::MatchesRegex;

constexpr const char* kText = "12 NodePorts are among the ports that the kernel hands out.";

class NodeAdviceTest : public ::testing::Test {
 protected:
  NodeAdviceTest() { Restart(); }

  // Starts a new run of the controller, which knows when an earlier one has sent the Event.
  void Restart(absl::Duration spread = absl::ZeroDuration()) {
    NodeAdvice::Options options;
    options.node = "worker-1";
    options.last_sent = [this] { return sent_; };
    options.sent = [this](absl::Time time) { sent_ = time; };
    options.spread = spread;
    advice_.emplace(options, random_);
  }
  // Lets time pass, observing `text` every ten minutes as the controller does more often, and
  // answers the requests. Returns how many there were.
  int Pass(absl::Duration time, const std::string& text = kText, int status = 201) {
    int requests = 0;
    for (const absl::Time end = now_ + time; now_ < end; now_ += absl::Minutes(10)) {
      advice_->Observe(text, now_);
      while (Next()) {
        ++requests;
        last_ = Answer(status);
      }
    }
    return requests;
  }
  std::optional<HttpRequest> Next() { return advice_->Next(now_); }
  absl::Status Answer(int status, const std::string& body = "") {
    return advice_->OnAnswer({.status = status, .body = body}, now_);
  }

  absl::BitGen random_;
  absl::Time now_ = absl::FromUnixSeconds(1'800'000'000);
  absl::Time sent_ = absl::InfinitePast();
  absl::Status last_;
  std::optional<NodeAdvice> advice_;
};

TEST_F(NodeAdviceTest, IsAnEventOfTheNode) {
  advice_->Observe(kText, now_);
  const auto request = Next();
  ASSERT_TRUE(request);
  EXPECT_STREQ(request->method, "POST");
  EXPECT_EQ(request->target, "/apis/events.k8s.io/v1/namespaces/default/events");
  EXPECT_EQ(request->body_type, "application/json");
  const auto event = nlohmann::json::parse(request->body);
  EXPECT_EQ(event["metadata"]["namespace"], "default");
  EXPECT_THAT(event["metadata"]["name"].get<std::string>(),
              MatchesRegex("worker-1\\.[0-9a-f]{16}"));
  EXPECT_EQ(event["regarding"],
            (nlohmann::json{
                {"apiVersion", "v1"}, {"kind", "Node"}, {"name", "worker-1"}, {"uid", "worker-1"}}))
      << "kubectl describe node selects by the name as uid";
  EXPECT_EQ(event["type"], "Warning");
  EXPECT_EQ(event["reason"], "NodePortRangeOverlap");
  EXPECT_EQ(event["reportingController"], "nodeport-guard.io/controller");
  EXPECT_EQ(event["reportingInstance"], "worker-1");
  EXPECT_EQ(event["eventTime"], "2027-01-15T08:00:00.000000Z");
  EXPECT_EQ(event["note"], std::string("Node worker-1: ") + kText);
  EXPECT_FALSE(Next()) << "one request at a time";
  EXPECT_EQ(advice_->due(), absl::InfiniteFuture());
  EXPECT_TRUE(Answer(201).ok());
  EXPECT_EQ(sent_, now_);
  EXPECT_FALSE(Next());

  testing::ApiEvents server;
  testing::ApiRequest sent;
  sent.method = request->method;
  sent.target = sent.path = request->target;
  sent.headers["content-type"] = request->body_type;
  sent.body = request->body;
  const testing::ApiAnswer answer = server.Handle(sent);
  EXPECT_EQ(answer.code, 201) << answer.body;
}

TEST_F(NodeAdviceTest, ComesOnceAWeek) {
  EXPECT_EQ(Pass(absl::Hours(24 * 7 - 1)), 1);
  EXPECT_EQ(Pass(absl::Hours(2)), 1);
  EXPECT_EQ(Pass(absl::Hours(24 * 28)), 4);
}

TEST_F(NodeAdviceTest, ARestartDoesNotSendItEarlier) {
  EXPECT_EQ(Pass(absl::Hours(1)), 1);
  for (int day = 0; day < 6; ++day) {
    Restart();
    EXPECT_EQ(Pass(absl::Hours(24)), 0);
  }
  Restart();
  EXPECT_EQ(Pass(absl::Hours(24)), 1);
}

// The clock was set back since, or the map has nonsense.
TEST_F(NodeAdviceTest, ATimeInTheFutureDelaysItByAWeekAtMost) {
  sent_ = now_ + absl::Hours(24 * 365);
  EXPECT_EQ(Pass(absl::Hours(24 * 7 - 1)), 0);
  EXPECT_EQ(Pass(absl::Hours(2)), 1);
}

TEST_F(NodeAdviceTest, ChangedAdviceDoesNotComeEarlier) {
  EXPECT_EQ(Pass(absl::Hours(1)), 1);
  EXPECT_EQ(Pass(absl::Hours(24), "13 NodePorts are."), 0);
  EXPECT_EQ(Pass(absl::Hours(24), ""), 0);
  EXPECT_EQ(Pass(absl::Hours(24 * 5 - 2), "14 NodePorts are."), 0);
  advice_->Observe("15 NodePorts are.", now_ += absl::Hours(2));
  const auto request = Next();
  ASSERT_TRUE(request);
  EXPECT_THAT(request->body, HasSubstr("15 NodePorts are.")) << "the present advice";
}

TEST_F(NodeAdviceTest, WithoutAdviceThereIsNoEvent) {
  EXPECT_EQ(advice_->due(), absl::InfiniteFuture());
  EXPECT_EQ(Pass(absl::Hours(24 * 30), ""), 0);
  EXPECT_EQ(advice_->due(), absl::InfiniteFuture());
  EXPECT_EQ(Pass(absl::Hours(1)), 1);
  advice_->Observe("", now_);
  now_ += absl::Hours(24 * 8);
  EXPECT_FALSE(Next()) << "the overlap is gone";
}

TEST_F(NodeAdviceTest, PausesWhileItIsForbidden) {
  EXPECT_EQ(Pass(absl::Minutes(50), kText, 403), 1);
  EXPECT_TRUE(absl::IsPermissionDenied(last_)) << last_;
  EXPECT_THAT(std::string(last_.message()), HasSubstr("verbs [\"create\", \"patch\"]"));
  EXPECT_EQ(sent_, absl::InfinitePast());
  EXPECT_EQ(Pass(absl::Hours(5), kText, 403), 5);
  EXPECT_EQ(Pass(absl::Hours(2)), 1) << "the right is there now";
  EXPECT_EQ(Pass(absl::Hours(24)), 0);
}

TEST_F(NodeAdviceTest, TriesAgainAfterAFailure) {
  for (const int status : {0, 401, 404, 429, 500, 503}) {
    EXPECT_EQ(Pass(absl::Hours(1), kText, status), 1) << status;
    EXPECT_TRUE(absl::IsUnavailable(last_)) << last_;
  }
  EXPECT_EQ(Pass(absl::Hours(1), kText, 422), 1);
  EXPECT_TRUE(absl::IsInvalidArgument(last_)) << last_;
  EXPECT_EQ(sent_, absl::InfinitePast());
  EXPECT_EQ(Pass(absl::Hours(1)), 1);
  EXPECT_EQ(Pass(absl::Hours(24)), 0);
}

// The server created the Event, and the connection broke before it said so.
TEST_F(NodeAdviceTest, ALostAnswerMakesNoSecondEvent) {
  advice_->Observe(kText, now_);
  const auto first = Next();
  ASSERT_TRUE(first);
  EXPECT_FALSE(Answer(0).ok());
  now_ += absl::Hours(1);
  const auto second = Next();
  ASSERT_TRUE(second);
  const auto name = [](const HttpRequest& request) {
    return nlohmann::json::parse(request.body)["metadata"]["name"];
  };
  EXPECT_EQ(name(*first), name(*second));
  EXPECT_TRUE(Answer(409, R"({"kind":"Status","code":409,"reason":"AlreadyExists"})").ok());
  EXPECT_EQ(sent_, now_);
  now_ += absl::Hours(24 * 7);
  const auto next = Next();
  ASSERT_TRUE(next);
  EXPECT_NE(name(*next), name(*first)) << "a week later it is another Event";
}

// All nodes of a cluster may get a guard, and have the advice, at once.
TEST_F(NodeAdviceTest, ManyNodesSendItSpread) {
  absl::Duration least = absl::InfiniteDuration();
  absl::Duration most;
  for (int node = 0; node < 200; ++node) {
    Restart(absl::Minutes(10));
    advice_->Observe(kText, now_);
    const absl::Duration delay = advice_->due() - now_;
    least = std::min(least, delay);
    most = std::max(most, delay);
    advice_->Observe(kText, now_ + absl::Seconds(10));
    EXPECT_EQ(advice_->due() - now_, delay) << "drawn once";
  }
  EXPECT_GE(least, absl::ZeroDuration());
  EXPECT_LT(least, absl::Minutes(3));
  EXPECT_GT(most, absl::Minutes(7));
  EXPECT_LE(most, absl::Minutes(10));
}

TEST_F(NodeAdviceTest, StaysWithinTheLimitsOfTheApi) {
  std::string text;
  while (text.size() < 2000) text += "\u20ac";
  advice_->Observe(text, now_);
  const auto request = Next();
  ASSERT_TRUE(request);
  const auto event = nlohmann::json::parse(request->body);
  EXPECT_LE(event["note"].get<std::string>().size(), 1024U);
  EXPECT_GT(event["note"].get<std::string>().size(), 1000U);
}

}  // namespace
}  // namespace npg::serve::node_advice_test
