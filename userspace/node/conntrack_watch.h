// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_NODE_CONNTRACK_WATCH_H_
#define NODEPORT_GUARD_NODE_CONNTRACK_WATCH_H_

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/netlink_socket.h"
#include "core/flow.h"

namespace npg::node {

// An entry of the connection tracking table, as its first packet made it.
struct ConntrackEntry {
  core::Flow flow;  // TCP or UDP; the client is the sender of that packet
  bool v4 = true;
  uint16_t zone = 0;
  // For Remove(): the attributes of the kernel's message that identify the entry.
  std::string tuple;
  std::string zone_attribute;
  std::string id;
};

// Reports the TCP and UDP flows that conntrack begins to track in this network namespace, in
// whatever zone (NFNLGRP_CONNTRACK_NEW). The kernel queues an event before it gives the first
// packet to a socket. While a watch exists, each new flow of the namespace costs the kernel an
// event, so it is to be short.
class ConntrackWatch {
 public:
  // UNIMPLEMENTED where the kernel has no nf_conntrack_netlink at present (it is not loaded for
  // this), or the sysctl net.netfilter.nf_conntrack_events is 0. Needs CAP_NET_ADMIN.
  static absl::StatusOr<ConntrackWatch> Start(int queue_bytes = kQueueBytes);
  // Some thousand events.
  static constexpr int kQueueBytes = 1 << 20;

  struct Entries {
    std::vector<ConntrackEntry> list;
    bool whole = true;  // false: there were more than fit in the queue
  };
  // The entries made since the start, or the last call.
  absl::StatusOr<Entries> Take();

  // Removes this entry from the table, no other one with the same addresses. NOT_FOUND when it is
  // gone.
  absl::Status Remove(const ConntrackEntry& entry);

 private:
  ConntrackWatch(base::NetlinkSocket events, base::NetlinkSocket requests)
      : events_(std::move(events)), requests_(std::move(requests)) {}

  base::NetlinkSocket events_;
  base::NetlinkSocket requests_;
};

}  // namespace npg::node

#endif  // NODEPORT_GUARD_NODE_CONNTRACK_WATCH_H_
