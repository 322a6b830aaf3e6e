// SPDX-License-Identifier: Apache-2.0
#include "core/accept_queue.h"

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/str_cat.h"
#include "base/text.h"
#include "core/listener.h"
#include "core/owner_policy.h"
#include "core/port.h"

namespace npg::core {

bool AcceptQueueIsFull(const Listener& listener) {
  return listener.accept_queue > listener.accept_limit;
}

bool HasLongAcceptQueue(const Listener& listener) {
  return listener.accept_queue >= kManyWaiting || AcceptQueueIsFull(listener);
}

std::string AcceptQueueText(const Listener& listener) {
  return absl::StrCat(base::Count(listener.accept_queue, "connection"),
                      listener.accept_queue == 1 ? " waits" : " wait", " to be accepted (backlog ",
                      listener.accept_limit, ")");
}

std::string HowToIgnore(const Listener& listener, const OwnerPolicy& policy) {
  const std::optional<Binder>& binder = listener.binder;
  const std::string comm = binder ? binder->comm : "";
  // Both flags with the same name are an error.
  if (!policy.only.empty()) return absl::StrCat("run without --only-process ", comm);
  // OwnerPolicy::Ignores(): a socket that asked for any port is not ignored by its name.
  if (!comm.empty() && binder->asked_port == listener.key.port) {
    return absl::StrCat("run with --ignore-process +", comm);
  }
  return "run with --only-process NAME for each process that serves";
}

AcceptQueues::Socket AcceptQueues::SocketOf(const Listener& listener) {
  return {listener.inode, listener.key};
}

AcceptQueues::Queue AcceptQueues::After(const Queue& queue, uint32_t waiting) {
  Queue next = queue;
  next.waiting = waiting;
  if (waiting == 0) {
    next.first = 0;
    next.looks = 0;
  } else if (queue.looks == 0 || waiting < queue.waiting) {
    next.first = waiting;
    next.looks = 1;
  } else if (queue.looks < kLooks) {
    ++next.looks;
  }
  return next;
}

std::vector<Listener> AcceptQueues::Look(const std::vector<Listener>& listeners) {
  const absl::flat_hash_map<Socket, Queue> before = std::exchange(queues_, {});
  std::vector<Listener> found;
  not_accepting_ = 0;
  for (const Listener& listener : listeners) {
    // A socket without a file has no inode by which it could be told from others.
    if (listener.key.protocol != Protocol::kTcp || listener.inode == 0) continue;
    if (queues_.size() >= kMaxSockets) break;
    const Socket socket = SocketOf(listener);
    const auto known = before.find(socket);
    Queue queue = After(known == before.end() ? Queue() : known->second, listener.accept_queue);
    if (queue.waiting == 0 && !queue.returned) continue;
    // A queue whose length stays the same may be one of which as many connections are accepted as
    // arrive. One that is full takes no others, so it cannot grow.
    const bool grew = queue.waiting > queue.first || AcceptQueueIsFull(listener);
    if (queue.looks >= kLooks && grew) {
      ++not_accepting_;
      if (!std::exchange(queue.returned, true)) found.push_back(listener);
    }
    queues_.insert_or_assign(socket, queue);
  }
  return found;
}

bool AcceptQueues::Knows(const Listener& listener) const {
  const auto known = queues_.find(SocketOf(listener));
  return known != queues_.end() && known->second.returned;
}

}  // namespace npg::core
