// SPDX-License-Identifier: Apache-2.0
#include "dataplane/bpf/guard_state.h"

#include <bpf/bpf.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "abi/convert.h"
#include "abi/entries.h"
#include "abi/names.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "base/errno_status.h"
#include "base/unique_fd.h"
#include "core/listener.h"
#include "core/port.h"
#include "dataplane/bpf/pin_paths.h"
#include "dataplane/bpf/pinned_map.h"
#include "guard_abi.h"

namespace npg::dataplane {
namespace {

// Every entry of a hash map as C++ types, sorted by key.
template <typename Key, typename Value>
auto SortedEntries(int fd, absl::string_view map) {
  using Entry = std::pair<decltype(abi::FromC(Key{})), decltype(abi::FromC(Value{}))>;
  using Entries = std::vector<Entry>;
  const auto elements = AllElements<Key, Value>(fd, map);
  if (!elements.ok()) return absl::StatusOr<Entries>(elements.status());
  Entries entries;
  entries.reserve(elements->size());
  for (const auto& [key, value] : *elements) {
    entries.emplace_back(abi::FromC(key), abi::FromC(value));
  }
  std::sort(entries.begin(), entries.end(),
            [](const Entry& a, const Entry& b) { return a.first < b.first; });
  return absl::StatusOr<Entries>(std::move(entries));
}

// The entry of `key`; nullopt when there is none.
template <typename Value, typename Key>
auto FindEntry(int fd, absl::string_view map, const Key& key) {
  using Entry = std::optional<decltype(abi::FromC(Value{}))>;
  const auto element = LookupElement<Key, Value>(fd, map, key);
  if (!element.ok()) return absl::StatusOr<Entry>(element.status());
  return absl::StatusOr<Entry>(*element ? Entry(abi::FromC(**element)) : std::nullopt);
}

// The map is newer than the others, and its value may grow without a new ABI version:
// omit it if it cannot be read, because the guard works without.
absl::StatusOr<base::UniqueFd> OpenSources(const PinPaths& pins) {
  const std::string pin = pins.Map("sources");
  absl::StatusOr<base::UniqueFd> fd = OpenPin(pin);
  if (absl::IsNotFound(fd.status())) return base::UniqueFd();
  if (!fd.ok()) return fd;
  const absl::StatusOr<bpf_map_info> info = DescribeMap(fd->get(), pin);
  if (!info.ok()) return info.status();
  if (info->key_size != sizeof(npg_source_key) || info->value_size != sizeof(npg_source_state)) {
    return base::UniqueFd();
  }
  return fd;
}

}  // namespace

absl::StatusOr<abi::Config> ReadConfig(const PinPaths& pins) {
  const absl::StatusOr<base::UniqueFd> fd = OpenPin(pins.Map("config"));
  if (!fd.ok()) return fd.status();
  const absl::StatusOr<bpf_map_info> info = DescribeMap(fd->get(), pins.Map("config"));
  if (!info.ok()) return info.status();
  // New versions only append fields.
  std::string value(info->value_size, '\0');
  const uint32_t key = 0;
  if (info->key_size != sizeof(key) || bpf_map_lookup_elem(fd->get(), &key, value.data()) != 0) {
    return base::ErrnoStatus(errno, "read map config");
  }
  npg_config config{};
  std::memcpy(&config, value.data(), std::min(value.size(), sizeof(config)));
  return abi::FromC(config);
}

absl::StatusOr<GuardState> GuardState::Open(const PinPaths& pins) {
  struct stat root {};
  if (stat(pins.Links().c_str(), &root) != 0) {
    if (errno == ENOENT) {
      return absl::NotFoundError(absl::StrCat("no guard is loaded: nothing is pinned in ",
                                              pins.Root(),
                                              "; start one with 'nodeport-guard run'"));
    }
    return base::ErrnoStatus(errno, absl::StrCat("look for pins in ", pins.Root()));
  }
  GuardState state;
  state.pins_ = pins;
  absl::StatusOr<base::UniqueFd> config = OpenPin(pins.Map("config"));
  if (!config.ok()) return config.status();
  const absl::StatusOr<bpf_map_info> info = DescribeMap(config->get(), pins.Map("config"));
  if (!info.ok()) return info.status();
  // The version is the first word of every layout.
  uint32_t version = 0;
  if (info->value_size == sizeof(npg_config)) {
    absl::StatusOr<std::optional<npg_config>> entry =
        LookupElement<uint32_t, npg_config>(config->get(), "config", 0);
    if (!entry.ok()) return entry.status();
    state.config_ = abi::FromC(entry->value_or(npg_config{}));
    version = state.config_.abi_version;
  }
  if (version != abi::kVersion) {
    return absl::FailedPreconditionError(absl::StrCat(
        "the pins in ", pins.Root(), " have ABI version ", version, ", this program has ",
        abi::kVersion, "; use the nodeport-guard that loaded them, or run this one over them"));
  }
  using Member = base::UniqueFd GuardState::*;
  const std::array<std::pair<const char*, Member>, 6> maps = {{
      {"nodeports", &GuardState::nodeports_},
      {"listeners", &GuardState::listeners_},
      {"counters", &GuardState::counters_},
      {"port_stats", &GuardState::port_stats_},
      {"owner_policy", &GuardState::owner_policy_},
      {"local_addresses", &GuardState::local_addresses_},
  }};
  for (const auto& [name, member] : maps) {
    absl::StatusOr<base::UniqueFd> fd = OpenPin(pins.Map(name));
    if (!fd.ok()) return fd.status();
    state.*member = *std::move(fd);
  }
  absl::StatusOr<base::UniqueFd> sources = OpenSources(pins);
  if (!sources.ok()) return sources.status();
  state.sources_ = *std::move(sources);
  return state;
}

absl::StatusOr<std::vector<std::pair<core::PortKey, abi::NodePort>>> GuardState::NodePorts() const {
  return SortedEntries<npg_port_key, npg_nodeport>(nodeports_.get(), "nodeports");
}

absl::StatusOr<std::optional<abi::NodePort>> GuardState::NodePort(const core::PortKey& key) const {
  return FindEntry<npg_nodeport>(nodeports_.get(), "nodeports", abi::ToC(key));
}

absl::StatusOr<std::vector<std::pair<abi::ListenerKey, abi::Listener>>> GuardState::Listeners()
    const {
  return SortedEntries<npg_listener_key, npg_listener>(listeners_.get(), "listeners");
}

absl::StatusOr<std::optional<abi::Listener>> GuardState::Listener(
    const abi::ListenerKey& key) const {
  return FindEntry<npg_listener>(listeners_.get(), "listeners", abi::ToC(key));
}

absl::StatusOr<abi::Counters> GuardState::Counters() const {
  abi::Counters sums;
  for (const auto& row : abi::kCounters) {
    const auto values = PerCpuValues(counters_.get(), "counters", static_cast<uint32_t>(row.value));
    if (!values.ok()) return values.status();
    for (const uint64_t value : *values) sums[row.value] += value;
  }
  return sums;
}

absl::StatusOr<std::vector<std::pair<core::PortKey, abi::PortStats>>> GuardState::PortStats()
    const {
  return SortedEntries<npg_port_key, npg_port_stats>(port_stats_.get(), "port_stats");
}

absl::StatusOr<std::vector<std::pair<abi::Source, abi::SourceState>>> GuardState::Sources() const {
  if (!sources_) return std::vector<std::pair<abi::Source, abi::SourceState>>();
  return SortedEntries<npg_source_key, npg_source_state>(sources_.get(), "sources");
}

absl::StatusOr<std::vector<std::pair<std::string, abi::OwnerVerdict>>> GuardState::OwnerPolicy()
    const {
  return SortedEntries<npg_policy_key, npg_policy>(owner_policy_.get(), "owner_policy");
}

absl::StatusOr<std::vector<core::LocalAddress>> GuardState::LocalAddresses() const {
  const auto elements =
      AllElements<npg_address, npg_local_address>(local_addresses_.get(), "local_addresses");
  if (!elements.ok()) return elements.status();
  std::vector<core::LocalAddress> addresses;
  addresses.reserve(elements->size());
  for (const auto& [key, value] : *elements) addresses.push_back(abi::FromC(key, value));
  return addresses;
}

absl::StatusOr<std::vector<LinkState>> GuardState::Links() const {
  std::vector<LinkState> links;
  for (const char* name : kLinkNames) {
    const std::string path = pins_.Link(name);
    absl::StatusOr<base::UniqueFd> fd = OpenPin(path);
    if (absl::IsNotFound(fd.status())) continue;
    if (!fd.ok()) return fd.status();
    absl::StatusOr<LinkState> link = DescribeLink(fd->get(), name);
    if (!link.ok()) return link.status();
    links.push_back(*std::move(link));
  }
  return links;
}

absl::StatusOr<LinkState> DescribeLink(int fd, const std::string& name) {
  bpf_link_info info{};
  uint32_t size = sizeof(info);
  if (bpf_obj_get_info_by_fd(fd, &info, &size) != 0) {
    return base::ErrnoStatus(errno, absl::StrCat("describe link ", name));
  }
  if (info.type != BPF_LINK_TYPE_CGROUP) {
    return absl::FailedPreconditionError(
        absl::StrCat("pin ", name, " is not a cgroup link: another program created it"));
  }
  return LinkState{name, info.id, info.prog_id, info.cgroup.cgroup_id};
}

}  // namespace npg::dataplane
