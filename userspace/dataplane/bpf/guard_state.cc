// SPDX-License-Identifier: Apache-2.0
#include "dataplane/bpf/guard_state.h"

#include <bpf/bpf.h>
#include <netinet/in.h>
#include <sys/stat.h>
#include <sys/types.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <map>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "abi/convert.h"
#include "abi/entries.h"
#include "abi/names.h"
#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "base/errno_status.h"
#include "base/unique_fd.h"
#include "core/bind_facts.h"
#include "core/listener.h"
#include "core/port.h"
#include "dataplane/bpf/pin_paths.h"
#include "dataplane/bpf/pinned_map.h"
#include "guard_abi.h"

namespace npg::dataplane {
namespace {

// The value at `key`, of `size` bytes, with zeroes for the fields that it lacks; nullopt
// when there is none.
template <typename Value, typename Key>
absl::StatusOr<std::optional<Value>> LookupShort(int fd, uint32_t size, absl::string_view name,
                                                 const Key& key) {
  static_assert(std::is_trivially_copyable_v<Value>);
  if (size == sizeof(Value)) return LookupElement<Key, Value>(fd, name, key);
  std::string bytes(size, '\0');
  if (bpf_map_lookup_elem(fd, &key, bytes.data()) != 0) {
    if (errno == ENOENT) return std::optional<Value>();
    return base::ErrnoStatus(errno, absl::StrCat("look up an entry of map ", name));
  }
  Value value{};
  std::memcpy(&value, bytes.data(), std::min(bytes.size(), sizeof(value)));
  return value;
}

// As ForEachElement(), for shorter values.
template <typename Key, typename Value, typename Visit>
absl::Status ForEachShort(int fd, uint32_t size, uint32_t max_entries, absl::string_view name,
                          const Visit& visit) {
  if (size == sizeof(Value)) return ForEachElement<Key, Value>(fd, name, visit);
  // Bounded: the kernel restarts the walk when the key that it is at is removed.
  Key key{};
  uint32_t visited = 0;
  for (const Key* at = nullptr; visited < max_entries; at = &key) {
    Key next{};
    if (bpf_map_get_next_key(fd, at, &next) != 0) {
      if (errno == ENOENT) break;
      return base::ErrnoStatus(errno, absl::StrCat("read map ", name));
    }
    key = next;
    const absl::StatusOr<std::optional<Value>> value = LookupShort<Value>(fd, size, name, key);
    if (!value.ok()) return value.status();
    if (!*value) continue;  // removed meanwhile
    visit(key, **value);
    ++visited;
  }
  return absl::OkStatus();
}

// The value of map listeners, which ABI versions 1 to 3 had.
struct FormerListener {
  uint32_t verdict;
  uint32_t pid;
  uint32_t uid;
  uint32_t reserved;
  char comm[NPG_COMM_LEN];  // NOLINT(modernize-avoid-c-arrays): as the C struct has it
  uint64_t cgroup_id;
};

}  // namespace

// Every entry of a hash map as C++ types, sorted by key.
template <typename Key, typename Value>
auto GuardState::SortedEntries(const OpenMap& map, absl::string_view name) {
  using Entry = std::pair<decltype(abi::FromC(Key{})), decltype(abi::FromC(Value{}))>;
  using Entries = std::vector<Entry>;
  Entries entries;
  if (!map.fd) return absl::StatusOr<Entries>(std::move(entries));
  // Converts them while it reads, because values in C are large.
  const absl::Status read =
      ForEachShort<Key, Value>(map.fd.get(), map.value_size, map.max_entries, name,
                               [&entries](const Key& key, const Value& value) {
                                 entries.emplace_back(abi::FromC(key), abi::FromC(value));
                               });
  if (!read.ok()) return absl::StatusOr<Entries>(read);
  std::sort(entries.begin(), entries.end(),
            [](const Entry& a, const Entry& b) { return a.first < b.first; });
  return absl::StatusOr<Entries>(std::move(entries));
}

// Every entry of a map; none if the pins lack it.
template <typename Key, typename Value>
absl::StatusOr<std::vector<std::pair<Key, Value>>> GuardState::Elements(const OpenMap& map,
                                                                        absl::string_view name) {
  std::vector<std::pair<Key, Value>> entries;
  if (!map.fd) return entries;
  NPG_RETURN_IF_ERROR((ForEachShort<Key, Value>(
      map.fd.get(), map.value_size, map.max_entries, name,
      [&entries](const Key& key, const Value& value) { entries.emplace_back(key, value); })));
  return entries;
}

// The entry of `key`; nullopt when there is none.
template <typename Value, typename Key>
auto GuardState::FindEntry(const OpenMap& map, absl::string_view name, const Key& key) {
  using Entry = std::optional<decltype(abi::FromC(Value{}))>;
  if (!map.fd) return absl::StatusOr<Entry>(std::nullopt);
  const auto element = LookupShort<Value>(map.fd.get(), map.value_size, name, key);
  if (!element.ok()) return absl::StatusOr<Entry>(element.status());
  return absl::StatusOr<Entry>(*element ? Entry(abi::FromC(**element)) : std::nullopt);
}

std::array<const char*, 4> LinkNames(uint32_t abi_version) {
  if (abi_version >= kFirstAbiWithUids) return kLinkNames;
  return {kLinkNames[0], kLinkNames[1], kFormerLinkNames[0], kFormerLinkNames[1]};
}

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
  abi::Config result = abi::FromC(config);
  // Earlier versions guard the listeners of every user.
  if (result.abi_version < kFirstAbiWithUids) result.any_uid = true;
  return result;
}

