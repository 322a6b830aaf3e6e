// SPDX-License-Identifier: Apache-2.0
#include "dataplane/bpf/socket_records.h"

#include <cstring>
#include <optional>
#include <utility>

#include "abi/convert.h"
#include "abi/entries.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "base/errno_status.h"
#include "core/listener.h"
#include "dataplane/bpf/pinned_map.h"
#include "guard_abi.h"
#include "node/sock_diag.h"

namespace npg::dataplane {

node::SocketStorage SocketRecords::Storage() const {
  return {socket_owners_, [](absl::string_view value, core::Listener& listener) {
            npg_socket_owner owner{};
            if (value.size() != sizeof(owner)) return;
            std::memcpy(&owner, value.data(), sizeof(owner));
            listener.binder = abi::FromC(owner);
            listener.noted = true;
          }};
}

absl::Status SocketRecords::AddEarlier(node::ListenersOn& found) const {
  if (earlier_sockets_ < 0) return absl::OkStatus();
  for (core::Listener& listener : found.listeners) {
    if (listener.binder) continue;
    const npg_listener_key key = abi::ToC(abi::ListenerKey{listener.key, listener.address});
    const auto entry =
        LookupElement<npg_listener_key, npg_socket_owner>(earlier_sockets_, "earlier_sockets", key);
    if (!entry.ok()) return entry.status();
    if (!*entry) continue;
    // The entry of a socket that was just closed may still be there.
    const core::Binder binder = abi::FromC(**entry);
    if (binder.uid == listener.uid && binder.cgroup_id == listener.cgroup_id) {
      listener.binder = binder;
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<node::ListenersOn> SocketRecords::ListListenersOn(Wanted wanted,
                                                                 node::KeepListener keep) const {
  const node::SocketStorage storage = Storage();
  auto found = node::ListListenersOn(wanted, socket_owners_ < 0 ? nullptr : &storage, keep);
  if (!found.ok()) return found;
  NPG_RETURN_IF_ERROR(AddEarlier(*found));
  return found;
}

absl::StatusOr<node::ListenersOn> SocketRecords::ListBoundOn(Wanted wanted) const {
  // In this order: a socket that begins to listen meanwhile is in the second list.
  const node::SocketStorage storage = Storage();
  auto idle = node::ListIdleTcpOn(wanted, socket_owners_ < 0 ? nullptr : &storage);
  if (!idle.ok()) return idle;
  auto found = ListListenersOn(wanted);
  if (!found.ok()) return found;
  found->listeners.insert(found->listeners.end(), idle->listeners.begin(), idle->listeners.end());
  found->all += idle->all;
  return found;
}

absl::StatusOr<node::ListenersOn> SocketRecords::ListUdpListenersOn(Wanted wanted) const {
  const node::SocketStorage storage = Storage();
  auto found = node::ListUdpListenersOn(wanted, socket_owners_ < 0 ? nullptr : &storage);
  if (!found.ok()) return found;
  NPG_RETURN_IF_ERROR(AddEarlier(*found));
  return found;
}

absl::StatusOr<node::ListenersOn> SocketRecords::ListTcpListenersOn(Wanted wanted,
                                                                    node::KeepListener keep) const {
  const node::SocketStorage storage = Storage();
  auto found = node::ListTcpListenersOn(wanted, socket_owners_ < 0 ? nullptr : &storage, keep);
  if (!found.ok()) return found;
  NPG_RETURN_IF_ERROR(AddEarlier(*found));
  return found;
}

}  // namespace npg::dataplane
