// SPDX-License-Identifier: Apache-2.0
// A guard that follows an API server, also when the server fails.
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <array>
#include <cerrno>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "base/errno_status.h"
#include "base/unique_fd.h"
#include "guard_abi.h"
#include "testing/api_kubeconfig.h"
#include "testing/api_model.h"
#include "testing/api_object.h"
#include "testing/api_server.h"
#include "testing/client.h"
#include "testing/command.h"
#include "testing/echo_server.h"
#include "testing/guard_fixture.h"
#include "testing/guard_process.h"
#include "testing/kube_proxy_rules.h"
#include "testing/status_asserts.h"
#include "testing/transport.h"
#include "testing/wait_until.h"

namespace npg::testing::kubernetes_source_test {
namespace {

constexpr uint16_t kPort = 33589;
constexpr uint16_t kOtherPort = 33590;
// A first list comes within five seconds, a retry within some more.
constexpr absl::Duration kSoon = absl::Seconds(20);

ServiceSpec Service(const std::string& name, uint16_t port) {
  return {.ns = "shop", .name = name, .ports = {{.name = "http", .node_port = port}}};
}

class GuardKubernetesSourceTest : public GuardTest {
 protected:
  void SetUp() override {
    GuardTest::SetUp();
    if (!HasFatalFailure()) StartApiServer();
  }

  void StartApiServer() {
    NPG_ASSERT_OK_AND_ASSIGN(api_, ApiServer::Start());
    NPG_ASSERT_OK(WriteKubeconfig(*api_, node().File("kubeconfig")));
  }

  ApiServer& api() { return *api_; }
  void Put(const std::string& name, uint16_t port) {
    api_->Change([&](ApiModel& model) { model.Put(Service(name, port)); });
  }
  void Delete(const std::string& name) {
    api_->Change([&](ApiModel& model) { EXPECT_TRUE(model.Delete("shop", name).ok()); });
  }

  // Starts `run` with the kubeconfig, in guard_.
  void StartFollowing(std::vector<std::string> arguments = {"--source", "kubernetes"}) {
    arguments.insert(arguments.end(), {"--kubeconfig", node().File("kubeconfig")});
    NPG_ASSERT_OK_AND_ASSIGN(guard_, GuardProcess::Start(node(), arguments));
  }

  // The sources that name the port: abi::SourceBits, 0 when it is not in the map.
  uint32_t Sources(uint16_t port) const {
    const auto entry = maps().NodePort(port, Transport::kTcp);
    return entry.ok() && entry->has_value() ? (*entry)->sources : 0;
  }
  bool BecomesGuarded(uint16_t port) {
    return WaitUntil(kSoon, [&] { return Sources(port) != 0; });
  }
  bool BecomesFree(uint16_t port) {
    return WaitUntil(kSoon, [&] { return Sources(port) == 0; });
  }

  // The source, as `status -o json` reports it.
  nlohmann::json SourceStatus() const {
    const auto result = RunForResult(GuardCommand(node(), {"status", "-o", "json"}));
    if (!result.ok()) return nullptr;
    const auto status = nlohmann::json::parse(result->out, nullptr, /*allow_exceptions=*/false);
    if (!status.is_object() || !status.contains("sources")) return nullptr;
    for (const auto& source : status["sources"]) {
      if (source["source"] == "kubernetes") return source;
    }
    return nullptr;
  }
  bool BecomesConnected(bool connected, absl::Duration deadline = kSoon) const {
    return WaitUntil(deadline, [&] {
      const nlohmann::json source = SourceStatus();
      return source.is_object() && source["connected"] == connected;
    });
  }

  std::optional<GuardProcess> guard_;

