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
#include "core/node_address.h"

namespace npg::node {

// The addresses of this network namespace besides loopback, with what core::JudgeAddresses()
// needs to know of them and their interfaces, by NETLINK_ROUTE. In the kernel's order. Needs no
// privilege.
absl::StatusOr<std::vector<core::NodeAddress>> ListNodeAddresses();

core::AddressSet ToSet(const std::vector<core::NodeAddress>& addresses);
core::AddressSet ToSet(const std::vector<core::LocalAddress>& addresses);

// Calls back, on the loop, after an address was added to or removed from an
// interface of this network namespace, perhaps several at once.
absl::StatusOr<std::unique_ptr<base::NetlinkMonitor>> WatchAddresses(base::EventLoop& loop,
                                                                     std::function<void()> changed);

}  // namespace npg::node

#endif  // NODEPORT_GUARD_NODE_NODE_ADDRESSES_H_
