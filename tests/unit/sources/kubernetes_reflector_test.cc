// SPDX-License-Identifier: Apache-2.0
//
// The requests of the reflector, for each kind of server.
#include "sources/kubernetes/reflector.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <set>
#include <string>
#include <vector>

#include "abi/names.h"
#include "absl/strings/match.h"
#include "absl/time/time.h"
#include "kubernetes/http_client.h"
#include "testing/api_status.h"
#include "unit/sources/kubernetes_reflector_dialogue.h"

namespace npg::sources::kubernetes_reflector_test {
namespace {

using ::testing::AllOf;
using ::testing::Ge;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Le;

constexpr char kWatchListAny[] =
    "/api/v1/services?watch=true&allowWatchBookmarks=true&timeoutSeconds=N"
    "&fieldSelector=spec.type%21%3DClusterIP"
    "&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&resourceVersion=0";
constexpr char kWatchListFrom10[] =
    "/api/v1/services?watch=true&allowWatchBookmarks=true&timeoutSeconds=N"
    "&fieldSelector=spec.type%21%3DClusterIP"
    "&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&resourceVersion=10";
constexpr char kWatchListUnfiltered[] =
    "/api/v1/services?watch=true&allowWatchBookmarks=true&timeoutSeconds=N"
    "&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&resourceVersion=0";
constexpr char kWatchFrom10[] =
    "/api/v1/services?watch=true&allowWatchBookmarks=true&timeoutSeconds=N"
    "&fieldSelector=spec.type%21%3DClusterIP&resourceVersion=10";
constexpr char kWatchFrom10Unfiltered[] =
    "/api/v1/services?watch=true&allowWatchBookmarks=true&timeoutSeconds=N&resourceVersion=10";
constexpr char kPageAny[] =
    "/api/v1/services?limit=500&fieldSelector=spec.type%21%3DClusterIP&resourceVersion=0";
// Without a limit: a server before 1.34 would read such pages from etcd.
constexpr char kPageFrom10[] =
    "/api/v1/services?fieldSelector=spec.type%21%3DClusterIP"
    "&resourceVersion=10&resourceVersionMatch=NotOlderThan";
constexpr char kPageFrom10Unfiltered[] =
    "/api/v1/services?resourceVersion=10&resourceVersionMatch=NotOlderThan";
constexpr char kPageUnfiltered[] = "/api/v1/services?limit=500&resourceVersion=0";

// The answer of a server that cannot select by spec.type.
testing::ApiAnswer NoSelector() {
  return testing::BadRequest(
      R"("spec.type" is not a known field selector: only "metadata.name", "metadata.namespace")");
}
testing::ApiAnswer NoWatchList() {
  return testing::InvalidOption("sendInitialEvents",
                                "sendInitialEvents is forbidden for watch unless the WatchList "
                                "feature gate is enabled");
}

TEST(ReflectorTest, FirstListIsAWatchListOfAnyVersionThatBecomesTheWatch) {
  Dialogue dialogue;
  EXPECT_EQ(dialogue.Ask(), kWatchListAny);
  EXPECT_EQ(dialogue.step().request.answer_timeout, absl::Seconds(60));
  EXPECT_EQ(dialogue.step().request.idle_timeout, absl::Seconds(30));
  EXPECT_THAT(dialogue.step().request.token, IsEmpty());
  EXPECT_TRUE(dialogue.Head(200));
  EXPECT_TRUE(dialogue.Body(Event("ADDED", Object("web", 30080, 4))));
  EXPECT_FALSE(dialogue.reflector().synced());
  EXPECT_THAT(dialogue.reflector().store().reading()->ports, IsEmpty());
  EXPECT_TRUE(dialogue.Body(InitialEventsEnd(10)));
  EXPECT_TRUE(dialogue.reflector().synced());
  EXPECT_TRUE(dialogue.reflector().used_watch_list());
  EXPECT_EQ(dialogue.reflector().store().reading()->ports.size(), 1U);
  // The same stream is now the watch, with a bookmark each minute.
  EXPECT_EQ(dialogue.reflector().IdleTimeout(), absl::Seconds(80));
  EXPECT_TRUE(dialogue.Body(Event("ADDED", Object("dns", 30053, 12))));
  EXPECT_EQ(dialogue.reflector().store().reading()->ports.size(), 2U);
  dialogue.Wait(absl::Minutes(6));
  dialogue.End();
  EXPECT_THAT(dialogue.Ask(), HasSubstr("&resourceVersion=12"));
  EXPECT_EQ(dialogue.step().delay, absl::ZeroDuration());
  EXPECT_EQ(dialogue.State().errors, SourceState().errors);
}

TEST(ReflectorTest, TheWatchResumesWhereABookmarkLeftIt) {
  Dialogue dialogue;
  dialogue.SyncByWatchList(7);
  dialogue.Body(Bookmark(10));
  dialogue.Wait(absl::Minutes(6));
  dialogue.End();
  EXPECT_EQ(dialogue.Ask(), kWatchFrom10);
  EXPECT_EQ(dialogue.step().request.idle_timeout, absl::Seconds(80));
  dialogue.Head(200);
  dialogue.End(kubernetes::HttpEnd::Kind::kCut, "the connection broke");
  EXPECT_EQ(dialogue.Ask(), kWatchFrom10);
}

TEST(ReflectorTest, TimeoutsOfWatchesFillTheirRange) {
  std::set<int> drawn;
  for (uint64_t seed = 0; seed < 400; ++seed) {
    Dialogue dialogue({}, seed);
    dialogue.Ask();
    EXPECT_THAT(dialogue.timeout_seconds(), AllOf(Ge(300), Le(600)));
    drawn.insert(dialogue.timeout_seconds());
  }
  EXPECT_LT(*drawn.begin(), 315);
  EXPECT_GT(*drawn.rbegin(), 585);
  EXPECT_GT(drawn.size(), 100U);
}

TEST(ReflectorTest, PagesFollowTheirTokensAndApplyWithTheLast) {
  Dialogue dialogue;
  dialogue.Ask();
  dialogue.Answer(NoWatchList());
  EXPECT_EQ(dialogue.Ask(), kPageAny);
  EXPECT_EQ(dialogue.step().delay, absl::ZeroDuration());
  EXPECT_EQ(dialogue.step().request.idle_timeout, absl::Seconds(30));
  dialogue.Answer(200, List(10, Object("web", 30080, 4), "a/b+c="));
  EXPECT_FALSE(dialogue.reflector().synced());
  EXPECT_THAT(dialogue.reflector().store().reading()->ports, IsEmpty());
  EXPECT_EQ(dialogue.Ask(),
            "/api/v1/services?limit=500&fieldSelector=spec.type%21%3DClusterIP"
            "&continue=a%2Fb%2Bc%3D");
  // A later page may have a later version; the watch starts at that of the first.
  dialogue.Answer(200, List(11, Object("dns", 30053, 5)));
  EXPECT_TRUE(dialogue.reflector().synced());
  EXPECT_FALSE(dialogue.reflector().used_watch_list());
  EXPECT_EQ(dialogue.reflector().store().reading()->ports.size(), 2U);
  EXPECT_EQ(dialogue.Ask(), kWatchFrom10);
  EXPECT_EQ(dialogue.State().errors, SourceState().errors);
}

TEST(ReflectorTest, RequestsABrokenPageAgain) {
  Dialogue dialogue;
  dialogue.Ask();
  dialogue.Answer(NoWatchList());
  dialogue.Ask();
  dialogue.Answer(200, List(10, Object("web", 30080, 4), "next"));
  const std::string second = dialogue.Ask();
  const std::string page = List(10, Object("dns", 30053, 5));
  dialogue.Head(200);
  dialogue.Body(page.substr(0, page.size() / 2));
  dialogue.End(kubernetes::HttpEnd::Kind::kCut, "the connection broke");
  EXPECT_EQ(dialogue.Ask(), second);
  dialogue.Answer(200, page);
  EXPECT_EQ(dialogue.reflector().store().reading()->ports.size(), 2U);
  EXPECT_EQ(dialogue.Errors(abi::SourceError::kCut), 1U);
}

TEST(ReflectorTest, APageWithItsOwnTokenIsAnError) {
  Dialogue dialogue;
  dialogue.Ask();
  dialogue.Answer(NoWatchList());
  dialogue.Ask();
  dialogue.Answer(200, List(10, Object("web", 30080, 4), "next"));
  dialogue.Ask();
  dialogue.Answer(200, List(10, Object("web", 30080, 4), "next"));
  EXPECT_EQ(dialogue.Errors(abi::SourceError::kDecode), 1U);
  EXPECT_EQ(dialogue.Ask(), kPageAny);
}

TEST(ReflectorTest, LaterListsAreNotOlder) {
  Dialogue dialogue;
  dialogue.SyncByWatchList();
  dialogue.Body(testing::ErrorEvent(testing::Expired("too old resource version: 10 (12)")));
  dialogue.End(kubernetes::HttpEnd::Kind::kStopped);
  EXPECT_EQ(dialogue.Ask(), kWatchListFrom10);
  dialogue.Answer(NoWatchList());
  EXPECT_EQ(dialogue.Ask(), kPageFrom10);
}

// Behind a load balancer, servers of several versions answer in turn.
TEST(ReflectorTest, ALaterListFromAnOlderServerIsNotOlderEither) {
  Dialogue dialogue;
  dialogue.SyncByWatchList();
  dialogue.Body(testing::ErrorEvent(testing::Expired("too old resource version: 10 (12)")));
  dialogue.End(kubernetes::HttpEnd::Kind::kStopped);
  EXPECT_EQ(dialogue.Ask(), kWatchListFrom10);
  dialogue.Answer(NoWatchList());
  EXPECT_EQ(dialogue.Ask(), kPageFrom10);
  dialogue.Answer(NoSelector());
  EXPECT_EQ(dialogue.Ask(), kPageFrom10Unfiltered);
  dialogue.Answer(200, List(10, Object("web", 30080, 4)));
  EXPECT_EQ(dialogue.Ask(), kWatchFrom10Unfiltered);
  // A newer one again.
  dialogue.Answer(testing::Expired("too old resource version: 10 (12)"));
  EXPECT_EQ(dialogue.Ask(), kWatchListFrom10);
}

TEST(ReflectorTest, ListsAnyVersionOfAnotherServer) {
  Dialogue dialogue;
  dialogue.SyncAndWatch();
  dialogue.reflector().OnOtherServer();
  EXPECT_EQ(dialogue.Ask(), kWatchListAny);
  dialogue.Answer(200, Event("ADDED", Object("dns", 30053, 3)) + InitialEventsEnd(3));
  EXPECT_EQ(dialogue.State().resource_version, "3");
  EXPECT_EQ(dialogue.State().services, 1U);
  EXPECT_EQ(dialogue.State().errors, SourceState().errors);
}

// Some servers continue a list that has no limit.
TEST(ReflectorTest, ContinuesAListWithoutALimit) {
  Dialogue dialogue;
  dialogue.SyncByWatchList();
  dialogue.Body(testing::ErrorEvent(testing::Expired("too old resource version: 10 (12)")));
  dialogue.End(kubernetes::HttpEnd::Kind::kStopped);
  dialogue.Ask();
  dialogue.Answer(NoWatchList());
  EXPECT_EQ(dialogue.Ask(), kPageFrom10);
  dialogue.Answer(200, List(10, Object("web", 30080, 4), "next"));
  EXPECT_EQ(dialogue.Ask(),
            "/api/v1/services?limit=500&fieldSelector=spec.type%21%3DClusterIP&continue=next");
  // The token has expired: not its remainder, which would be of another state.
  dialogue.Answer(testing::Expired("The provided continue parameter is too old",
                                   R"({"continue":"inconsistent"})"));
  EXPECT_EQ(dialogue.Ask(), kPageFrom10);
}

// Servers differ in features. Each row is one server: the requests before its watch, and
// its answers to them.
struct ServerCase {
  std::string name;
  std::vector<std::string> targets;
  std::vector<testing::ApiAnswer> answers;
};

class ReflectorServers : public ::testing::TestWithParam<ServerCase> {};

TEST_P(ReflectorServers, AreListedWithoutAnErrorAndInOrder) {
  Dialogue dialogue;
  std::vector<std::string> targets;
  for (const testing::ApiAnswer& answer : GetParam().answers) {
    targets.push_back(dialogue.Ask());
    // Only the first list is spread.
    EXPECT_TRUE(targets.size() == 1 || dialogue.step().delay == absl::ZeroDuration());
    dialogue.Answer(answer);
  }
  targets.push_back(dialogue.Ask());
  EXPECT_EQ(targets, GetParam().targets);
  EXPECT_TRUE(dialogue.reflector().synced());
  EXPECT_EQ(dialogue.State().errors, SourceState().errors);
  EXPECT_EQ(dialogue.reflector().store().reading()->ports.size(), 1U);
}

std::vector<ServerCase> ServerCases() {
  const testing::ApiAnswer list{.code = 200, .body = List(10, Object("web", 30080, 4))};
  const testing::ApiAnswer bad = testing::BadRequest("unknown parameter sendInitialEvents");
  return {
      {"NoWatchList422", {kWatchListAny, kPageAny, kWatchFrom10}, {NoWatchList(), list}},
      {"NoWatchList400", {kWatchListAny, kPageAny, kWatchFrom10}, {bad, list}},
      {"NoSelectorNorWatchList",
       {kWatchListAny, kWatchListUnfiltered, kPageUnfiltered, kWatchFrom10Unfiltered},
       {NoSelector(), NoWatchList(), list}},
      {"NoWatchListAndThenNoSelector",
       {kWatchListAny, kPageAny, kPageUnfiltered, kWatchFrom10Unfiltered},
       {NoWatchList(), testing::BadRequest("field label not supported: spec.type"), list}},
      {"ABadRequestThatSaysNothing",
       {kWatchListAny, kPageAny, kPageUnfiltered, kWatchFrom10Unfiltered},
       {{.code = 400, .body = ""}, {.code = 400, .body = "<html>"}, list}},
  };
}

INSTANTIATE_TEST_SUITE_P(Kinds, ReflectorServers, ::testing::ValuesIn(ServerCases()),
                         [](const auto& parameters) { return parameters.param.name; });

TEST(ReflectorTest, ABadRequestWithNothingLeftToDropIsAnError) {
  Dialogue dialogue;
  for (int i = 0; i < 3; ++i) {
    dialogue.Ask();
    dialogue.Answer(testing::BadRequest("no"));
  }
  EXPECT_EQ(dialogue.Errors(abi::SourceError::kHttp), 1U);
  EXPECT_EQ(dialogue.reflector().failure().message(), "list Services: HTTP status 400: no");
}

// A server older than sendInitialEvents treats the list as a plain watch.
TEST(ReflectorTest, ListsInPagesIfAWatchListDoesNotEnd) {
  for (const bool empty : {true, false}) {
    Dialogue dialogue;
    dialogue.Ask();
    dialogue.Head(200);
    if (!empty) dialogue.Body(Event("ADDED", Object("old", 30001, 4)));
    dialogue.Wait(absl::Seconds(30));
    dialogue.End(kubernetes::HttpEnd::Kind::kStalled, "silent for 30s");
    EXPECT_EQ(dialogue.State().errors, SourceState().errors) << "an old server is no error";
    EXPECT_EQ(dialogue.Ask(), kPageAny);
    dialogue.Answer(200, List(10, Object("web", 30080, 4)));
    EXPECT_EQ(dialogue.reflector().store().reading()->ports.size(), 1U);
    EXPECT_EQ(dialogue.Ask(), kWatchFrom10);
  }
}

// On a busy cluster such a watch is never silent.
TEST(ReflectorTest, ListsInPagesAfterAPlainBookmark) {
  Dialogue dialogue;
  dialogue.Ask();
  dialogue.Head(200);
  EXPECT_TRUE(dialogue.Body(Bookmark(5))) << "a server may lag at first";
  for (int i = 0; i < 6; ++i) {
    dialogue.Wait(absl::Seconds(10));
    EXPECT_TRUE(dialogue.Body(Event("MODIFIED", Object("busy", 30001, 5 + i))));
  }
  EXPECT_FALSE(dialogue.Body(Bookmark(11)));
  dialogue.End(kubernetes::HttpEnd::Kind::kStopped);
  EXPECT_EQ(dialogue.State().errors, SourceState().errors);
  EXPECT_EQ(dialogue.Ask(), kPageAny);
}

// A stall within an event is a fault, not a sign of an older server.
TEST(ReflectorTest, AListThatStallsWithinAnEventIsAFailure) {
  Dialogue dialogue;
  dialogue.Ask();
  dialogue.Head(200);
  dialogue.Body(R"({"type":"ADD)");
  dialogue.End(kubernetes::HttpEnd::Kind::kStalled, "silent for 30s");
  EXPECT_EQ(dialogue.Errors(abi::SourceError::kStalled), 1U);
  EXPECT_EQ(dialogue.Ask(), kPageAny);
}

TEST(ReflectorTest, EveryListTriesUnsupportedFeaturesAgain) {
  Dialogue dialogue;
  dialogue.Ask();
  dialogue.Answer(NoSelector());
  dialogue.Ask();
  dialogue.Answer(NoWatchList());
  dialogue.Ask();
  dialogue.Answer(200, List(10, ""));
  dialogue.Ask();
  dialogue.Answer(testing::Expired("too old resource version"));
  EXPECT_EQ(dialogue.Ask(), kWatchListFrom10);
}

TEST(ReflectorTest, ListsAnewAfterHalfADayToADay) {
  std::vector<absl::Duration> after;
  for (uint64_t seed = 0; seed < 100; ++seed) {
    Dialogue dialogue({}, seed);
    dialogue.SyncByWatchList();
    const absl::Time listed = dialogue.now();
    std::string target;
    // A sequence of watches that end without an error.
    for (int i = 0; i < 500 && !absl::StrContains(target, "sendInitialEvents"); ++i) {
      dialogue.Body(Bookmark(10));
      dialogue.Wait(absl::Minutes(5));
      dialogue.End();
      target = dialogue.Ask();
      dialogue.Head(200);
    }
    ASSERT_EQ(target, kWatchListFrom10);
    after.push_back(dialogue.now() - listed);
    EXPECT_GE(after.back(), absl::Hours(12));
    EXPECT_LE(after.back(), absl::Hours(24) + absl::Minutes(5));
  }
  EXPECT_LT(*std::min_element(after.begin(), after.end()), absl::Hours(13));
  EXPECT_GT(*std::max_element(after.begin(), after.end()), absl::Hours(23));
}

TEST(ReflectorTest, ResyncIsNoFailureAndNoChange) {
  Dialogue dialogue({.resync_min = absl::Minutes(1), .resync_max = absl::Minutes(1)});
  dialogue.SyncByWatchList();
  EXPECT_TRUE(dialogue.reflector().store().TakeChanged());
  dialogue.Wait(absl::Minutes(5));
  dialogue.End();
  EXPECT_EQ(dialogue.Ask(), kWatchListFrom10);
  EXPECT_TRUE(dialogue.reflector().synced());
  dialogue.Answer(200, Event("ADDED", Object("web", 30080, 10)) + InitialEventsEnd(11));
  EXPECT_FALSE(dialogue.reflector().store().TakeChanged());
  EXPECT_EQ(dialogue.State().resource_version, "11");
  EXPECT_EQ(dialogue.State().errors, SourceState().errors);
}

}  // namespace
}  // namespace npg::sources::kubernetes_reflector_test
