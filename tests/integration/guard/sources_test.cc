// SPDX-License-Identifier: Apache-2.0
// `status` reports when a source fails and recovers; the guard keeps working meanwhile.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdio>
#include <fstream>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "testing/client.h"
#include "testing/command.h"
#include "testing/echo_server.h"
#include "testing/guard_fixture.h"
#include "testing/guard_process.h"
#include "testing/kube_proxy_rules.h"
#include "testing/status_asserts.h"
#include "testing/transport.h"
#include "testing/wait_until.h"

namespace npg::testing::sources_test {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;

constexpr uint16_t kPort = 33589;

class GuardSourcesTest : public GuardTest {
 protected:
  absl::StatusOr<json> Status() {
    auto result = RunForResult(GuardCommand(node(), {"status", "-o", "json"}));
    if (!result.ok()) return result.status();
    json status = json::parse(result->out, nullptr, /*allow_exceptions=*/false);
    if (status.is_discarded()) return absl::InternalError(result->out + result->err);
    return status;
  }

  // The only source, once `fits` is true for it, or as it is after ten seconds.
  json Source(const std::function<bool(const json&)>& fits) {
    json source;
    WaitUntil(absl::Seconds(10), [&] {
      const auto status = Status();
      if (!status.ok() || (*status)["sources"].size() != 1) return false;
      source = (*status)["sources"][0];
      return fits(source);
    });
    return source;
  }

  std::string File() { return node().File("nodeports.json"); }
};

TEST_P(GuardSourcesTest, ReportsAMissingFileAndKeepsItsPorts) {
  NPG_ASSERT_OK_AND_ASSIGN(const auto host, Host({{"127.0.0.1", kPort, Transport::kTcp}}));
  const Dial dial{"127.0.0.1", kPort, Transport::kTcp};
  NPG_ASSERT_OK(Allocate(NodePorts({kPort})));
  NPG_ASSERT_OK(StartGuard());
  const json before = Source([](const json& source) { return source["connected"] == true; });
  EXPECT_EQ(before["source"], "file");
  EXPECT_EQ(before["connected"], true);
  EXPECT_EQ(before["ports"], 2);
  EXPECT_EQ(before["errors"]["read"], 0);
  EXPECT_EQ(before["detail"], File());

  ASSERT_EQ(std::remove(File().c_str()), 0);
  const json gone = Source([](const json& source) { return source["connected"] == false; });
  EXPECT_EQ(gone["connected"], false);
  EXPECT_THAT(gone["last_error"].get<std::string>(), HasSubstr("No such file or directory"));
  EXPECT_GE(gone["errors"]["read"], 1);
  EXPECT_EQ(gone["ports"], 2) << "as last read";
  EXPECT_EQ(Ask(dial), kHost) << "still guarded";
  NPG_ASSERT_OK_AND_ASSIGN(const json status, Status());
  EXPECT_EQ(status["healthy"], true);
  EXPECT_THAT(status["notes"].dump(), HasSubstr("source file is not connected since"));

  std::ofstream(File()) << "[\"33589";
  const json cut = Source([](const json& source) { return source["errors"]["decode"] == 1; });
  EXPECT_EQ(cut["connected"], false);
  EXPECT_THAT(cut["last_error"].get<std::string>(), HasSubstr("line 1"));
  EXPECT_EQ(Ask(dial), kHost);

  NPG_ASSERT_OK(Allocate(NodePorts({kPort, kPort + 1})));
  const json again = Source([](const json& source) { return source["connected"] == true; });
  EXPECT_EQ(again["connected"], true);
  EXPECT_EQ(again["ports"], 4);
  EXPECT_EQ(Ask(dial), kHost);
}

TEST_P(GuardSourcesTest, StatusListsSourcesWithoutAController) {
  NPG_ASSERT_OK(Allocate(NodePorts({kPort})));
  NPG_ASSERT_OK(StartGuard());
  NPG_ASSERT_OK(guard().Kill());
  NPG_ASSERT_OK_AND_ASSIGN(const std::string table, RunCommand(GuardCommand(node(), {"status"})));
  EXPECT_THAT(table, HasSubstr("\nSources, as they were when the last controller ended\n"
                               "  file  was connected\n"));
  ForgetGuard();
  NPG_ASSERT_OK_AND_ASSIGN(const GuardProcess netfilter,
                           GuardProcess::Start(node(), {"--source", "netfilter"}));
  NPG_ASSERT_OK_AND_ASSIGN(const json status, Status());
  ASSERT_EQ(status["sources"].size(), 1U) << status["sources"];
  EXPECT_EQ(status["sources"][0]["source"], "netfilter");
}

// On such a node another program implements NodePorts, or no kube-proxy runs yet.
TEST_P(GuardSourcesTest, NetfilterWithoutTheRulesOfKubeProxySeesNoNodePorts) {
  NPG_ASSERT_OK(StartNetfilterGuard());
  const json none = Source([](const json& source) {
    return source["connected"] == true && source["coverage"] == "none";
  });
  EXPECT_EQ(none["connected"], true);
  EXPECT_EQ(none["coverage"], "none");
  json status;
  EXPECT_TRUE(WaitUntil(absl::Seconds(10), [&] {
    status = Status().value_or(json::object());
    return status["healthy"] == true;
  })) << status;
  EXPECT_THAT(status["notes"].dump(), HasSubstr("no rules of kube-proxy"));
  NPG_ASSERT_OK_AND_ASSIGN(const std::string table, RunCommand(GuardCommand(node(), {"status"})));
  EXPECT_THAT(table, HasSubstr("Cannot tell whether there are conflicts"));
  NPG_ASSERT_OK_AND_ASSIGN(const std::string walk,
                           RunCommand(GuardCommand(node(), {"explain", "33589"})));
  EXPECT_THAT(walk, HasSubstr("33589/tcp is not a known NodePort, but may be one"));

  NPG_ASSERT_OK(rules().Apply(NodePorts({kPort})));
  const json all = Source([](const json& source) { return source["coverage"] == "all"; });
  EXPECT_EQ(all["coverage"], "all");
  NPG_ASSERT_OK_AND_ASSIGN(const json later, Status());
  EXPECT_THAT(later["notes"].dump(), ::testing::Not(HasSubstr("kube-proxy")));
}

INSTANTIATE_TEST_SUITE_P(Rules, GuardSourcesTest, ::testing::Values(RuleShape{}), RuleShapeName);

}  // namespace
}  // namespace npg::testing::sources_test
