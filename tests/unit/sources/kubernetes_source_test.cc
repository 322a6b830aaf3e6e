// SPDX-License-Identifier: Apache-2.0
//
// Source kubernetes over real connections: its reports, and how it handles broken
// connections.
#include "sources/kubernetes/kubernetes_source.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "abi/names.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "base/event_loop.h"
#include "core/port.h"
#include "kubernetes/cluster_access.h"
#include "sources/source.h"
#include "testing/api_fault.h"
#include "testing/api_model.h"
#include "testing/api_server.h"
#include "testing/api_status.h"
#include "testing/api_traffic.h"
#include "testing/status_asserts.h"
#include "unit/sources/kubernetes_source_fixture.h"

namespace npg::sources::kubernetes_source_test {
namespace {

using ::npg::testing::Accepting;
using ::npg::testing::Fault;
using ::npg::testing::FaultAnswer;
using ::npg::testing::HtmlAnswer;
using ::npg::testing::Traffic;
using ::npg::testing::WatchList;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

class KubernetesSourceTest : public KubernetesSourceFixture {};
INSTANTIATE_TEST_SUITE_P(Over, KubernetesSourceTest, ::testing::Bool(), HttpName);

TEST_P(KubernetesSourceTest, IsNotLocal) {
  const KubernetesSource source(access_, options_);
  EXPECT_EQ(source.name(), "kubernetes");
  EXPECT_EQ(source.id(), abi::Source::kKubernetes);
  EXPECT_FALSE(source.local());
  EXPECT_EQ(source.State(), SourceState());
}

TEST_P(KubernetesSourceTest, ReadsFromEveryKindOfServer) {
  options_.reflector.page = 3;
  options_.reflector.list_idle = absl::Milliseconds(300);
  for (int i = 0; i < 10; ++i) Put(absl::StrCat("s", i), 30100 + i);
  for (const bool selects : {true, false}) {
    for (const WatchList watch_list : {WatchList::kOffered, WatchList::kForbidden,
                                       WatchList::kBadRequest, WatchList::kIgnored}) {
      SCOPED_TRACE(absl::StrCat(selects, " ", static_cast<int>(watch_list)));
      server_->Change([&](ApiModel& model) {
        model.options().selects_by_type = selects;
        model.options().watch_list = watch_list;
      });
      KubernetesSource source(access_, options_);
      NPG_ASSERT_OK_AND_ASSIGN(const Reading reading, source.Read());
      EXPECT_EQ(reading.ports.size(), 11U);
    }
  }
}

TEST_P(KubernetesSourceTest, ReadReturnsTheReasonOfAFailure) {
  access_.token = "wrong";
  KubernetesSource source(access_, options_);
  const absl::StatusOr<Reading> reading = source.Read();
  ASSERT_FALSE(reading.ok());
  EXPECT_THAT(std::string(reading.status().message()),
              StartsWith(access_.server + ": list Services: HTTP status 401: Unauthorized; the "));
}

TEST_P(KubernetesSourceTest, ReadIsBounded) {
  server_->SetAccepting(Accepting::kMute);
  options_.read_timeout = absl::Milliseconds(100);
  KubernetesSource source(access_, options_);
  EXPECT_EQ(source.Read().status().message(),
            access_.server + ": list Services: not done within 100ms");
}

TEST_P(KubernetesSourceTest, FollowsEventsOfOneConnection) {
  options_.user_agent = "nodeport-guard/test";
  Follow();
  ASSERT_TRUE(RunUntilSynced());
  EXPECT_TRUE(Knows(30001));
  Put("second", 30002);
  ASSERT_TRUE(RunUntilKnown(30002));
  Put("second", 30003);
  ASSERT_TRUE(RunUntil([&] { return Knows(30003) && !Knows(30002); }));
  server_->Change([](ApiModel& model) { NPG_EXPECT_OK(model.Delete("default", "second")); });
  ASSERT_TRUE(RunUntil([&] { return !Knows(30003); }));
  EXPECT_TRUE(Knows(30001));
  // As the server does after five minutes.
  server_->CloseWatches();
  ASSERT_TRUE(RunUntil([&] { return server_->traffic().requests.size() == 2; }));
  Put("third", 30004);
  ASSERT_TRUE(RunUntilKnown(30004));

  const Traffic traffic = server_->traffic();
  EXPECT_EQ(traffic.connections, 1U);
  for (const auto& request : traffic.requests) {
    EXPECT_EQ(request.http_version, GetParam() ? 2 : 1);
    EXPECT_EQ(request.authorization, "Bearer test-token");
    EXPECT_EQ(request.user_agent, "nodeport-guard/test");
    EXPECT_EQ(request.method, "GET");
  }
  EXPECT_TRUE(NoErrors());
  EXPECT_EQ(source_->State().detail, access_.server);
}

// The server asks for another connection: no reason to list, and no event is lost.
TEST_P(KubernetesSourceTest, ResumesOnANewConnectionAfterGoAway) {
  Follow();
  ASSERT_TRUE(RunUntilSynced());
  server_->SendGoAway();
  Put("second", 30002);
  ASSERT_TRUE(RunUntilKnown(30002));
  server_->CloseWatches();
  ASSERT_TRUE(RunUntil([&] { return server_->traffic().requests.size() >= 2; }));
  Put("third", 30003);
  ASSERT_TRUE(RunUntilKnown(30003));
  const Traffic traffic = server_->traffic();
  EXPECT_EQ(traffic.connections, GetParam() ? 2U : 1U);
  for (size_t i = 1; i < traffic.requests.size(); ++i) {
    EXPECT_THAT(traffic.requests[i].target, Not(HasSubstr("sendInitialEvents")));
  }
}

TEST_P(KubernetesSourceTest, RetriesIfTheServerIsAwayAtTheStart) {
  server_->StopListening();
  Follow();
  ASSERT_TRUE(RunUntilCounted(abi::SourceError::kConnect, 5));
  EXPECT_FALSE(last_);
  ASSERT_EQ(reports_.size(), 1U) << "the errors are equal, without their durations";
  EXPECT_THAT(std::string(reports_[0].message()), HasSubstr("Connection refused"));
  NPG_ASSERT_OK(server_->ListenAgain());
  EXPECT_TRUE(RunUntilKnown(30001));
}

// As a kubeconfig that is written after the start, and then changed.
TEST_P(KubernetesSourceTest, FollowsItsAccess) {
  NPG_ASSERT_OK_AND_ASSIGN(const auto other, ApiServer::Start({.http2 = GetParam()}));
  other->Change([](ApiModel& model) { model.Put({.name = "x", .ports = {{.node_port = 30009}}}); });
  absl::StatusOr<kubernetes::ClusterAccess> access =
      absl::NotFoundError("kubeconfig /k: No such file");
  options_.reflector.access_retry = absl::Milliseconds(1);
  source_ = std::make_unique<KubernetesSource>([&] { return access; }, options_);
  NPG_ASSERT_OK(source_->Follow(*loop_, [this](const absl::StatusOr<Reading>& reading) {
    reports_.push_back(reading.status());
    if (reading.ok()) last_ = *reading;
  }));
  EXPECT_EQ(source_->State().last_error, "list Services: kubeconfig /k: No such file");
  EXPECT_EQ(reports_.size(), 0U) << "only from the loop";
  ASSERT_TRUE(RunUntilCounted(abi::SourceError::kRead, 3));
  ASSERT_EQ(reports_.size(), 1U);
  EXPECT_EQ(reports_[0].message(), "list Services: kubeconfig /k: No such file");
  EXPECT_EQ(source_->State().detail, "");

  access = access_;
  ASSERT_TRUE(RunUntilSynced());
  EXPECT_TRUE(Knows(30001));
  EXPECT_EQ(source_->State().detail, access_.server);

  // While it is being written anew, the last one is used.
  access = absl::InvalidArgumentError("kubeconfig /k: is empty");
  const size_t connections = server_->traffic().connections;
  server_->KillConnections();
  ASSERT_TRUE(RunUntil([&] { return server_->traffic().connections > connections; }));
  ASSERT_TRUE(RunUntilSynced());

  kubernetes::ClusterAccess changed = access_;
  changed.server = other->url();
  changed.ca.data = other->ca_pem();
  access = changed;
  server_->CloseWatches();
  ASSERT_TRUE(RunUntilKnown(30009));
  EXPECT_FALSE(Knows(30001)) << "no watch goes on from a version of the other server";
  EXPECT_EQ(source_->State().detail, changed.server);
}

// A watch may last for minutes.
TEST_P(KubernetesSourceTest, LeavesAWatchForAnotherServer) {
  NPG_ASSERT_OK_AND_ASSIGN(const auto other, ApiServer::Start({.http2 = GetParam()}));
  other->Change([](ApiModel& model) { model.Put({.name = "x", .ports = {{.node_port = 30009}}}); });
  absl::StatusOr<kubernetes::ClusterAccess> access = access_;
  size_t loads = 0;
  options_.access_check = absl::Milliseconds(1);
  source_ = std::make_unique<KubernetesSource>(
      [&] {
        ++loads;
        return access;
      },
      options_);
  NPG_ASSERT_OK(source_->Follow(*loop_, [this](const absl::StatusOr<Reading>& reading) {
    reports_.push_back(reading.status());
    if (reading.ok()) last_ = *reading;
  }));
  ASSERT_TRUE(RunUntilSynced());
  const auto run_checks = [&] {
    const size_t before = loads;
    return RunUntil([&] { return loads >= before + 5; });
  };
  const size_t requests = server_->traffic().requests.size();

  // Not for other credentials, nor for a file that is being written.
  kubernetes::ClusterAccess changed = access_;
  changed.token = "rotated";
  access = changed;
  ASSERT_TRUE(run_checks());
  access = absl::InvalidArgumentError("kubeconfig /k: is empty");
  ASSERT_TRUE(run_checks());
  EXPECT_EQ(server_->traffic().requests.size(), requests);
  EXPECT_EQ(server_->traffic().open_watches, 1);

  changed.token = other->token();
  changed.server = other->url();
  changed.ca.data = other->ca_pem();
  access = changed;
  ASSERT_TRUE(RunUntilKnown(30009));
  EXPECT_FALSE(Knows(30001));
  EXPECT_TRUE(RunUntil([&] { return server_->traffic().open_watches == 0; }));
  EXPECT_TRUE(RunUntil([&] { return other->traffic().open_watches == 1; }));
  EXPECT_TRUE(NoErrors()) << source_->State().last_error;
  EXPECT_EQ(source_->State().detail, changed.server);
  EXPECT_EQ(server_->traffic().requests.size(), requests);
}

// The kubeconfig named a server that is away.
TEST_P(KubernetesSourceTest, DoesNotWaitForTheOldServer) {
  NPG_ASSERT_OK_AND_ASSIGN(const auto other, ApiServer::Start({.http2 = GetParam()}));
  other->Change([](ApiModel& model) { model.Put({.name = "x", .ports = {{.node_port = 30009}}}); });
  absl::StatusOr<kubernetes::ClusterAccess> access = access_;
  options_.access_check = absl::Milliseconds(1);
  options_.reflector.backoff_first = absl::Hours(1'000'000);
  options_.reflector.backoff_max = options_.reflector.backoff_first;
  source_ = std::make_unique<KubernetesSource>([&] { return access; }, options_);
  server_->StopListening();
  NPG_ASSERT_OK(source_->Follow(*loop_, [this](const absl::StatusOr<Reading>& reading) {
    reports_.push_back(reading.status());
    if (reading.ok()) last_ = *reading;
  }));
  ASSERT_TRUE(RunUntilCounted(abi::SourceError::kConnect));

  kubernetes::ClusterAccess changed = access_;
  changed.token = other->token();
  changed.server = other->url();
  changed.ca.data = other->ca_pem();
  access = changed;
  EXPECT_TRUE(RunUntilKnown(30009)) << source_->State().last_error;
}

TEST_P(KubernetesSourceTest, ReadReturnsTheReasonForNoAccess) {
  KubernetesSource source([] { return absl::NotFoundError("no kubeconfig"); }, options_);
  EXPECT_EQ(source.Read().status(), absl::NotFoundError("no kubeconfig"));
}

TEST_P(KubernetesSourceTest, DoesNotSpreadAnUrgentFirstList) {
  options_.reflector.first_spread = absl::Hours(1000);
  source_ = std::make_unique<KubernetesSource>(access_, options_);
  source_->HurryFirstReading();
  NPG_ASSERT_OK(source_->Follow(*loop_, [this](const absl::StatusOr<Reading>& reading) {
    if (reading.ok()) last_ = *reading;
  }));
  EXPECT_TRUE(RunUntilKnown(30001));
}

TEST_P(KubernetesSourceTest, TimesOutOnASilentServer) {
  server_->SetAccepting(Accepting::kMute);
  options_.timeouts.connect = absl::Milliseconds(40);
  Follow();
  ASSERT_TRUE(RunUntilCounted(abi::SourceError::kConnect, 5));
  EXPECT_EQ(reports_.size(), 1U) << reports_.back();
  EXPECT_THAT(std::string(reports_[0].message()), HasSubstr("timeout"));
}

TEST_P(KubernetesSourceTest, ReportsEventsReceivedBeforeTheConnectionBroke) {
  Follow();
  ASSERT_TRUE(RunUntilSynced());
  Put("last", 30002);
  server_->StopListening();
  ASSERT_TRUE(RunUntil([&] { return ReportedErrors() > 0; }));
  EXPECT_TRUE(Knows(30002)) << "the server may be away for long";
}

TEST_P(KubernetesSourceTest, ReconnectsAfterBrokenConnections) {
  Follow();
  for (uint16_t i = 0; i < 20; ++i) {
    ASSERT_TRUE(RunUntilSynced());
    server_->KillConnections();
    const auto port = static_cast<uint16_t>(30100 + i);
    Put(absl::StrCat("s", i), port);
    ASSERT_TRUE(RunUntilKnown(port));
    ASSERT_TRUE(Knows(30001));
  }
  EXPECT_GT(Errors(abi::SourceError::kCut), 0U);
}

TEST_P(KubernetesSourceTest, ReconnectsWhenAConnectionIsSilent) {
  server_->SetBookmarkPeriod(absl::Milliseconds(50));
  options_.reflector.watch_idle = absl::Milliseconds(800);
  Follow();
  ASSERT_TRUE(RunUntilSynced());
  server_->FreezeConnections();
  Put("second", 30002);
  ASSERT_TRUE(RunUntilKnown(30002));
  EXPECT_GE(Errors(abi::SourceError::kStalled), 1U);
  EXPECT_THAT(source_->State().last_error, HasSubstr("silent for 800ms"));
  EXPECT_GE(server_->traffic().connections, 2U);
}

// A WatchList has the idle timeout of a watch once its initial list is complete.
TEST_P(KubernetesSourceTest, AQuietWatchDoesNotTimeOutAsAList) {
  options_.reflector.list_idle = absl::Milliseconds(100);
  Follow();
  ASSERT_TRUE(RunUntilKnown(30001));
  const uint64_t errors =
      Errors(abi::SourceError::kStalled);  // the list may stall on a slow machine
  ASSERT_FALSE(RunUntil([&] { return Errors(abi::SourceError::kStalled) > errors; },
                        absl::Milliseconds(400)));
  Put("second", 30002);
  EXPECT_TRUE(RunUntilKnown(30002));
}

TEST_P(KubernetesSourceTest, HonoursRetryAfter) {
  server_->Inject({.answer = FaultAnswer(429, /*retry_after=*/1)});
  Follow();
  ASSERT_TRUE(RunUntilKnown(30001));
  const Traffic traffic = server_->traffic();
  EXPECT_GE(traffic.requests[1].time - traffic.requests[0].time, absl::Seconds(1));
  EXPECT_EQ(Errors(abi::SourceError::kThrottled), 1U);
}

struct BrokenCase {
  std::string name;
  Fault fault;
  std::set<abi::SourceError> kinds;  // one of them, depending on the version of HTTP
};

std::vector<BrokenCase> BrokenCases() {
  const std::set<abi::SourceError> broken = {abi::SourceError::kCut, abi::SourceError::kDecode};
  std::vector<BrokenCase> cases = {
      {"CloseBefore", {.close_before = true}, broken},
      {"NeverAnswer", {.never_answer = true}, {abi::SourceError::kStalled}},
      {"Stall0", {.stall_after = 0}, {abi::SourceError::kStalled}},
      {"Stall50", {.stall_after = 50}, {abi::SourceError::kStalled}},
      {"Garble", {.garble_at = 1}, {abi::SourceError::kDecode}},
      {"Html", {.answer = HtmlAnswer()}, {abi::SourceError::kDecode}},
      {"Error500", {.answer = FaultAnswer(500)}, {abi::SourceError::kServer}},
      {"Forbidden", {.answer = FaultAnswer(403)}, {abi::SourceError::kForbidden}},
  };
  for (const uint64_t at : {0U, 1U, 2U, 57U, 200U, 400U}) {
    cases.push_back({absl::StrCat("Cut", at), {.cut_after = at}, broken});
    cases.push_back({absl::StrCat("Reset", at), {.reset_after = at}, broken});
  }
  return cases;
}

// With any fault, any number of times, the last reading stays, and the source recovers when
// the fault ends.
TEST_P(KubernetesSourceTest, KeepsTheLastReadingAndRecovers) {
  options_.reflector.answer_timeout = absl::Milliseconds(50);
  options_.timeouts.connect = absl::Milliseconds(450);
  options_.reflector.list_idle = absl::Milliseconds(150);
  options_.reflector.watch_idle = absl::Milliseconds(300);
  server_->SetBookmarkPeriod(absl::Milliseconds(40));
  Put("second", 30002);
  int64_t port = 30100;
  for (const WatchList watch_list : {WatchList::kOffered, WatchList::kForbidden}) {
    server_->Change([&](ApiModel& model) { model.options().watch_list = watch_list; });
    for (BrokenCase& broken : BrokenCases()) {
      SCOPED_TRACE(broken.name);
      Follow();
      ASSERT_TRUE(RunUntilSynced());
      const Reading before = *last_;
      const SourceState state = source_->State();
      broken.fault.count = -1;
      server_->Inject(broken.fault);
      server_->CloseWatches();
      Put("new", ++port);
      const auto counted = [&] {
        uint64_t count = 0;
        for (const abi::SourceError kind : broken.kinds) count += Errors(kind);
        return count;
      };
      ASSERT_TRUE(RunUntil([&] { return counted() >= 2; })) << source_->State().last_error;
      EXPECT_TRUE(Knows(30001) && Knows(30002));
      EXPECT_EQ(source_->State().last_reading, state.last_reading);
      server_->ClearFaults();
      ASSERT_TRUE(RunUntilKnown(static_cast<uint16_t>(port))) << source_->State().last_error;
      source_.reset();
      last_.reset();
      reports_.clear();
      ASSERT_TRUE(server_->WaitUntil(
          absl::Seconds(20), [](const Traffic& traffic) { return traffic.open_watches == 0; }));
    }
  }
}

}  // namespace
}  // namespace npg::sources::kubernetes_source_test
