// SPDX-License-Identifier: Apache-2.0
//
// How the reflector handles refusals and broken streams.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "abi/names.h"
#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/time/time.h"
#include "kubernetes/http_client.h"
#include "sources/source.h"
#include "testing/api_status.h"
#include "unit/sources/kubernetes_reflector_dialogue.h"

namespace npg::sources::kubernetes_reflector_failure_test {
namespace {

using ::testing::AllOf;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::StartsWith;

struct StatusCase {
  std::string name;
  testing::ApiAnswer answer;
  abi::SourceError kind;
  std::string message;
};

class ReflectorStatuses : public ::testing::TestWithParam<StatusCase> {};

TEST_P(ReflectorStatuses, AreReportedCountedAndRetried) {
  const StatusCase& param = GetParam();
  Dialogue dialogue;
  dialogue.SyncAndWatch();
  const SourceState before = dialogue.State();
  if (param.answer.code == 401) {
    // The first 401 is not counted.
    dialogue.Answer(param.answer);
    dialogue.Ask();
  }
  dialogue.Answer(param.answer);
  const SourceState state = dialogue.State();
  EXPECT_FALSE(state.connected);
  EXPECT_EQ(state.since, dialogue.now());
  EXPECT_EQ(state.errors[param.kind], 1U);
  EXPECT_EQ(state.last_error, param.message);
  EXPECT_EQ(dialogue.reflector().failure().message(), param.message);
  EXPECT_EQ(state.ports, before.ports);
  EXPECT_EQ(state.services, before.services);
  EXPECT_EQ(state.resource_version, before.resource_version);
  EXPECT_EQ(state.last_reading, before.last_reading);

  // The next request succeeds, and last_error keeps its value.
  std::string target = dialogue.Ask();
  dialogue.Head(200);
  if (absl::StrContains(target, "sendInitialEvents")) dialogue.Body(InitialEventsEnd(12));
  EXPECT_TRUE(dialogue.State().connected);
  EXPECT_TRUE(dialogue.reflector().failure().ok());
  EXPECT_EQ(dialogue.State().last_error, param.message);
  EXPECT_EQ(dialogue.State().since, dialogue.now());
}

std::vector<StatusCase> StatusCases() {
  return {
      {"Unauthorized401", testing::Unauthorized(), abi::SourceError::kUnauthorized,
       "watch Services: HTTP status 401: Unauthorized; the credentials are not valid for this "
       "cluster, or have expired"},
      {"Forbidden403", testing::Forbidden("system:serviceaccount:x:y", "watch"),
       abi::SourceError::kForbidden,
       "watch Services: HTTP status 403: services is forbidden: User \"system:serviceaccount:x:y\" "
       "cannot watch resource \"services\" in API group \"\" at the cluster scope; bind the "
       "account "
       "to a ClusterRole with apiGroups [\"\"], resources [\"services\"], verbs [\"list\", "
       "\"watch\"]"},
      {"Throttled429", testing::StatusAnswer(429, "TooManyRequests", "Too many requests"),
       abi::SourceError::kThrottled, "watch Services: HTTP status 429: Too many requests"},
      {"Gone410", testing::Expired("too old resource version: 10 (12)"), abi::SourceError::kExpired,
       "watch Services: HTTP status 410: too old resource version: 10 (12)"},
      {"Server503", testing::StatusAnswer(503, "ServiceUnavailable", "apiserver is\nshutting down"),
       abi::SourceError::kServer, "watch Services: HTTP status 503: apiserver is?shutting down"},
      {"Proxy502",
       {.code = 502, .body = "<html>Bad Gateway</html>"},
       abi::SourceError::kServer,
       "watch Services: HTTP status 502"},
      {"NotFound404", testing::NotFound(), abi::SourceError::kHttp,
       "watch Services: HTTP status 404: the server could not find the requested resource"},
      {"Redirect302",
       {.code = 302, .body = ""},
       abi::SourceError::kHttp,
       "watch Services: HTTP status 302"},
      {"ExpiredEvent",
       {.code = 200, .body = testing::ErrorEvent(testing::Expired("too old: 10 (12)"))},
       abi::SourceError::kExpired,
       "watch Services: the watch ended with 410 Expired: too old: 10 (12)"},
      {"ServerErrorEvent",
       {.code = 200, .body = testing::ErrorEvent(testing::StatusAnswer(500, "InternalError", "x"))},
       abi::SourceError::kServer,
       "watch Services: the watch ended with 500 InternalError: x"},
      {"ErrorEventWithoutAStatus",
       {.code = 200, .body = Event("ERROR", "{}")},
       abi::SourceError::kHttp,
       "watch Services: the watch ended with an error that is no Status"},
  };
}

INSTANTIATE_TEST_SUITE_P(Answers, ReflectorStatuses, ::testing::ValuesIn(StatusCases()),
                         [](const auto& parameters) { return parameters.param.name; });

TEST(ReflectorFailureTest, RetriesARefusedTokenOnceWithoutAnError) {
  Dialogue dialogue;
  dialogue.SyncAndWatch();
  dialogue.Answer(testing::Unauthorized());
  EXPECT_TRUE(dialogue.State().connected);
  EXPECT_EQ(dialogue.State().errors, SourceState().errors);
  EXPECT_THAT(dialogue.Ask(), EndsWith("&resourceVersion=10"));
  EXPECT_EQ(dialogue.step().delay, absl::ZeroDuration());
  dialogue.Answer(testing::Unauthorized());
  EXPECT_EQ(dialogue.Errors(abi::SourceError::kUnauthorized), 1U);
  dialogue.Ask();
  dialogue.Answer(testing::Unauthorized());
  EXPECT_EQ(dialogue.Errors(abi::SourceError::kUnauthorized), 2U)
      << "no free retry after a refusal";
  dialogue.Ask();
  dialogue.Head(200);
  dialogue.Wait(absl::Minutes(5));
  dialogue.End();
  dialogue.Ask();
  dialogue.Answer(testing::Unauthorized());
  EXPECT_EQ(dialogue.Errors(abi::SourceError::kUnauthorized), 2U)
      << "one free retry after a success";
}

TEST(ReflectorFailureTest, NamesCredentialsThatCannotBeRead) {
  Dialogue dialogue;
  dialogue.Ask();
  dialogue.reflector().OnNoCredentials(
      absl::NotFoundError("token file /t: No such file; put the token there"), dialogue.now());
  EXPECT_EQ(dialogue.Errors(abi::SourceError::kUnauthorized), 1U);
  EXPECT_EQ(dialogue.State().last_error,
            "list Services: token file /t: No such file; put the token there");
}

TEST(ReflectorFailureTest, WaitsForAnAccessAtTheSameInterval) {
  Dialogue dialogue;
  for (int i = 0; i < 20; ++i) {
    dialogue.reflector().OnNoAccess(absl::NotFoundError("kubeconfig /k: No such file"),
                                    dialogue.now());
    EXPECT_EQ(dialogue.reflector().Next(dialogue.now()).delay, absl::Seconds(5));
  }
  EXPECT_EQ(dialogue.Errors(abi::SourceError::kRead), 20U);
  dialogue.reflector().OnNoAccess(absl::InvalidArgumentError("kubeconfig /k: is empty"),
                                  dialogue.now());
  EXPECT_EQ(dialogue.Errors(abi::SourceError::kDecode), 1U);
  EXPECT_EQ(dialogue.State().last_error, "list Services: kubeconfig /k: is empty");
}

TEST(ReflectorFailureTest, StartsTheListAnewWhenAPageExpires) {
  Dialogue dialogue;
  dialogue.Ask();
  dialogue.Answer({.code = 422, .body = ""});
  const std::string first = dialogue.Ask();
  dialogue.Answer(200, List(10, Object("web", 30080, 4), "next"));
  EXPECT_THAT(dialogue.Ask(), HasSubstr("&continue=next"));
  dialogue.Answer(testing::Expired("The provided continue parameter is too old"));
  EXPECT_EQ(dialogue.Errors(abi::SourceError::kExpired), 1U);
  EXPECT_EQ(dialogue.Ask(), first);
  dialogue.Answer(200, List(20, Object("dns", 30053, 12)));
  // The Services of the first attempt are dropped.
  const auto& ports = dialogue.reflector().store().reading()->ports;
  ASSERT_EQ(ports.size(), 1U);
  EXPECT_EQ(ports.begin()->second, "a/dns");
  EXPECT_THAT(dialogue.Ask(), EndsWith("&resourceVersion=20"));
}

// etcd was restored: the server waits for a version that it will not reach.
TEST(ReflectorFailureTest, ListsAnyVersionAfterASilentWatch) {
  Dialogue dialogue;
  dialogue.SyncAndWatch();
  dialogue.Head(200);
  dialogue.Wait(absl::Seconds(80));
  dialogue.End(kubernetes::HttpEnd::Kind::kStalled, "silent for 1m20s");
  EXPECT_EQ(dialogue.Errors(abi::SourceError::kStalled), 1U);
  EXPECT_EQ(dialogue.State().ports, 1U);
  EXPECT_THAT(dialogue.Ask(), AllOf(HasSubstr("sendInitialEvents"), EndsWith("Version=0")));
  dialogue.Answer(200, InitialEventsEnd(5));
  EXPECT_EQ(dialogue.State().resource_version, "5") << "an older version is accepted";
  EXPECT_EQ(dialogue.State().ports, 0U);
}

// A server, or its cache, that is behind the node. It answers with a status, or after it has
// accepted the watch.
TEST(ReflectorFailureTest, AsksAgainForAVersionThatTheServerHasNotReached) {
  const testing::ApiAnswer refusal = testing::TooLargeVersion(10, 5);
  const testing::ApiAnswer in_stream = {.code = 200, .body = testing::ErrorEvent(refusal)};
  for (const testing::ApiAnswer& answer : {refusal, in_stream}) {
    SCOPED_TRACE(answer.code);
    Dialogue dialogue;
    dialogue.SyncAndWatch();
    dialogue.Answer(testing::Expired("x"));
    for (int i = 0; i < 5; ++i) {
      EXPECT_THAT(dialogue.Ask(), AllOf(HasSubstr("sendInitialEvents"), EndsWith("Version=10")));
      dialogue.Answer(answer);
      EXPECT_EQ(dialogue.State().ports, 1U);
    }
    EXPECT_EQ(dialogue.Errors(abi::SourceError::kServer), 5U);
    // etcd was restored: the server never reaches it. Its latest state, not any state.
    EXPECT_THAT(dialogue.Ask(), AllOf(HasSubstr("sendInitialEvents"), EndsWith("=NotOlderThan")));
    EXPECT_GE(dialogue.step().delay, absl::Seconds(1)) << "the server asked for the delay";
    dialogue.Answer(200, InitialEventsEnd(5));
    EXPECT_EQ(dialogue.State().resource_version, "5");
    EXPECT_EQ(dialogue.State().ports, 0U);
  }
}

TEST(ReflectorFailureTest, AsksAgainForPagesThatTheServerHasNotReached) {
  Dialogue dialogue;
  dialogue.SyncAndWatch();
  dialogue.Answer(testing::Expired("x"));
  dialogue.Ask();
  dialogue.Answer({.code = 422, .body = ""});
  for (int i = 0; i < 5; ++i) {
    EXPECT_THAT(dialogue.Ask(), EndsWith("&resourceVersion=10&resourceVersionMatch=NotOlderThan"));
    dialogue.Answer(testing::TooLargeVersion(10, 5));
  }
  const std::string latest = dialogue.Ask();
  EXPECT_THAT(latest, HasSubstr("?limit=500&"));
  EXPECT_FALSE(absl::StrContains(latest, "resourceVersion")) << latest;
  dialogue.Answer(200, List(5, ""));
  EXPECT_EQ(dialogue.State().resource_version, "5");
}

TEST(ReflectorFailureTest, AServerThatCatchesUpIsNoReasonForTheLatestState) {
  Dialogue dialogue;
  dialogue.SyncAndWatch();
  for (int lag = 0; lag < 3; ++lag) {
    dialogue.Answer(testing::Expired("x"));
    for (int i = 0; i < 4; ++i) {
      EXPECT_THAT(dialogue.Ask(), EndsWith("Version=10"));
      dialogue.Answer(testing::TooLargeVersion(10, 5));
    }
    EXPECT_THAT(dialogue.Ask(), EndsWith("Version=10"));
    dialogue.Answer(200, Event("ADDED", Object("web", 30080, 10)) + InitialEventsEnd(10));
    EXPECT_THAT(dialogue.Ask(), EndsWith("Version=10"));
  }
}

// A request that took too long, or a proxy's page: the version is not in doubt.
TEST(ReflectorFailureTest, OtherTimeoutsChangeNoVersion) {
  for (const testing::ApiAnswer& answer :
       {testing::StatusAnswer(504, "Timeout", "Timeout: request did not complete within 60s",
                              R"({"causes":[{"reason":"UnexpectedServerResponse"},7]})"),
        testing::ApiAnswer{.code = 504, .body = "<html>Gateway Time-out</html>"}}) {
    Dialogue dialogue;
    dialogue.SyncAndWatch();
    dialogue.Answer(testing::Expired("x"));
    for (int i = 0; i < 10; ++i) {
      EXPECT_THAT(dialogue.Ask(), AllOf(HasSubstr("sendInitialEvents"), EndsWith("Version=10")));
      dialogue.Answer(answer);
    }
    EXPECT_EQ(dialogue.Errors(abi::SourceError::kServer), 10U);
  }
}

// Its one bookmark ends the initial events; none follows.
TEST(ReflectorFailureTest, TheEndOfTheInitialEventsProvesNoBookmarks) {
  Dialogue dialogue;
  dialogue.SyncByWatchList();
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(dialogue.reflector().IdleTimeout(), absl::Seconds(80));
    dialogue.Wait(absl::Seconds(80));
    dialogue.End(kubernetes::HttpEnd::Kind::kStalled, "silent for 1m20s");
    const std::string target = dialogue.Ask();
    dialogue.Head(200);
    if (absl::StrContains(target, "sendInitialEvents")) {
      dialogue.Body(Event("ADDED", Object("web", 30080, 10)) + InitialEventsEnd(10));
    }
  }
  EXPECT_GE(dialogue.reflector().IdleTimeout(), absl::Minutes(5));
}

// After some stalls the reflector accepts that a server sends no bookmarks.
TEST(ReflectorFailureTest, StopsListingForAServerWithoutBookmarks) {
  for (const bool events : {false, true}) {
    SCOPED_TRACE(events ? "with an event at the start of each watch" : "without events");
    Dialogue dialogue;
    dialogue.Ask();
    dialogue.Answer({.code = 422, .body = ""});
    dialogue.Ask();
    dialogue.Answer(200, List(10, ""));
    int lists = 0;
    int stalls = 0;
    for (int i = 0; i < 60; ++i) {
      const std::string target = dialogue.Ask();
      if (absl::StrContains(target, "sendInitialEvents")) {
        dialogue.Answer({.code = 422, .body = ""});
      } else if (absl::StrContains(target, "limit=")) {
        ++lists;
        dialogue.Answer(200, List(10, ""));
      } else {
        dialogue.Head(200);
        if (events) dialogue.Body(Event("ADDED", Object("web", 30080, 10 + i)));
        const absl::Duration length = absl::Seconds(dialogue.timeout_seconds());
        const bool stalled = dialogue.step().request.idle_timeout < length;
        stalls += stalled ? 1 : 0;
        dialogue.Wait(std::min(length, dialogue.step().request.idle_timeout));
        dialogue.End(
            stalled ? kubernetes::HttpEnd::Kind::kStalled : kubernetes::HttpEnd::Kind::kComplete,
            "silent");
      }
    }
    EXPECT_EQ(stalls, 3);
    EXPECT_EQ(lists, events ? 0 : 3);
    EXPECT_TRUE(dialogue.State().connected);
  }
}

TEST(ReflectorFailureTest, CountsAWatchThatEndsAtOnceAsCut) {
  Dialogue dialogue;
  dialogue.SyncAndWatch();
  dialogue.Head(200);
  dialogue.Wait(absl::Milliseconds(900));
  dialogue.End();
  EXPECT_EQ(dialogue.Errors(abi::SourceError::kCut), 1U);
  EXPECT_EQ(dialogue.State().last_error, "watch Services: the server ended the watch at once");
  EXPECT_THAT(dialogue.Ask(), EndsWith("&resourceVersion=10")) << "no new list is needed";

  dialogue.Head(200);
  dialogue.Wait(absl::Milliseconds(1100));
  dialogue.End();
  EXPECT_EQ(dialogue.Errors(abi::SourceError::kCut), 1U);
}

// With an event it is no error, but the reflector must not retry in a tight loop.
TEST(ReflectorFailureTest, PausesAfterAShortWatchWithAnEvent) {
  absl::Duration paused;
  Dialogue dialogue;
  dialogue.SyncAndWatch();
  for (int i = 0; i < 100; ++i) {
    dialogue.Answer(200, Bookmark(10));
    dialogue.Ask();
    EXPECT_LE(dialogue.step().delay, absl::Seconds(1));
    paused += dialogue.step().delay;
  }
  EXPECT_GT(paused, absl::Seconds(25));
  EXPECT_EQ(dialogue.State().errors, SourceState().errors);
}

TEST(ReflectorFailureTest, ListsAnewAfterAnUndecodableWatch) {
  Dialogue dialogue;
  dialogue.SyncAndWatch();
  dialogue.Answer(200, "<html>\nSign in</html>");
  EXPECT_EQ(dialogue.Errors(abi::SourceError::kDecode), 1U);
  EXPECT_THAT(dialogue.State().last_error, StartsWith("watch Services: watch of Services"));
  EXPECT_THAT(dialogue.Ask(), HasSubstr("sendInitialEvents"));
}

TEST(ReflectorFailureTest, StopsReadingAnEndlessError) {
  Dialogue dialogue;
  dialogue.Ask();
  dialogue.Head(500);
  const std::string chunk(10000, 'x');
  int chunks = 0;
  while (dialogue.Body(chunk)) ASSERT_LT(++chunks, 10);
  dialogue.End(kubernetes::HttpEnd::Kind::kStopped);
  EXPECT_EQ(dialogue.State().last_error, "list Services: HTTP status 500");
}

TEST(ReflectorFailureTest, ReportsItsState) {
  Dialogue dialogue;
  EXPECT_EQ(dialogue.State(), SourceState());
  const absl::Time start = dialogue.now();
  dialogue.Ask();
  EXPECT_EQ(dialogue.State().since, start);
  EXPECT_FALSE(dialogue.State().connected);
  dialogue.Head(200);
  dialogue.Body(Event("ADDED", Object("web", 30080, 4)) +
                Event("ADDED", R"({"metadata":{"namespace":"a","name":"lb"},"spec":{)"
                               R"("type":"LoadBalancer","healthCheckNodePort":32000,"ports":)"
                               R"([{"nodePort":70000},{"nodePort":30053,"protocol":"UDP"}]}})") +
                InitialEventsEnd(10));
  SourceState state = dialogue.State();
  EXPECT_TRUE(state.connected);
  EXPECT_EQ(state.since, dialogue.now());
  EXPECT_EQ(state.last_event, dialogue.now());
  EXPECT_EQ(state.last_reading, dialogue.now());
  EXPECT_EQ(state.resource_version, "10");
  EXPECT_EQ(state.services, 2U);
  EXPECT_EQ(state.ports, 2U);
  EXPECT_EQ(state.health_check_ports, 1U);
  EXPECT_EQ(state.skipped, 1U);
  EXPECT_EQ(state.last_error, "");

  const absl::Time listed = dialogue.now();
  dialogue.Wait(absl::Minutes(1));
  dialogue.Body(Bookmark(15));
  state = dialogue.State();
  EXPECT_EQ(state.last_event, dialogue.now());
  EXPECT_EQ(state.last_reading, listed);
  EXPECT_EQ(state.resource_version, "15");

  dialogue.Wait(absl::Minutes(1));
  dialogue.Body(Event("DELETED", Object("web", 30080, 20)));
  EXPECT_EQ(dialogue.State().services, 1U);
  EXPECT_EQ(dialogue.State().resource_version, "20");
  EXPECT_EQ(dialogue.State().since, listed);
}

}  // namespace
}  // namespace npg::sources::kubernetes_reflector_failure_test
