// SPDX-License-Identifier: Apache-2.0
#include "cli/run_http.h"

#include <spdlog/spdlog.h>

#include <fstream>
#include <memory>
#include <string>
#include <utility>

#include "absl/status/statusor.h"
#include "telemetry/endpoints.h"
#include "telemetry/http_address.h"
#include "telemetry/http_server.h"

namespace npg::cli {
namespace {

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
                                                const telemetry::Endpoints& endpoints) {
  LogWarnings(address);
  auto server = telemetry::HttpServer::Start(address, telemetry::MakeRoutes(endpoints));
  if (!server.ok()) return server.status();
  return std::shared_ptr<void>(*std::move(server));
}

}  // namespace npg::cli
