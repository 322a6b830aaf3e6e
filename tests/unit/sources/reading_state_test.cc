// SPDX-License-Identifier: Apache-2.0
#include "sources/reading_state.h"

#include <string>

#include "abi/names.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "core/port.h"
#include "gtest/gtest.h"
#include "sources/change_reporter.h"
#include "sources/source.h"

namespace npg::sources::reading_state_test {
namespace {

constexpr core::PortKey kWeb = {.port = 30080, .protocol = core::Protocol::kTcp};
constexpr core::PortKey kDns = {.port = 30053, .protocol = core::Protocol::kUdp};
constexpr core::PortKey kDnsTcp = {.port = 30053, .protocol = core::Protocol::kTcp};

absl::Time At(int64_t seconds) { return absl::FromUnixSeconds(seconds); }

Reading SomePorts() {
  return {{{kWeb, ""}, {kDns, "kube-system/dns"}, {kDnsTcp, "kube-system/dns"}}, {"item 4: bad"}};
}

TEST(ReadingState, IsNotConnectedBeforeTheFirstReading) {
  const ReadingState state("/etc/ports", At(100));
  EXPECT_FALSE(state.state().connected);
  EXPECT_EQ(state.state().since, At(100));
  EXPECT_EQ(state.state().last_event, absl::Time());
  EXPECT_EQ(state.state().last_reading, absl::Time());
  EXPECT_EQ(state.state().last_error, "");
  EXPECT_EQ(state.state().detail, "/etc/ports");
}

TEST(ReadingState, CountsServicesAndPorts) {
  ReadingState state("", At(100));
  state.Note(SomePorts(), At(101));
  EXPECT_TRUE(state.state().connected);
  EXPECT_EQ(state.state().since, At(101));
  EXPECT_EQ(state.state().ports, 3U);
  EXPECT_EQ(state.state().services, 1U) << "a Service may have many ports, and a port no Service";
  EXPECT_EQ(state.state().skipped, 1U);
  state.Note(Reading{}, At(110));
  EXPECT_EQ(state.state().since, At(101)) << "unchanged while connected";
  EXPECT_EQ(state.state().last_event, At(110));
  EXPECT_EQ(state.state().last_reading, At(110));
  EXPECT_EQ(state.state().ports, 0U);
  EXPECT_EQ(state.state().services, 0U);
  EXPECT_EQ(state.state().skipped, 0U);
}

TEST(ReadingState, AnErrorKeepsTheReadingAndSetsSince) {
  ReadingState state("", At(100));
  state.Note(SomePorts(), At(101));
  state.Note(absl::NotFoundError("ports file /x: No such\nfile"), At(110));
  state.Note(absl::NotFoundError("ports file /x: No such\nfile"), At(120));
  EXPECT_FALSE(state.state().connected);
  EXPECT_EQ(state.state().since, At(110));
  EXPECT_EQ(state.state().last_reading, At(101));
  EXPECT_EQ(state.state().ports, 3U);
  EXPECT_EQ(state.state().last_error, "ports file /x: No such?file") << "one line";
  EXPECT_EQ(state.state().errors[abi::SourceError::kRead], 2U);

  state.Note(SomePorts(), At(130));
  EXPECT_TRUE(state.state().connected);
  EXPECT_EQ(state.state().since, At(130));
  EXPECT_EQ(state.state().errors[abi::SourceError::kRead], 2U) << "counted since the start";
  EXPECT_EQ(state.state().last_error, "ports file /x: No such?file") << "kept after recovery";
}

TEST(ReadingState, DistinguishesReadFromDecodeErrors) {
  ReadingState state;
  state.Note(absl::InvalidArgumentError("line 3: not valid JSON"));
  state.Note(absl::PermissionDeniedError("x"));
  state.Note(absl::UnavailableError("x"));
  EXPECT_EQ(state.state().errors[abi::SourceError::kDecode], 1U);
  EXPECT_EQ(state.state().errors[abi::SourceError::kRead], 2U);
}

// A reading without news is not reported, but counted.
TEST(ChangeReporterState, CountsEveryReading) {
  ChangeReporter reporter("/etc/ports");
  int reports = 0;
  const auto report = [&](const absl::StatusOr<Reading>&) { ++reports; };
  reporter.Remember(SomePorts());
  EXPECT_TRUE(reporter.state().connected);
  reporter.Report(SomePorts(), report);
  EXPECT_EQ(reports, 0);
  reporter.Report(absl::NotFoundError("gone"), report);
  reporter.Report(absl::NotFoundError("gone"), report);
  EXPECT_EQ(reports, 1);
  EXPECT_FALSE(reporter.state().connected);
  EXPECT_EQ(reporter.state().errors[abi::SourceError::kRead], 2U);
  EXPECT_EQ(reporter.state().detail, "/etc/ports");
}

}  // namespace
}  // namespace npg::sources::reading_state_test
