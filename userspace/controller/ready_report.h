// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_CONTROLLER_READY_REPORT_H_
#define NODEPORT_GUARD_CONTROLLER_READY_REPORT_H_

#include <cstddef>
#include <string>

#include "controller/controller.h"
#include "controller/ports_keeper.h"
#include "dataplane/bpf/bpf_guard.h"
#include "dataplane/nft/nft_table.h"

namespace npg::controller {

// Reports to the log and to the service manager that the guard is in place, with this number of
// ports in the map `nodeports`. `protection`: PortProtection::text(). `page`: the URL of the status
// page, empty without one.
void ReportReady(const Options& options, const PortsKeeper::Sources& sources, size_t nodeports,
                 const dataplane::BpfGuard& guard, const dataplane::NftTable& table,
                 const std::string& protection, const std::string& page);

}  // namespace npg::controller

#endif  // NODEPORT_GUARD_CONTROLLER_READY_REPORT_H_
