// SPDX-License-Identifier: Apache-2.0
#include "cli/event_text.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <string>

#include "absl/time/time.h"
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

}  // namespace
}  // namespace npg::cli::event_text_test
