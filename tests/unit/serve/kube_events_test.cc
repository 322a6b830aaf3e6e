// SPDX-License-Identifier: Apache-2.0
// Which requests for Kubernetes Events are made, and when; without network and clock.
#include "serve/kube_events.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "absl/random/random.h"
#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "inspect/protection.h"
#include "inspect/status.h"
#include "kubernetes/http_client.h"
#include "serve/kube_event.h"
#include "serve/kube_event_counts.h"
#include "testing/api_events.h"
#include "testing/api_request.h"
#include "testing/api_status.h"

namespace npg::serve::kube_events_test {
namespace {

using kubernetes::HttpRequest;
using ::testing::EndsWith;
using ::testing::HasSubstr;

constexpr const char* kKnown = R"({"kind":"Status","code":409,"reason":"AlreadyExists"})";
constexpr const char* kEvent = R"({"kind":"Event","series":null})";
constexpr const char* kSeriesOf7 = R"({"kind":"Event","series":{"count":7}})";
constexpr const char* kService = R"({"items":[{"metadata":{"uid":"u-1"}}]})";

inspect::GuardedConflict ConflictOf(const std::string& service, uint16_t port, int pid = 812) {
  inspect::GuardedConflict conflict;
  conflict.state = inspect::ConflictState::kExempted;
  conflict.key = {port, core::Protocol::kTcp};
  conflict.service = service;
  conflict.listener.key = conflict.key;
  conflict.listener.address = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 127, 0, 0, 1};
  conflict.listener.uid = 7;
  conflict.listener.owner.pid = pid;
  if (pid != 0) {
    conflict.listener.owner.comm = "containerd";
    conflict.listener.owner.workload.unit = "containerd.service";
  }
  return conflict;
}

// A port of which a bind was refused and one reported.
inspect::BoundPort BoundOf(const std::string& service, uint16_t port, uint32_t uid = 1000) {
  inspect::BoundPort bound;
  bound.key = {port, core::Protocol::kTcp};
  bound.service = service;
  bound.stats.refused = 1;
  bound.stats.warned = 1;
  bound.stats.binder = {.pid = 812, .comm = "python3", .uid = uid};
  return bound;
}

class KubeEventsTest : public ::testing::Test {
 protected:
  using Conflicts = std::vector<inspect::GuardedConflict>;
  using Binds = std::vector<inspect::BoundPort>;

  KubeEventsTest() { Restart(); }

  // Starts a new run of the controller.
  void Restart(KubeEvents::Options options = {}) {
    options.reporter.node = "worker-1";
    events_.emplace(options, random_);
  }

  // Observes the conflicts, as the controller does every ten seconds.
  void See(const Conflicts& conflicts, int times = 1) {
    for (int i = 0; i < times; ++i) {
      now_ += absl::Seconds(10);
      events_->Observe(conflicts, {}, now_);
    }
  }
  // The same with binds, of which each was `age` ago.
  void SeeBinds(Binds binds, absl::Duration age = absl::ZeroDuration()) {
    now_ += absl::Seconds(10);
    for (inspect::BoundPort& bind : binds) bind.last = now_ - age;
    events_->Observe({}, binds, now_);
  }
  std::optional<HttpRequest> Next() { return events_->Next(now_); }
  absl::Status Answer(int status, const std::string& body = "") {
    return events_->OnAnswer({.status = status, .body = body}, now_);
  }
  // Answers the lookup of the Service, and returns the request that changes an Event.
  std::optional<HttpRequest> NextChange() {
    auto request = Next();
    if (request && std::string(request->method) == "GET") {
      EXPECT_TRUE(Answer(200, kService).ok());
      request = Next();
    }
    return request;
  }
  // Expects an empty patch, which reads the Event.
  void ExpectRead() {
    const auto request = Next();
    ASSERT_TRUE(request);
    EXPECT_STREQ(request->method, "PATCH");
    EXPECT_EQ(request->body_type, "application/merge-patch+json");
    EXPECT_EQ(request->body, "{}");
  }

  // The first request gets no answer, the second 409, and the read returns `event`.
  void LoseTheAnswerAndFind(const std::string& event) {
    See({ConflictOf("shop/web", 33589)}, 2);
    ASSERT_TRUE(NextChange());
    EXPECT_TRUE(Answer(0).ok());
    now_ = events_->due();
    ASSERT_TRUE(Next());
    EXPECT_TRUE(Answer(409, kKnown).ok());
    ExpectRead();
    EXPECT_TRUE(Answer(200, event).ok());
  }
  // Answers all requests, and returns the number of Events.
  int SendAll(int status = 201, const std::string& body = "") {
    int sent = 0;
    while (NextChange()) {
      ++sent;
      EXPECT_TRUE(Answer(status, body).ok());
    }
    return sent;
  }
  // Fails all requests until none is pending, and returns their number.
  int FailAll(int status, absl::Status& last) {
    int requests = 0;
    while (events_->pending() > 0 && requests < 1000) {
      now_ = std::max(now_, events_->due());
      if (!Next()) break;
      ++requests;
      last = Answer(status);
    }
    return requests;
  }