absl::StatusOr<std::map<abi::ListenerKey, core::Binder>> ReadFormerRecords(const PinPaths& pins) {
  std::map<abi::ListenerKey, core::Binder> records;
  const absl::StatusOr<base::UniqueFd> fd = OpenPin(pins.Map("listeners"));
  if (absl::IsNotFound(fd.status())) return records;
  if (!fd.ok()) return fd.status();
  const absl::StatusOr<bpf_map_info> info = DescribeMap(fd->get(), "listeners");
  if (!info.ok()) return info.status();
  // Of another layout: the sockets count as those that no guard has seen.
  if (info->key_size != sizeof(npg_listener_key) || info->value_size != sizeof(FormerListener)) {
    return records;
  }
  const auto entries = AllElements<npg_listener_key, FormerListener>(fd->get(), "listeners");
  if (!entries.ok()) return entries.status();
  for (const auto& [key, value] : *entries) {
    core::Binder binder;
    binder.pid = static_cast<pid_t>(value.pid);
    binder.comm = std::string(abi::FieldText(value.comm));
    binder.uid = value.uid;
    binder.cgroup_id = value.cgroup_id;
    // Those versions guarded what asked for any port, too: keep it guarded. Every UDP socket
    // was a listener, and an ignored owner held its port.
    const bool asked = value.verdict == NPG_OWNER_IGNORED || key.protocol == IPPROTO_UDP;
    binder.asked_port = asked ? key.port : 0;
    records[abi::FromC(key)] = binder;
  }
  return records;
}

absl::Time ReadAdviceSent(const PinPaths& pins) {
  const absl::StatusOr<base::UniqueFd> fd = OpenPin(pins.Map("advice"));
  if (!fd.ok()) return absl::InfinitePast();
  const absl::StatusOr<bpf_map_info> info = DescribeMap(fd->get(), "advice");
  if (!info.ok()) return absl::InfinitePast();
  const auto advice = LookupShort<npg_advice>(fd->get(), info->value_size, "advice", uint32_t{0});
  if (!advice.ok() || !*advice || (*advice)->sent == 0) return absl::InfinitePast();
  return absl::FromUnixSeconds(static_cast<int64_t>((*advice)->sent));
}

