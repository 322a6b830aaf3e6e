// SPDX-License-Identifier: Apache-2.0
// What BpfGuard reads from and writes into its maps.
#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <iterator>
#include <numeric>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "abi/guard_abi_text.h"
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

npg_port_key ToAbi(const core::PortKey& key) {
  return npg_port_key{key.port, static_cast<uint8_t>(key.protocol), 0};
}

// NUL padded, and cut so that a NUL always follows.
void CopyText(std::span<char> target, absl::string_view text) {
  const size_t length = std::min(text.size(), target.size() - 1);
  std::fill(std::copy_n(text.begin(), length, target.begin()), target.end(), '\0');
}

npg_owner_verdict VerdictOf(const core::OwnerPolicy& policy, absl::string_view comm) {
  return policy.Ignores(comm) ? NPG_OWNER_IGNORED : NPG_OWNER_GUARDED;
}

// What stands in the map for a listener whose owner was found in /proc.
npg_listener EntryOf(const core::Listener& listener, const core::OwnerPolicy& policy) {
  npg_listener value{};
  value.verdict = VerdictOf(policy, listener.owner.comm);
  value.pid = static_cast<uint32_t>(listener.owner.pid);
  value.uid = listener.uid;
  CopyText(value.comm, listener.owner.comm);
  return value;
}

std::string TextOf(std::span<const char> text) {
  return {text.data(), strnlen(text.data(), text.size())};
}

}  // namespace

absl::StatusOr<core::PortEntries> BpfGuard::NodePorts() const {
  auto elements =
      AllElements<npg_port_key, npg_nodeport>(bpf_map__fd(skeleton_->maps.nodeports), "nodeports");
  if (!elements.ok()) return elements.status();
  core::PortEntries entries;
  for (const auto& [key, value] : *elements) {
    entries[{key.port, static_cast<core::Protocol>(key.protocol)}] = {value.sources,
                                                                      TextOf(value.service)};
  }
  return entries;
}

absl::StatusOr<size_t> BpfGuard::ApplyNodePorts(const core::Difference& difference) {
  const int fd = bpf_map__fd(skeleton_->maps.nodeports);
  const auto now = static_cast<uint64_t>(absl::ToUnixSeconds(absl::Now()));
  absl::Status result;
  size_t fresh = 0;
  for (const core::PortKey& key : difference.remove) {
    result.Update(base::Annotate(RemoveElement(fd, "nodeports", ToAbi(key)), core::ToString(key)));
  }
  for (const auto& [port, entry] : difference.put) {
    const npg_port_key key = ToAbi(port);
    npg_nodeport value{};
    absl::StatusOr<std::optional<npg_nodeport>> known =
        LookupElement<npg_port_key, npg_nodeport>(fd, "nodeports", key);
    const bool is_known = known.ok() && known->has_value();
    value.since = is_known ? (*known)->since : now;
    if (!is_known) ++fresh;
    value.sources = entry.sources;
    CopyText(value.service, entry.service.text());
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
      npg_policy_key key{};
      CopyText(key.comm, comm);
      NPG_RETURN_IF_ERROR(PutElement(fd, "owner_policy", key, npg_policy{VerdictOf(policy, comm)}));
      named.insert(comm);
    }
  }
  for (const auto& [key, value] : *present) {
    if (!named.contains(TextOf(key.comm))) {
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
    (value.verdict == NPG_OWNER_IGNORED ? policy.ignored : policy.only).push_back(TextOf(key.comm));
  }
  return policy;
}

absl::Status BpfGuard::AddListeners(const std::vector<core::Listener>& listeners,
                                    const core::OwnerPolicy& policy) {
  const int fd = bpf_map__fd(skeleton_->maps.listeners);
  for (const core::Listener& listener : listeners) {
    npg_listener_key key{};
    std::copy(listener.address.begin(), listener.address.end(), key.address);
    key.port = listener.key.port;
    key.protocol = static_cast<uint8_t>(listener.key.protocol);
    const npg_listener value = EntryOf(listener, policy);
    // NOEXIST: what the kernel side saw at bind time is the better witness.
    absl::Status put = PutElement(fd, "listeners", key, value, BPF_NOEXIST);
    if (put.ok() || absl::IsAlreadyExists(put)) continue;
    if (absl::IsResourceExhausted(put)) {
      return absl::ResourceExhaustedError(
          absl::StrCat("map listeners is full (", NPG_MAX_LISTENERS, " entries)"));
    }
    return put;
  }
  return absl::OkStatus();
}

