// SPDX-License-Identifier: Apache-2.0
#include "cli/event_text.h"

#include <gtest/gtest.h>

#include <cerrno>
#include <nlohmann/json.hpp>
#include <string>
#include <variant>
#include <vector>

#include "abi/names.h"
#include "absl/time/time.h"
#include "cli/event_rings.h"
#include "core/port.h"
#include "unit/inspect/facts.h"

namespace npg::cli::event_text_test {
namespace {

EventFacts MakeEvent() {
  EventFacts facts;
  facts.event.pid = 712;
  facts.event.uid = 0;
  facts.event.cgroup_id = 99;
  facts.event.comm = "kubelet";
  facts.event.address = inspect::Address("127.0.0.1");
  facts.event.listener_address = inspect::Address("::");
  facts.event.port = {33589, core::Protocol::kTcp};
  facts.time = absl::FromUnixMillis(inspect::kNow * 1000 + 789);
  facts.client_cgroup = "/system.slice/kubelet.service";
  facts.listener_cgroup = "/system.slice/containerd.service";
  facts.nodeport.emplace();
  facts.nodeport->service = "default/web";
  facts.event.owner.pid = 812;
  facts.event.owner.comm = "containerd";
  return facts;
}

TEST(EventTextTest, IsALineForPeople) {
  EXPECT_EQ(EventText(MakeEvent()),
            "12:00:00.789  33589/tcp  exempted  kubelet[712] (kubelet.service) -> 127.0.0.1  "
            "containerd[812] (containerd.service) on [::]  default/web");
}

TEST(EventTextTest, OmitsUnknownFields) {
  EventFacts facts = MakeEvent();
  facts.nodeport.reset();
  facts.event.owner = {};
  facts.client_cgroup = "/";
  facts.event.observed = true;
  facts.event.port.protocol = core::Protocol::kUdp;
  EXPECT_EQ(EventText(facts),
            "12:00:00.789  33589/udp  observed  kubelet[712] -> 127.0.0.1  listener on [::]");
}

TEST(EventTextTest, AProcessNameCannotCommandTheTerminal) {
  EventFacts facts = MakeEvent();
  facts.event.comm = "\x1b[2J\n";
  EXPECT_EQ(EventText(facts).find('\x1b'), std::string::npos);
  EXPECT_EQ(EventText(facts).find('\n'), std::string::npos);
}

TEST(EventTextTest, JsonHasTheSame) {
  const std::string line = EventJson(MakeEvent());
  EXPECT_EQ(line.find('\n'), std::string::npos);
  const nlohmann::json json = nlohmann::json::parse(line);
  EXPECT_EQ(json["time"], "2026-11-02T12:00:00.789000Z");
  EXPECT_EQ(json["action"], "exempted");
  EXPECT_EQ(json["port"], 33589);
  EXPECT_EQ(json["protocol"], "tcp");
  EXPECT_EQ(json["address"], "127.0.0.1");
  EXPECT_EQ(json["client"]["comm"], "kubelet");
  EXPECT_EQ(json["client"]["cgroup"], "/system.slice/kubelet.service");
  EXPECT_EQ(json["client"]["unit"], "kubelet.service");
  EXPECT_EQ(json["client"]["pod_uid"], nullptr);
  EXPECT_EQ(json["listener"]["address"], "::");
  EXPECT_EQ(json["listener"]["comm"], "containerd");
  EXPECT_EQ(json["listener"]["uid"], 0);
  EXPECT_EQ(json["listener"]["cgroup"], "/system.slice/containerd.service");
  EXPECT_EQ(json["listener"]["unit"], "containerd.service");
  EXPECT_EQ(json["service"], "default/web");
}

BindEventFacts MakeBindEvent() {
  BindEventFacts facts;
  facts.event.cgroup_id = 98;
  facts.event.pid = 812;
  facts.event.uid = 1000;
  facts.event.comm = "python3";
  facts.event.port = {30080, core::Protocol::kTcp};
  facts.event.address = inspect::Address("0.0.0.0");
  facts.event.outcome = abi::BindOutcome::kRefused;
  facts.event.error = EADDRINUSE;
  facts.time = absl::FromUnixMillis(inspect::kNow * 1000 + 789);
  facts.cgroup = "/system.slice/agent.service";
  facts.nodeport.emplace();
  facts.nodeport->service = "default/web";
  return facts;
}

TEST(EventTextTest, ALineOfARefusedBind) {
  EXPECT_EQ(EventText(MakeBindEvent()),
            "12:00:00.789  30080/tcp  bind refused  python3[812] (agent.service) uid 1000 on "
            "0.0.0.0  EADDRINUSE  default/web");
}

TEST(EventTextTest, ALineOfAReportedBindHasNoError) {
  BindEventFacts facts = MakeBindEvent();
  facts.event.outcome = abi::BindOutcome::kWarned;
  facts.event.error = 0;
  facts.event.address = inspect::Address("::");
  facts.event.comm = "a\x1b[2Jb";
  facts.cgroup.clear();
  facts.nodeport.reset();
  EXPECT_EQ(EventText(facts),
            "12:00:00.789  30080/tcp  bind reported  a\\x1b[2Jb[812] uid 1000 on [::]");
}

TEST(EventTextTest, JsonOfABindIsToldApartByItsAction) {
  const std::string line = EventJson(MakeBindEvent());
  EXPECT_EQ(line.find('\n'), std::string::npos);
  const nlohmann::json json = nlohmann::json::parse(line);
  EXPECT_EQ(json["time"], "2026-11-02T12:00:00.789000Z");
  EXPECT_EQ(json["action"], "bind_refused");
  EXPECT_EQ(json["port"], 30080);
  EXPECT_EQ(json["protocol"], "tcp");
  EXPECT_EQ(json["address"], "0.0.0.0");
  EXPECT_EQ(json["process"]["pid"], 812);
  EXPECT_EQ(json["process"]["uid"], 1000);
  EXPECT_EQ(json["process"]["comm"], "python3");
  EXPECT_EQ(json["process"]["cgroup_id"], 98);
  EXPECT_EQ(json["process"]["unit"], "agent.service");
  EXPECT_EQ(json["error"], "EADDRINUSE");
  EXPECT_EQ(json["service"], "default/web");

  BindEventFacts warned = MakeBindEvent();
  warned.event.outcome = abi::BindOutcome::kWarned;
  warned.event.error = 0;
  const nlohmann::json other = nlohmann::json::parse(EventJson(warned));
  EXPECT_EQ(other["action"], "bind_warned");
  EXPECT_EQ(other["error"], nullptr);
}

TEST(MergeEventsTest, BothKindsAreInTheOrderOfTheirTimes) {
  std::vector<abi::Event> connects(3);
  connects[0].boot_ns = 10;
  connects[1].boot_ns = 30;
  connects[2].boot_ns = 20;  // as of another CPU
  std::vector<abi::BindEvent> binds(2);
  binds[0].boot_ns = 5;
  binds[1].boot_ns = 25;
  std::string order;
  for (const AnyEvent& event : MergeEvents(connects, binds)) {
    const bool bind = std::holds_alternative<abi::BindEvent>(event);
    order += bind ? "b" + std::to_string(std::get<abi::BindEvent>(event).boot_ns)
                  : "c" + std::to_string(std::get<abi::Event>(event).boot_ns);
    order += " ";
  }
  EXPECT_EQ(order, "b5 c10 c20 b25 c30 ");
  EXPECT_TRUE(MergeEvents({}, {}).empty());
}

}  // namespace
}  // namespace npg::cli::event_text_test
