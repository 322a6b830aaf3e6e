// SPDX-License-Identifier: Apache-2.0
#include "cli/run_http.h"

#include <spdlog/spdlog.h>

#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "absl/status/statusor.h"
#include "core/port_ranges.h"
#include "node/node_files.h"
#include "serve/endpoints.h"
#include "serve/http_address.h"
#include "serve/http_server.h"

namespace npg::cli {
namespace {

void LogWarnings(const serve::HttpAddress& address) {
  const absl::StatusOr<core::PortRange> local = node::ReadLocalPortRange("/proc");
  for (const std::string& warning :
       serve::AddressWarnings(address, local.ok() ? std::make_optional(*local) : std::nullopt,
                              node::ReadReservedPorts("/proc").value_or(core::PortRanges()))) {
    spdlog::warn("{}", warning);
  }
}

}  // namespace

absl::StatusOr<std::shared_ptr<void>> ServeHttp(const serve::HttpAddress& address,
                                                const serve::Endpoints& endpoints) {
  auto server = serve::HttpServer::Start(address, serve::MakeRoutes(endpoints));
  if (!server.ok()) return server.status();
  LogWarnings(address);
  return std::shared_ptr<void>(*std::move(server));
}

}  // namespace npg::cli