  absl::BitGen random_;
  absl::Time now_ = absl::FromUnixSeconds(1'800'000'000);
  std::optional<KubeEvents> events_;
};

TEST_F(KubeEventsTest, SendsOneEventForALastingConflict) {
  const Conflicts conflicts = {ConflictOf("shop/web", 33589)};
  See(conflicts);
  EXPECT_FALSE(Next()) << "seen only once: it may be gone soon";
  See(conflicts);
  const auto look_up = Next();
  ASSERT_TRUE(look_up);
  EXPECT_EQ(look_up->target,
            "/api/v1/namespaces/shop/services?fieldSelector=metadata.name%3Dweb&resourceVersion=0");
  EXPECT_FALSE(Next()) << "one request at a time";
  EXPECT_TRUE(Answer(200, kService).ok());
  const auto create = Next();
  ASSERT_TRUE(create);
  EXPECT_STREQ(create->method, "POST");
  EXPECT_EQ(create->target, "/apis/events.k8s.io/v1/namespaces/shop/events");
  const auto event = nlohmann::json::parse(create->body);
  EXPECT_EQ(event["regarding"]["kind"], "Service");
  EXPECT_EQ(event["regarding"]["namespace"], "shop");
  EXPECT_EQ(event["regarding"]["name"], "web");
  EXPECT_EQ(event["regarding"]["uid"], "u-1");
  EXPECT_EQ(event["metadata"]["namespace"], "shop");
  EXPECT_EQ(event["related"]["name"], "worker-1");
  EXPECT_EQ(event["reportingInstance"], "worker-1");
  EXPECT_EQ(event["eventTime"], "2027-01-15T08:00:20.000000Z");
  EXPECT_EQ(event["note"],
            "Node worker-1: containerd (pid 812, containerd.service) listens on 127.0.0.1 port "
            "33589/tcp, which is a NodePort of this Service. nodeport-guard lets the node's own "
            "connects reach that process.");
  EXPECT_TRUE(Answer(201).ok());
  EXPECT_EQ(events_->counts().created, 1U);

  See(conflicts, 1000);
  EXPECT_FALSE(Next());
  EXPECT_EQ(events_->due(), absl::InfiniteFuture());
}

TEST_F(KubeEventsTest, NoteStatesThatObserveModeExemptsNothing) {
  KubeEventReporter reporter{"worker-1", false};
  const auto subject = SubjectOf(ConflictOf("shop/web", 33589));
  ASSERT_TRUE(subject);
  const auto event = nlohmann::json::parse(KubeEventJson(*subject, reporter, "", now_));
  EXPECT_THAT(event["note"].get<std::string>(), HasSubstr("only observes"));
  EXPECT_EQ(event["action"], "ObserveLocalConnects");
  EXPECT_FALSE(event["regarding"].contains("uid"));
}

TEST_F(KubeEventsTest, NoteNamesAnUntrustedUserAndTheFlag) {
  inspect::GuardedConflict conflict = ConflictOf("shop/web", 33589);
  conflict.owner_verdict = core::OwnerVerdict::kUntrusted;
  conflict.listener.uid = 0;  // since a setuid() after bind()
  conflict.listener.binder = core::Binder{.pid = 812, .comm = "containerd", .uid = 65534};
  const auto subject = SubjectOf(conflict);
  ASSERT_TRUE(subject);
  const auto event = nlohmann::json::parse(KubeEventJson(*subject, {"worker-1", true}, "", now_));
  EXPECT_EQ(event["action"], "LeaveLocalConnects");
  EXPECT_EQ(
      event["note"],
      "Node worker-1: containerd (pid 812, uid 65534, containerd.service) listens on "
      "127.0.0.1 port 33589/tcp, which is a NodePort of this Service. The node's own connects "
      "go to the Service: nodeport-guard does not guard listeners of uid 65534 (--guard-uid "
      "+65534 would).");

  inspect::GuardedConflict renamed = conflict;
  renamed.listener.owner.comm = "other";
  EXPECT_EQ(SubjectOf(renamed)->Identity(), subject->Identity()) << "a name costs a user nothing";
  renamed.owner_verdict = core::OwnerVerdict::kGuarded;
  EXPECT_NE(SubjectOf(renamed)->Identity(), subject->Identity());
  renamed.owner_verdict = core::OwnerVerdict::kIgnored;
  EXPECT_FALSE(SubjectOf(renamed)) << "it only holds the port";
}

TEST_F(KubeEventsTest, NoEventWithoutAService) {
  EXPECT_TRUE(SubjectOf(ConflictOf("shop/web", 33589)));
  for (const char* taker : {"", "IPVS", "nft table ip cni_hostport, chain hostports",
                            "nft table inet a/b, chain c", "iptables-legacy table nat, chain X"}) {
    EXPECT_FALSE(SubjectOf(ConflictOf(taker, 33589))) << taker;
  }
}

TEST_F(KubeEventsTest, UntrustedUsersDoNotTakeTheRoomOfOthers) {
  Conflicts conflicts;
  for (uint16_t port = 30000; port < 32768; ++port) {
    conflicts.push_back(ConflictOf("shop/web", port));
    conflicts.back().owner_verdict = core::OwnerVerdict::kUntrusted;
  }
  See(conflicts, 2);
  const size_t untrusted = events_->known();
  EXPECT_GT(untrusted, 0U);
  EXPECT_LT(untrusted, conflicts.size());
  conflicts.push_back(ConflictOf("shop/web", 33589));
  See(conflicts, 2);
  EXPECT_EQ(events_->known(), untrusted + 1);
}

TEST_F(KubeEventsTest, NoteStatesThatConnectsAreNotExemptedAtPresent) {
  inspect::GuardedConflict conflict = ConflictOf("shop/web", 33589);
  conflict.state = inspect::ConflictState::kUnguarded;
  auto subject = SubjectOf(conflict);
  ASSERT_TRUE(subject);
  subject->unguarded = true;
  const auto event = nlohmann::json::parse(KubeEventJson(*subject, {"worker-1", true}, "", now_));
  EXPECT_THAT(event["note"].get<std::string>(), HasSubstr("they go to the Service"));
  EXPECT_EQ(event["action"], "LeaveLocalConnects");
}

TEST_F(KubeEventsTest, SendsAgainAfterADay) {
  const Conflicts conflicts = {ConflictOf("shop/web", 33589)};
  See(conflicts, 2);
  EXPECT_EQ(SendAll(), 1);
  now_ += absl::Hours(23);
  See(conflicts, 2);
  EXPECT_EQ(SendAll(), 0);
  now_ += absl::Hours(7);
  See(conflicts);

  // If the server still has the first Event, its series is extended.
  auto request = NextChange();
  ASSERT_TRUE(request);
  EXPECT_STREQ(request->method, "POST");
  EXPECT_TRUE(Answer(409, kKnown).ok());
  request = Next();
  ASSERT_TRUE(request);
  EXPECT_STREQ(request->method, "PATCH");
  const auto subject = SubjectOf(conflicts[0]);
  EXPECT_EQ(request->target,
            "/apis/events.k8s.io/v1/namespaces/shop/events/" + KubeEventName(*subject, "worker-1"));
  const auto patch = nlohmann::json::parse(request->body);
  EXPECT_EQ(patch["series"]["count"], 2);
  EXPECT_TRUE(absl::EndsWith(patch["series"]["lastObservedTime"].get<std::string>(), ".000000Z"));
  EXPECT_TRUE(Answer(200).ok());
  EXPECT_EQ(events_->counts().created, 2U);

  // If the server has deleted it, a new one is created.
  now_ += absl::Hours(30);
  See(conflicts);
  EXPECT_EQ(SendAll(201), 1);
  EXPECT_EQ(events_->counts().created, 3U);
}

// All nodes see a conflict of their common configuration at once.
TEST_F(KubeEventsTest, SpreadsTheEventsOfManyNodes) {
  absl::Duration least = absl::InfiniteDuration();
  absl::Duration most;
  for (int node = 0; node < 200; ++node) {
    Restart({.spread = absl::Minutes(1)});
    See({ConflictOf("shop/web", 33589)}, 2);
    const absl::Duration delay = events_->due() - now_;
    least = std::min(least, delay);
    most = std::max(most, delay);
    EXPECT_FALSE(delay > absl::ZeroDuration() && Next()) << delay;
    now_ = events_->due();
    EXPECT_EQ(SendAll(), 1);
  }
  EXPECT_LT(least, absl::Seconds(20));
  EXPECT_GT(most, absl::Seconds(40));
  EXPECT_LE(most, absl::Minutes(1));
}

TEST_F(KubeEventsTest, SpreadsTheNextEventsOverSixHours) {
  const Conflicts conflicts = {ConflictOf("shop/web", 33589)};
  int early = 0;
  for (int node = 0; node < 200; ++node) {
    Restart();
    See(conflicts, 2);
    EXPECT_EQ(SendAll(), 1);
    now_ += absl::Hours(24) - absl::Seconds(20);
    See(conflicts);
    EXPECT_EQ(SendAll(), 0);
    now_ += absl::Hours(3);
    See(conflicts);
    const int sent = SendAll();
    early += sent;
    now_ += absl::Hours(3);
    See(conflicts);
    EXPECT_EQ(sent + SendAll(), 1);
  }
  EXPECT_GT(early, 20);
  EXPECT_LT(early, 180);
}

TEST_F(KubeEventsTest, SendsNothingForADayIfAConflictComesBack) {
  const Conflicts conflicts = {ConflictOf("shop/web", 33589)};
  See(conflicts, 2);
  EXPECT_EQ(SendAll(), 1);
  See({}, 100);
  See(conflicts, 100);
  EXPECT_EQ(SendAll(), 0);
  See({}, 1);
  now_ += absl::Hours(30);
  See({}, 1);
  EXPECT_EQ(events_->known(), 0U) << "forgotten after a day";
}

TEST_F(KubeEventsTest, ARestartDoesNotRepeatAnEventOfTheServer) {
  const Conflicts conflicts = {ConflictOf("shop/web", 33589)};
  See(conflicts, 2);
  const auto first = NextChange();
  ASSERT_TRUE(first);
  Restart();
  // The same unit with a new process.
  const Conflicts later = {ConflictOf("shop/web", 33589, 4711)};
  See(later, 2);
  const auto second = NextChange();
  ASSERT_TRUE(second);
  EXPECT_EQ(nlohmann::json::parse(first->body)["metadata"],
            nlohmann::json::parse(second->body)["metadata"]);
  EXPECT_TRUE(Answer(409, kKnown).ok());
  ExpectRead();
  EXPECT_TRUE(Answer(200, kEvent).ok());
  EXPECT_EQ(events_->counts().suppressed, 1U);
  EXPECT_EQ(events_->counts().created, 0U);
  See(later, 100);
  EXPECT_EQ(SendAll(), 0);
}

TEST_F(KubeEventsTest, AnotherOwnerPortOrNodeIsAnotherConflict) {
  const inspect::GuardedConflict one = ConflictOf("shop/web", 33589);
  const auto event = [this](const inspect::GuardedConflict& conflict, const std::string& node) {
    return KubeEventJson(*SubjectOf(conflict), {node, true}, "", now_);
  };
  const auto is_other = [&](const inspect::GuardedConflict& conflict, const std::string& node) {
    return IsOtherKubeEvent(event(conflict, node), *SubjectOf(one), "a");
  };
  inspect::GuardedConflict other = one;
  other.listener.owner.comm = "crio";
  EXPECT_FALSE(is_other(one, "a"));
  EXPECT_TRUE(is_other(other, "a"));
  EXPECT_TRUE(is_other(one, "b"));
  EXPECT_TRUE(is_other(ConflictOf("shop/web", 33590), "a"));
  EXPECT_FALSE(is_other(ConflictOf("shop/web", 33589, 1), "a")) << "the pid does not count";
  // Equal on all machines and builds.
  const auto metadata = nlohmann::json::parse(event(one, "a"))["metadata"];
  EXPECT_EQ(metadata["annotations"]["nodeport-guard.io/conflict"], "7568933821ab3ac4");
  EXPECT_EQ(metadata["name"], "web.47979534368846f6");

  See({one}, 2);
  EXPECT_EQ(SendAll(), 1);
  See({other}, 2);
  EXPECT_EQ(SendAll(), 1);
}

TEST_F(KubeEventsTest, AnEventThatDoesNotTellIsNoOther) {
  const auto subject = SubjectOf(ConflictOf("shop/web", 33589));
  for (const char* body :
       {"", "[]", "{}", kEvent, kSeriesOf7, R"({"metadata":[]})", R"({"metadata":{}})",
        R"({"metadata":{"annotations":null}})", R"({"metadata":{"annotations":{"a":"b"}}})",
        R"({"metadata":{"annotations":{"nodeport-guard.io/conflict":7}}})"}) {
    EXPECT_FALSE(IsOtherKubeEvent(body, *subject, "a")) << body;
  }
}

// The Event of the last time has expired, and another node has its name since then.
TEST_F(KubeEventsTest, LeavesTheEventOfAnotherNodeAsItIs) {
  const Conflicts conflicts = {ConflictOf("shop/web", 33589)};
  See(conflicts, 2);
  EXPECT_EQ(SendAll(), 1);
  now_ += absl::Hours(30);
  See(conflicts);
  const auto first = NextChange();
  ASSERT_TRUE(first);
  EXPECT_TRUE(Answer(409, kKnown).ok());
  const auto patch = Next();
  ASSERT_TRUE(patch);
  EXPECT_EQ(nlohmann::json::parse(patch->body)["reportingInstance"], "worker-1");
  EXPECT_TRUE(Answer(422,
                     R"({"kind":"Status","message":"Event.events.k8s.io \"web.1\" is invalid: )"
                     R"(reportingInstance: Invalid value: \"worker-1\": field is immutable"})")
                  .ok());
  const auto second = Next();
  ASSERT_TRUE(second);
  EXPECT_STREQ(second->method, "POST");
  EXPECT_NE(nlohmann::json::parse(first->body)["metadata"]["name"],
            nlohmann::json::parse(second->body)["metadata"]["name"]);
  EXPECT_TRUE(Answer(201).ok());
  EXPECT_EQ(events_->counts().created, 2U);
  EXPECT_EQ(events_->counts().failed, 0U);
}

TEST_F(KubeEventsTest, SpreadsTheRequestsForTheNextName) {
  const std::string other =
      KubeEventJson(*SubjectOf(ConflictOf("shop/web", 33589)), {"worker-2", true}, "", now_);
  absl::Duration most;
  for (int node = 0; node < 100; ++node) {
    Restart({.spread = absl::Minutes(1)});
    See({ConflictOf("shop/web", 33589)}, 2);
    now_ = events_->due();
    ASSERT_TRUE(NextChange());
    EXPECT_TRUE(Answer(409, kKnown).ok());
    ExpectRead();
    EXPECT_TRUE(Answer(200, other).ok());
    most = std::max(most, events_->due() - now_);
  }
  EXPECT_GT(most, absl::Seconds(40));
  EXPECT_LE(most, absl::Minutes(1));
}

TEST_F(KubeEventsTest, ARefusedBindHasAnEventAtOnce) {
  Restart({.reporter = {.refusing = true}});
  SeeBinds({BoundOf("shop/web", 30080)});
  const auto create = NextChange();
  ASSERT_TRUE(create);
  EXPECT_EQ(create->target, "/apis/events.k8s.io/v1/namespaces/shop/events");
  const auto event = nlohmann::json::parse(create->body);
  EXPECT_EQ(event["reason"], "NodePortBindRefused");
  EXPECT_EQ(event["action"], "RefuseBind");
  EXPECT_EQ(event["type"], "Warning");
  EXPECT_EQ(event["regarding"]["kind"], "Service");
  EXPECT_EQ(event["regarding"]["name"], "web");
  EXPECT_EQ(event["regarding"]["uid"], "u-1");
  EXPECT_EQ(event["note"],
            "Node worker-1: nodeport-guard did not let python3 (pid 812, uid 1000) bind port "
            "30080/tcp, which is a NodePort of this Service (--bind-protection deny). Another port "
            "ends this; --bind-allow-uid 1000 would let that user bind NodePorts.");
  EXPECT_TRUE(Answer(201).ok());
  for (int i = 0; i < 100; ++i) SeeBinds({BoundOf("shop/web", 30080)});
  EXPECT_FALSE(Next()) << "silent for a day";
  now_ += absl::Hours(30);
  SeeBinds({BoundOf("shop/web", 30080)});
  EXPECT_EQ(SendAll(), 1);
}

TEST_F(KubeEventsTest, AReportedBindHasAnotherReason) {
  SeeBinds({BoundOf("shop/web", 30080)});
  const auto create = NextChange();
  ASSERT_TRUE(create);
  const auto event = nlohmann::json::parse(create->body);
  EXPECT_EQ(event["reason"], "NodePortBindReported");
  EXPECT_EQ(event["action"], "ReportBind");
  EXPECT_THAT(event["note"].get<std::string>(),
              HasSubstr("python3 (pid 812, uid 1000) bound port 30080/tcp, which is a NodePort of "
                        "this Service. nodeport-guard only reports it"));
}

TEST_F(KubeEventsTest, OldBindsAndThoseOfNoServiceHaveNoEvent) {
  SeeBinds({BoundOf("shop/web", 30080)}, absl::Minutes(2));
  EXPECT_FALSE(Next()) << "as after a restart of the controller";
  SeeBinds({BoundOf("", 30081), BoundOf("IPVS", 30082)});
  EXPECT_FALSE(Next());
  inspect::BoundPort refused = BoundOf("shop/web", 30083);
  refused.stats.warned = 0;
  SeeBinds({refused});
  EXPECT_FALSE(Next()) << "of an earlier mode";
  EXPECT_EQ(events_->known(), 0U);
}

TEST_F(KubeEventsTest, APendingBindIsSentAlthoughItIsOver) {
  SeeBinds({BoundOf("shop/web", 30080)});
  EXPECT_EQ(events_->pending(), 1U);
  See({}, 20);
  EXPECT_EQ(SendAll(), 1);
  now_ += absl::Hours(30);
  See({});
  EXPECT_EQ(events_->known(), 0U) << "forgotten after a day";
}

TEST_F(KubeEventsTest, AnotherUserPortOrKindIsAnotherBind) {
  const auto identity = [](const inspect::BoundPort& bound, KubeEventKind kind) {
    return SubjectOf(bound, kind)->Identity();
  };
  const inspect::BoundPort one = BoundOf("shop/web", 30080);
  const std::string reported = identity(one, KubeEventKind::kBindReported);
  inspect::BoundPort renamed = one;
  renamed.stats.binder.comm = "other";
  renamed.stats.binder.pid = 813;
  EXPECT_EQ(identity(renamed, KubeEventKind::kBindReported), reported)
      << "a name costs a user nothing";
  EXPECT_NE(identity(one, KubeEventKind::kBindRefused), reported);
  EXPECT_NE(identity(BoundOf("shop/web", 30080, 1001), KubeEventKind::kBindReported), reported);
  EXPECT_NE(identity(BoundOf("shop/web", 30081), KubeEventKind::kBindReported), reported);
  inspect::GuardedConflict conflict = ConflictOf("shop/web", 30080);
  conflict.owner_verdict = core::OwnerVerdict::kUntrusted;
  conflict.listener.uid = 1000;
  EXPECT_NE(SubjectOf(conflict)->Identity(), reported);
}

TEST_F(KubeEventsTest, BindsDoNotTakeTheRoomOfConflicts) {
  Binds binds;
  for (uint16_t port = 30000; port < 32768; ++port) binds.push_back(BoundOf("shop/web", port));
  SeeBinds(binds);
  EXPECT_EQ(events_->pending(), 50U);
  EXPECT_EQ(events_->known(), 512U);
  See({ConflictOf("shop/web", 33589)}, 2);
  EXPECT_EQ(events_->pending(), 51U);
}

// Nodes of one cluster, with an API server.
class KubeEventsFleetTest : public KubeEventsTest {
 protected:
  // The outcome of a run of the controller on `node`, which sees the conflict.
  KubeEventCounts Report(const std::string& node, const inspect::GuardedConflict& conflict) {
    return Report(node, {conflict}, {});
  }
  // The same, with binds that are reported.
  KubeEventCounts Report(const std::string& node, const Conflicts& conflicts, const Binds& binds) {
    KubeEvents::Options options;
    options.reporter.node = node;
    KubeEvents events(options, random_);
    events.Observe(conflicts, binds, now_);
    events.Observe(conflicts, binds, now_);
    while (const auto request = events.Next(now_)) {
      if (!events.OnAnswer(AnswerTo(*request), now_).ok()) {
        ADD_FAILURE() << request->target;
        break;
      }
    }
    EXPECT_EQ(events.pending(), 0U);
    return events.counts();
  }
  // The number of Events that runs on nodes of these names create.
  uint64_t ReportAll(const std::string& prefix, int nodes,
                     const inspect::GuardedConflict& conflict) {
    uint64_t created = 0;
    for (int node = 0; node < nodes; ++node) {
      const KubeEventCounts counts = Report(absl::StrCat(prefix, node), conflict);
      EXPECT_EQ(counts.created + counts.suppressed, 1U);
      created += counts.created;
    }
    return created;
  }

