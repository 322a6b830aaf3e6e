// SPDX-License-Identifier: Apache-2.0
// `explain` shows what the rules of the node do with a connect.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "testing/command.h"
#include "testing/guard_fixture.h"
#include "testing/kube_proxy_rules.h"
#include "testing/status_asserts.h"

namespace npg::testing::explain_rules_test {
namespace {

using nlohmann::json;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::SizeIs;

constexpr uint16_t kPort = 33589;

class GuardExplainRulesTest : public GuardTest {
 protected:
  // The first walk.
  absl::StatusOr<json> Walk(const std::string& port, const std::vector<std::string>& before = {}) {
    std::vector<std::string> command = before;
    for (const std::string& word : GuardCommand(node(), {"explain", port, "-o", "json"})) {
      command.push_back(word);
    }
    const auto result = RunForResult(command);
    if (!result.ok()) return result.status();
    json explained = json::parse(result->out, nullptr, /*allow_exceptions=*/false);
    if (explained.is_discarded() || explained["walks"].empty()) {
      return absl::InternalError(absl::StrCat(result->out, result->err));
    }
    explained["walks"][0]["rules_unread"] = explained["rules_unread"];
    explained["walks"][0]["exit_code"] = result->exit_code;
    return explained["walks"][0];
  }
};

TEST_P(GuardExplainRulesTest, NamesTheRuleThatTakesTheConnect) {
  NPG_ASSERT_OK(Allocate(NodePorts({kPort})));
  NPG_ASSERT_OK(StartGuard());
  NPG_ASSERT_OK_AND_ASSIGN(const json walk, Walk(absl::StrCat(kPort, "/tcp")));
  EXPECT_EQ(walk["rules_unread"], nullptr);
  ASSERT_FALSE(walk["rules"].empty());
  const json& last = walk["rules"].back();
  EXPECT_TRUE(last["rule"].is_number()) << last;
  EXPECT_THAT(walk["without_guard"]["sentence"].get<std::string>(),
              AllOf(HasSubstr("Without the guard, a connect to 127.0.0.1:33589 is re"),
                    HasSubstr(last["chain"].get<std::string>())));
  NPG_ASSERT_OK_AND_ASSIGN(const std::string text,
                           RunCommand(GuardCommand(node(), {"explain", absl::StrCat(kPort)})));
  EXPECT_THAT(text, HasSubstr("Rules that a connect to 127.0.0.1:33589 meets without the guard:"));
  // A port that no rule names.
  NPG_ASSERT_OK_AND_ASSIGN(const json free, Walk("33999"));
  EXPECT_EQ(free["without_guard"]["outcome"], "host");
}

// As an externalIP of a Service is.
TEST_P(GuardExplainRulesTest, APortThatIsTakenOnAnAddressOfTheNode) {
  NPG_ASSERT_OK(Allocate(NodePorts({kPort})));
  NPG_ASSERT_OK(StartGuard());
  NPG_ASSERT_OK(RunCommand({"ip", "addr", "add", "192.0.2.77/32", "dev", "lo"}));
  NPG_ASSERT_OK(RunCommand({"nft", "-f", "-"}, R"(table ip external {
  chain out {
    type nat hook output priority -100;
    ip daddr 192.0.2.77 tcp dport 8443 dnat to 198.51.100.7:9443
  }
})"));
  NPG_ASSERT_OK_AND_ASSIGN(const json walk, Walk("8443"));
  EXPECT_EQ(walk["without_guard"]["outcome"], "host");
  ASSERT_THAT(walk["own_addresses"], SizeIs(1));
  const json& other = walk["own_addresses"][0];
  EXPECT_EQ(other["destination"], "192.0.2.77:8443");
  EXPECT_EQ(other["without_guard"]["destination"], "198.51.100.7:9443");
  EXPECT_THAT(other["without_guard"]["sentence"].get<std::string>(),
              HasSubstr("by nft table ip external, chain out, handle "));
}

TEST_P(GuardExplainRulesTest, WithoutTheRightToReadRules) {
  NPG_ASSERT_OK(Allocate(NodePorts({kPort})));
  NPG_ASSERT_OK(StartGuard());
  NPG_ASSERT_OK_AND_ASSIGN(const json before, Walk(absl::StrCat(kPort)));
  NPG_ASSERT_OK_AND_ASSIGN(const json walk,
                           Walk(absl::StrCat(kPort), {"setpriv", "--inh-caps", "-net_admin",
                                                      "--bounding-set", "-net_admin"}));
  EXPECT_THAT(walk["rules_unread"].get<std::string>(), HasSubstr("CAP_NET_ADMIN"));
  EXPECT_EQ(walk["without_guard"], nullptr);
  EXPECT_EQ(walk["rows"].size(), before["rows"].size()) << "the rest works";
}

INSTANTIATE_TEST_SUITE_P(Rules, GuardExplainRulesTest, ::testing::Values(RuleShape{}),
                         RuleShapeName);

}  // namespace
}  // namespace npg::testing::explain_rules_test