absl::Status WriteAdviceSent(const PinPaths& pins, absl::Time sent) {
  const absl::StatusOr<base::UniqueFd> fd = OpenPin(pins.Map("advice"));
  if (!fd.ok()) return fd.status();
  const auto seconds = static_cast<uint64_t>(std::max<int64_t>(absl::ToUnixSeconds(sent), 0));
  return PutElement(fd->get(), "advice", uint32_t{0}, npg_advice{seconds});
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
  const absl::StatusOr<abi::Config> config = ReadConfig(pins);
  if (!config.ok()) return config.status();
  state.config_ = *config;
  const uint32_t version = config->abi_version;
  if (version == 0 || version > abi::kVersion) {
    return absl::FailedPreconditionError(absl::StrCat(
        "the pins in ", pins.Root(), " have ABI version ", version, ", this program has ",
        abi::kVersion, "; use the nodeport-guard that loaded them, or run this one over them"));
  }
  NPG_RETURN_IF_ERROR(state.OpenMaps());
  return state;
}

absl::Status GuardState::OpenMaps() {
  struct Known {
    const char* name;
    OpenMap GuardState::*map;
    uint32_t key_size, value_size;
  };
  const std::array<Known, 14> maps = {{
      {"nodeports", &GuardState::nodeports_, sizeof(npg_port_key), sizeof(npg_nodeport)},
      {"socket_owners", &GuardState::socket_owners_, sizeof(int), sizeof(npg_socket_owner)},
      {"earlier_sockets", &GuardState::earlier_sockets_, sizeof(npg_listener_key),
       sizeof(npg_socket_owner)},
      {"guard_uids", &GuardState::guard_uids_, sizeof(npg_uid_key), sizeof(npg_member)},
      {"guard_cgroups", &GuardState::guard_cgroups_, sizeof(npg_cgroup_key), sizeof(npg_member)},
      {"counters", &GuardState::counters_, sizeof(uint32_t), sizeof(uint64_t)},
      {"port_stats", &GuardState::port_stats_, sizeof(npg_port_key), sizeof(npg_port_stats)},
      {"owner_policy", &GuardState::owner_policy_, sizeof(npg_policy_key), sizeof(npg_policy)},
      {"local_addresses", &GuardState::local_addresses_, sizeof(npg_address),
       sizeof(npg_local_address)},
      {"sources", &GuardState::sources_, sizeof(npg_source_key), sizeof(npg_source_state)},
      {"refusable", &GuardState::refusable_, sizeof(npg_port_key), sizeof(npg_refusable)},
      {"first_holders", &GuardState::first_holders_, sizeof(npg_holder_key), sizeof(npg_member)},
      {"bind_stats", &GuardState::bind_stats_, sizeof(npg_port_key), sizeof(npg_bind_stats)},
      {"protection", &GuardState::protection_, sizeof(uint32_t), sizeof(npg_protection)},
  }};
  const bool earlier = config_.abi_version < abi::kVersion;
  for (const Known& known : maps) {
    // No program uses it, it is newer than its ABI version, and its values may grow without a
    // new one.
    const bool optional = known.map == &GuardState::sources_;
    absl::StatusOr<base::UniqueFd> fd = OpenPin(pins_.Map(known.name));
    if (absl::IsNotFound(fd.status()) && (earlier || optional)) {
      if (earlier) lacks_.push_back(absl::StrCat("map ", known.name));
      continue;
    }
    if (!fd.ok()) return fd.status();
    const absl::StatusOr<bpf_map_info> info = DescribeMap(fd->get(), known.name);
    if (!info.ok()) return info.status();
    if (info->key_size != known.key_size || info->value_size > known.value_size) {
      if (optional) continue;
      return absl::FailedPreconditionError(
          absl::StrCat("map ", known.name, " in ", pins_.Root(), " has keys of ", info->key_size,
                       " and values of ", info->value_size, " bytes, which ABI version ",
                       config_.abi_version, " does not have: another program pinned it"));
    }
    this->*known.map = {*std::move(fd), info->value_size, info->max_entries};
  }
  if (!counters_.fd) return absl::OkStatus();
  for (const auto& row : abi::kCounters) {
    if (static_cast<uint32_t>(row.value) < counters_.max_entries) continue;
    lacks_.push_back(absl::StrCat("counter ", row.name));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<std::pair<core::PortKey, abi::NodePort>>> GuardState::NodePorts() const {
  return SortedEntries<npg_port_key, npg_nodeport>(nodeports_, "nodeports");
}

absl::StatusOr<std::optional<abi::NodePort>> GuardState::NodePort(const core::PortKey& key) const {
  return FindEntry<npg_nodeport>(nodeports_, "nodeports", abi::ToC(key));
}

absl::StatusOr<size_t> GuardState::CountEarlierSockets() const {
  const auto entries =
      Elements<npg_listener_key, npg_socket_owner>(earlier_sockets_, "earlier_sockets");
  if (!entries.ok()) return entries.status();
  return entries->size();
}

absl::StatusOr<std::vector<uint32_t>> GuardState::GuardUids() const {
  const auto entries = Elements<npg_uid_key, npg_member>(guard_uids_, "guard_uids");
  if (!entries.ok()) return entries.status();
  std::vector<uint32_t> uids;
  for (const auto& [key, value] : *entries) uids.push_back(key.uid);
  std::sort(uids.begin(), uids.end());
  return uids;
}

absl::StatusOr<absl::flat_hash_set<uint64_t>> GuardState::GuardCgroups() const {
  const auto entries = Elements<npg_cgroup_key, npg_member>(guard_cgroups_, "guard_cgroups");
  if (!entries.ok()) return entries.status();
  absl::flat_hash_set<uint64_t> ids;
  for (const auto& [key, value] : *entries) ids.insert(key.id);
  return ids;
}

absl::StatusOr<abi::Counters> GuardState::Counters() const {
  abi::Counters sums;
  if (!counters_.fd) return sums;
  for (const auto& row : abi::kCounters) {
    const auto index = static_cast<uint32_t>(row.value);
    if (index >= counters_.max_entries) continue;
    const auto values = PerCpuValues(counters_.fd.get(), "counters", index);
    if (!values.ok()) return values.status();
    for (const uint64_t value : *values) sums[row.value] += value;
  }
  return sums;
}

absl::StatusOr<std::vector<std::pair<core::PortKey, abi::PortStats>>> GuardState::PortStats()
    const {
  return SortedEntries<npg_port_key, npg_port_stats>(port_stats_, "port_stats");
}

absl::StatusOr<std::vector<std::pair<abi::Source, abi::SourceState>>> GuardState::Sources() const {
  return SortedEntries<npg_source_key, npg_source_state>(sources_, "sources");
}

absl::StatusOr<std::vector<std::pair<std::string, abi::OwnerVerdict>>> GuardState::OwnerPolicy()
    const {
  return SortedEntries<npg_policy_key, npg_policy>(owner_policy_, "owner_policy");
}

absl::StatusOr<abi::Protection> GuardState::Protection() const {
  const auto entry = FindEntry<npg_protection>(protection_, "protection", uint32_t{0});
  if (!entry.ok()) return entry.status();
  return entry->value_or(abi::Protection());
}

absl::StatusOr<std::vector<std::pair<core::PortKey, abi::BindStats>>> GuardState::BindStats()
    const {
  return SortedEntries<npg_port_key, npg_bind_stats>(bind_stats_, "bind_stats");
}

absl::StatusOr<std::vector<std::pair<core::PortKey, uint32_t>>> GuardState::Refusable() const {
  return SortedEntries<npg_port_key, npg_refusable>(refusable_, "refusable");
}

absl::StatusOr<std::vector<core::PortHolder>> GuardState::FirstHolders() const {
  const auto entries = Elements<npg_holder_key, npg_member>(first_holders_, "first_holders");
  if (!entries.ok()) return entries.status();
  std::vector<core::PortHolder> holders;
  holders.reserve(entries->size());
  for (const auto& [key, value] : *entries) holders.push_back(abi::FromC(key));
  std::sort(holders.begin(), holders.end());
  return holders;
}

absl::StatusOr<std::vector<core::LocalAddress>> GuardState::LocalAddresses() const {
  const auto elements =
      Elements<npg_address, npg_local_address>(local_addresses_, "local_addresses");
  if (!elements.ok()) return elements.status();
  std::vector<core::LocalAddress> addresses;
  addresses.reserve(elements->size());
  for (const auto& [key, value] : *elements) addresses.push_back(abi::FromC(key, value));
  return addresses;
}

absl::StatusOr<std::vector<LinkState>> GuardState::Links() const {
  std::vector<LinkState> links;
  for (const char* name : LinkNames(config_.abi_version)) {
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