  testing::ApiEvents server_;

 private:
  KubeEventAnswer AnswerTo(const HttpRequest& request) {
    if (std::string(request.method) == "GET") return {.status = 200, .body = kService};
    testing::ApiRequest sent;
    sent.method = request.method;
    sent.target = request.target;
    sent.path = request.target;
    sent.headers["content-type"] = request.body_type;
    sent.body = request.body;
    const testing::ApiAnswer answer = server_.Handle(sent);
    return {.status = answer.code, .body = answer.body};
  }
};

TEST_F(KubeEventsFleetTest, AServiceHasSixteenEventsAtMost) {
  const inspect::GuardedConflict web = ConflictOf("shop/web", 33589);
  EXPECT_EQ(ReportAll("worker-", 500, web), 16U);
  EXPECT_EQ(server_.All().size(), 16U);
  EXPECT_EQ(ReportAll("worker-", 500, ConflictOf("shop/api", 33589)), 16U)
      << "each Service has its own";
  EXPECT_EQ(ReportAll("worker-", 500, ConflictOf("stage/web", 33589)), 16U) << "in each namespace";
  server_.Clear();
  EXPECT_EQ(Report("worker-499", web).created, 1U) << "when they have expired";
}

TEST_F(KubeEventsFleetTest, UntrustedUsersDoNotTakeTheNamesOfOthers) {
  inspect::GuardedConflict untrusted = ConflictOf("shop/web", 33589);
  untrusted.owner_verdict = core::OwnerVerdict::kUntrusted;
  EXPECT_EQ(ReportAll("worker-", 500, untrusted), 4U);
  EXPECT_EQ(ReportAll("worker-", 500, ConflictOf("shop/web", 33589)), 12U);
}

TEST_F(KubeEventsFleetTest, BindsShareTheNamesOfUntrustedUsers) {
  inspect::GuardedConflict untrusted = ConflictOf("shop/web", 33589);
  untrusted.owner_verdict = core::OwnerVerdict::kUntrusted;
  uint64_t created = ReportAll("worker-", 250, untrusted);
  inspect::BoundPort bound = BoundOf("shop/web", 33589);
  bound.last = now_;
  for (int node = 0; node < 250; ++node) {
    created += Report(absl::StrCat("worker-", node), {}, {bound}).created;
  }
  EXPECT_EQ(created, 4U);
  EXPECT_EQ(ReportAll("worker-", 500, ConflictOf("shop/web", 33589)), 12U);
}

TEST_F(KubeEventsFleetTest, EachOfAFewNodesHasAnEvent) {
  for (int cluster = 0; cluster < 100; ++cluster) {
    server_.Clear();
    EXPECT_EQ(ReportAll(absl::StrCat("c", cluster, "-worker-"), 3, ConflictOf("shop/web", 33589)),
              3U);
    EXPECT_EQ(server_.All().size(), 3U);
  }
}

TEST_F(KubeEventsFleetTest, RestartsRepeatNoEvents) {
  const inspect::GuardedConflict web = ConflictOf("shop/web", 33589);
  EXPECT_EQ(ReportAll("worker-", 500, web), 16U);
  const std::vector<std::string> events = server_.All();
  EXPECT_EQ(ReportAll("worker-", 500, web), 0U);
  EXPECT_EQ(server_.All(), events);
}

TEST_F(KubeEventsTest, SocketsOfOneOwnerAreOneConflict) {
  inspect::GuardedConflict six = ConflictOf("shop/web", 33589);
  six.listener.address = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1};
  See({ConflictOf("shop/web", 33589), six}, 3);
  EXPECT_EQ(SendAll(), 1);
}

