// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_LISTENERS_SOCK_DIAG_H_
#define NODEPORT_GUARD_LISTENERS_SOCK_DIAG_H_

#include <vector>

#include "absl/status/statusor.h"
#include "core/listener.h"
#include "dataplane/nft_table.h"

namespace npg::listeners {

// The listening TCP (MPTCP included) and bound, unconnected UDP sockets of this
// network namespace, by NETLINK_SOCK_DIAG. Owners are not filled in; see
// owners.h. Needs no privilege. Sorted by port, protocol, address.
absl::StatusOr<std::vector<core::Listener>> ListListeners();

// The connected TCP (not LISTEN, not CLOSE) and UDP sockets over loopback that
// carry the mark: the flows the guard exempts now. Reading marks needs
// CAP_NET_ADMIN (INET_DIAG_MARK); PERMISSION_DENIED without.
absl::StatusOr<std::vector<dataplane::Flow>> ListMarkedFlows(dataplane::Mark mark);

}  // namespace npg::listeners

#endif  // NODEPORT_GUARD_LISTENERS_SOCK_DIAG_H_
