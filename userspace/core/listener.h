// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_CORE_LISTENER_H_
#define NODEPORT_GUARD_CORE_LISTENER_H_

#include <sys/types.h>

#include <array>
#include <compare>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "core/port.h"
#include "core/workload.h"

namespace npg::core {

// The process that holds a socket. Several may (after fork, or when it was passed on);
// this is the one with the lowest pid, and pid 1 only if there is no other: it holds the
// sockets of units for socket activation.
struct Owner {
  pid_t pid = 0;               // in this process's pid namespace; 0 when not found
  std::string comm;            // of the thread group leader, truncated by the kernel (15 bytes)
  std::string executable;      // path as /proc shows it; empty when not readable
  std::string cgroup;          // path below the root, see PickCgroupPath(); empty when not readable
  Workload workload;           // parsed from that path
  std::vector<pid_t> holders;  // all known holders of the socket, ascending
  // Every process of the machine was read, and none has the socket open: the kernel itself holds
  // it (lockd, the callback service of an NFS client), or its descriptor is on the way from one
  // process to another.
  bool no_process = false;
};

// The task that bound a socket, as of its bind().
struct Binder {
  pid_t pid = 0;            // thread group, in the initial pid namespace; 0: not known
  std::string comm;         // of the thread, truncated by the kernel (15 bytes)
  uint32_t uid = 0;         // real user id in the initial user namespace
  uint64_t cgroup_id = 0;   // on cgroup2; 0: not known
  uint16_t asked_port = 0;  // host order, as passed to bind(); 0: any
  // Of a record by address: the socket has it in its storage, and the BPF programs read that.
  bool on_socket = false;

  bool operator==(const Binder&) const = default;
};

// A socket that receives connects or datagrams to a local port: a TCP socket in LISTEN,
// or a bound, unconnected UDP socket.
struct Listener {
  PortKey key;
  // Network order, IPv4 as v4-mapped IPv6; see bpf/guard_abi.h.
  std::array<uint8_t, 16> address{};
  bool v6only = false;   // AF_INET6 sockets only: takes no IPv4 traffic
  uint32_t ifindex = 0;  // SO_BINDTODEVICE; 0 = any
  uint32_t uid = 0;
  uint64_t inode = 0;  // of the socket; 0 for a socket without a file (MPTCP subflow)
  // On cgroup2, of the process that created the socket; 0: not known (before Linux 5.8).
  uint64_t cgroup_id = 0;
  // TCP only, 0 otherwise: connections that wait to be accepted, and the limit on them, which is
  // the backlog of listen(), at most net.core.somaxconn.
  uint32_t accept_queue = 0;
  uint32_t accept_limit = 0;
  Owner owner;
  // As the programs noted it on the socket, or as the controller found it for a socket that was
  // bound without them; nullopt when neither has a record of it.
  std::optional<Binder> binder;
  bool noted = false;  // `binder` is on the socket itself
};

// Addresses of the node, network order, IPv4 as v4-mapped IPv6.
using AddressSet = absl::flat_hash_set<std::array<uint8_t, 16>>;

// An address that the node itself has.
struct LocalAddress {
  std::array<uint8_t, 16> address{};  // network order, IPv4 as v4-mapped IPv6
  uint32_t ifindex = 0;               // of the interface that has it
  auto operator<=>(const LocalAddress&) const = default;
};

// IPv4, as v4-mapped IPv6.
bool IsV4Mapped(const std::array<uint8_t, 16>& address);

// 0.0.0.0 (v4-mapped) or ::.
bool IsWildcard(const std::array<uint8_t, 16>& address);

// 127.0.0.0/8 (v4-mapped) or ::1.
bool IsLoopback(const std::array<uint8_t, 16>& address);

// "containerd[812]".
std::string ProcessText(absl::string_view comm, int64_t pid);

// "127.0.0.1", "[::1]", "0.0.0.0", "[::]".
std::string AddressText(const std::array<uint8_t, 16>& address);

// True when a connect to a loopback address can reach the listener: bound to
// the wildcard or to a loopback address, not bound to a device other than lo.
bool ReachableOverLoopback(const Listener& listener);

// False for a TCP socket that is bound to a device: the programs look listeners up without one, so
// that connects to it are left alone. Datagrams to a UDP socket on lo are exempt all the same,
// since the controller finds it in the list of sockets.
bool IsLookedUp(const Listener& listener);

// True when a connect to loopback or to one of the node's `own` addresses can reach the
// listener. (Packets to those go over lo, too: a listener that is bound to the device of
// the address does not receive them.)
bool ReachableOverLoopbackOr(const AddressSet& own, const Listener& listener);

}  // namespace npg::core

#endif  // NODEPORT_GUARD_CORE_LISTENER_H_