TEST_F(KubeEventsTest, SkipsIgnoredOwnersAndInvalidServices) {
  inspect::GuardedConflict ignored = ConflictOf("shop/web", 33589);
  ignored.owner_verdict = core::OwnerVerdict::kIgnored;
  See({ignored, ConflictOf("", 33590), ConflictOf("web", 33591), ConflictOf("Shop/web", 33592),
       ConflictOf("shop/../web", 33593), ConflictOf("shop/a b", 33594)},
      10);
  EXPECT_FALSE(Next());
  EXPECT_EQ(events_->known(), 0U);
}

TEST_F(KubeEventsTest, WaitsForAnUnknownOwnerForALimitedTime) {
  const Conflicts unknown = {ConflictOf("shop/web", 33589, 0)};
  See(unknown, 3);
  EXPECT_FALSE(Next());
  See(unknown);
  const auto request = NextChange();
  ASSERT_TRUE(request);
  EXPECT_THAT(request->body, HasSubstr("a process of uid 7 listens on"));
}

TEST_F(KubeEventsTest, NamesTheKernelWhereNoProcessHasTheListener) {
  Conflicts kernel = {ConflictOf("shop/web", 33589, 0)};
  kernel.front().listener.owner.no_process = true;
  See(kernel, 4);
  const auto request = NextChange();
  ASSERT_TRUE(request);
  EXPECT_THAT(request->body, HasSubstr("the kernel listens on"));
}

