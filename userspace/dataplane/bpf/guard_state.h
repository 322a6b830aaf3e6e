// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_DATAPLANE_BPF_GUARD_STATE_H_
#define NODEPORT_GUARD_DATAPLANE_BPF_GUARD_STATE_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "abi/entries.h"
#include "abi/names.h"
#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "base/unique_fd.h"
#include "core/bind_facts.h"
#include "core/listener.h"
#include "core/port.h"
#include "dataplane/bpf/pin_paths.h"
#include "dataplane/bpf/socket_records.h"

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
                                                          "npg_bind4", "npg_bind6"};

// Links and maps that earlier versions pinned and this one does not use.
inline constexpr std::array<const char*, 2> kFormerLinkNames = {"npg_post_bind4", "npg_post_bind6"};
inline constexpr std::array<const char*, 1> kFormerMapNames = {"listeners"};

// The first ABI version that decides by the user who bound a listener. Those before it attach
// kFormerLinkNames instead of the programs at bind().
inline constexpr uint32_t kFirstAbiWithUids = 4;

// The links of a guard of that ABI version.
std::array<const char*, 4> LinkNames(uint32_t abi_version);

// Describes an open cgroup link. FAILED_PRECONDITION when it is of another kind.
absl::StatusOr<LinkState> DescribeLink(int fd, const std::string& name);

// The settings of a pinned guard of any ABI version; fields that its version lacks are
// 0. NOT_FOUND when there is none.
absl::StatusOr<abi::Config> ReadConfig(const PinPaths& pins);

// What a guard with an ABI version below kFirstAbiWithUids noted of those who bound listeners, by
// the address of the socket. It did not note the port that they asked for: that is guessed so
// that core::OwnerRules judge as the programs of that guard do. It has no entry for a listener to
// which its default applies. Empty for guards of later versions.
absl::StatusOr<std::map<abi::ListenerKey, core::Binder>> ReadFormerRecords(const PinPaths& pins);

// When the cluster was last sent advice about this node: the map `advice`. InfinitePast when it
// never was, or the pin has no such map.
absl::Time ReadAdviceSent(const PinPaths& pins);
absl::Status WriteAdviceSent(const PinPaths& pins, absl::Time sent);

// Reads the pinned maps and links, with or without a controller. Changes nothing.
//
// Reads pins of earlier ABI versions, too: as those only lack fields and counters at the end
// and whole maps, what they lack is 0 or empty.
class GuardState {
 public:
  // NOT_FOUND when no guard is pinned there, PERMISSION_DENIED without the
  // rights, FAILED_PRECONDITION when the pins are of a later ABI version.
  static absl::StatusOr<GuardState> Open(const PinPaths& pins);

  GuardState(GuardState&&) = default;
  GuardState& operator=(GuardState&&) = default;
  GuardState(const GuardState&) = delete;
  GuardState& operator=(const GuardState&) = delete;
  ~GuardState() = default;

  const abi::Config& config() const { return config_; }

  // What the pins of an earlier ABI version lack: maps ("map local_addresses") and counters
  // ("counter probed"). Empty when they are of this version.
  const std::vector<std::string>& lacks() const { return lacks_; }

  // Sorted by port, then protocol.
  absl::StatusOr<std::vector<std::pair<core::PortKey, abi::NodePort>>> NodePorts() const;
  absl::StatusOr<std::optional<abi::NodePort>> NodePort(const core::PortKey& key) const;
  // The node's listeners with the records of who bound them.
  SocketRecords Records() const { return {socket_owners_.fd.get(), earlier_sockets_.fd.get()}; }
  // How many sockets without the programs' record the controller knows.
  absl::StatusOr<size_t> CountEarlierSockets() const;
  // The users, and the ids of the cgroups, whose listeners are guarded.
  absl::StatusOr<std::vector<uint32_t>> GuardUids() const;
  absl::StatusOr<absl::flat_hash_set<uint64_t>> GuardCgroups() const;
  // Summed over the CPUs.
  absl::StatusOr<abi::Counters> Counters() const;
  absl::StatusOr<std::vector<std::pair<core::PortKey, abi::PortStats>>> PortStats() const;
  // The state of each source as the controller last wrote it, by bit. Empty if the build
  // that made the pins did not write it, or wrote it in a longer layout.
  absl::StatusOr<std::vector<std::pair<abi::Source, abi::SourceState>>> Sources() const;
  // The names that have a policy, sorted, and their verdicts.
  absl::StatusOr<std::vector<std::pair<std::string, abi::OwnerVerdict>>> OwnerPolicy() const;
  // Reserved ports and bind protection, as the controller last wrote it.
  absl::StatusOr<abi::Protection> Protection() const;
  // The binds that bind protection reported or refused, by port.
  absl::StatusOr<std::vector<std::pair<core::PortKey, abi::BindStats>>> BindStats() const;
  // The NodePorts whose bind may be reported or refused, and for which families.
  absl::StatusOr<std::vector<std::pair<core::PortKey, uint32_t>>> Refusable() const;
  // Who had a socket on a port before it became a NodePort.
  absl::StatusOr<std::vector<core::PortHolder>> FirstHolders() const;
  // The node's addresses that are guarded, besides loopback.
  absl::StatusOr<std::vector<core::LocalAddress>> LocalAddresses() const;
  // One for each of the four programs whose link is pinned.
  absl::StatusOr<std::vector<LinkState>> Links() const;

 private:
  // A map as it is pinned. Its values may be shorter than those of this version.
  struct OpenMap {
    base::UniqueFd fd;  // empty: the pins lack the map
    uint32_t value_size = 0;
    uint32_t max_entries = 0;
  };

  GuardState() = default;

  absl::Status OpenMaps();
  template <typename Key, typename Value>
  static auto SortedEntries(const OpenMap& map, absl::string_view name);
  template <typename Key, typename Value>
  static absl::StatusOr<std::vector<std::pair<Key, Value>>> Elements(const OpenMap& map,
                                                                     absl::string_view name);
  template <typename Value, typename Key>
  static auto FindEntry(const OpenMap& map, absl::string_view name, const Key& key);

  PinPaths pins_{PinPaths::kDefaultBpffs};
  abi::Config config_;
  std::vector<std::string> lacks_;
  OpenMap nodeports_, counters_, port_stats_, owner_policy_, local_addresses_, sources_;
  OpenMap socket_owners_, earlier_sockets_, guard_uids_, guard_cgroups_;
  OpenMap refusable_, first_holders_, bind_stats_, protection_;
};

}  // namespace npg::dataplane

#endif  // NODEPORT_GUARD_DATAPLANE_BPF_GUARD_STATE_H_