 private:
  std::unique_ptr<ApiServer> api_;
};

TEST_P(GuardKubernetesSourceTest, RescuesAsSoonAsThePortIsAllocated) {
  NPG_ASSERT_OK_AND_ASSIGN(const auto host, Host({{"127.0.0.1", kPort, Transport::kTcp}}));
  const Dial dial{"127.0.0.1", kPort, Transport::kTcp};
  StartFollowing();
  if (HasFatalFailure()) return;
  ASSERT_TRUE(BecomesConnected(true)) << guard_->Log();

  // The Service is created, and then the rules of kube-proxy.
  Put("web", kPort);
  EXPECT_TRUE(BecomesGuarded(kPort)) << guard_->Log();
  NPG_ASSERT_OK(rules().Apply({{kPort, Transport::kTcp, GetParam().endpoint}}));
  EXPECT_EQ(Ask(dial), kHost);
  EXPECT_EQ(Sources(kPort), uint32_t{NPG_SOURCE_KUBERNETES});

  // The counter-check: a port that the guard does not know is hijacked.
  Delete("web");
  EXPECT_TRUE(BecomesFree(kPort)) << guard_->Log();
  EXPECT_EQ(Ask(dial), Hijacked());
  NPG_EXPECT_OK(guard_->Stop());
}

INSTANTIATE_TEST_SUITE_P(Rules, GuardKubernetesSourceTest, ::testing::ValuesIn(RuleShapes()),
                         RuleShapeName);

// Tests that do not depend on the shape of the rules.
class GuardKubernetesFaultTest : public GuardKubernetesSourceTest {};

INSTANTIATE_TEST_SUITE_P(Rules, GuardKubernetesFaultTest,
                         ::testing::Values(RuleShape{IptablesVariant::kNft, true, false}),
                         RuleShapeName);

TEST_P(GuardKubernetesFaultTest, KeepsPortsWhileTheServerIsAway) {
  Put("web", kPort);
  StartFollowing();
  if (HasFatalFailure()) return;
  ASSERT_TRUE(BecomesGuarded(kPort)) << guard_->Log();

  api().StopListening();
  ASSERT_TRUE(BecomesConnected(false)) << guard_->Log();
  const nlohmann::json away = SourceStatus();
  EXPECT_GE(away["errors"]["connect"].get<int>() + away["errors"]["cut"].get<int>(), 1) << away;
  EXPECT_EQ(away["ports"], 1) << away;
  EXPECT_FALSE(away["last_error"].get<std::string>().empty());
  EXPECT_EQ(Sources(kPort), uint32_t{NPG_SOURCE_KUBERNETES});

  Put("api", kOtherPort);
  NPG_ASSERT_OK(api().ListenAgain());
  EXPECT_TRUE(WaitUntil(absl::Seconds(50), [&] { return Sources(kOtherPort) != 0; }))
      << guard_->Log();
  EXPECT_NE(Sources(kPort), 0U);
  EXPECT_TRUE(BecomesConnected(true)) << guard_->Log();
}

TEST_P(GuardKubernetesFaultTest, StartsWithoutAServerAndKeepsThePortsOfAnEarlierRun) {
  Put("web", kPort);
  StartFollowing();
  if (HasFatalFailure()) return;
  ASSERT_TRUE(BecomesGuarded(kPort)) << guard_->Log();
  NPG_ASSERT_OK(guard_->Kill());

  api().StopListening();
  StartFollowing();
  if (HasFatalFailure()) return;
  ASSERT_TRUE(WaitUntil(kSoon, [&] {
    const nlohmann::json source = SourceStatus();
    return source.is_object() && source["last_error"].is_string();
  })) << guard_->Log();
  EXPECT_EQ(Sources(kPort), uint32_t{NPG_SOURCE_KUBERNETES});
}

TEST_P(GuardKubernetesFaultTest, KeepsAPortWhileOneSourceNamesIt) {
  NPG_ASSERT_OK(WriteNodePortsFile(node().File("ports.json"), {{kPort, Transport::kTcp, true}}));
  Put("web", kPort);
  StartFollowing({"--source", "kubernetes,file", "--nodeports-file", node().File("ports.json")});
  if (HasFatalFailure()) return;
  constexpr uint32_t kBoth = NPG_SOURCE_KUBERNETES | NPG_SOURCE_FILE;
  ASSERT_TRUE(WaitUntil(kSoon, [&] { return Sources(kPort) == kBoth; })) << guard_->Log();

  Delete("web");
  EXPECT_TRUE(WaitUntil(kSoon, [&] { return Sources(kPort) == NPG_SOURCE_FILE; }));
  Put("web", kPort);
  EXPECT_TRUE(WaitUntil(kSoon, [&] { return Sources(kPort) == kBoth; }));
  NPG_ASSERT_OK(WriteNodePortsFile(node().File("ports.json"), {}));
  EXPECT_TRUE(WaitUntil(kSoon, [&] { return Sources(kPort) == NPG_SOURCE_KUBERNETES; }));
  Delete("web");
  EXPECT_TRUE(BecomesFree(kPort)) << guard_->Log();
}

TEST_P(GuardKubernetesFaultTest, StatusReportsTheStateOfTheSource) {
  Put("web", kPort);
  api().Change([](ApiModel& model) {
    model.Put({.ns = "shop",
               .name = "edge",
               .type = "LoadBalancer",
               .ports = {{.name = "a", .node_port = 70000}, {.name = "b", .node_port = kOtherPort}},
               .health_check_node_port = 31999});
  });
  StartFollowing();
  if (HasFatalFailure()) return;
  ASSERT_TRUE(BecomesGuarded(kOtherPort)) << guard_->Log();
  ASSERT_TRUE(BecomesConnected(true));
  const nlohmann::json source = SourceStatus();
  EXPECT_EQ(source["services"], 2) << source;
  EXPECT_EQ(source["ports"], 2) << source;
  EXPECT_EQ(source["health_check_ports"], 1) << source;
  EXPECT_EQ(source["skipped"], 1) << source;
  EXPECT_FALSE(source["resource_version"].get<std::string>().empty()) << source;
  EXPECT_EQ(Sources(31999), 0U) << "kube-proxy listens there, so no NAT hijacks it";
  EXPECT_TRUE(absl::StrContains(guard_->Log(), "shop/edge port a: nodePort 70000"))
      << guard_->Log();

  const auto table = RunForResult(GuardCommand(node(), {"status"}));
  NPG_ASSERT_OK(table);
  EXPECT_TRUE(absl::StrContains(table->out, "kubernetes")) << table->out;
}

TEST_P(GuardKubernetesFaultTest, NamesTheMissingRbacRuleWhenTheListIsForbidden) {
  api().Forbid("system:serviceaccount:kube-system:nodeport-guard");
  StartFollowing();
  if (HasFatalFailure()) return;
  ASSERT_TRUE(WaitUntil(kSoon, [&] { return absl::StrContains(guard_->Log(), "403"); }));
  EXPECT_TRUE(
      absl::StrContains(guard_->Log(), "resources [\"services\"], verbs [\"list\", \"watch\"]"))
      << guard_->Log();
}

// With the service account of a pod and the default sources.
TEST_P(GuardKubernetesFaultTest, UsesTheServiceAccountOfItsPod) {
  const std::string account = "/run/secrets/kubernetes.io/serviceaccount";
  std::error_code error;
  std::filesystem::create_directories(account, error);
  ASSERT_FALSE(error) << error.message();
  NPG_ASSERT_OK(WriteServiceAccount(api(), account));
  ASSERT_EQ(setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1", 1), 0);
  ASSERT_EQ(setenv("KUBERNETES_SERVICE_PORT", absl::StrCat(api().port()).c_str(), 1), 0);
  Put("web", kPort);
  NPG_ASSERT_OK(rules().Apply({{kOtherPort, Transport::kTcp, true}}));
  NPG_ASSERT_OK_AND_ASSIGN(guard_, GuardProcess::Start(node(), {}));
  EXPECT_TRUE(BecomesGuarded(kPort)) << guard_->Log();
  EXPECT_EQ(Sources(kOtherPort), uint32_t{NPG_SOURCE_NETFILTER});
}

// scan with the API server as the only source: one list, no BPF.
TEST_P(GuardKubernetesFaultTest, ScanListsOnce) {
  NPG_ASSERT_OK_AND_ASSIGN(const auto host, Host({{"127.0.0.1", kPort, Transport::kTcp}}));
  Put("web", kPort);
  const std::vector<std::string> command = GuardCommand(
      node(),
      {"scan", "--source", "kubernetes", "--kubeconfig", node().File("kubeconfig"), "-o", "json"});
  const auto found = RunForResult(command);
  NPG_ASSERT_OK(found);
  EXPECT_EQ(found->exit_code, 3) << found->err;
  EXPECT_TRUE(absl::StrContains(found->out, "shop/web")) << found->out;

  api().StopListening();
  const auto failed = RunForResult(command);
  NPG_ASSERT_OK(failed);
  EXPECT_EQ(failed->exit_code, 5) << failed->out << failed->err;
  EXPECT_TRUE(absl::StrContains(failed->out, api().url())) << failed->out;
  EXPECT_TRUE(absl::StrContains(failed->out, R"("coverage": "none")")) << failed->out;
}

// A name server that takes questions and never answers, as the one of this test's namespaces.
class SilentNameServer {
 public:
  // `file` becomes its resolv.conf.
  static absl::StatusOr<SilentNameServer> Start(const std::string& file) {
    const absl::StatusOr<SocketAddress> address = MakeAddress("127.0.0.1", 53);
    if (!address.ok()) return address.status();
    absl::StatusOr<base::UniqueFd> fd = OpenSocket(address->family(), Transport::kUdp);
    if (!fd.ok()) return fd.status();
    if (bind(fd->get(), address->get(), address->size) != 0) {
      return base::ErrnoStatus(errno, "bind to 127.0.0.1:53");
    }
    std::ofstream(file) << "nameserver 127.0.0.1\noptions timeout:30 attempts:5\n";
    // It may be a link to a file below /run, which is another one here. Without the file, the
    // name server is 127.0.0.1 anyway.
    const absl::StatusOr<std::string> mounted =
        RunCommand({"sh", "-ec",
                    "at=$(readlink -m /etc/resolv.conf)\n"
                    "case $at in /run/*) mkdir -p \"${at%/*}\"; : >>\"$at\" ;; esac\n"
                    "[ ! -e \"$at\" ] || mount --bind \"$1\" \"$at\"",
                    "sh", file});
    if (!mounted.ok()) return mounted.status();
    return SilentNameServer(*std::move(fd));
  }

  // Whether it was asked since the last call.
  bool WasAsked() const {
    bool asked = false;
    std::array<char, 512> question{};
    while (recv(fd_.get(), question.data(), question.size(), MSG_DONTWAIT) > 0) asked = true;
    return asked;
  }

 private:
  explicit SilentNameServer(base::UniqueFd fd) : fd_(std::move(fd)) {}

  base::UniqueFd fd_;
};

// The resolver waits for two minutes and a half, which is longer than this test waits for anything.
// An attempt to connect is given up after ten seconds.
TEST_P(GuardKubernetesFaultTest, SilentNameServersBlockNothingElse) {
  NPG_ASSERT_OK_AND_ASSIGN(const auto names, SilentNameServer::Start(node().File("resolv.conf")));
  NPG_ASSERT_OK(WriteKubeconfig(api(), node().File("kubeconfig"),
                                {.server = "https://api.npg-test.example:6443"}));
  const std::string file = node().File("ports.json");
  NPG_ASSERT_OK(WriteNodePortsFile(file, {}));
  StartFollowing({"--source", "kubernetes,file", "--nodeports-file", file});
  if (HasFatalFailure()) return;
  ASSERT_TRUE(WaitUntil(kPatience, [&] { return names.WasAsked(); })) << guard_->Log();
  NPG_ASSERT_OK(WriteNodePortsFile(file, {{kPort, Transport::kTcp, true}}));
  EXPECT_TRUE(WaitUntil(kPatience, [&] { return Sources(kPort) == NPG_SOURCE_FILE; }))
      << guard_->Log();

  // The attempt is given up, and the resolver still waits on its thread.
  ASSERT_TRUE(WaitUntil(kPatience, [&] {
    const nlohmann::json source = SourceStatus();
    return source.is_object() && source["errors"]["connect"].get<int>() >= 1;
  })) << guard_->Log();
  NPG_ASSERT_OK(WriteNodePortsFile(file, {{kOtherPort, Transport::kTcp, true}}));
  EXPECT_TRUE(WaitUntil(kPatience, [&] { return Sources(kOtherPort) == NPG_SOURCE_FILE; }))
      << guard_->Log();

  // The next attempt is in progress. The guard ends without it.
  ASSERT_TRUE(WaitUntil(kPatience, [&] { return names.WasAsked(); })) << guard_->Log();
  NPG_EXPECT_OK(guard_->Stop());
}

// The network to the server drops every packet: no refusal, no reset. The source must
// notice it within 90 seconds.
TEST_P(GuardKubernetesFaultTest, NoticesAHalfOpenConnection) {
  std::unique_ptr<ApiServer> remote;
  NPG_ASSERT_OK(node().pod().Run([&remote] {
    auto server = ApiServer::Start({.address = TestNode::kPod});
    if (!server.ok()) return server.status();
    remote = *std::move(server);
    return absl::OkStatus();
  }));
  NPG_ASSERT_OK(WriteKubeconfig(*remote, node().File("kubeconfig")));
  remote->Change([](ApiModel& model) { model.Put(Service("web", kPort)); });
  node().HurryGuards();
  StartFollowing();
  if (HasFatalFailure()) return;
  ASSERT_TRUE(BecomesGuarded(kPort)) << guard_->Log();
  ASSERT_TRUE(BecomesConnected(true));

  NPG_ASSERT_OK(node().pod().Run([] {
    return RunCommand({"nft", "-f", "-"},
                      "table inet gone {\n"
                      "  chain in { type filter hook input priority 0; policy drop; }\n"
                      "  chain out { type filter hook output priority 0; policy drop; }\n"
                      "}\n")
        .status();
  }));
  EXPECT_TRUE(BecomesConnected(false, absl::Seconds(90))) << guard_->Log();
  EXPECT_EQ(Sources(kPort), uint32_t{NPG_SOURCE_KUBERNETES});
}

}  // namespace
}  // namespace npg::testing::kubernetes_source_test
