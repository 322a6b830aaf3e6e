// SPDX-License-Identifier: Apache-2.0
// What BpfGuard reads from and writes into the maps of bind protection and of reserved ports.
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <fcntl.h>

#include <array>
#include <cerrno>
#include <cstdint>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "abi/convert.h"
#include "abi/entries.h"
#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "base/errno_status.h"
#include "base/unique_fd.h"
#include "core/bind_facts.h"
#include "core/listener.h"
#include "core/port.h"
#include "dataplane/bpf/bpf_guard.h"
#include "dataplane/bpf/pinned_map.h"
#include "dataplane/bpf/reserved_map.h"
#include "guard_abi.h"

namespace npg::dataplane {
namespace {

const core::PortKey& KeyIn(const BpfGuard::Refusable::value_type& entry) { return entry.first; }
npg_refusable ValueIn(const BpfGuard::Refusable::value_type& entry) { return {entry.second}; }

const core::PortHolder& KeyIn(const core::PortHolder& holder) { return holder; }
npg_member ValueIn(const core::PortHolder& /*holder*/) { return {1}; }

// Makes the entries of a map those of `wanted`. `known` is what the map has; it follows each write,
// so that it is right also after an error. First removes, so that a map that is nearly full has
// room.
template <typename Entries>
absl::Status WriteDifference(int fd, absl::string_view map, const Entries& wanted, Entries& known) {
  std::vector<typename Entries::const_iterator> gone;
  std::vector<typename Entries::const_iterator> fresh;
  auto at = known.cbegin();
  for (auto want = wanted.cbegin(); want != wanted.cend(); ++want) {
    while (at != known.cend() && KeyIn(*at) < KeyIn(*want)) gone.push_back(at++);
    const bool present = at != known.cend() && KeyIn(*at) == KeyIn(*want);
    if (!present || *at != *want) fresh.push_back(want);
    if (present) ++at;
  }
  while (at != known.cend()) gone.push_back(at++);
  for (const auto& entry : gone) {
    NPG_RETURN_IF_ERROR(RemoveElement(fd, map, abi::ToC(KeyIn(*entry))));
    known.erase(entry);
  }
  for (const auto& entry : fresh) {
    NPG_RETURN_IF_ERROR(PutElement(fd, map, abi::ToC(KeyIn(*entry)), ValueIn(*entry)));
    known.erase(KeyIn(*entry));
    known.insert(*entry);
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<BpfGuard::Refusable> BpfGuard::ReadRefusable() const {
  const auto elements =
      AllElements<npg_port_key, npg_refusable>(bpf_map__fd(skeleton_->maps.refusable), "refusable");
  if (!elements.ok()) return elements.status();
  Refusable ports;
  for (const auto& [key, value] : *elements) ports.emplace(abi::FromC(key), abi::FromC(value));
  return ports;
}

absl::Status BpfGuard::SetRefusable(const Refusable& ports) {
  if (!refusable_) {
    absl::StatusOr<Refusable> present = ReadRefusable();
    if (!present.ok()) return present.status();
    refusable_ = *std::move(present);
  }
  return WriteDifference(bpf_map__fd(skeleton_->maps.refusable), "refusable", ports, *refusable_);
}

absl::StatusOr<std::set<core::PortHolder>> BpfGuard::FirstHolders() const {
  const auto elements = AllElements<npg_holder_key, npg_member>(
      bpf_map__fd(skeleton_->maps.first_holders), "first_holders");
  if (!elements.ok()) return elements.status();
  std::set<core::PortHolder> holders;
  for (const auto& [key, value] : *elements) holders.insert(abi::FromC(key));
  return holders;
}

absl::Status BpfGuard::SetFirstHolders(const std::set<core::PortHolder>& holders) {
  if (!first_holders_) {
    absl::StatusOr<std::set<core::PortHolder>> present = FirstHolders();
    if (!present.ok()) return present.status();
    first_holders_ = *std::move(present);
  }
  return WriteDifference(bpf_map__fd(skeleton_->maps.first_holders), "first_holders", holders,
                         *first_holders_);
}

absl::Status BpfGuard::SetBindAddresses(const core::AddressSet& addresses) {
  std::vector<npg_address> keys;
  keys.reserve(addresses.size());
  for (const abi::Address& address : addresses) keys.push_back(abi::AddressKeyOf(address));
  return SetMembers(bpf_map__fd(skeleton_->maps.bind_addresses), "bind_addresses", keys,
                    npg_member{1});
}

absl::Status BpfGuard::SetBindExceptions(const std::vector<uint32_t>& uids,
                                         const std::vector<std::string>& processes) {
  std::vector<npg_uid_key> uid_keys;
  uid_keys.reserve(uids.size());
  for (const uint32_t uid : uids) uid_keys.push_back({uid});
  std::vector<npg_policy_key> name_keys;
  name_keys.reserve(processes.size());
  for (const std::string& comm : processes) name_keys.push_back(abi::PolicyKeyOf(comm));
  absl::Status result =
      SetMembers(bpf_map__fd(skeleton_->maps.bind_uids), "bind_uids", uid_keys, npg_member{1});
  result.Update(
      SetMembers(bpf_map__fd(skeleton_->maps.bind_names), "bind_names", name_keys, npg_member{1}));
  return result;
}

absl::Status BpfGuard::SetBindCgroups(const absl::flat_hash_set<uint64_t>& ids) {
  std::vector<npg_cgroup_key> keys;
  for (const uint64_t id : ids) keys.push_back({id});
  return SetMembers(bpf_map__fd(skeleton_->maps.bind_cgroups), "bind_cgroups", keys, npg_member{1});
}

absl::StatusOr<BpfGuard::FormerProtection> BpfGuard::ReadFormerProtection() const {
  FormerProtection maps;
  absl::StatusOr<Refusable> refusable = ReadRefusable();
  if (!refusable.ok()) return refusable.status();
  maps.refusable = *std::move(refusable);
  absl::StatusOr<std::set<core::PortHolder>> holders = FirstHolders();
  if (!holders.ok()) return holders.status();
  maps.first_holders = *std::move(holders);
  const auto addresses = AllElements<npg_address, npg_member>(
      bpf_map__fd(skeleton_->maps.bind_addresses), "bind_addresses");
  if (!addresses.ok()) return addresses.status();
  for (const auto& [key, value] : *addresses) maps.addresses.insert(std::to_array(key.address));
  const auto uids =
      AllElements<npg_uid_key, npg_member>(bpf_map__fd(skeleton_->maps.bind_uids), "bind_uids");
  if (!uids.ok()) return uids.status();
  for (const auto& [key, value] : *uids) maps.uids.push_back(key.uid);
  const auto names = AllElements<npg_policy_key, npg_member>(
      bpf_map__fd(skeleton_->maps.bind_names), "bind_names");
  if (!names.ok()) return names.status();
  for (const auto& [key, value] : *names) maps.processes.push_back(abi::FromC(key));
  const auto cgroups = AllElements<npg_cgroup_key, npg_member>(
      bpf_map__fd(skeleton_->maps.bind_cgroups), "bind_cgroups");
  if (!cgroups.ok()) return cgroups.status();
  for (const auto& [key, value] : *cgroups) maps.cgroups.insert(key.id);
  return maps;
}

absl::Status BpfGuard::WriteFormerProtection(const FormerProtection& maps) {
  // The exceptions first, so that no bind is refused that was not before.
  absl::Status result = SetBindExceptions(maps.uids, maps.processes);
  result.Update(SetBindCgroups(maps.cgroups));
  result.Update(SetFirstHolders(maps.first_holders));
  result.Update(SetBindAddresses(maps.addresses));
  result.Update(SetRefusable(maps.refusable));
  return result;
}

absl::Status BpfGuard::SetProtection(const abi::Protection& protection) {
  return PutElement(bpf_map__fd(skeleton_->maps.protection), "protection", uint32_t{0},
                    abi::ToC(protection));
}

absl::StatusOr<ReservedMap> BpfGuard::Reserved() const {
  base::UniqueFd map(fcntl(bpf_map__fd(skeleton_->maps.reserved_ports), F_DUPFD_CLOEXEC, 0));
  if (!map) return base::ErrnoStatus(errno, "duplicate the descriptor of map reserved_ports");
  return ReservedMap(std::move(map));
}

}  // namespace npg::dataplane
