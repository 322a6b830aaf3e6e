// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_CORE_ACCEPT_QUEUE_H_
#define NODEPORT_GUARD_CORE_ACCEPT_QUEUE_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/btree_set.h"
#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "core/listener.h"
#include "core/owner_policy.h"
#include "core/port.h"

// The accept queues of TCP listeners. The kernel answers a SYN for the process and queues the
// connection until the process accepts it. A process that binds a port only to hold it never does:
// connects to it succeed, and then hang.

namespace npg::core {

// Connections that wait at one time in the queue of a process that is slow or never accepts.
inline constexpr uint32_t kManyWaiting = 8;

// True when the kernel takes no further connection: sk_acceptq_is_full() in include/net/sock.h,
// by which one more than the limit may wait.
bool AcceptQueueIsFull(const Listener& listener);

// True when the queue has kManyWaiting connections, or is full and has room for more than the one
// connection of a backlog of 0, which waits in front of any server at times. One look cannot tell a
// listener that never accepts from one that is slow or busy.
bool HasLongAcceptQueue(const Listener& listener);

// "3 connections wait to be accepted (backlog 4096)".
std::string AcceptQueueText(const Listener& listener);

// How a guarded listener becomes one that is ignored: "run with --ignore-process +agent". By
// --only-process where that is in use, and for a listener that --ignore-process cannot select.
std::string HowToIgnore(const Listener& listener, const OwnerPolicy& policy);

// A TCP connection that no process has accepted yet.
struct WaitingConnection {
  uint16_t port = 0;                  // its local one, host order
  std::array<uint8_t, 16> address{};  // its local one, network order, IPv4 as v4-mapped IPv6
  uint64_t cookie = 0;                // of its socket; the kernel gives no other socket the same

  bool operator==(const WaitingConnection&) const = default;
};

// Selects waiting connections on some ports: a limited number for each port, and besides all those
// that are known by their cookies.
struct WaitingQuery {
  static constexpr size_t kMaxOfPort = 64;

  absl::btree_set<uint16_t> ports;  // host order
  absl::flat_hash_set<uint64_t> cookies;
};

// Finds the listeners that do not accept, by looks at their queues at regular intervals. The kernel
// keeps a connection in the queue after its client has closed it, so only accept() makes a queue
// shorter. But a queue that is full at each look may be that of a busy server: so connections that
// wait when the listener becomes a suspect are noted, and those must still wait at the end.
// accept() takes the connection that has waited longest.
class AcceptQueues {
 public:
  // Consecutive looks in which a listener is a suspect: its queue was full or had grown, and did
  // not become shorter. A minute at one look in ten seconds.
  static constexpr int kLooks = 7;
  // Sockets that are remembered; further ones are not judged.
  static constexpr size_t kMaxSockets = 1024;
  // Connections that are noted for each.
  static constexpr size_t kMaxNoted = 16;

  // Lists the connections that a query selects.
  using ListWaiting =
      absl::FunctionRef<absl::StatusOr<std::vector<WaitingConnection>>(const WaitingQuery&)>;

  // Call it at each interval, with the guarded listeners that have a connection in the queue or
  // are known; others may be among them. Returns those that do not accept and were not returned
  // before. Calls `list` at most once, and only when there are suspects to note connections of or
  // to judge; when it fails, returns its error, and the look does not count.
  absl::StatusOr<std::vector<Listener>> Look(const std::vector<Listener>& listeners,
                                             ListWaiting list);

  // True when the listener was returned before.
  bool Knows(const Listener& listener) const;

  // The listeners that did not accept as of the last look.
  size_t not_accepting() const { return not_accepting_; }

 private:
  struct Queue {
    uint32_t first = 0;           // connections in it when it last was empty or became shorter
    uint32_t waiting = 0;         // at the last look
    int looks = 0;                // in which the listener was a suspect; 0: it is none
    std::vector<uint64_t> noted;  // cookies of connections that have waited since `looks` began
    bool returned = false;        // by Look()
  };
  // A socket may be closed and another one bound to its port.
  using Socket = std::pair<uint64_t, PortKey>;
  using Queues = absl::flat_hash_map<Socket, Queue>;

  static Socket SocketOf(const Listener& listener);
  static Queue After(Queue queue, const Listener& listener);
  static bool NeedsList(const Queue& queue);
  // Notes connections of those that wait, or compares them with the noted ones. True when none of
  // these was accepted for as long as it takes.
  static bool Prove(Queue& queue, const std::vector<uint64_t>& waiting);
  Queues After(const std::vector<Listener>& listeners) const;

  Queues queues_;
  size_t not_accepting_ = 0;
};

}  // namespace npg::core

#endif  // NODEPORT_GUARD_CORE_ACCEPT_QUEUE_H_
