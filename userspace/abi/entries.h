// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_ABI_ENTRIES_H_
#define NODEPORT_GUARD_ABI_ENTRIES_H_

#include <array>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>

#include "abi/names.h"
#include "absl/time/time.h"
#include "core/coverage.h"
#include "core/listener.h"
#include "core/port.h"
#include "guard_abi.h"

// The entries of the pinned maps as C++ types. Addresses are in network order, IPv4 as
// v4-mapped IPv6. The epoch as absl::Time means "never". bpf/guard_abi.h documents each field.

namespace npg::abi {

inline constexpr uint32_t kVersion = NPG_ABI_VERSION;

// Entries that the maps can hold.
inline constexpr size_t kMaxNodePorts = NPG_MAX_NODEPORTS;
inline constexpr size_t kMaxEarlierSockets = NPG_MAX_EARLIER;
inline constexpr size_t kMaxUids = NPG_MAX_UIDS;
inline constexpr size_t kMaxCgroups = NPG_MAX_CGROUPS;
inline constexpr size_t kMaxPolicies = NPG_MAX_POLICIES;
inline constexpr size_t kMaxPortStats = NPG_MAX_STATS;
inline constexpr size_t kMaxLocalAddresses = NPG_MAX_ADDRESSES;
inline constexpr size_t kMaxDatagramTargets = NPG_MAX_TARGETS;

// Bytes of a process name, without the NUL.
inline constexpr size_t kMaxComm = NPG_COMM_LEN - 1;

using Address = std::array<uint8_t, 16>;

inline bool IsNever(absl::Time time) { return time == absl::UnixEpoch(); }

// One T for each row of a table whose rows are indexed by their value.
template <typename Enum, typename T, size_t N>
class Array {
 public:
  constexpr T& operator[](Enum index) { return values_[static_cast<size_t>(index)]; }
  constexpr const T& operator[](Enum index) const { return values_[static_cast<size_t>(index)]; }

  constexpr size_t size() const { return N; }
  constexpr auto begin() { return values_.begin(); }
  constexpr auto begin() const { return values_.begin(); }
  constexpr auto end() { return values_.end(); }
  constexpr auto end() const { return values_.end(); }

  bool operator==(const Array&) const = default;

 private:
  std::array<T, N> values_{};
};

using Counters = Array<Counter, uint64_t, kCounters.size()>;
using SourceErrors = Array<SourceError, uint64_t, kSourceErrors.size()>;

// Of the map nodeports, by core::PortKey.
struct NodePort {
  SourceBits sources = 0;
  absl::Time since;  // when the guard first knew the allocation
  // "namespace/name", or the rules that take the port ("nft table ip nat, chain X"); may be empty.
  std::string service;

  bool operator==(const NodePort&) const = default;
};

// The address that a socket is bound to.
struct ListenerKey {
  core::PortKey port;
  Address address{};

  auto operator<=>(const ListenerKey&) const = default;

  template <typename H>
  friend H AbslHashValue(H state, const ListenerKey& key) {
    return H::combine(std::move(state), key.port, key.address);
  }
};

// Of the map port_stats, by core::PortKey.
struct PortStats {
  uint64_t exempted = 0;
  uint64_t observed = 0;
  uint64_t last_boot_ns = 0;  // of either, CLOCK_BOOTTIME; 0 = never

  bool operator==(const PortStats&) const = default;
};

// A record of the ring buffer: one connect that was exempted, or observed.
struct Event {
  uint64_t boot_ns = 0;    // CLOCK_BOOTTIME
  uint64_t cgroup_id = 0;  // of the connecting task
  uint32_t pid = 0;        // a hint: io_uring connects from a worker thread
  uint32_t uid = 0;
  std::string comm;
  core::PortKey port;
  Address address{};           // as passed to connect()
  Address listener_address{};  // the one that the listener is bound to
  bool observed = false;       // mode observe: not exempted
  core::Binder owner;          // of the listener

  bool operator==(const Event&) const = default;
};

// Of the map sources: the state of a source.
struct SourceState {
  bool connected = false;        // its ports are current
  absl::Time since;              // when it became connected, or ceased to be; at first, its start
  absl::Time last_event;         // when it last received anything, bookmarks included
  absl::Time last_reading;       // when it last reported the full set of ports
  std::string resource_version;  // of the API server, where one is read
  size_t services = 0;           // that have ports
  size_t ports = 0;
  size_t health_check_ports = 0;  // healthCheckNodePorts: kube-proxy listens there, not guarded
  size_t skipped = 0;             // objects or rules that cannot be decoded at present
  core::Coverage coverage = core::Coverage::kAll;  // of the NodePorts, when any were last read
  SourceErrors errors;                             // since the controller started
  std::string last_error;                          // one line; kept after the error is over
  std::string detail;  // what it reads, and how: a path, "https://10.96.0.1:443, watch"

  bool operator==(const SourceState&) const = default;
};

// The state as the map stores it: times in whole seconds, texts truncated.
SourceState AsStored(const SourceState& state);

// The settings of the programs.
struct Config {
  uint32_t abi_version = 0;  // 0: not written yet
  Mode mode = Mode::kEnforce;
  uint32_t mark = 0;  // within mark_mask
  uint32_t mark_mask = 0;
  uint64_t netns_cookie = 0;  // of the guarded network namespace
  absl::Time started;         // of the controller that wrote this
  std::string version;        // of that controller
  Scope scope = Scope::kLoopback;
  OwnerVerdict default_verdict = OwnerVerdict::kGuarded;  // of owners that no policy names
  bool any_uid = false;                                   // the listeners of every user are guarded
  TrafficBits standing_aside = 0;                         // for which; may also have kUnproven

  bool operator==(const Config&) const = default;
};

// Bits of the map refusable, by core::PortKey.
inline constexpr uint32_t kFamilyV4 = NPG_FAMILY_V4;
inline constexpr uint32_t kFamilyV6 = NPG_FAMILY_V6;

// Of the map protection: reserved ports and bind protection, as the controller last wrote it.
struct Protection {
  BindProtection bind = BindProtection::kOff;
  int refusal_errno = 0;  // what a refused bind() fails with; 0: the mode is not deny
  ReservePorts reserve = ReservePorts::kOff;
  ReserveState reserve_state = ReserveState::kOff;
  size_t reserved_ports = 0;      // how many the controller has added
  bool loopback_assumed = false;  // no source sees rules: NodePorts are taken to own 127.0.0.0/8
  absl::Time since;               // when reserve_state last changed
  std::string error;              // why it is kFailed; one line

  bool operator==(const Protection&) const = default;
};

// Of the map bind_stats, by core::PortKey.
struct BindStats {
  uint64_t warned = 0;
  uint64_t refused = 0;
  uint64_t last_boot_ns = 0;  // of either, CLOCK_BOOTTIME; 0 = never
  core::Binder binder;        // the task of the last of them

  bool operator==(const BindStats&) const = default;
};

// A record of the ring buffer bind_events: one bind() that was reported or refused.
struct BindEvent {
  uint64_t boot_ns = 0;    // CLOCK_BOOTTIME
  uint64_t cgroup_id = 0;  // of the binding task
  uint32_t pid = 0;
  uint32_t uid = 0;  // real user id in the initial user namespace
  std::string comm;
  core::PortKey port;
  Address address{};  // as passed to bind()
  BindOutcome outcome = BindOutcome::kWarned;
  int error = 0;  // errno of the bind(); 0: it was let pass

  bool operator==(const BindEvent&) const = default;
};

}  // namespace npg::abi

#endif  // NODEPORT_GUARD_ABI_ENTRIES_H_
