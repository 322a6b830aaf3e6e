// SPDX-License-Identifier: Apache-2.0
// What BpfGuard reads from and writes into its maps.
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <numeric>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "abi/convert.h"
#include "abi/entries.h"
#include "abi/names.h"
#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "base/errno_status.h"
#include "base/event_loop.h"
#include "core/datagram_targets.h"
#include "core/desired_state.h"
#include "core/listener.h"
#include "core/owner_policy.h"
#include "core/port.h"
#include "dataplane/bpf/binds_reader.h"
#include "dataplane/bpf/bpf_guard.h"
#include "dataplane/bpf/guard_state.h"
#include "dataplane/bpf/pinned_map.h"
#include "dataplane/bpf/socket_records.h"
#include "dataplane/bpf/unallocated_ports.h"
#include "guard_abi.h"

namespace npg::dataplane {
namespace {

abi::OwnerVerdict VerdictOf(const core::OwnerPolicy& policy, const std::string& comm) {
  const auto in = [&comm](const std::vector<std::string>& names) {
    return std::find(names.begin(), names.end(), comm) != names.end();
  };
  if (!policy.only.empty() && !in(policy.only)) return abi::OwnerVerdict::kIgnored;
  return in(policy.ignored) ? abi::OwnerVerdict::kHolder : abi::OwnerVerdict::kGuarded;
}

constexpr int kMptcp = 262;  // IPPROTO_MPTCP, absent from older headers

// The keys of the map datagram_targets.
std::vector<npg_listener_key> TargetKeys(const core::DatagramTargets& targets) {
  // Stands for all of 127.0.0.0/8; no datagram has this destination.
  constexpr abi::Address kAnyLoopback4{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
  std::vector<npg_listener_key> keys;
  for (const uint16_t port : targets.loopback4) {
    keys.push_back(abi::ToC(abi::ListenerKey{{port, core::Protocol::kUdp}, kAnyLoopback4}));
  }
  for (const auto& [address, port] : targets.addresses) {
    keys.push_back(abi::ToC(abi::ListenerKey{{port, core::Protocol::kUdp}, address}));
  }
  return keys;
}

// Bounds the memory for what is written to the map nodeports: the process keeps it.
constexpr size_t kPutAtOnce = 512;
// To read the map takes as long as about this many lookups.
constexpr size_t kManyPorts = 2048;

// npg_nodeport.since of those of the ports to put that are in the map. One that cannot be read
// counts as new.
absl::flat_hash_map<core::PortKey, uint64_t> KnownSince(int fd,
                                                        const core::Difference& difference) {
  absl::flat_hash_map<core::PortKey, uint64_t> known;
  if (difference.put.size() >= kManyPorts) {
    const absl::Status read = ForEachElement<npg_port_key, npg_nodeport>(
        fd, "nodeports", [&known](const npg_port_key& key, const npg_nodeport& value) {
          known[abi::FromC(key)] = value.since;
        });
    if (read.ok()) return known;
  }
  for (const auto& [port, entry] : difference.put) {
    const auto value = LookupElement<npg_port_key, npg_nodeport>(fd, "nodeports", abi::ToC(port));
    if (value.ok() && *value) known[port] = (*value)->since;
  }
  return known;
}

}  // namespace

absl::StatusOr<core::PortEntries> BpfGuard::NodePorts() const {
  core::PortEntries entries;
  NPG_RETURN_IF_ERROR((ForEachElement<npg_port_key, npg_nodeport>(
      bpf_map__fd(skeleton_->maps.nodeports), "nodeports",
      [&entries](const npg_port_key& key, const npg_nodeport& value) {
        entries[abi::FromC(key)] = {value.sources, abi::FieldText(value.service)};
      })));
  return entries;
}

absl::StatusOr<size_t> BpfGuard::ApplyNodePorts(const core::Difference& difference) {
  const int fd = bpf_map__fd(skeleton_->maps.nodeports);
  const auto now = static_cast<uint64_t>(absl::ToUnixSeconds(absl::Now()));
  absl::Status result;
  const UnallocatedPorts unallocated(bpf_map__fd(skeleton_->maps.unallocated), fd);
  for (const core::PortKey& key : difference.remove) {
    absl::Status removed = RemoveElement(fd, "nodeports", abi::ToC(key));
    if (removed.ok()) removed = unallocated.Release(key.port);
    result.Update(base::Annotate(removed, core::ToString(key)));
  }
  std::vector<uint16_t> ports;
  ports.reserve(difference.put.size());
  for (const auto& [port, entry] : difference.put) ports.push_back(port.port);
  if (absl::Status allocated = unallocated.Allocate(ports); !allocated.ok()) return allocated;
  const absl::flat_hash_map<core::PortKey, uint64_t> known = KnownSince(fd, difference);
  size_t fresh = 0;
  std::vector<npg_port_key> keys;
  std::vector<npg_nodeport> values;
  const auto write = [&] {
    PutElements(fd, "nodeports", keys, values, [&](size_t at, const absl::Status& status) {
      result.Update(base::Annotate(status, core::ToString(abi::FromC(keys[at]))));
    });
    keys.clear();
    values.clear();
  };
  for (const auto& [port, entry] : difference.put) {
    npg_nodeport value{};
    const auto since = known.find(port);
    value.since = since == known.end() ? now : since->second;
    if (since == known.end()) ++fresh;
    value.sources = entry.sources;
    abi::SetField(value.service, entry.service.text());
    keys.push_back(abi::ToC(port));
    values.push_back(value);
    if (keys.size() == kPutAtOnce) write();
  }
  write();
  if (!result.ok()) return result;
  return fresh;
}

absl::Status BpfGuard::SetOwnerPolicy(const core::OwnerPolicy& policy) {
  const int fd = bpf_map__fd(skeleton_->maps.owner_policy);
  auto present = AllElements<npg_policy_key, npg_policy>(fd, "owner_policy");
  if (!present.ok()) return present.status();
  absl::flat_hash_set<std::string> named;
  for (const std::vector<std::string>* names : {&policy.ignored, &policy.only}) {
    for (const std::string& comm : *names) {
      const npg_policy value{static_cast<uint32_t>(VerdictOf(policy, comm)), 0};
      NPG_RETURN_IF_ERROR(PutElement(fd, "owner_policy", abi::PolicyKeyOf(comm), value));
      named.insert(comm);
    }
  }
  for (const auto& [key, value] : *present) {
    if (!named.contains(abi::FromC(key))) {
      NPG_RETURN_IF_ERROR(RemoveElement(fd, "owner_policy", key));
    }
  }
  std::vector<npg_uid_key> uids;
  for (const uint32_t uid : policy.uids) uids.push_back({uid});
  return SetMembers(bpf_map__fd(skeleton_->maps.guard_uids), "guard_uids", uids, npg_member{1});
}

absl::Status BpfGuard::SetServedCgroups(const absl::flat_hash_set<uint64_t>& ids) {
  std::vector<npg_cgroup_key> keys;
  for (const uint64_t id : ids) keys.push_back({id});
  return SetMembers(bpf_map__fd(skeleton_->maps.guard_cgroups), "guard_cgroups", keys,
                    npg_member{1});
}

absl::StatusOr<BpfGuard::FormerMaps> BpfGuard::ReadFormerMaps() const {
  auto present = AllElements<npg_policy_key, npg_policy>(bpf_map__fd(skeleton_->maps.owner_policy),
                                                         "owner_policy");
  if (!present.ok()) return present.status();
  const absl::StatusOr<abi::Config> config = Config();
  if (!config.ok()) return config.status();
  const bool only = config->default_verdict == abi::OwnerVerdict::kIgnored;
  FormerMaps maps;
  core::OwnerPolicy& policy = maps.policy;
  for (const auto& [key, value] : *present) {
    const abi::OwnerVerdict verdict = abi::FromC(value);
    if (verdict != abi::OwnerVerdict::kGuarded) policy.ignored.push_back(abi::FromC(key));
    if (verdict != abi::OwnerVerdict::kIgnored && only) policy.only.push_back(abi::FromC(key));
  }
  policy.any_uid = config->any_uid;
  const auto uids =
      AllElements<npg_uid_key, npg_member>(bpf_map__fd(skeleton_->maps.guard_uids), "guard_uids");
  if (!uids.ok()) return uids.status();
  policy.uids.clear();
  for (const auto& [key, value] : *uids) policy.uids.push_back(key.uid);
  const auto cgroups = AllElements<npg_cgroup_key, npg_member>(
      bpf_map__fd(skeleton_->maps.guard_cgroups), "guard_cgroups");
  if (!cgroups.ok()) return cgroups.status();
  for (const auto& [key, value] : *cgroups) maps.served_cgroups.insert(key.id);
  const auto earlier = AllElements<npg_listener_key, npg_socket_owner>(
      bpf_map__fd(skeleton_->maps.earlier_sockets), "earlier_sockets");
  if (!earlier.ok()) return earlier.status();
  for (const auto& [key, value] : *earlier)
    maps.earlier_sockets[abi::FromC(key)] = abi::FromC(value);
  const auto addresses = AllElements<npg_address, npg_local_address>(
      bpf_map__fd(skeleton_->maps.local_addresses), "local_addresses");
  if (!addresses.ok()) return addresses.status();
  for (const auto& [key, value] : *addresses)
    maps.local_addresses.push_back(abi::FromC(key, value));
  absl::StatusOr<FormerProtection> protection = ReadFormerProtection();
  if (!protection.ok()) return protection.status();
  maps.protection = *std::move(protection);
  return maps;
}

absl::Status BpfGuard::WriteFormerMaps(const FormerMaps& maps) {
  // Each as far as possible: the maps do not depend on each other.
  absl::Status result = SetOwnerPolicy(maps.policy);
  result.Update(SetServedCgroups(maps.served_cgroups));
  result.Update(SetEarlierSockets(maps.earlier_sockets));
  result.Update(SetLocalAddresses(maps.local_addresses));
  result.Update(WriteFormerProtection(maps.protection));
  return result;
}

SocketRecords BpfGuard::Records() const {
  return {bpf_map__fd(skeleton_->maps.socket_owners), bpf_map__fd(skeleton_->maps.earlier_sockets)};
}

absl::Status BpfGuard::SetEarlierSockets(const EarlierSockets& sockets) {
  const int fd = bpf_map__fd(skeleton_->maps.earlier_sockets);
  const auto present = AllElements<npg_listener_key, npg_socket_owner>(fd, "earlier_sockets");
  if (!present.ok()) return present.status();
  // First remove, so that a map that is nearly full has room.
  EarlierSockets missing = sockets;
  for (const auto& [key, value] : *present) {
    const auto wanted = missing.find(abi::FromC(key));
    if (wanted == missing.end()) {
      NPG_RETURN_IF_ERROR(RemoveElement(fd, "earlier_sockets", key));
    } else if (abi::ToC(wanted->second) == value) {
      missing.erase(wanted);
    }
  }
  for (const auto& [key, binder] : missing) {
    absl::Status put = PutElement(fd, "earlier_sockets", abi::ToC(key), abi::ToC(binder));
    if (absl::IsResourceExhausted(put)) {
      return absl::ResourceExhaustedError(absl::StrCat(
          "map earlier_sockets is full (", abi::kMaxEarlierSockets,
          " entries): other sockets that were bound before the guard started are not guarded"));
    }
    if (!put.ok()) return put;
  }
  return absl::OkStatus();
}

absl::Status BpfGuard::NoteOnSocket(int socket, const core::Binder& binder) {
  // The programs find the first subflow of an MPTCP listener, which has no descriptor.
  int protocol = 0;
  socklen_t size = sizeof(protocol);
  if (getsockopt(socket, SOL_SOCKET, SO_PROTOCOL, &protocol, &size) == 0 && protocol == kMptcp) {
    return absl::UnimplementedError("an MPTCP socket has its storage on a subflow");
  }
  return PutElement(bpf_map__fd(skeleton_->maps.socket_owners), "socket_owners", socket,
                    abi::ToC(binder), BPF_NOEXIST);
}

absl::StatusOr<std::optional<core::Binder>> BpfGuard::NoteOf(int socket) const {
  const auto value = LookupElement<int, npg_socket_owner>(
      bpf_map__fd(skeleton_->maps.socket_owners), "socket_owners", socket);
  if (!value.ok()) return value.status();
  return *value ? std::optional<core::Binder>(abi::FromC(**value)) : std::nullopt;
}

absl::Status BpfGuard::RenameOnSocket(int socket, const core::Binder& noted,
                                      const std::string& comm) {
  absl::StatusOr<std::optional<core::Binder>> now = NoteOf(socket);
  if (!now.ok()) return now.status();
  if (!*now || (*now)->pid != noted.pid || (*now)->uid != noted.uid ||
      (*now)->asked_port != noted.asked_port) {
    return absl::AbortedError("the socket was bound again meanwhile");
  }
  (*now)->comm = comm;
  return PutElement(bpf_map__fd(skeleton_->maps.socket_owners), "socket_owners", socket,
                    abi::ToC(**now), BPF_EXIST);
}

absl::StatusOr<BpfGuard::EarlierSockets> BpfGuard::FormerRecords() const {
  return ReadFormerRecords(pins_);
}

absl::Status BpfGuard::SetLocalAddresses(const std::vector<core::LocalAddress>& addresses) {
  const int fd = bpf_map__fd(skeleton_->maps.local_addresses);
  auto present = AllElements<npg_address, npg_local_address>(fd, "local_addresses");
  if (!present.ok()) return present.status();
  absl::Status result;
  core::AddressSet wanted;
  for (const core::LocalAddress& local : addresses) {
    npg_address key{};
    std::copy(local.address.begin(), local.address.end(), key.address);
    result.Update(
        base::Annotate(PutElement(fd, "local_addresses", key, npg_local_address{local.ifindex, 0}),
                       core::AddressText(local.address)));
    wanted.insert(local.address);
  }
  for (const auto& [key, value] : *present) {
    if (!wanted.contains(abi::FromC(key, value).address)) {
      result.Update(RemoveElement(fd, "local_addresses", key));
    }
  }
  return result;
}

absl::Status BpfGuard::SetDatagramTargets(const core::DatagramTargets& targets) {
  absl::Status status = SetMembers(bpf_map__fd(skeleton_->maps.datagram_targets),
                                   "datagram_targets", TargetKeys(targets), npg_member{1});
  if (!absl::IsResourceExhausted(status)) return status;
  return absl::ResourceExhaustedError(absl::StrCat(
      "map datagram_targets is full (", abi::kMaxDatagramTargets,
      " entries): UDP sockets that connect to other listeners are marked, also where they send to "
      "another destination"));
}

absl::Status BpfGuard::KeepDatagramTargets(const core::DatagramTargets& targets) {
  const int fd = bpf_map__fd(skeleton_->maps.datagram_targets);
  const auto present = AllElements<npg_listener_key, npg_member>(fd, "datagram_targets");
  if (!present.ok()) return present.status();
  std::set<abi::ListenerKey> wanted;
  for (const npg_listener_key& key : TargetKeys(targets)) wanted.insert(abi::FromC(key));
  for (const auto& [key, ignored] : *present) {
    if (!wanted.contains(abi::FromC(key))) {
      NPG_RETURN_IF_ERROR(RemoveElement(fd, "datagram_targets", key));
    }
  }
  return absl::OkStatus();
}

absl::Status BpfGuard::WatchBinds(base::EventLoop& loop, std::function<void()> bound) {
  auto reader = BindsReader::Start(loop, bpf_map__fd(skeleton_->maps.binds), std::move(bound));
  if (!reader.ok()) return reader.status();
  binds_ = *std::move(reader);
  return absl::OkStatus();
}

absl::StatusOr<uint64_t> BpfGuard::Counter(abi::Counter counter) const {
  const auto values = PerCpuValues(bpf_map__fd(skeleton_->maps.counters), "counters",
                                   static_cast<uint32_t>(counter));
  if (!values.ok()) return values.status();
  return std::accumulate(values->begin(), values->end(), uint64_t{0});
}

absl::Status BpfGuard::AddToCounter(abi::Counter counter, uint64_t amount) {
  const auto index = static_cast<uint32_t>(counter);
  auto values = PerCpuValues(bpf_map__fd(skeleton_->maps.counters), "counters", index);
  if (!values.ok()) return values.status();
  values->front() += amount;
  if (bpf_map_update_elem(bpf_map__fd(skeleton_->maps.counters), &index, values->data(), BPF_ANY) !=
      0) {
    return base::ErrnoStatus(errno, "write map counters");
  }
  return absl::OkStatus();
}

absl::Status BpfGuard::SetSourceState(abi::Source source, const abi::SourceState& state) {
  return PutElement(bpf_map__fd(skeleton_->maps.sources), "sources", abi::ToC(source),
                    abi::ToC(state));
}

absl::Status BpfGuard::KeepSourceStates(abi::SourceBits sources) {
  const int fd = bpf_map__fd(skeleton_->maps.sources);
  auto present = AllElements<npg_source_key, npg_source_state>(fd, "sources");
  if (!present.ok()) return present.status();
  for (const auto& [key, state] : *present) {
    if ((key.source & sources) == 0) NPG_RETURN_IF_ERROR(RemoveElement(fd, "sources", key));
  }
  return absl::OkStatus();
}

}  // namespace npg::dataplane
