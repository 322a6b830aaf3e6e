// SPDX-License-Identifier: Apache-2.0
#include "controller/ready_report.h"

#include <spdlog/spdlog.h>

#include <cstddef>
#include <string>
#include <vector>

#include "abi/names.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/service_manager.h"
#include "controller/controller.h"
#include "controller/ports_keeper.h"
#include "dataplane/bpf/bpf_guard.h"
#include "dataplane/nft/nft_table.h"
#include "log/fields.h"
#include "log/log.h"
#include "sources/source.h"

namespace npg::controller {

void ReportReady(const Options& options, const PortsKeeper::Sources& sources, size_t nodeports,
                 const dataplane::BpfGuard& guard, const dataplane::NftTable& table,
                 const std::string& protection, const std::string& page) {
  std::vector<std::string> names, failing;
  for (const auto& source : sources) {
    names.emplace_back(source->name());
    const sources::SourceState state = source->State();
    if (!state.connected && !state.last_error.empty()) failing.emplace_back(source->name());
  }
  const bool enforcing = options.mode == abi::Mode::kEnforce;
  log::Log(
      spdlog::level::info,
      absl::StrCat("ready: ", enforcing ? "guarding" : "observing", " ", nodeports,
                   " NodePorts from ", absl::StrJoin(names, ", "), " in cgroup ", options.cgroup,
                   guard.adopted() ? ", adopted from an earlier run" : "",
                   table.owned() ? ""
                   : options.own_nft_table
                       ? "; this kernel cannot protect the nft table from others, it is watched "
                         "instead"
                       : "; other programs can change the nft table, it is watched",
                   protection, failing.empty() ? "" : "; cannot be read and will be tried again: ",
                   absl::StrJoin(failing, ", "), page.empty() ? "" : "; status page: ", page),
      log::Fields()
          .Add("event", "ready")
          .Add("mode", abi::Name(options.mode))
          .Add("nodeports", nodeports)
          .Add("adopted", guard.adopted())
          .Add("reserve_ports", abi::Name(options.reserve_ports))
          .Add("bind_protection", abi::Name(options.bind_protection))
          .Add("version", options.version));
  if (const absl::Status notified = base::NotifyServiceManager("READY=1"); !notified.ok()) {
    spdlog::warn("{}", std::string(notified.message()));
  }
}

}  // namespace npg::controller
