// SPDX-License-Identifier: Apache-2.0
#include "log/health.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"

namespace npg::log::health_test {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::StartsWith;

constexpr absl::Time kNow = absl::FromUnixSeconds(1'700'000'000);

HealthState Well() {
  HealthState state;
  state.started = kNow - absl::Hours(1);
  state.loop_turn = kNow - absl::Seconds(4);
  state.attached = absl::OkStatus();
  state.table = absl::OkStatus();
  state.sources = {{"netfilter", true, ""}};
  state.probe = {kNow - absl::Seconds(4), absl::OkStatus(), absl::Microseconds(120)};
  return state;
}

TEST(Liveness, ListsEachCheckWhenHealthy) {
  const HealthAnswer answer = Liveness(Well(), kNow);
  EXPECT_TRUE(answer.ok);
  EXPECT_THAT(answer.lines,
              ElementsAre("ok   main loop: came round 4 s ago",
                          StartsWith("ok   self-probe: a connect to a guarded port")));
}

TEST(Liveness, FailsWhenTheMainLoopHangs) {
  HealthState state = Well();
  state.loop_turn = kNow - absl::Seconds(16);
  const HealthAnswer answer = Liveness(state, kNow);
  EXPECT_FALSE(answer.ok);
  EXPECT_THAT(answer.lines, Contains("FAIL main loop: came round 16 s ago"));
}

TEST(Liveness, FailsWithTheReasonOfAFailedProbe) {
  HealthState state = Well();
  state.probe->result = absl::FailedPreconditionError("npg_connect4 is not attached");
  const HealthAnswer answer = Liveness(state, kNow);
  EXPECT_FALSE(answer.ok);
  EXPECT_THAT(answer.lines, Contains("FAIL self-probe: npg_connect4 is not attached"));
}

// The kubelet restarts a controller that is not alive, and a new one would stand aside, too.
TEST(StandingAside, FailsReadinessButNotLivenessWithTheReason) {
  HealthState state = Well();
  state.probe->result = absl::FailedPreconditionError("conntrack tracked the packets");
  state.standing_aside = "the guard stands aside for TCP over IPv4: conntrack tracked the packets";
  const HealthAnswer alive = Liveness(state, kNow);
  EXPECT_TRUE(alive.ok);
  EXPECT_THAT(alive.lines, Contains(absl::StrCat("ok   self-probe: ", state.standing_aside)));
  const HealthAnswer ready = Readiness(state);
  EXPECT_FALSE(ready.ok);
  EXPECT_THAT(ready.lines, Contains(absl::StrCat("FAIL exemption: ", state.standing_aside)));
}

TEST(StandingAside, FailsLivenessIfAProgramOrTheTableIsMissing) {
  HealthState state = Well();
  state.probe->result = absl::FailedPreconditionError("npg_connect4 is not attached");
  state.standing_aside = "the guard stands aside for TCP over IPv4: conntrack tracked the packets";
  state.attached = state.probe->result;
  const HealthAnswer alive = Liveness(state, kNow);
  EXPECT_FALSE(alive.ok);
  EXPECT_THAT(alive.lines, Contains(absl::StrCat("FAIL self-probe: npg_connect4 is not attached; ",
                                                 state.standing_aside)));
  state.attached = absl::OkStatus();
  state.table = absl::NotFoundError("no nft table");
  EXPECT_FALSE(Liveness(state, kNow).ok);
}

TEST(StandingAside, FailsLivenessIfTheMainLoopHangs) {
  HealthState state = Well();
  state.probe->result = absl::FailedPreconditionError("conntrack tracked the packets");
  state.standing_aside = "the guard stands aside for TCP over IPv4: conntrack tracked the packets";
  state.loop_turn = state.probe->at = kNow - absl::Seconds(16);
  EXPECT_FALSE(Liveness(state, kNow).ok);
}

TEST(Liveness, FailsWhenTheLastProbeIsOld) {
  HealthState state = Well();
  state.probe->at = kNow - absl::Seconds(16);
  EXPECT_FALSE(Liveness(state, kNow).ok);
}

TEST(Liveness, PassesWhenTheProbeIsNotPossible) {
  HealthState state = Well();
  state.probe->result = absl::UnavailableError("no process can be started in the guarded cgroup");
  const HealthAnswer answer = Liveness(state, kNow);
  EXPECT_TRUE(answer.ok);
  EXPECT_THAT(answer.lines, Contains("ok   self-probe: not proven: no process can be started in "
                                     "the guarded cgroup"));
}

// What an earlier probe found holds until another one can tell.
TEST(StandingAside, FailsReadinessAlsoWhileTheProbeCannotTell) {
  HealthState state = Well();
  state.probe->result = absl::UnavailableError("more connections than can be listed");
  state.standing_aside = "the guard stands aside for TCP over IPv4: an earlier run left it so";
  const HealthAnswer alive = Liveness(state, kNow);
  EXPECT_TRUE(alive.ok);
  EXPECT_THAT(alive.lines, Contains(absl::StrCat("ok   self-probe: more connections than can be "
                                                 "listed; ",
                                                 state.standing_aside)));
  EXPECT_FALSE(Readiness(state).ok);
}

TEST(Liveness, ReportsThatObserveModeOnlyCounts) {
  HealthState state = Well();
  state.probe->observed = true;
  EXPECT_THAT(Liveness(state, kNow).lines, Contains(HasSubstr("counted, as mode observe does")));
}

TEST(Liveness, PassesWhileTheControllerStarts) {
  const HealthState state;
  EXPECT_TRUE(Liveness(state, absl::Now()).ok);
  EXPECT_FALSE(Liveness(state, absl::Now() + absl::Minutes(1)).ok);
}

TEST(Liveness, PassesWithoutAProbeOnlyAtTheStart) {
  HealthState state = Well();
  state.probe.reset();
  EXPECT_FALSE(Liveness(state, kNow).ok);
  state.started = kNow - absl::Seconds(1);
  EXPECT_TRUE(Liveness(state, kNow).ok);
}

TEST(Liveness, DoesNotDependOnTheSources) {
  HealthState state = Well();
  state.sources = {{"kubernetes", false, "connect: refused"}};
  EXPECT_TRUE(Liveness(state, kNow).ok);
}

TEST(Readiness, FailsBeforeTheStart) {
  const HealthAnswer answer = Readiness(HealthState());
  EXPECT_FALSE(answer.ok);
  EXPECT_THAT(answer.lines,
              ElementsAre("FAIL programs: not attached yet", "FAIL nft table: not installed yet"));
}

TEST(Readiness, WaitsForEverySourceAndNamesIt) {
  HealthState state = Well();
  EXPECT_TRUE(Readiness(state).ok);
  state.sources.push_back({"kubernetes", false, "connect to 10.96.0.1:443: refused"});
  const HealthAnswer answer = Readiness(state);
  EXPECT_FALSE(answer.ok);
  EXPECT_THAT(answer.lines, Contains("FAIL source kubernetes: connect to 10.96.0.1:443: refused"));
}

TEST(Readiness, FailsWhenAProgramIsDetached) {
  HealthState state = Well();
  state.attached = absl::FailedPreconditionError("npg_connect6 is not attached");
  const HealthAnswer answer = Readiness(state);
  EXPECT_FALSE(answer.ok);
  EXPECT_THAT(answer.lines, Contains("FAIL programs: npg_connect6 is not attached"));
}

TEST(Readiness, FailsWhenAnotherProcessHasTheLock) {
  HealthState state = Well();
  state.lock = absl::UnavailableError("another nodeport-guard (pid 7) controls /sys/fs/bpf");
  const HealthAnswer answer = Readiness(state);
  EXPECT_FALSE(answer.ok);
  EXPECT_THAT(answer.lines, Contains(HasSubstr("FAIL lock on the pins: another nodeport-guard")));
  EXPECT_TRUE(Liveness(state, kNow).ok) << "a restart would end with the same error";
}

TEST(Readiness, FailsWhenTheTableCannotBeRestored) {
  HealthState state = Well();
  state.table = absl::PermissionDeniedError("another process owns it");
  const HealthAnswer answer = Readiness(state);
  EXPECT_FALSE(answer.ok);
  EXPECT_THAT(answer.lines, Contains(HasSubstr("another process owns it")));
}

TEST(Health, ReadReturnsTheLastUpdate) {
  Health health;
  EXPECT_EQ(health.Read().probes_failed, 0);
  health.Update([](HealthState& state) { state.probes_failed = 3; });
  EXPECT_EQ(health.Read().probes_failed, 3);
}

}  // namespace
}  // namespace npg::log::health_test