TEST_F(KubeEventsTest, DropsPendingEventsOfEndedConflicts) {
  See({ConflictOf("shop/web", 33589)}, 2);
  EXPECT_EQ(events_->pending(), 1U);
  See({});
  EXPECT_EQ(events_->pending(), 0U);
  // The Service has been deleted.
  See({ConflictOf("shop/web", 33589)}, 2);
  ASSERT_TRUE(Next());
  EXPECT_TRUE(Answer(200, R"({"items":[]})").ok());
  EXPECT_FALSE(Next());
  EXPECT_EQ(events_->counts().created + events_->counts().failed, 0U);
}

TEST_F(KubeEventsTest, CompletesARequestWhoseConflictEnds) {
  See({ConflictOf("shop/web", 33589)}, 2);
  ASSERT_TRUE(NextChange());
  See({});
  EXPECT_TRUE(Answer(201).ok());
  EXPECT_EQ(events_->counts().created, 1U);
}

TEST_F(KubeEventsTest, BoundsPendingEvents) {
  Conflicts many;
  for (uint16_t port = 30000; port < 30150; ++port) many.push_back(ConflictOf("shop/web", port));
  See(many, 2);
  EXPECT_EQ(events_->pending(), 100U);
  EXPECT_EQ(events_->counts().suppressed, 50U);
  See(many, 5);
  EXPECT_EQ(events_->counts().suppressed, 50U) << "counted once";
  EXPECT_EQ(SendAll(), 100);
  now_ += absl::Hours(1);
  See(many);
  EXPECT_EQ(SendAll(), 50);
}

