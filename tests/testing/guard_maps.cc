// SPDX-License-Identifier: Apache-2.0
#include "testing/guard_maps.h"

#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "base/errno_status.h"
#include "base/unique_fd.h"
#include "guard_abi.h"
#include "testing/transport.h"

namespace npg::testing {
namespace {

using base::ErrnoStatus;
using base::UniqueFd;

absl::StatusOr<UniqueFd> OpenPin(const std::string& path) {
  UniqueFd fd(bpf_obj_get(path.c_str()));
  if (!fd) return ErrnoStatus(errno, absl::StrCat("open pin ", path));
  return fd;
}

template <typename Info>
absl::StatusOr<Info> InfoOf(const std::string& pin) {
  const auto fd = OpenPin(pin);
  if (!fd.ok()) return fd.status();
  Info info{};
  uint32_t size = sizeof(info);
  if (bpf_obj_get_info_by_fd(fd->get(), &info, &size) != 0) {
    return ErrnoStatus(errno, absl::StrCat("info of ", pin));
  }
  return info;
}

// nullopt if there is no such entry.
template <typename Key, typename Value>
absl::StatusOr<std::optional<Value>> Lookup(const std::string& pin, const Key& key) {
  const auto fd = OpenPin(pin);
  if (!fd.ok()) return fd.status();
  Value value{};
  if (bpf_map_lookup_elem(fd->get(), &key, &value) == 0) return value;
  if (errno == ENOENT) return std::optional<Value>();
  return ErrnoStatus(errno, absl::StrCat("look up in ", pin));
}

npg_port_key KeyOf(uint16_t port, Transport transport) {
  return {port, NodePortProtocol(transport), 0};
}

// Whether the self-probe made this entry of the map `name`.
bool IsOfTheProbe(absl::string_view name, absl::string_view key, absl::string_view value) {
  uint32_t first = 0;  // of the key of a counter, of the value of a NodePort
  if (name == "counters") {
    std::memcpy(&first, key.data(), sizeof(first));
    return first == NPG_COUNTER_PROBED;
  }
  std::memcpy(&first, value.data(), sizeof(first));
  return name == "nodeports" && first == NPG_SOURCE_PROBE;
}

// Sorted, in hexadecimal: "key value", one line each.
absl::StatusOr<std::string> Entries(const std::string& maps, absl::string_view name) {
  const std::string pin = absl::StrCat(maps, "/", name);
  const auto fd = OpenPin(pin);
  if (!fd.ok()) return fd.status();
  const auto info = InfoOf<bpf_map_info>(pin);
  if (!info.ok()) return info.status();
  const int cpus = info->type == BPF_MAP_TYPE_PERCPU_ARRAY ? libbpf_num_possible_cpus() : 1;
  std::map<std::string, std::string> entries;
  std::string key(info->key_size, '\0');
  std::string value(static_cast<size_t>(info->value_size) * static_cast<size_t>(cpus), '\0');
  for (const void* last = nullptr; bpf_map_get_next_key(fd->get(), last, key.data()) == 0;
       last = key.data()) {
    if (bpf_map_lookup_elem(fd->get(), key.data(), value.data()) == 0) entries[key] = value;
  }
  std::string text;
  for (const auto& [entry_key, entry_value] : entries) {
    if (IsOfTheProbe(name, entry_key, entry_value)) continue;
    absl::StrAppend(&text, absl::BytesToHexString(entry_key), " ",
                    absl::BytesToHexString(entry_value), "\n");
  }
  return text;
}

// The producer's position: the second page of the mapping.
absl::StatusOr<uint64_t> BytesEverWritten(const std::string& ring_buffer_pin) {
  const auto fd = OpenPin(ring_buffer_pin);
  if (!fd.ok()) return fd.status();
  const auto page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  void* const mapped =
      mmap(nullptr, page, PROT_READ, MAP_SHARED, fd->get(), static_cast<off_t>(page));
  if (mapped == MAP_FAILED) return ErrnoStatus(errno, absl::StrCat("map ", ring_buffer_pin));
  const uint64_t position = *static_cast<const volatile uint64_t*>(mapped);
  munmap(mapped, page);
  return position;
}

}  // namespace

absl::StatusOr<Counters> GuardMaps::ReadCounters() const {
  const auto fd = OpenPin(root_ + "/maps/counters");
  if (!fd.ok()) return fd.status();
  Counters sums{};
  std::vector<uint64_t> per_cpu(static_cast<size_t>(libbpf_num_possible_cpus()));
  for (uint32_t counter = 0; counter < NPG_COUNTER_MAX; ++counter) {
    if (bpf_map_lookup_elem(fd->get(), &counter, per_cpu.data()) != 0) {
      return ErrnoStatus(errno, absl::StrCat("read counter ", counter));
    }
    for (const uint64_t value : per_cpu) sums.at(counter) += value;
  }
  return sums;
}

absl::StatusOr<std::optional<npg_nodeport>> GuardMaps::NodePort(uint16_t port,
                                                                Transport transport) const {
  return Lookup<npg_port_key, npg_nodeport>(root_ + "/maps/nodeports", KeyOf(port, transport));
}

absl::StatusOr<std::optional<npg_socket_owner>> GuardMaps::OwnerOn(int socket) const {
  return Lookup<int, npg_socket_owner>(root_ + "/maps/socket_owners", socket);
}

absl::StatusOr<std::optional<npg_socket_owner>> GuardMaps::EarlierSocket(
    const std::string& address, uint16_t port, Transport transport) const {
  npg_listener_key key{};
  if (inet_pton(AF_INET6, absl::StrCat("::ffff:", address).c_str(), key.address) != 1) {
    return absl::InvalidArgumentError(absl::StrCat("no IPv4 address: ", address));
  }
  key.port = port;
  key.protocol = NodePortProtocol(transport);
  return Lookup<npg_listener_key, npg_socket_owner>(root_ + "/maps/earlier_sockets", key);
}

absl::StatusOr<std::optional<npg_port_stats>> GuardMaps::Stats(uint16_t port,
                                                               Transport transport) const {
  return Lookup<npg_port_key, npg_port_stats>(root_ + "/maps/port_stats", KeyOf(port, transport));
}

absl::StatusOr<std::optional<npg_refusable>> GuardMaps::Refusable(uint16_t port,
                                                                  Transport transport) const {
  return Lookup<npg_port_key, npg_refusable>(root_ + "/maps/refusable", KeyOf(port, transport));
}

absl::StatusOr<std::optional<npg_member>> GuardMaps::FirstHolder(uint16_t port, Transport transport,
                                                                 uint32_t uid) const {
  const npg_holder_key key = {port, NodePortProtocol(transport), 0, uid};
  return Lookup<npg_holder_key, npg_member>(root_ + "/maps/first_holders", key);
}

absl::StatusOr<std::optional<npg_bind_stats>> GuardMaps::BindStats(uint16_t port,
                                                                   Transport transport) const {
  return Lookup<npg_port_key, npg_bind_stats>(root_ + "/maps/bind_stats", KeyOf(port, transport));
}

absl::StatusOr<size_t> GuardMaps::Count(const std::string& name) const {
  const std::string pin = absl::StrCat(root_, "/maps/", name);
  const auto fd = OpenPin(pin);
  if (!fd.ok()) return fd.status();
  const auto info = InfoOf<bpf_map_info>(pin);
  if (!info.ok()) return info.status();
  std::string key(info->key_size, '\0');
  size_t count = 0;
  for (const void* last = nullptr; bpf_map_get_next_key(fd->get(), last, key.data()) == 0;
       last = key.data()) {
    ++count;
  }
  return count;
}

absl::StatusOr<std::string> GuardMaps::Everything() const {
  std::string all;
  for (const char* name : {"nodeports", "earlier_sockets", "guard_uids", "guard_cgroups",
                           "owner_policy", "counters", "port_stats"}) {
    const auto entries = Entries(root_ + "/maps", name);
    if (!entries.ok()) return entries.status();
    absl::StrAppend(&all, name, ":\n", *entries);
  }
  const auto events = BytesEverWritten(root_ + "/maps/events");
  if (!events.ok()) return events.status();
  absl::StrAppend(&all, "events: ", *events, " bytes\n");
  return all;
}

absl::StatusOr<uint32_t> GuardMaps::MapId(const std::string& name) const {
  const auto info = InfoOf<bpf_map_info>(absl::StrCat(root_, "/maps/", name));
  if (!info.ok()) return info.status();
  return info->id;
}

absl::StatusOr<uint32_t> GuardMaps::LinkId(const std::string& name) const {
  const auto info = InfoOf<bpf_link_info>(absl::StrCat(root_, "/links/", name));
  if (!info.ok()) return info.status();
  return info->id;
}

absl::StatusOr<uint32_t> GuardMaps::LinkProgramId(const std::string& name) const {
  const auto info = InfoOf<bpf_link_info>(absl::StrCat(root_, "/links/", name));
  if (!info.ok()) return info.status();
  return info->prog_id;
}

absl::StatusOr<int> AttachedPrograms(const std::string& cgroup) {
  const UniqueFd fd(open(cgroup.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd) return ErrnoStatus(errno, absl::StrCat("open ", cgroup));
  int all = 0;
  for (const bpf_attach_type type :
       {BPF_CGROUP_INET4_CONNECT, BPF_CGROUP_INET6_CONNECT, BPF_CGROUP_INET4_BIND,
        BPF_CGROUP_INET6_BIND, BPF_CGROUP_INET4_POST_BIND, BPF_CGROUP_INET6_POST_BIND}) {
    uint32_t count = 0;
    if (bpf_prog_query(fd.get(), type, 0, nullptr, nullptr, &count) != 0) {
      return ErrnoStatus(errno, absl::StrCat("query the programs of ", cgroup));
    }
    all += static_cast<int>(count);
  }
  return all;
}

}  // namespace npg::testing
