// SPDX-License-Identifier: Apache-2.0
#include "cli/run_http.h"

#include <spdlog/spdlog.h>

#include <fstream>
#include <memory>
#include <string>
#include <utility>

#include "absl/status/statusor.h"
#include "cli/guard_facts.h"
#include "cli/options.h"
#include "cli/status_report.h"
#include "core/port.h"
#include "telemetry/endpoints.h"
#include "telemetry/health.h"
#include "telemetry/http_address.h"
#include "telemetry/http_server.h"
#include "telemetry/node_view.h"

namespace npg::cli {
namespace {

// As `nodeport-guard status` reads it.
absl::StatusOr<telemetry::NodeStatus> ReadNode(const NodeOptions& node) {
  const absl::StatusOr<GuardFacts> facts =
      GatherGuardFacts(node, [](const core::PortKey&, bool nodeport) { return nodeport; });
  if (!facts.ok()) return facts.status();
  StatusReport report = MakeStatusReport(*facts);
  telemetry::NodeStatus status;
  status.document = StatusJson(report);
  status.conflicts = std::move(report.conflicts);
  status.read = facts->now;
  return status;
}

void LogWarnings(const telemetry::HttpAddress& address) {
  std::ifstream file("/proc/sys/net/ipv4/ip_local_port_range");
  std::string range;
  std::getline(file, range);
  for (const std::string& warning :
       telemetry::AddressWarnings(address, telemetry::HandedOutPorts(range))) {
    spdlog::warn("{}", warning);
  }
}

}  // namespace

absl::StatusOr<std::shared_ptr<void>> ServeHttp(const telemetry::HttpAddress& address,
                                                const NodeOptions& node,
                                                std::shared_ptr<telemetry::Health> health) {
  LogWarnings(address);
  telemetry::Endpoints endpoints;
  endpoints.health = std::move(health);
  endpoints.node = std::make_shared<telemetry::NodeView>([node] { return ReadNode(node); });
  auto server = telemetry::HttpServer::Start(address, telemetry::MakeRoutes(endpoints));
  if (!server.ok()) return server.status();
  spdlog::info("HTTP: http://{}/", telemetry::ToString(address));
  return std::shared_ptr<void>(*std::move(server));
}

}  // namespace npg::cli
