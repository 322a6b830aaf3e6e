// SPDX-License-Identifier: Apache-2.0
// The HTTP server of the real binary.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "testing/client.h"
#include "testing/command.h"
#include "testing/echo_server.h"
#include "testing/guard_fixture.h"
#include "testing/guard_process.h"
#include "testing/http_exchange.h"
#include "testing/status_asserts.h"
#include "testing/transport.h"
#include "testing/wait_until.h"

namespace npg::testing::http_test {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr uint16_t kPort = 33589;
constexpr uint16_t kHttp = 9829;

class GuardHttpTest : public GuardTest {
 protected:
  static std::vector<std::string> Threads(pid_t pid) {
    std::vector<std::string> names;
    for (const auto& task :
         std::filesystem::directory_iterator(absl::StrCat("/proc/", pid, "/task"))) {
      std::ifstream file(task.path() / "comm");
      std::getline(file, names.emplace_back());
    }
    return names;
  }

  static size_t Times(const std::string& text, const std::string& part) {
    size_t times = 0;
    for (size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) {
      ++times;
    }
    return times;
  }
};

TEST_P(GuardHttpTest, ServesTheStatusOfTheNode) {
  NPG_ASSERT_OK_AND_ASSIGN(const auto host, Host({{"127.0.0.1", kPort, Transport::kTcp}}));
  NPG_ASSERT_OK(Allocate(NodePorts({kPort})));
  NPG_ASSERT_OK(StartGuard());
  EXPECT_EQ(Ask({"127.0.0.1", kPort, Transport::kTcp}), kHost);
  EXPECT_THAT(guard().Log(), HasSubstr("http://127.0.0.1:9829/"));
  EXPECT_THAT(guard().Log(), Not(HasSubstr("warning")));

  const HttpReply reply = HttpGet(kHttp, "/api/v1/status");
  ASSERT_EQ(reply.status, 200) << reply.body;
  const json status = json::parse(reply.body);
  EXPECT_EQ(status["healthy"], true) << status["problems"];
  ASSERT_EQ(status["conflicts"].size(), 1U);
  EXPECT_EQ(status["conflicts"][0]["port"], kPort);
  EXPECT_EQ(status["conflicts"][0]["exempted"], 1);
  EXPECT_EQ(status["guard"]["controller"]["pid"], guard().pid());

  const HttpReply page = HttpGet(kHttp, "/");
  EXPECT_EQ(page.status, 200);
  EXPECT_THAT(page.body, HasSubstr("33589/tcp"));
  for (const char* path : {"/healthz", "/readyz"}) {
    const HttpReply health = HttpGet(kHttp, path);
    EXPECT_EQ(health.status, absl::StrContains(health.body, "FAIL ") ? 503 : 200) << health.body;
    EXPECT_THAT(health.body, HasSubstr("\n"));
    EXPECT_TRUE(
        json::parse(HttpGet(kHttp, path, "Accept: application/json\r\n").body).contains("checks"));
  }
  EXPECT_THAT(HttpGet(kHttp, "/healthz").body, HasSubstr("main loop: "));
  EXPECT_THAT(HttpGet(kHttp, "/readyz").body, HasSubstr("nft table: "));
}

// Health is what the self-probe measures, not what the configuration states.
TEST_P(GuardHttpTest, HealthFollowsTheSelfProbe) {
  constexpr absl::Duration kLong = absl::Seconds(60);
  NPG_ASSERT_OK(Allocate(NodePorts({kPort})));
  node().HurryGuards();
  NPG_ASSERT_OK(StartGuard());
  const auto health = [](int status, absl::string_view text) {
    return [status, text = std::string(text)] {
      const HttpReply reply = HttpGet(kHttp, "/healthz");
      return reply.status == status && absl::StrContains(reply.body, text);
    };
  };
  EXPECT_TRUE(WaitUntil(kLong, health(200, "ok   self-probe: ")));
  EXPECT_EQ(HttpGet(kHttp, "/readyz").status, 200);

  const auto detach = [this] {
    return RunCommand({"bpftool", "link", "detach", "pinned",
                       absl::StrCat(maps().root(), "/links/npg_connect4")})
        .status();
  };
  NPG_ASSERT_OK(detach());
  const auto failed = health(503, "FAIL self-probe: npg_connect4 ");
  // Maintenance may repair the link before the next probe meets it.
  EXPECT_TRUE(WaitUntil(kLong, [&] {
    if (failed()) return true;
    detach().IgnoreError();
    return false;
  })) << guard().Log();
  // The controller repairs the link, and the next probe shows it.
  EXPECT_TRUE(WaitUntil(kLong, health(200, "ok   self-probe: "))) << guard().Log();
  EXPECT_THAT(guard().Log(), HasSubstr("npg_connect4 was detached and is attached again"));
  // The self-probe counts as no exemption and makes no conflict.
  EXPECT_EQ(Counted(NPG_COUNTER_EXEMPTED), 0U);
  const json status = json::parse(HttpGet(kHttp, "/api/v1/status").body);
  EXPECT_EQ(status["conflicts"].size(), 0U);
}

// An outage of the API server must not restart the guards of the cluster.
TEST_P(GuardHttpTest, HealthDoesNotDependOnTheApiServer) {
  const std::string kubeconfig = node().File("kubeconfig");
  std::ofstream(kubeconfig) << R"({"apiVersion": "v1", "kind": "Config", "current-context": "away",
    "contexts": [{"name": "away", "context": {"cluster": "away", "user": "me"}}],
    "clusters": [{"name": "away", "cluster": {"server": "https://127.0.0.1:1"}}],
    "users": [{"name": "me", "user": {"token": "secret"}}]})";
  NPG_ASSERT_OK_AND_ASSIGN(
      const auto away,
      GuardProcess::Start(node(), {"--source", "kubernetes", "--kubeconfig", kubeconfig}));
  EXPECT_TRUE(WaitUntil(absl::Seconds(60), [] {
    return absl::StrContains(HttpGet(kHttp, "/healthz").body, "ok   self-probe: ");
  }));
  EXPECT_EQ(HttpGet(kHttp, "/healthz").status, 200);
  const HttpReply ready = HttpGet(kHttp, "/readyz");
  EXPECT_EQ(ready.status, 503);
  EXPECT_THAT(ready.body, HasSubstr("FAIL source kubernetes: "));
}

