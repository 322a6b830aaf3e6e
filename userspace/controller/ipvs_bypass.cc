// SPDX-License-Identifier: Apache-2.0
#include "controller/ipvs_bypass.h"

#include <spdlog/spdlog.h>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/errno_status.h"
#include "core/listener.h"
#include "dataplane/nft/nft_table.h"
#include "node/ip_vs_services.h"

namespace npg::controller {

absl::Status MatchIpvs(dataplane::NftTable& table, const core::AddressSet& own) {
  const absl::StatusOr<bool> wanted = node::HasIpVsService(own);
  if (!wanted.ok()) return wanted.status();
  if (*wanted == table.ipvs_bypass()) return absl::OkStatus();
  NPG_RETURN_IF_ERROR(table.SetIpvsBypass(*wanted));
  if (*wanted) {
    spdlog::info("IPVS has services on guarded addresses: exempted packets bypass them");
  } else {
    spdlog::info("IPVS has no service on a guarded address any more: bypass removed");
  }
  return absl::OkStatus();
}

}  // namespace npg::controller
