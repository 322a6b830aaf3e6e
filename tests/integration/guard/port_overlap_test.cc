// SPDX-License-Identifier: Apache-2.0
// NodePorts among the ports that the kernel assigns: what the status, the metrics and doctor of the
// real binary say, without and with --reserve-ports.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
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
#include "absl/time/time.h"
#include "testing/command.h"
#include "testing/echo_server.h"
#include "testing/guard_process.h"
#include "testing/http_exchange.h"
#include "testing/kube_proxy_rules.h"
#include "testing/status_asserts.h"
#include "testing/test_node.h"
#include "testing/transport.h"
#include "testing/wait_until.h"

namespace npg::testing::port_overlap_test {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;
using Json = nlohmann::json;

constexpr uint16_t kPort = 33589;
constexpr uint16_t kHttp = 9829;
constexpr absl::Duration kLong = absl::Seconds(60);

class PortOverlapTest : public ::testing::Test {
 protected:
  void SetUp() override {
    NPG_ASSERT_OK_AND_ASSIGN(node_, TestNode::Create());
    NPG_ASSERT_OK(Allocate({kPort}));
  }

  absl::Status Allocate(const std::vector<uint16_t>& ports) const {
    std::vector<NodePort> nodeports;
    for (const uint16_t port : ports) nodeports.push_back({port, Transport::kTcp});
    return WriteNodePortsFile(node_->File("nodeports.json"), nodeports);
  }

  // The guard with `arguments`, instead of the one before.
  absl::Status StartGuard(std::vector<std::string> arguments) {
    if (guard_) {
      if (absl::Status stopped = guard_->Stop(); !stopped.ok()) return stopped;
      guard_.reset();
    }
    arguments.insert(arguments.end(),
                     {"--source", "file", "--nodeports-file", node_->File("nodeports.json")});
    absl::StatusOr<GuardProcess> started = GuardProcess::Start(*node_, arguments);
    if (!started.ok()) return started.status();
    guard_.emplace(*std::move(started));
    return absl::OkStatus();
  }

  std::string Log() const { return guard_->Log(); }

  // What the guard serves; the command prints the same.
  static Json Status() {
    return Json::parse(HttpGet(kHttp, "/api/v1/status").body, nullptr,
                       /*allow_exceptions=*/false);
  }
  static bool Reserves(size_t ports) {
    const Json status = Status();
    return status.is_object() && status["protection"]["reserve_ports"]["state"] == "ok" &&
           status["protection"]["reserve_ports"]["ports"] == ports;
  }

  // The finding of doctor: "warn: WHAT | FIX".
  std::string Finding(const std::string& id) const {
    const auto result =
        RunForResult(GuardCommand(*node_, {"doctor", "--source", "file", "--nodeports-file",
                                           node_->File("nodeports.json"), "-o", "json"}));
    if (!result.ok()) return result.status().ToString();
    const Json json = Json::parse(result->out, nullptr, /*allow_exceptions=*/false);
    if (!json.is_object()) return absl::StrCat(result->out, result->err);
    for (const auto& finding : json["findings"]) {
      if (finding["id"] != id) continue;
      return absl::StrCat(finding["severity"].get<std::string>(), ": ",
                          finding["what"].get<std::string>(), " | ",
                          finding["fix"].is_null() ? "" : finding["fix"].get<std::string>());
    }
    return absl::StrCat("no ", id);
  }

  std::string StatusText() const {
    const auto result = RunForResult(GuardCommand(*node_, {"status"}));
    return result.ok() ? absl::StrCat(result->out, result->err) : result.status().ToString();
  }

  const TestNode& node() const { return *node_; }