TEST_P(GuardHttpTest, ServesMetrics) {
  NPG_ASSERT_OK_AND_ASSIGN(const auto host, Host({{"127.0.0.1", kPort, Transport::kTcp}}));
  NPG_ASSERT_OK(Allocate(NodePorts({kPort})));
  NPG_ASSERT_OK(StartGuard());
  EXPECT_EQ(Ask({"127.0.0.1", kPort, Transport::kTcp}), kHost);
  HttpReply reply = HttpGet(kHttp, "/metrics");
  EXPECT_EQ(reply.status, 200);
  EXPECT_EQ(reply.headers["content-type"], "text/plain; version=0.0.4; charset=utf-8");
  EXPECT_THAT(reply.body, HasSubstr("\nnodeport_guard_exempted_connects_total 1\n"));
}

TEST_P(GuardHttpTest, StopsWithClientsConnectedAndStartsAgainAtOnce) {
  NPG_ASSERT_OK(Allocate(NodePorts({kPort})));
  NPG_ASSERT_OK(StartGuard());
  const base::UniqueFd idle = ConnectToHttp(kHttp);
  const base::UniqueFd half = ConnectToHttp(kHttp);
  ASSERT_TRUE(SendText(half.get(), "GET / HTTP/1.1\r\n"));
  NPG_ASSERT_OK(guard().Stop());
  EXPECT_EQ(ReadToEnd(idle.get()), "");
  EXPECT_EQ(ReadToEnd(half.get()), "");
  NPG_ASSERT_OK(StartGuard());
  EXPECT_EQ(HttpGet(kHttp, "/").status, 200);
}

TEST_P(GuardHttpTest, OffStartsNeitherServerNorThread) {
  NPG_ASSERT_OK(Allocate(NodePorts({kPort})));
  NPG_ASSERT_OK(StartGuard());
  EXPECT_GT(Threads(guard().pid()).size(), 1U);
  NPG_ASSERT_OK(guard().Stop());
  NPG_ASSERT_OK(StartGuard({"--http-address", "off"}));
  EXPECT_FALSE(ConnectToHttp(kHttp));
  EXPECT_EQ(Threads(guard().pid()).size(), 1U);
}

