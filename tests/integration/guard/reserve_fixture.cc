// SPDX-License-Identifier: Apache-2.0
#include "integration/guard/reserve_fixture.h"

#include <cstddef>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "core/port_ranges.h"
#include "node/node_files.h"
#include "testing/command.h"
#include "testing/guard_fixture.h"
#include "testing/guard_process.h"
#include "testing/kube_proxy_rules.h"
#include "testing/status_asserts.h"
#include "testing/test_node.h"
#include "testing/transport.h"
#include "testing/wait_until.h"

namespace npg::testing {

void ReservePortsTest::SetUp() {
  GuardTest::SetUp();
  if (HasFatalFailure()) return;
  NPG_ASSERT_OK(SetSysctl(kRange, "30000 60999"));
  NPG_ASSERT_OK(SetSysctl(kSysctl, kAdmin));
}

std::string ReservePortsTest::Reserved() {
  const auto ports = node::ReadReservedPorts("/proc");
  return ports.ok() ? core::PortRangesText(*ports) : ports.status().ToString();
}

bool ReservePortsTest::Becomes(const std::string& reserved) {
  return WaitUntil(kPatience, [&reserved] { return Reserved() == reserved; });
}

std::vector<uint16_t> ReservePortsTest::ScatteredPorts(uint16_t first, size_t count) {
  std::vector<uint16_t> ports;
  for (size_t i = 0; i < count; ++i) ports.push_back(static_cast<uint16_t>(first + 2 * i));
  return ports;
}

absl::Status ReservePortsTest::WritePorts(const std::vector<uint16_t>& tcp,
                                          const std::vector<uint16_t>& udp) {
  std::vector<NodePort> nodeports;
  for (const uint16_t port : tcp) nodeports.push_back({port, Transport::kTcp});
  for (const uint16_t port : udp) nodeports.push_back({port, Transport::kUdp});
  return WriteNodePortsFile(node().File("nodeports.json"), nodeports);
}

absl::Status ReservePortsTest::RunUnload() const {
  return RunCommand(GuardCommand(node(), {"unload"})).status();
}

nlohmann::json ReservePortsTest::Status() const {
  const auto result = RunForResult(GuardCommand(node(), {"status", "-o", "json"}));
  return nlohmann::json::parse(result.ok() ? result->out : "", nullptr,
                               /*allow_exceptions=*/false);
}

std::string ReservePortsTest::State() const {
  const nlohmann::json status = Status();
  if (!status.is_object()) return "no status";
  const nlohmann::json& reserve = status["protection"]["reserve_ports"];
  return absl::StrCat(reserve["state"].get<std::string>(), " ", reserve["ports"].get<int>());
}

bool ReservePortsTest::StateBecomes(const std::string& state) const {
  return WaitUntil(kPatience, [&] { return State() == state; });
}

bool ReservePortsTest::Knows(uint16_t port) const {
  const auto entry = maps().NodePort(port, Transport::kTcp);
  return entry.ok() && entry->has_value();
}

}  // namespace npg::testing
