// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_NODE_NODE_ADDRESSES_H_
#define NODEPORT_GUARD_NODE_NODE_ADDRESSES_H_

#include <functional>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "base/event_loop.h"
#include "base/netlink_monitor.h"
#include "core/listener.h"

namespace npg::node {

// The addresses of this network namespace besides loopback, by NETLINK_ROUTE.
// Sorted. Needs no privilege. Left out are
// - IPv6 link-local addresses: they need an interface, which a program at connect() does
//   not know;
// - addresses on kube-ipvs0, where kube-proxy's IPVS mode puts the addresses of Services:
//   they belong to the Services, also if a process of the node listens there.
absl::StatusOr<std::vector<core::LocalAddress>> ListNodeAddresses();

core::AddressSet ToSet(const std::vector<core::LocalAddress>& addresses);

// Calls back, on the loop, after an address was added to or removed from an
// interface of this network namespace, perhaps several at once.
absl::StatusOr<std::unique_ptr<base::NetlinkMonitor>> WatchAddresses(base::EventLoop& loop,
                                                                     std::function<void()> changed);

}  // namespace npg::node

#endif  // NODEPORT_GUARD_NODE_NODE_ADDRESSES_H_
