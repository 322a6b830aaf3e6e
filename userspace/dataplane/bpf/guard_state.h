// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_DATAPLANE_BPF_GUARD_STATE_H_
#define NODEPORT_GUARD_DATAPLANE_BPF_GUARD_STATE_H_

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "base/unique_fd.h"
#include "dataplane/bpf/pin_paths.h"
#include "guard_abi.h"

namespace npg::dataplane {

// A pinned bpf_link, as the kernel describes it.
struct LinkState {
  std::string name;  // of the pin: "npg_connect4"
  uint32_t id = 0;
  uint32_t program_id = 0;
  uint64_t cgroup_id = 0;  // 0: the cgroup is gone, the link is dead
};

// The pins in links/, which are named after the programs.
inline constexpr std::array<const char*, 4> kLinkNames = {"npg_connect4", "npg_connect6",
                                                          "npg_post_bind4", "npg_post_bind6"};

// Describes an open cgroup link. FAILED_PRECONDITION when it is of another kind.
absl::StatusOr<LinkState> DescribeLink(int fd, const std::string& name);

// What a guard that is pinned was told, of any ABI version: fields that its version
// did not have are 0. NOT_FOUND when there is none.
absl::StatusOr<npg_config> ReadConfig(const PinPaths& pins);

// Reads what is pinned, with or without a controller. Changes nothing.
class GuardState {
 public:
  // NOT_FOUND when no guard is pinned there, PERMISSION_DENIED without the
  // rights, FAILED_PRECONDITION when the pins are of another ABI version.
  static absl::StatusOr<GuardState> Open(const PinPaths& pins);

  GuardState(GuardState&&) = default;
  GuardState& operator=(GuardState&&) = default;
  GuardState(const GuardState&) = delete;
  GuardState& operator=(const GuardState&) = delete;
  ~GuardState() = default;

  const npg_config& config() const { return config_; }

  // Sorted by port, then protocol.
  absl::StatusOr<std::vector<std::pair<npg_port_key, npg_nodeport>>> NodePorts() const;
  absl::StatusOr<std::optional<npg_nodeport>> NodePort(npg_port_key key) const;
  absl::StatusOr<std::vector<std::pair<npg_listener_key, npg_listener>>> Listeners() const;
  absl::StatusOr<std::optional<npg_listener>> Listener(const npg_listener_key& key) const;
  // Summed over the CPUs.
  absl::StatusOr<std::array<uint64_t, NPG_COUNTER_MAX>> Counters() const;
  absl::StatusOr<std::vector<std::pair<npg_port_key, npg_port_stats>>> PortStats() const;
  // What the controller last said of each source, by bit. Empty where the pins
  // are of a build that did not say, or says it in a form that this one cannot read.
  absl::StatusOr<std::vector<std::pair<npg_source_key, npg_source_state>>> Sources() const;
  // The names that a policy has, and what it says of them.
  absl::StatusOr<std::vector<std::pair<npg_policy_key, npg_policy>>> OwnerPolicy() const;
  // The node's addresses that are guarded, besides loopback.
  absl::StatusOr<std::vector<std::pair<npg_address, npg_local_address>>> LocalAddresses() const;
  // One for each of the four programs whose link is pinned.
  absl::StatusOr<std::vector<LinkState>> Links() const;

 private:
  GuardState() = default;

  PinPaths pins_{PinPaths::kDefaultBpffs};
  npg_config config_{};
  base::UniqueFd nodeports_, listeners_, counters_, port_stats_, owner_policy_, local_addresses_;
  base::UniqueFd sources_;  // invalid when there is none that can be read
};

}  // namespace npg::dataplane

#endif  // NODEPORT_GUARD_DATAPLANE_BPF_GUARD_STATE_H_
