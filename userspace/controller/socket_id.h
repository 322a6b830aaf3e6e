// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_CONTROLLER_SOCKET_ID_H_
#define NODEPORT_GUARD_CONTROLLER_SOCKET_ID_H_

#include <cstdint>
#include <utility>

#include "abi/entries.h"
#include "core/listener.h"

namespace npg::controller {

// Inode and address: a socket that listens elsewhere later is another one.
using SocketId = std::pair<uint64_t, abi::ListenerKey>;

// The address of the listener, by which earlier_sockets has its record.
inline abi::ListenerKey KeyOf(const core::Listener& listener) {
  return {listener.key, listener.address};
}

inline SocketId SocketOf(const core::Listener& listener) {
  return {listener.inode, KeyOf(listener)};
}

}  // namespace npg::controller

#endif  // NODEPORT_GUARD_CONTROLLER_SOCKET_ID_H_