TEST_F(KubeEventsTest, BoundsKnownConflicts) {
  Restart({.most_known = 10});
  for (uint16_t port = 30000; port < 30100; ++port) {
    See({ConflictOf("shop/web", port)}, 2);
    EXPECT_EQ(SendAll(), 1);
    EXPECT_LE(events_->known(), 10U);
  }
  Conflicts many;
  for (uint16_t port = 31000; port < 31100; ++port) many.push_back(ConflictOf("shop/web", port));
  See(many, 2);
  EXPECT_EQ(events_->known(), 10U);
  EXPECT_EQ(SendAll(), 10);
  See(many, 10);
  EXPECT_EQ(SendAll(), 0) << "known conflicts stay known";
}

TEST_F(KubeEventsTest, ReportsAMissingPermissionAndPauses) {
  const Conflicts conflicts = {ConflictOf("shop/web", 33589), ConflictOf("shop/api", 33590)};
  See(conflicts, 2);
  ASSERT_TRUE(NextChange());
  const absl::Status refused =
      Answer(403, R"({"kind":"Status","code":403,"message":"User \"x\" cannot create"})");
  EXPECT_TRUE(absl::IsPermissionDenied(refused));
  EXPECT_THAT(std::string(refused.message()),
              HasSubstr(R"(apiGroups ["events.k8s.io"], resources ["events"], verbs ["create", )"
                        R"("patch"])"));
  See(conflicts, 10);
  EXPECT_FALSE(Next()) << "the other Event would be refused, too";
  now_ += absl::Hours(1);
  See(conflicts);
  EXPECT_EQ(SendAll(), 2);
}