absl::Status BpfGuard::CorrectListener(const npg_listener_key& key, const npg_listener& known,
                                       const core::Listener& listener,
                                       const core::OwnerPolicy& policy) {
  const int fd = bpf_map__fd(skeleton_->maps.listeners);
  auto now = LookupElement<npg_listener_key, npg_listener>(fd, "listeners", key);
  if (!now.ok()) return now.status();
  // Somebody has bound the address meanwhile: another socket, and known better.
  if (!now->has_value() || !(**now == known)) return absl::OkStatus();
  absl::Status put = PutElement(fd, "listeners", key, EntryOf(listener, policy), BPF_EXIST);
  return absl::IsNotFound(put) ? absl::OkStatus() : put;
}

absl::Status BpfGuard::JudgeListeners(const core::OwnerPolicy& policy) {
  const int fd = bpf_map__fd(skeleton_->maps.listeners);
  auto entries = Listeners();
  if (!entries.ok()) return entries.status();
  for (auto& [key, value] : *entries) {
    const npg_owner_verdict verdict = VerdictOf(policy, TextOf(value.comm));
    if (value.verdict == verdict) continue;
    // Not over what was bound meanwhile.
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
    std::array<uint8_t, 16> address{};
    std::copy(std::begin(key.address), std::end(key.address), address.begin());
    if (!wanted.contains(address)) result.Update(RemoveElement(fd, "local_addresses", key));
  }
  return result;
}

absl::Status BpfGuard::WatchBinds(base::EventLoop& loop, std::function<void()> bound) {
  auto reader = BindsReader::Start(loop, bpf_map__fd(skeleton_->maps.binds), std::move(bound));
  if (!reader.ok()) return reader.status();
  binds_ = *std::move(reader);
  return absl::OkStatus();
}

absl::StatusOr<std::vector<std::pair<npg_listener_key, npg_listener>>> BpfGuard::Listeners() const {
  return AllElements<npg_listener_key, npg_listener>(bpf_map__fd(skeleton_->maps.listeners),
                                                     "listeners");
}

absl::Status BpfGuard::RemoveListener(const npg_listener_key& key) {
  return RemoveElement(bpf_map__fd(skeleton_->maps.listeners), "listeners", key);
}

absl::StatusOr<uint64_t> BpfGuard::Counter(npg_counter counter) const {
  const auto values = PerCpuValues(bpf_map__fd(skeleton_->maps.counters), "counters", counter);
  if (!values.ok()) return values.status();
  return std::accumulate(values->begin(), values->end(), uint64_t{0});
}

absl::Status BpfGuard::AddToCounter(npg_counter counter, uint64_t amount) {
  auto values = PerCpuValues(bpf_map__fd(skeleton_->maps.counters), "counters", counter);
  if (!values.ok()) return values.status();
  values->front() += amount;
  const uint32_t index = counter;
  if (bpf_map_update_elem(bpf_map__fd(skeleton_->maps.counters), &index, values->data(), BPF_ANY) !=
      0) {
    return base::ErrnoStatus(errno, "write map counters");
  }
  return absl::OkStatus();
}

absl::Status BpfGuard::SetSourceState(npg_source source, const npg_source_state& state) {
  return PutElement(bpf_map__fd(skeleton_->maps.sources), "sources", npg_source_key{source}, state);
}

absl::Status BpfGuard::KeepSourceStates(uint32_t sources) {
  const int fd = bpf_map__fd(skeleton_->maps.sources);
  auto present = AllElements<npg_source_key, npg_source_state>(fd, "sources");
  if (!present.ok()) return present.status();
  for (const auto& [key, state] : *present) {
    if ((key.source & sources) == 0) NPG_RETURN_IF_ERROR(RemoveElement(fd, "sources", key));
  }
  return absl::OkStatus();
}

}  // namespace npg::dataplane
