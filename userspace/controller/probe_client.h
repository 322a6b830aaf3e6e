// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_CONTROLLER_PROBE_CLIENT_H_
#define NODEPORT_GUARD_CONTROLLER_PROBE_CLIENT_H_

#include <sys/socket.h>

#include <cstddef>
#include <cstdint>
#include <string>

#include "abi/names.h"
#include "absl/status/status.h"
#include "absl/time/time.h"
#include "base/unique_fd.h"
#include "controller/probe_loopback.h"
#include "core/desired_state.h"
#include "core/flow.h"
#include "core/port.h"

namespace npg::controller {

// The time on CLOCK_BOOTTIME. Not the wall clock, which can be set while a probe waits.
absl::Duration SinceBoot();

// The listener of the self-probe for one kind of traffic.
struct ProbeCanary {
  abi::Traffic traffic = abi::Traffic::kTcp4;
  bool tcp = true;
  bool v4 = true;
  uint16_t* port = nullptr;  // host order; 0: not chosen
  base::UniqueFd fd;         // empty where the node cannot have it, or !ready.ok()
  absl::Status ready;        // why it could not be had

  core::PortKey key() const { return {*port, tcp ? core::Protocol::kTcp : core::Protocol::kUdp}; }
  int type() const { return (tcp ? SOCK_STREAM : SOCK_DGRAM) | SOCK_CLOEXEC | SOCK_NONBLOCK; }
  SocketEnd end() const { return EndOf(Loopback(v4 ? AF_INET : AF_INET6, v4, *port)); }

  // Creates and binds its socket, which gets none of the ports of `nodeports`; OK also where the
  // node cannot have it. Otherwise UNAVAILABLE.
  absl::Status Listen(const core::PortEntries& nodeports);
};

// A socket of the self-probe that connects to a canary, once, and exchanges a payload with it in
// each direction. The caller provides the socket, in the guarded cgroup, and plays the canary's
// part for datagrams; Step() does the rest. None of its functions waits.
struct ProbeClient {
  static constexpr size_t kNonceBytes = 16;  // of its payload
  static constexpr int kMaxMessages = 64;    // that one socket takes at a time

  int family = AF_INET;
  ProbeCanary* canary = nullptr;
  uint16_t* port = nullptr;  // host order; 0: not chosen
  std::string payload;
  base::UniqueFd fd;   // empty where it was not tried, or !ready.ok()
  absl::Status ready;  // why it shows nothing of its traffic: it has no socket, or was not exempted
  base::UniqueFd accepted;
  // FAILED_PRECONDITION for an error of the exchange that rules of the node, or the peer's kernel,
  // give; UNAVAILABLE for one that shows nothing of them.
  absl::Status connected;
  bool sent = false;    // at least once
  bool heard = false;   // by the canary, of UDP
  std::string request;  // as it arrived, of TCP
  std::string answer;
  bool echoed = false;  // by the canary
  bool answered = false;
  std::string tracked;      // how conntrack did so
  absl::Duration deadline;  // SinceBoot()

  // No answer came, and may still.
  bool waits() const { return fd && !answered && connected.ok(); }
  // A datagram never left, or one end of a connection takes no data: the kernel has no memory.
  bool NothingSent() const;
  // Grows with each part of the exchange that is done, a limited number of times: not when a
  // datagram is sent again.
  size_t Progress() const;
  // As the canary sees it.
  SocketEnd end() const { return EndOf(Loopback(family, canary->v4, *port)); }
  core::Flow flow() const;
  std::string Text() const;
  // UNAVAILABLE, with what kept it from sending its first packets.
  absl::Status NotTested() const;

  // Begins to connect; sends the first datagram, of UDP.
  absl::Status Connect();
  // Sends the payload, if that need not wait.
  void Send();
  // One step of the exchange, as far as it need not wait.
  void Step();
};

}  // namespace npg::controller

#endif  // NODEPORT_GUARD_CONTROLLER_PROBE_CLIENT_H_
