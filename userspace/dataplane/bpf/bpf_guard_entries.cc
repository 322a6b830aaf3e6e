// SPDX-License-Identifier: Apache-2.0
// What BpfGuard reads from and writes into its maps.
#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <numeric>
#include <optional>
#include <string>
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
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "base/errno_status.h"
#include "base/event_loop.h"
#include "core/desired_state.h"
#include "core/listener.h"
#include "core/owner_policy.h"
#include "core/port.h"
#include "dataplane/bpf/binds_reader.h"
#include "dataplane/bpf/bpf_guard.h"
#include "dataplane/bpf/pinned_map.h"
#include "guard_abi.h"

namespace npg::dataplane {
namespace {

abi::OwnerVerdict VerdictOf(const core::OwnerPolicy& policy, absl::string_view comm) {
  return policy.Ignores(comm) ? abi::OwnerVerdict::kIgnored : abi::OwnerVerdict::kGuarded;
}

// The map entry of a listener whose owner was found in /proc.
npg_listener EntryOf(const core::Listener& listener, const core::OwnerPolicy& policy) {
  abi::Listener entry;
  entry.verdict = VerdictOf(policy, listener.owner.comm);
  entry.pid = static_cast<uint32_t>(listener.owner.pid);
  entry.uid = listener.uid;
  entry.comm = listener.owner.comm;
  return abi::ToC(entry);
}

}  // namespace

absl::StatusOr<core::PortEntries> BpfGuard::NodePorts() const {
  auto elements =
      AllElements<npg_port_key, npg_nodeport>(bpf_map__fd(skeleton_->maps.nodeports), "nodeports");
  if (!elements.ok()) return elements.status();
  core::PortEntries entries;
  for (const auto& [key, value] : *elements) {
    entries[abi::FromC(key)] = {value.sources, abi::FieldText(value.service)};
  }
  return entries;
}

absl::StatusOr<size_t> BpfGuard::ApplyNodePorts(const core::Difference& difference) {
  const int fd = bpf_map__fd(skeleton_->maps.nodeports);
  const auto now = static_cast<uint64_t>(absl::ToUnixSeconds(absl::Now()));
  absl::Status result;
  size_t fresh = 0;
  for (const core::PortKey& key : difference.remove) {
    result.Update(
        base::Annotate(RemoveElement(fd, "nodeports", abi::ToC(key)), core::ToString(key)));
  }
  for (const auto& [port, entry] : difference.put) {
    const npg_port_key key = abi::ToC(port);
    npg_nodeport value{};
    absl::StatusOr<std::optional<npg_nodeport>> known =
        LookupElement<npg_port_key, npg_nodeport>(fd, "nodeports", key);
    const bool is_known = known.ok() && known->has_value();
    value.since = is_known ? (*known)->since : now;
    if (!is_known) ++fresh;
    value.sources = entry.sources;
    abi::SetField(value.service, entry.service.text());
    result.Update(base::Annotate(PutElement(fd, "nodeports", key, value), core::ToString(port)));
  }
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
      const npg_policy value{static_cast<uint32_t>(VerdictOf(policy, comm))};
      NPG_RETURN_IF_ERROR(PutElement(fd, "owner_policy", abi::PolicyKeyOf(comm), value));
      named.insert(comm);
    }
  }
  for (const auto& [key, value] : *present) {
    if (!named.contains(abi::FromC(key))) {
      NPG_RETURN_IF_ERROR(RemoveElement(fd, "owner_policy", key));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<core::OwnerPolicy> BpfGuard::OwnerPolicy() const {
  auto present = AllElements<npg_policy_key, npg_policy>(bpf_map__fd(skeleton_->maps.owner_policy),
                                                         "owner_policy");
  if (!present.ok()) return present.status();
  core::OwnerPolicy policy;
  for (const auto& [key, value] : *present) {
    const bool ignored = abi::FromC(value) == abi::OwnerVerdict::kIgnored;
    (ignored ? policy.ignored : policy.only).push_back(abi::FromC(key));
  }
  return policy;
}

absl::Status BpfGuard::AddListeners(const std::vector<core::Listener>& listeners,
                                    const core::OwnerPolicy& policy) {
  const int fd = bpf_map__fd(skeleton_->maps.listeners);
  for (const core::Listener& listener : listeners) {
    const npg_listener_key key = abi::ToC(abi::ListenerKey{listener.key, listener.address});
    const npg_listener value = EntryOf(listener, policy);
    // NOEXIST: an entry that a program wrote at bind() is more reliable.
    absl::Status put = PutElement(fd, "listeners", key, value, BPF_NOEXIST);
    if (put.ok() || absl::IsAlreadyExists(put)) continue;
    if (absl::IsResourceExhausted(put)) {
      return absl::ResourceExhaustedError(
          absl::StrCat("map listeners is full (", abi::kMaxListeners, " entries)"));
    }
    return put;
  }
  return absl::OkStatus();
}

absl::Status BpfGuard::CorrectListener(const abi::ListenerKey& key, const abi::Listener& known,
                                       const core::Listener& listener,
                                       const core::OwnerPolicy& policy) {
  const int fd = bpf_map__fd(skeleton_->maps.listeners);
  auto now = LookupElement<npg_listener_key, npg_listener>(fd, "listeners", abi::ToC(key));
  if (!now.ok()) return now.status();
  // Another socket was bound to the address meanwhile; its entry is newer.
  if (!now->has_value() || abi::FromC(**now) != known) return absl::OkStatus();
  absl::Status put =
      PutElement(fd, "listeners", abi::ToC(key), EntryOf(listener, policy), BPF_EXIST);
  return absl::IsNotFound(put) ? absl::OkStatus() : put;
}

absl::Status BpfGuard::JudgeListeners(const core::OwnerPolicy& policy) {
  const int fd = bpf_map__fd(skeleton_->maps.listeners);
  auto entries = AllElements<npg_listener_key, npg_listener>(fd, "listeners");
  if (!entries.ok()) return entries.status();
  for (auto& [key, value] : *entries) {
    const auto verdict = static_cast<uint32_t>(VerdictOf(policy, abi::FieldText(value.comm)));
    if (value.verdict == verdict) continue;
    // Do not overwrite the entry of a socket that was bound meanwhile.
    auto now = LookupElement<npg_listener_key, npg_listener>(fd, "listeners", key);
    if (!now.ok()) return now.status();
    if (!now->has_value() || !(**now == value)) continue;
    value.verdict = verdict;
    absl::Status put = PutElement(fd, "listeners", key, value, BPF_EXIST);
    if (!put.ok() && !absl::IsNotFound(put)) return put;
  }
  return absl::OkStatus();
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

absl::Status BpfGuard::WatchBinds(base::EventLoop& loop, std::function<void()> bound) {
  auto reader = BindsReader::Start(loop, bpf_map__fd(skeleton_->maps.binds), std::move(bound));
  if (!reader.ok()) return reader.status();
  binds_ = *std::move(reader);
  return absl::OkStatus();
}

absl::StatusOr<std::vector<std::pair<abi::ListenerKey, abi::Listener>>> BpfGuard::Listeners()
    const {
  const auto elements = AllElements<npg_listener_key, npg_listener>(
      bpf_map__fd(skeleton_->maps.listeners), "listeners");
  if (!elements.ok()) return elements.status();
  std::vector<std::pair<abi::ListenerKey, abi::Listener>> entries;
  entries.reserve(elements->size());
  for (const auto& [key, value] : *elements) {
    entries.emplace_back(abi::FromC(key), abi::FromC(value));
  }
  return entries;
}

absl::Status BpfGuard::RemoveListener(const abi::ListenerKey& key) {
  return RemoveElement(bpf_map__fd(skeleton_->maps.listeners), "listeners", abi::ToC(key));
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
