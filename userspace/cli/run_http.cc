// SPDX-License-Identifier: Apache-2.0
#include "cli/run_http.h"

#include <spdlog/spdlog.h>

#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "absl/status/statusor.h"
#include "core/port_ranges.h"
#include "doctor/node_files.h"
#include "telemetry/endpoints.h"
#include "telemetry/http_address.h"
#include "telemetry/http_server.h"

namespace npg::cli {
namespace {

constexpr const char* kProc = "/proc";

void LogWarnings(const telemetry::HttpAddress& address) {
  const absl::StatusOr<core::PortRange> local = doctor::ReadLocalPortRange(kProc);
  for (const std::string& warning :
       telemetry::AddressWarnings(address, local.ok() ? std::make_optional(*local) : std::nullopt,
                                  doctor::ReadReservedPorts(kProc).value_or(core::PortRanges()))) {
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