TEST_F(KubeEventsTest, ATerminatingNamespaceIsNoMissingPermission) {
  See({ConflictOf("shop/web", 33589), ConflictOf("till/web", 33590)}, 2);
  ASSERT_TRUE(NextChange());
  EXPECT_TRUE(Answer(403,
                     R"({"kind":"Status","message":"events \"e\" is forbidden: unable to )"
                     R"(create new content in namespace shop because it is being terminated"})")
                  .ok());
  EXPECT_EQ(SendAll(), 1);
}

class KubeEventsFailureTest : public KubeEventsTest, public ::testing::WithParamInterface<int> {};

TEST_P(KubeEventsFailureTest, RetriesAndThenGivesUp) {
  const Conflicts conflicts = {ConflictOf("shop/web", 33589)};
  See(conflicts, 2);
  absl::Status last;
  const absl::Time begun = now_;
  EXPECT_EQ(FailAll(GetParam(), last), 6);
  EXPECT_TRUE(absl::IsUnavailable(last)) << last;
  EXPECT_EQ(events_->counts().failed, 1U);
  EXPECT_LE(now_ - begun, absl::Minutes(30));
  See(conflicts, 10);
  EXPECT_FALSE(Next()) << "no further retry at once";
  now_ += absl::Hours(1);
  See(conflicts);
  EXPECT_EQ(SendAll(), 1);
}

INSTANTIATE_TEST_SUITE_P(Statuses, KubeEventsFailureTest,
                         ::testing::Values(0, 401, 404, 408, 410, 429, 500, 503, 504));

TEST_F(KubeEventsTest, HeedsRetryAfterWithinReason) {
  See({ConflictOf("shop/web", 33589)}, 2);
  ASSERT_TRUE(Next());
  EXPECT_TRUE(events_->OnAnswer({.status = 429, .retry_after = absl::Minutes(6)}, now_).ok());
  EXPECT_GE(events_->due(), now_ + absl::Minutes(6));
  now_ = events_->due();
  ASSERT_TRUE(Next());
  EXPECT_TRUE(events_->OnAnswer({.status = 429, .retry_after = absl::Hours(600)}, now_).ok());
  EXPECT_LE(events_->due(), now_ + absl::Minutes(15));
}

TEST_F(KubeEventsTest, ALostAnswerIsNoSuppression) {
  LoseTheAnswerAndFind(kEvent);
  EXPECT_EQ(events_->counts().created, 1U);
  EXPECT_EQ(events_->counts().suppressed, 0U);
}