// The guard does not need the page, so it does not wait for the address.
TEST_P(GuardHttpTest, GuardsWhileTheAddressIsInUseAndServesOnceItIsFree) {
  NPG_ASSERT_OK_AND_ASSIGN(const auto host, Host({{"127.0.0.1", kPort, Transport::kTcp}}));
  NPG_ASSERT_OK_AND_ASSIGN(auto other, Host({{"127.0.0.1", kHttp, Transport::kTcp}}));
  NPG_ASSERT_OK(Allocate(NodePorts({kPort})));
  node().HurryGuards();
  NPG_ASSERT_OK(StartGuard());
  EXPECT_EQ(Ask({"127.0.0.1", kPort, Transport::kTcp}), kHost);
  EXPECT_THAT(guard().Log(), Not(HasSubstr("status page: ")));
  EXPECT_THAT(guard().Log(),
              HasSubstr("HTTP server: listen for HTTP on 127.0.0.1:9829: Address already in use; "
                        "see who listens there with 'ss -ltnp', or name another with "
                        "--http-address fault="));
  other.reset();
  EXPECT_TRUE(WaitUntil(absl::Seconds(60), [] { return HttpGet(kHttp, "/").status == 200; }))
      << guard().Log();
  EXPECT_TRUE(WaitUntil(absl::Seconds(60), [this] {
    return absl::StrContains(guard().Log(), "HTTP server: works again");
  })) << guard().Log();
  EXPECT_EQ(Times(guard().Log(), "Address already in use"), 1U) << guard().Log();
}

TEST_P(GuardHttpTest, ServesOnceTheAddressIsOnAnInterface) {
  NPG_ASSERT_OK_AND_ASSIGN(const auto host, Host({{"127.0.0.1", kPort, Transport::kTcp}}));
  NPG_ASSERT_OK(Allocate(NodePorts({kPort})));
  node().HurryGuards();
  NPG_ASSERT_OK(StartGuard({"--http-address", "192.0.2.7:9829"}));
  EXPECT_EQ(Ask({"127.0.0.1", kPort, Transport::kTcp}), kHost);
  EXPECT_THAT(guard().Log(), HasSubstr("HTTP server: listen for HTTP on 192.0.2.7:9829: "));
  EXPECT_FALSE(absl::StrContains(guard().Log(), "every client that can reach it"))
      << "a warning of an address on which nothing listens";
  NPG_ASSERT_OK(RunCommand({"ip", "address", "add", "192.0.2.7/32", "dev", "lo"}));
  EXPECT_TRUE(WaitUntil(absl::Seconds(60), [] {
    const auto ready = RunForResult({"curl", "-sS", "http://192.0.2.7:9829/healthz"});
    return ready.ok() && absl::StrContains(ready->out, "main loop: ");
  })) << guard().Log();
  EXPECT_EQ(Times(guard().Log(), "HTTP server: listen"), 1U) << guard().Log();
}

// The error names the first controller, not the HTTP address that it uses.
TEST_P(GuardHttpTest, ASecondControllerReportsTheFirst) {
  NPG_ASSERT_OK(Allocate(NodePorts({kPort})));
  NPG_ASSERT_OK(StartGuard());
  const auto second = NewGuard();
  EXPECT_THAT(std::string(second.status().message()), HasSubstr("another nodeport-guard"));
}

TEST_P(GuardHttpTest, WarnsOfAnAddressThatOthersCanReach) {
  NPG_ASSERT_OK(Allocate(NodePorts({kPort})));
  NPG_ASSERT_OK(StartGuard({"--http-address", "0.0.0.0:32700"}));
  EXPECT_THAT(guard().Log(), HasSubstr("0.0.0.0:32700: every client that can reach it can list"));
  EXPECT_THAT(guard().Log(), HasSubstr("port 32700 is in 30000-32767, from which Services"));
  EXPECT_EQ(HttpGet(32700, "/").status, 200);
}

INSTANTIATE_TEST_SUITE_P(Rules, GuardHttpTest, ::testing::Values(RuleShape{}), RuleShapeName);

}  // namespace
}  // namespace npg::testing::http_test
