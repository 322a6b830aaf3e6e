// SPDX-License-Identifier: Apache-2.0
// A guard that starts before one of its sources can be read: it guards what the other source
// knows, reports what it waits for, and reads the source once that is possible.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <fstream>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "testing/api_kubeconfig.h"
#include "testing/api_model.h"
#include "testing/api_object.h"
#include "testing/api_server.h"
#include "testing/client.h"
#include "testing/command.h"
#include "testing/echo_server.h"
#include "testing/guard_fixture.h"
#include "testing/guard_process.h"
#include "testing/http_exchange.h"
#include "testing/kube_proxy_rules.h"
#include "testing/status_asserts.h"
#include "testing/test_node.h"
#include "testing/transport.h"
#include "testing/wait_until.h"

namespace npg::testing::late_source_test {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr uint16_t kHttp = 9829;
constexpr uint16_t kKnown = 33589;  // of the source that can be read
constexpr uint16_t kLate = 33590;   // of the other one

size_t Times(const std::string& text, const std::string& part) {
  size_t times = 0;
  for (size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) {
    ++times;
  }
  return times;
}

class GuardLateSourceTest : public GuardTest {
 protected:
  void SetUp() override {
    ASSERT_NO_FATAL_FAILURE(GuardTest::SetUp());
    node().HurryGuards();
    NPG_ASSERT_OK_AND_ASSIGN(host_, Host({{"127.0.0.1", kKnown, Transport::kTcp},
                                          {"127.0.0.1", kLate, Transport::kTcp}}));
    NPG_ASSERT_OK(WriteNodePortsFile(File(), {{kKnown, Transport::kTcp, true}}));
  }

  std::string File() { return node().File("ports.json"); }

  // Starts `run` in guard_.
  void StartWith(const std::vector<std::string>& arguments) {
    NPG_ASSERT_OK_AND_ASSIGN(guard_, GuardProcess::Start(node(), arguments));
  }

  static std::string AskPort(uint16_t port) { return Ask({"127.0.0.1", port, Transport::kTcp}); }
  bool InMap(uint16_t port) const {
    const auto entry = maps().NodePort(port, Transport::kTcp);
    return entry.ok() && entry->has_value();
  }

  // The source, as `status -o json` reports it.
  json SourceStatus(const std::string& name) {
    const auto result = RunForResult(GuardCommand(node(), {"status", "-o", "json"}));
    if (!result.ok()) return nullptr;
    const json status = json::parse(result->out, nullptr, /*allow_exceptions=*/false);
    if (!status.is_object() || !status.contains("sources")) return nullptr;
    for (const json& source : status["sources"]) {
      if (source["source"] == name) return source;
    }
    return nullptr;
  }

  static bool MetricIs(const std::string& source, int connected) {
    return WaitUntil(kPatience, [&] {
      return absl::StrContains(HttpGet(kHttp, "/metrics").body,
                               absl::StrCat("nodeport_guard_source_connected{source=\"", source,
                                            "\"} ", connected, "\n"));
    });
  }

  // Expects that everything names the source `name`, which cannot be read because of `error`, and
  // that the guard guards the other port.
  void ExpectMissing(const std::string& name, const std::string& error) {
    EXPECT_EQ(AskPort(kKnown), kHost);
    EXPECT_FALSE(InMap(kLate));
    EXPECT_THAT(guard_->Log(), HasSubstr("cannot be read and will be tried again: " + name));
    json source;
    EXPECT_TRUE(WaitUntil(kPatience, [&] {
      source = SourceStatus(name);
      return source.is_object() && absl::StrContains(source["last_error"].dump(), error);
    })) << guard_->Log();
    ASSERT_TRUE(source.is_object());
    EXPECT_EQ(source["connected"], false);
    EXPECT_GE(source["errors"]["read"], 1);
    EXPECT_THAT(guard_->Log(), HasSubstr(Fault(name)));
    EXPECT_TRUE(MetricIs(name, 0)) << HttpGet(kHttp, "/metrics").body;
    EXPECT_TRUE(WaitUntil(kPatience, [&] {
      const HttpReply ready = HttpGet(kHttp, "/readyz");
      return ready.status == 503 && absl::StrContains(ready.body, "FAIL source " + name + ": ") &&
             absl::StrContains(ready.body, error);
    })) << HttpGet(kHttp, "/readyz").body;
    EXPECT_TRUE(WaitUntil(kPatience, [] { return HttpGet(kHttp, "/healthz").status == 200; }))
        << "the probe does not depend on sources: " << HttpGet(kHttp, "/healthz").body;
  }

