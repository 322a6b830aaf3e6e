// SPDX-License-Identifier: Apache-2.0
#include "core/accept_queue.h"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "base/text.h"
#include "core/listener.h"
#include "core/owner_policy.h"
#include "core/port.h"

namespace npg::core {
namespace {

// The waiting connections of a look, by the listener that has them in its queue.
class WaitingConnections {
 public:
  WaitingConnections(const std::vector<Listener>& listeners,
                     const std::vector<WaitingConnection>& connections) {
    for (const Listener& listener : listeners) {
      if (listener.key.protocol != Protocol::kTcp || IsWildcard(listener.address)) continue;
      bound_.emplace(listener.key.port, listener.address);
    }
    for (const WaitingConnection& connection : connections) {
      by_port_[connection.port].push_back(connection);
    }
  }

  // Their cookies. Sockets with SO_REUSEPORT on the same address share them.
  std::vector<uint64_t> Of(const Listener& listener) const {
    std::vector<uint64_t> cookies;
    const auto on_port = by_port_.find(listener.key.port);
    if (on_port == by_port_.end()) return cookies;
    for (const WaitingConnection& connection : on_port->second) {
      if (Takes(listener, connection)) cookies.push_back(connection.cookie);
    }
    return cookies;
  }

 private:
  using Bound = std::pair<uint16_t, std::array<uint8_t, 16>>;

  bool Takes(const Listener& listener, const WaitingConnection& connection) const {
    if (!IsWildcard(listener.address)) return listener.address == connection.address;
    // The kernel prefers a listener on the address itself.
    if (bound_.contains(Bound(connection.port, connection.address))) return false;
    const bool v4 = IsV4Mapped(connection.address);
    return IsV4Mapped(listener.address) ? v4 : !(v4 && listener.v6only);
  }

  absl::flat_hash_set<Bound> bound_;
  absl::flat_hash_map<uint16_t, std::vector<WaitingConnection>> by_port_;
};

}  // namespace

bool AcceptQueueIsFull(const Listener& listener) {
  return listener.accept_queue > listener.accept_limit;
}

bool HasLongAcceptQueue(const Listener& listener) {
  return listener.accept_queue >= kManyWaiting ||
         (listener.accept_limit > 0 && AcceptQueueIsFull(listener));
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

AcceptQueues::Queue AcceptQueues::After(Queue queue, const Listener& listener) {
  const uint32_t waiting = listener.accept_queue;
  const bool shorter = waiting < queue.waiting;
  if (shorter || queue.waiting == 0) queue.first = waiting;
  // A queue whose length stays the same may be that of a server with a client that it serves for
  // long. One that is full takes no others, so it cannot grow.
  const bool suspect = waiting > queue.first || AcceptQueueIsFull(listener);
  if (shorter || !suspect) {
    queue.looks = 0;
    queue.noted.clear();
  }
  if (suspect && queue.looks < kLooks) ++queue.looks;
  queue.waiting = waiting;
  return queue;
}

AcceptQueues::Queues AcceptQueues::After(const std::vector<Listener>& listeners) const {
  Queues queues;
  for (const Listener& listener : listeners) {
    // A socket without a file has no inode by which it could be told from others.
    if (listener.key.protocol != Protocol::kTcp || listener.inode == 0) continue;
    if (queues.size() >= kMaxSockets) break;
    const Socket socket = SocketOf(listener);
    const auto known = queues_.find(socket);
    Queue queue = After(known == queues_.end() ? Queue() : known->second, listener);
    if (queue.waiting == 0 && !queue.returned) continue;
    queues.insert_or_assign(socket, std::move(queue));
  }
  return queues;
}

bool AcceptQueues::NeedsList(const Queue& queue) {
  return queue.looks > 0 && (queue.noted.empty() || queue.looks >= kLooks);
}

bool AcceptQueues::Prove(Queue& queue, const std::vector<uint64_t>& waiting) {
  const absl::flat_hash_set<uint64_t> now(waiting.begin(), waiting.end());
  const size_t gone =
      std::erase_if(queue.noted, [&now](uint64_t cookie) { return !now.contains(cookie); });
  if (gone == 0 && !queue.noted.empty()) return queue.looks >= kLooks;
  // It accepted connections, or their clients reset them. Those that are left, if any, are the
  // better proof the next time: they have waited longest.
  queue.looks = 1;
  if (queue.noted.empty()) {
    queue.noted.assign(waiting.begin(), waiting.begin() + static_cast<std::ptrdiff_t>(
                                                              std::min(waiting.size(), kMaxNoted)));
  }
  return false;
}

absl::StatusOr<std::vector<Listener>> AcceptQueues::Look(const std::vector<Listener>& listeners,
                                                         ListWaiting list) {
  Queues queues = After(listeners);
  WaitingQuery query;
  for (const auto& [socket, queue] : queues) {
    if (!NeedsList(queue)) continue;
    query.ports.insert(socket.second.port);
    query.cookies.insert(queue.noted.begin(), queue.noted.end());
  }
  std::vector<WaitingConnection> connections;
  if (!query.ports.empty()) {
    absl::StatusOr<std::vector<WaitingConnection>> listed = list(query);
    if (!listed.ok()) return listed.status();
    connections = *std::move(listed);
  }
  queues_ = std::move(queues);
  const WaitingConnections waiting(listeners, connections);
  std::vector<Listener> found;
  not_accepting_ = 0;
  for (const Listener& listener : listeners) {
    const auto known = queues_.find(SocketOf(listener));
    if (known == queues_.end() || !NeedsList(known->second)) continue;
    Queue& queue = known->second;
    if (!Prove(queue, waiting.Of(listener))) continue;
    ++not_accepting_;
    if (!std::exchange(queue.returned, true)) found.push_back(listener);
  }
  return found;
}

bool AcceptQueues::Knows(const Listener& listener) const {
  const auto known = queues_.find(SocketOf(listener));
  return known != queues_.end() && known->second.returned;
}

}  // namespace npg::core
