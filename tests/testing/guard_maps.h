// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_TESTS_TESTING_GUARD_MAPS_H_
#define NODEPORT_GUARD_TESTS_TESTING_GUARD_MAPS_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "guard_abi.h"
#include "testing/transport.h"

namespace npg::testing {

using Counters = std::array<uint64_t, NPG_COUNTER_MAX>;

// The guard as an administrator's script sees it: the pins below BPFFS/nodeport-guard,
// read by their documented names and layouts. Each call opens them anew, because pins
// may be replaced.
class GuardMaps {
 public:
  explicit GuardMaps(const std::string& bpffs) : root_(bpffs + "/nodeport-guard") {}

  const std::string& root() const { return root_; }

  // Summed over the CPUs.
  absl::StatusOr<Counters> ReadCounters() const;
  absl::StatusOr<std::optional<npg_nodeport>> NodePort(uint16_t port, Transport transport) const;
  // The record on a socket of this process.
  absl::StatusOr<std::optional<npg_socket_owner>> OwnerOn(int socket) const;
  // The entry of the IPv4 address that a socket without such a record is bound to.
  absl::StatusOr<std::optional<npg_socket_owner>> EarlierSocket(const std::string& address,
                                                                uint16_t port,
                                                                Transport transport) const;
  absl::StatusOr<std::optional<npg_port_stats>> Stats(uint16_t port, Transport transport) const;
  absl::StatusOr<std::optional<npg_refusable>> Refusable(uint16_t port, Transport transport) const;
  absl::StatusOr<std::optional<npg_member>> FirstHolder(uint16_t port, Transport transport,
                                                        uint32_t uid) const;
  absl::StatusOr<std::optional<npg_bind_stats>> BindStats(uint16_t port, Transport transport) const;
  // The number of entries of a hash map.
  absl::StatusOr<size_t> Count(const std::string& name) const;

  // Everything that connects and binds can change, as text: the entries of all maps, and
  // the number of bytes written to the ring buffer. Leaves out the entries of the
  // self-probe.
  absl::StatusOr<std::string> Everything() const;

  // Kernel ids, which differ if an object was replaced.
  absl::StatusOr<uint32_t> MapId(const std::string& name) const;
  absl::StatusOr<uint32_t> LinkId(const std::string& name) const;
  absl::StatusOr<uint32_t> LinkProgramId(const std::string& name) const;

 private:
  std::string root_;
};

// How many programs are attached to a cgroup's hooks for connect, bind and, as earlier versions
// had it, post_bind together.
absl::StatusOr<int> AttachedPrograms(const std::string& cgroup);

}  // namespace npg::testing

#endif  // NODEPORT_GUARD_TESTS_TESTING_GUARD_MAPS_H_