// The Event that the server has may be one of an earlier run.
TEST_F(KubeEventsTest, ALostAnswerMayBeASuppression) {
  LoseTheAnswerAndFind(kSeriesOf7);
  EXPECT_EQ(events_->counts().created, 0U);
  EXPECT_EQ(events_->counts().suppressed, 1U);
}

TEST_F(KubeEventsTest, ARestartContinuesTheCount) {
  const Conflicts conflicts = {ConflictOf("shop/web", 33589)};
  See(conflicts, 2);
  ASSERT_TRUE(NextChange());
  EXPECT_TRUE(Answer(409, kKnown).ok());
  ExpectRead();
  EXPECT_TRUE(Answer(500).ok());
  now_ = events_->due();
  ExpectRead();
  EXPECT_TRUE(Answer(200, kSeriesOf7).ok());
  EXPECT_EQ(events_->counts().suppressed, 1U);

  now_ += absl::Hours(30);
  See(conflicts);
  ASSERT_TRUE(NextChange());
  EXPECT_TRUE(Answer(409, kKnown).ok());
  const auto patch = Next();
  ASSERT_TRUE(patch);
  EXPECT_EQ(nlohmann::json::parse(patch->body)["series"]["count"], 8);
  EXPECT_TRUE(Answer(200).ok());

  // If the server has deleted the Event, the note of the new one has the count.
  now_ += absl::Hours(30);
  See(conflicts);
  const auto create = NextChange();
  ASSERT_TRUE(create);
  EXPECT_STREQ(create->method, "POST");
  EXPECT_THAT(nlohmann::json::parse(create->body)["note"].get<std::string>(),
              EndsWith(" This is Event 9 of it."));
}

TEST_F(KubeEventsTest, ReadsTheCountLaterIfPatchIsForbidden) {
  const Conflicts conflicts = {ConflictOf("shop/web", 33589), ConflictOf("shop/api", 33590)};
  See({conflicts[0]}, 2);
  ASSERT_TRUE(NextChange());
  EXPECT_TRUE(Answer(409, kKnown).ok());
  ExpectRead();
  EXPECT_TRUE(Answer(403).ok());
  See(conflicts, 2);
  EXPECT_EQ(SendAll(), 1) << "the other Event is still sent";

  now_ += absl::Hours(30);
  See({conflicts[0]});
  ASSERT_TRUE(NextChange());
  EXPECT_TRUE(Answer(409, kKnown).ok());
  ExpectRead();
  EXPECT_TRUE(absl::IsPermissionDenied(Answer(403)));
  now_ = events_->due();
  ExpectRead();
  EXPECT_TRUE(Answer(200, kSeriesOf7).ok());
  const auto patch = Next();
  ASSERT_TRUE(patch);
  EXPECT_EQ(nlohmann::json::parse(patch->body)["series"]["count"], 8);
}

TEST_F(KubeEventsTest, CreatesAnEventThatIsDeletedBeforeItsCountIsRead) {
  See({ConflictOf("shop/web", 33589)}, 2);
  ASSERT_TRUE(NextChange());
  EXPECT_TRUE(Answer(409, kKnown).ok());
  ExpectRead();
  EXPECT_TRUE(Answer(404).ok());
  now_ = events_->due();
  EXPECT_EQ(SendAll(), 1);
  EXPECT_EQ(events_->counts().created, 1U);
}

TEST(KubeEventTest, ReadsTheCountOfAnEvent) {
  EXPECT_EQ(KubeEventCountIn(kSeriesOf7), 7U);
  for (const char* body : {"", "[]", "{}", kEvent, R"({"series":null})", R"({"series":{}})",
                           R"({"series":{"count":-2}})", R"({"series":{"count":"9"}})",
                           R"({"series":{"count":0}})", R"({"series":[7]})"}) {
    EXPECT_EQ(KubeEventCountIn(body), 1U) << body;
  }
}

TEST_F(KubeEventsTest, DoesNotRetryARefusedEvent) {
  const Conflicts conflicts = {ConflictOf("shop/web", 33589)};
  See(conflicts, 2);
  ASSERT_TRUE(NextChange());
  EXPECT_FALSE(Answer(422, R"({"kind":"Status","message":"note: too long"})").ok());
  EXPECT_EQ(events_->counts().failed, 1U);
  See(conflicts, 1000);
  EXPECT_EQ(SendAll(), 0);
}

TEST_F(KubeEventsTest, StaysWithinTheLimitsOfTheApi) {
  inspect::GuardedConflict conflict =
      ConflictOf(absl::StrCat(std::string(63, 'n'), "/", std::string(63, 's')), 33589);
  conflict.listener.owner.comm = "a\nb\xff\"c\u202e";
  conflict.listener.owner.workload.unit = "u";
  for (int i = 0; i < 1000; ++i) conflict.listener.owner.workload.unit += "\u20ac";
  const auto subject = SubjectOf(conflict);
  ASSERT_TRUE(subject);
  const auto event =
      nlohmann::json::parse(KubeEventJson(*subject, {std::string(253, 'w'), true}, "u", now_));
  EXPECT_LE(event["note"].get<std::string>().size(), 1024U);
  EXPECT_THAT(event["note"].get<std::string>(), HasSubstr(R"(a\nb\xff"c\xe2\x80\xae (pid 812)"));
  EXPECT_LE(event["reportingInstance"].get<std::string>().size(), 128U);
  EXPECT_LE(event["metadata"]["name"].get<std::string>().size(), 253U);
}

}  // namespace
}  // namespace npg::serve::kube_events_test
