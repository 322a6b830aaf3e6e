// SPDX-License-Identifier: Apache-2.0
#include "node/kube_proxy_table.h"

#include <sys/socket.h>

#include <cstdint>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "node/nft_queries.h"

namespace npg::node {
namespace {

// Every kube-proxy in nftables mode has it, with NodePorts or without.
constexpr absl::string_view kNodePortChain = "nodeport-endpoints-check";

}  // namespace

absl::StatusOr<bool> HasKubeProxyRules() {
  for (const uint8_t family : {uint8_t{AF_INET}, uint8_t{AF_INET6}}) {
    absl::StatusOr<bool> has = HasChain(family, kKubeProxyTable, kNodePortChain);
    if (!has.ok() || *has) return has;
  }
  return false;
}

}  // namespace npg::node