  // Expects that the guard reads the source without a restart.
  void ExpectPickedUp(const std::string& name) {
    EXPECT_TRUE(WaitUntil(kPatience, [&] { return InMap(kLate); })) << guard_->Log();
    EXPECT_EQ(AskPort(kLate), kHost);
    EXPECT_EQ(AskPort(kKnown), kHost);
    EXPECT_TRUE(WaitUntil(kPatience, [&] {
      const json source = SourceStatus(name);
      return source.is_object() && source["connected"] == true;
    })) << guard_->Log();
    EXPECT_TRUE(MetricIs(name, 1)) << HttpGet(kHttp, "/metrics").body;
    EXPECT_TRUE(WaitUntil(kPatience, [] { return HttpGet(kHttp, "/readyz").status == 200; }))
        << HttpGet(kHttp, "/readyz").body;
    EXPECT_THAT(guard_->Log(), HasSubstr(Fault(name) + "works again"));
  }

  // A rule for the other port, beside those for kKnown.
  static absl::Status AddLatePort() {
    return RunCommand({"iptables-nft", "-t", "nat", "-A", "KUBE-NODEPORTS", "-p", "tcp", "-m",
                       "comment", "--comment", "default/late:http", "-m", "tcp", "--dport",
                       absl::StrCat(kLate), "-j", absl::StrCat("KUBE-EXT-TCP", kKnown)})
        .status();
  }
  void ExpectFollowed() const {
    EXPECT_TRUE(WaitUntil(kPatience, [&] { return InMap(kLate); })) << guard_->Log();
    EXPECT_EQ(AskPort(kLate), kHost);
  }

  static KubeProxyRules LegacyRules() {
    return {IptablesVariant::kLegacy, TestNode::kPod, TestNode::kPodPort};
  }

  // Runs `script` in place of iptables-legacy-save until the path that is returned is unmounted.
  absl::StatusOr<std::string> ReplaceLegacySave(const std::string& script) {
    const std::string file = node().File("legacy-save");
    std::ofstream(file) << "#!/bin/sh\n" << script;
    absl::StatusOr<std::string> command =
        RunCommand({"sh", "-c",
                    "PATH=/usr/sbin:/sbin:$PATH; readlink -fn $(command -v iptables-legacy-save)"});
    if (!command.ok()) return command;
    absl::Status status = RunCommand({"chmod", "755", file}).status();
    if (status.ok()) status = RunCommand({"mount", "--bind", file, *command}).status();
    if (!status.ok()) return status;
    return command;
  }

  static std::string Fault(const std::string& name) {
    return absl::StrCat("source ", name, ": keeping the last reading: ");
  }

  std::optional<GuardProcess> guard_;

