// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_CORE_ACCEPT_QUEUE_H_
#define NODEPORT_GUARD_CORE_ACCEPT_QUEUE_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
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

// True when the queue is full or has kManyWaiting connections. One look cannot tell a listener
// that never accepts from one that is slow.
bool HasLongAcceptQueue(const Listener& listener);

// "3 connections wait to be accepted (backlog 4096)".
std::string AcceptQueueText(const Listener& listener);

// How a guarded listener becomes one that is ignored: "run with --ignore-process +agent". By
// --only-process where that is in use, and for a listener that --ignore-process cannot select.
std::string HowToIgnore(const Listener& listener, const OwnerPolicy& policy);

// Finds the listeners that do not accept, by their queues at regular intervals. The kernel keeps a
// connection in the queue after its client has closed it, so only accept() makes a queue shorter.
class AcceptQueues {
 public:
  // Consecutive looks in which the queue must not become shorter. A minute at one look in ten
  // seconds.
  static constexpr int kLooks = 7;
  // Sockets that are remembered; further ones are not judged.
  static constexpr size_t kMaxSockets = 1024;

  // Call it at each interval, with the guarded listeners that have a connection in the queue or
  // are known; others may be among them. Returns those that do not accept and were not returned
  // before.
  std::vector<Listener> Look(const std::vector<Listener>& listeners);

  // True when the listener was returned before.
  bool Knows(const Listener& listener) const;

  // The listeners that did not accept as of the last look.
  size_t not_accepting() const { return not_accepting_; }

 private:
  struct Queue {
    uint32_t first = 0;     // connections in it when `looks` began
    uint32_t waiting = 0;   // at the last look
    int looks = 0;          // in which it had connections and did not become shorter
    bool returned = false;  // by Look()
  };
  // A socket may be closed and another one bound to its port.
  using Socket = std::pair<uint64_t, PortKey>;

  static Socket SocketOf(const Listener& listener);
  static Queue After(const Queue& queue, uint32_t waiting);

  absl::flat_hash_map<Socket, Queue> queues_;
  size_t not_accepting_ = 0;
};

}  // namespace npg::core

#endif  // NODEPORT_GUARD_CORE_ACCEPT_QUEUE_H_