 private:
  std::unique_ptr<TestNode> node_;
  std::optional<GuardProcess> guard_;
};

TEST_F(PortOverlapTest, ReservingEndsIt) {
  NPG_ASSERT_OK(SetSysctl("net/ipv4/ip_local_port_range", "33000 42999"));
  NPG_ASSERT_OK(SetSysctl("net/ipv4/ip_local_reserved_ports", "33100-33199"));
  // The port is the kernel's choice, of the odd ones from 33001 to 37999.
  NPG_ASSERT_OK_AND_ASSIGN(const auto assigned,
                           EchoServer::Start("host", {{"127.0.0.1", 0, Transport::kTcp}}));
  NPG_ASSERT_OK(StartGuard({}));

  Json ranges = Status()["port_ranges"];
  EXPECT_EQ(ranges["first"], 33000);
  EXPECT_EQ(ranges["last"], 42999);
  EXPECT_EQ(ranges["automatic"], 9900);
  EXPECT_EQ(ranges["allocated"], 1);
  EXPECT_GE(ranges["listeners"], 1);
  EXPECT_GT(ranges["collision_probability"], 0.0) << "33589 has an odd offset in the lower half";
  EXPECT_EQ(ranges["advice"], "reserve");
  EXPECT_EQ(Status()["protection"]["reserve_ports"]["mode"], "off");
  EXPECT_EQ(Status()["healthy"], true);
  std::string metrics = HttpGet(kHttp, "/metrics").body;
  EXPECT_THAT(metrics, AllOf(HasSubstr("\nnodeport_guard_automatic_ports 9900\n"),
                             HasSubstr("\nnodeport_guard_automatic_ports_allocated 1\n"),
                             HasSubstr("\nnodeport_guard_reserved_ports 0\n"),
                             HasSubstr("\nnodeport_guard_reserve_state{state=\"off\"} 1\n")));
  EXPECT_THAT(StatusText(), HasSubstr("port range  1 of the 9900 ports of 33000-42999"));
  EXPECT_THAT(Finding("port-range-allocated"),
              AllOf(HasSubstr("warn: 1 NodePort is among the 9900 ports"),
                    HasSubstr("sysctl -w net.ipv4.ip_local_reserved_ports=33100-33199,33589,")));
  EXPECT_THAT(Finding("reserved-ports"), HasSubstr("note: off"));
  EXPECT_THAT(Finding("bind-protection"), HasSubstr("ok: off"));

  NPG_ASSERT_OK(StartGuard({"--reserve-ports", "allocated"}));
  ASSERT_TRUE(WaitUntil(kLong, [] { return Reserves(1); })) << Log() << Status();
  ranges = Status()["port_ranges"];
  EXPECT_EQ(ranges["automatic"], 9899);
  EXPECT_EQ(ranges["allocated"], 0);
  EXPECT_EQ(ranges["collision_probability"], 0.0);
  EXPECT_EQ(ranges["advice"], "none");
  metrics = HttpGet(kHttp, "/metrics").body;
  EXPECT_THAT(metrics, AllOf(HasSubstr("\nnodeport_guard_automatic_ports_allocated 0\n"),
                             HasSubstr("\nnodeport_guard_reserved_ports 1\n"),
                             HasSubstr("\nnodeport_guard_reserve_state{state=\"off\"} 0\n"),
                             HasSubstr("\nnodeport_guard_reserve_state{state=\"ok\"} 1\n")));
  EXPECT_THAT(StatusText(), AllOf(HasSubstr("reserved    allocated: 1 port reserved"),
                                  Not(HasSubstr("\n  port range"))));
  EXPECT_THAT(Finding("port-range-allocated"), HasSubstr("ok: "));
  EXPECT_THAT(Finding("reserved-ports"), HasSubstr("ok: the guard reserves 1 port"));

  // A new Service.
  NPG_ASSERT_OK(Allocate({kPort, 33601}));
  EXPECT_TRUE(WaitUntil(kLong, [] { return Reserves(2); })) << Log() << Status();
  EXPECT_EQ(Status()["port_ranges"]["allocated"], 0);
}

TEST_F(PortOverlapTest, WithoutACommonPortNothingIsSaid) {
  NPG_ASSERT_OK(SetSysctl("net/ipv4/ip_local_port_range", "40000 60999"));
  NPG_ASSERT_OK_AND_ASSIGN(const auto assigned,
                           EchoServer::Start("host", {{"127.0.0.1", 0, Transport::kTcp}}));
  NPG_ASSERT_OK(StartGuard({}));
  const Json ranges = Status()["port_ranges"];
  EXPECT_EQ(ranges["automatic"], 21000);
  EXPECT_EQ(ranges["allocated"], 0);
  EXPECT_EQ(ranges["collision_probability"], 0.0);
  EXPECT_EQ(ranges["advice"], "none");
  for (const char* id : {"port-range-allocated", "port-range-usual", "reserved-ports"}) {
    EXPECT_THAT(Finding(id), HasSubstr("ok: "));
  }
  EXPECT_THAT(StatusText(), AllOf(Not(HasSubstr("\n  port range")), Not(HasSubstr("\n  reserved ")),
                                  Not(HasSubstr("\n  binds "))));
}

// A listener that asked for its number was not assigned it.
TEST_F(PortOverlapTest, CountsWhatTheKernelAssigned) {
  NPG_ASSERT_OK(SetSysctl("net/ipv4/ip_local_port_range", "40000 60999"));
  NPG_ASSERT_OK(StartGuard({}));
  const auto listeners = [] {
    const Json status = Status();
    return status.is_object() ? status["port_ranges"]["listeners"].get<int>() : -1;
  };
  // The self-probe of the guard has one for a moment.
  EXPECT_TRUE(WaitUntil(kLong, [&] { return listeners() == 0; })) << listeners();
  NPG_ASSERT_OK_AND_ASSIGN(const auto asked,
                           EchoServer::Start("host", {{"127.0.0.1", 40101, Transport::kTcp},
                                                      {"127.0.0.1", 0, Transport::kUdp}}));
  NPG_ASSERT_OK_AND_ASSIGN(const auto assigned,
                           EchoServer::Start("host", {{"127.0.0.1", 0, Transport::kTcp}}));
  EXPECT_TRUE(WaitUntil(kLong, [&] { return listeners() == 1; })) << listeners();
}

// In another network namespace, the sysctls are those of another node.
TEST_F(PortOverlapTest, OfTheGuardedNamespaceOnly) {
  NPG_ASSERT_OK(SetSysctl("net/ipv4/ip_local_port_range", "33000 42999"));
  NPG_ASSERT_OK(StartGuard({}));
  EXPECT_EQ(Status()["port_ranges"]["allocated"], 1);
  std::string elsewhere;
  NPG_ASSERT_OK(node().pod().Run([&] {
    const auto result = RunForResult(GuardCommand(node(), {"status", "-o", "json"}));
    if (!result.ok()) return result.status();
    elsewhere = result->out;
    return absl::OkStatus();
  }));
  const Json status = Json::parse(elsewhere, nullptr, /*allow_exceptions=*/false);
  ASSERT_TRUE(status.is_object()) << elsewhere;
  EXPECT_EQ(status["guard"]["same_network_namespace"], false);
  EXPECT_EQ(status["port_ranges"], nullptr);
}

}  // namespace
}  // namespace npg::testing::port_overlap_test