 private:
  std::unique_ptr<EchoServer> host_;
};

// As a VPN client or an administrator adds them: no command of iptables prints such tables.
TEST_P(GuardLateSourceTest, ForeignRulesInTheTablesOfIptables) {
  NPG_ASSERT_OK(rules().Apply(NodePorts({kKnown})));
  for (const auto& [table, chain] :
       {std::pair{"nat", "KUBE-NODEPORTS"}, std::pair{"filter", "KUBE-EXTERNAL-SERVICES"}}) {
    NPG_ASSERT_OK(RunCommand({"nft", "add", "rule", "ip", table, chain, "meta", "mark", "set", "1"})
                      .status());
  }
  StartWith({"--source", "netfilter"});
  if (HasFatalFailure()) return;
  EXPECT_EQ(AskPort(kKnown), kHost);
  NPG_ASSERT_OK(AddLatePort());
  ExpectFollowed();
  const json source = SourceStatus("netfilter");
  ASSERT_TRUE(source.is_object());
  EXPECT_EQ(source["connected"], true);
  EXPECT_EQ(source["coverage"], "all");
  EXPECT_EQ(source["errors"]["read"], 0);
  EXPECT_THAT(guard_->Log(), Not(HasSubstr(Fault("netfilter"))));
}

// Without another source: the rules that can be read are guarded, and followed.
TEST_P(GuardLateSourceTest, LegacyTablesThatCannotBeRead) {
  NPG_ASSERT_OK(rules().Apply(NodePorts({kKnown})));
  NPG_ASSERT_OK(LegacyRules().Apply(NodePorts({kLate})));
  NPG_ASSERT_OK_AND_ASSIGN(const std::string command, ReplaceLegacySave("exit 1\n"));
  StartWith({"--source", "netfilter"});
  if (HasFatalFailure()) return;
  ExpectMissing("netfilter", "iptables-legacy-save failed with exit code 1");
  EXPECT_EQ(AskPort(kLate), Hijacked());
  // It is read again.
  const int errors = SourceStatus("netfilter")["errors"]["read"].get<int>();
  EXPECT_TRUE(WaitUntil(kPatience, [&] {
    const json source = SourceStatus("netfilter");
    return source.is_object() && source["errors"]["read"].get<int>() > errors + 1;
  }));
  EXPECT_EQ(Times(guard_->Log(), Fault("netfilter")), 1U) << guard_->Log();

  NPG_ASSERT_OK(AddLatePort());
  ExpectFollowed();
  const json partly = SourceStatus("netfilter");
  ASSERT_TRUE(partly.is_object());
  EXPECT_EQ(partly["connected"], false);
  EXPECT_EQ(partly["coverage"], "part");
  NPG_ASSERT_OK_AND_ASSIGN(
      const CommandResult scanned,
      RunForResult(GuardCommand(node(), {"scan", "--source", "netfilter", "-o", "json"})));
  EXPECT_EQ(scanned.exit_code, 3) << scanned.out << scanned.err;
  const json scan = json::parse(scanned.out, nullptr, /*allow_exceptions=*/false);
  ASSERT_TRUE(scan.is_object()) << scanned.out;
  EXPECT_EQ(scan["coverage"], "part");
  EXPECT_EQ(scan["conflicts"].size(), 2U) << "of the ports that the guard guards";

  NPG_ASSERT_OK(RunCommand({"umount", "--lazy", command}).status());
  ExpectPickedUp("netfilter");
  EXPECT_EQ(SourceStatus("netfilter")["coverage"], "all");
}

TEST_P(GuardLateSourceTest, ASaveCommandThatDoesNotEnd) {
  NPG_ASSERT_OK(rules().Apply(NodePorts({kKnown})));
  NPG_ASSERT_OK(LegacyRules().Apply(NodePorts({kLate})));
  const std::string end = node().File("end");
  NPG_ASSERT_OK_AND_ASSIGN(
      const std::string command,
      ReplaceLegacySave(absl::StrCat("n=0\nwhile [ ! -e ", end,
                                     " ] && [ $n -lt 3000 ]; do sleep 0.1; n=$((n + 1)); done\n"
                                     "exit 1\n")));
  StartWith({"--source", "netfilter"});
  if (HasFatalFailure()) return;
  ExpectMissing("netfilter", "the rules were not read within 5s");

  NPG_ASSERT_OK(RunCommand({"umount", "--lazy", command}).status());
  std::ofstream(end) << "now\n";
  ExpectPickedUp("netfilter");
}

// The service starts before kubelet, which writes its own kubeconfig.
TEST_P(GuardLateSourceTest, AKubeconfigThatIsNotThereYet) {
  NPG_ASSERT_OK(rules().Apply(NodePorts({kKnown, kLate})));
  NPG_ASSERT_OK_AND_ASSIGN(const auto api, ApiServer::Start());
  api->Change([](ApiModel& model) {
    model.Put({.ns = "shop", .name = "web", .ports = {{.name = "http", .node_port = kLate}}});
  });
  const std::string kubeconfig = node().File("kubeconfig");
  StartWith(
      {"--source", "kubernetes,file", "--kubeconfig", kubeconfig, "--nodeports-file", File()});
  if (HasFatalFailure()) return;
  ExpectMissing("kubernetes", "No such file or directory");
  EXPECT_TRUE(WaitUntil(kPatience, [&] {
    const json source = SourceStatus("kubernetes");
    return source.is_object() && source["errors"]["read"].get<int>() > 2;
  }));
  EXPECT_EQ(Times(guard_->Log(), Fault("kubernetes")), 1U) << guard_->Log();

  // Half of one is reported, and read again.
  std::ofstream(kubeconfig) << "apiVersion: v1\nkind: Config\nclusters: [";
  EXPECT_TRUE(WaitUntil(kPatience, [&] { return Times(guard_->Log(), Fault("kubernetes")) > 1; }))
      << guard_->Log();
  EXPECT_EQ(AskPort(kKnown), kHost);

  NPG_ASSERT_OK(WriteKubeconfig(*api, kubeconfig));
  ExpectPickedUp("kubernetes");
}

TEST_P(GuardLateSourceTest, APortsFileThatIsNotThereYet) {
  NPG_ASSERT_OK(rules().Apply({{kKnown, Transport::kTcp, GetParam().endpoint}}));
  const std::string late = node().File("late.json");
  StartWith({"--source", "netfilter,file", "--nodeports-file", late});
  if (HasFatalFailure()) return;
  ExpectMissing("file", "No such file or directory");
  EXPECT_EQ(Times(guard_->Log(), Fault("file")), 1U) << guard_->Log();
  NPG_ASSERT_OK(WriteNodePortsFile(late, {{kLate, Transport::kTcp, true}}));
  ExpectPickedUp("file");
}

// A source that names more than the map has room for.
TEST_P(GuardLateSourceTest, AMapThatIsFull) {
  NPG_ASSERT_OK(rules().Apply({{kKnown, Transport::kTcp, GetParam().endpoint}}));
  // The map takes them in the order of their ports.
  std::ofstream file(node().File("many.json"));
  file << "[1";
  for (int port = 2; port <= 65535; ++port) file << ", " << port;
  for (int port = 60001; port <= 61000; ++port) file << ", \"" << port << "/udp\"";
  file << "]";
  file.close();
  StartWith({"--source", "file", "--nodeports-file", node().File("many.json")});
  if (HasFatalFailure()) return;
  EXPECT_EQ(AskPort(kKnown), kHost);
  EXPECT_THAT(guard_->Log(), HasSubstr("apply the NodePorts: "));
  EXPECT_TRUE(WaitUntil(kPatience, [] {
    const HttpReply ready = HttpGet(kHttp, "/readyz");
    return ready.status == 503 && absl::StrContains(ready.body, "FAIL source file: ");
  })) << HttpGet(kHttp, "/readyz").body;
}

// Never an empty list by mistake.
TEST_P(GuardLateSourceTest, KeepsThePortsOfAnEarlierRunUntilTheSourceIsRead) {
  const std::vector<std::string> arguments = {"--source", "file", "--nodeports-file", File()};
  NPG_ASSERT_OK(rules().Apply({{kKnown, Transport::kTcp, GetParam().endpoint}}));
  StartWith(arguments);
  if (HasFatalFailure()) return;
  EXPECT_EQ(AskPort(kKnown), kHost);
  NPG_ASSERT_OK(guard_->Stop());
  ASSERT_EQ(std::remove(File().c_str()), 0);
  StartWith(arguments);
  if (HasFatalFailure()) return;
  ExpectMissing("file", "No such file or directory");
  NPG_ASSERT_OK(WriteNodePortsFile(File(), {{kLate, Transport::kTcp, true}}));
  EXPECT_TRUE(WaitUntil(kPatience, [&] { return InMap(kLate) && !InMap(kKnown); }))
      << guard_->Log();
}

// A retry does not change the command line.
TEST_P(GuardLateSourceTest, AWrongFlagIsRefused) {
  NPG_ASSERT_OK_AND_ASSIGN(const CommandResult refused,
                           RunForResult(GuardCommand(node(), {"run", "--source", "kubernetes"})));
  EXPECT_EQ(refused.exit_code, 2) << refused.err;
  EXPECT_THAT(refused.err, HasSubstr("needs --kubeconfig FILE"));
}

INSTANTIATE_TEST_SUITE_P(Rules, GuardLateSourceTest, ::testing::Values(RuleShape{}), RuleShapeName);

}  // namespace
}  // namespace npg::testing::late_source_test
