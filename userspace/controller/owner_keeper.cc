// SPDX-License-Identifier: Apache-2.0
#include "controller/owner_keeper.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "abi/entries.h"
#include "absl/container/flat_hash_set.h"
#include "absl/hash/hash.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/errno_status.h"
#include "base/event_loop.h"
#include "controller/owner_records.h"
#include "controller/owner_search.h"
#include "controller/socket_holders.h"
#include "controller/socket_id.h"
#include "core/desired_state.h"
#include "core/listener.h"
#include "core/owner_policy.h"
#include "core/port.h"
#include "core/port_ranges.h"
#include "dataplane/bpf/bpf_guard.h"
#include "dataplane/bpf/guard_state.h"
#include "node/owners.h"
#include "node/sock_diag.h"

namespace npg::controller {
namespace {

size_t HashOf(const abi::ListenerKey& key) { return absl::Hash<abi::ListenerKey>()(key); }

}  // namespace

OwnerKeeper::OwnerKeeper(base::EventLoop& loop, dataplane::BpfGuard& guard,
                         core::OwnerPolicy policy, std::string cgroup_root, bool sees_all_binds,
                         std::function<void()> changed)
    : guard_(guard),
      rules_{std::move(policy), {}},
      changed_(std::move(changed)),
      cgroups_(
          loop,
          {cgroup_root, rules_.policy.cgroups, "--guard-cgroup",
           "new cgroups are guarded within ten seconds"},
          [this](const absl::flat_hash_set<uint64_t>& ids) {
            rules_.served_cgroups = ids;
            return guard_.SetServedCgroups(ids);
          },
          changed_),
      holders_(std::move(cgroup_root), /*with_cgroups=*/!rules_.policy.cgroups.empty()),
      records_(rules_, holders_, sees_all_binds),
      notes_(guard, rules_, holders_, records_),
      search_(
          loop,
          [this](const OwnerSearch::Found& found) {
            holders_.Learn(found);
            changed_();
          },
          changed_) {}

OwnerKeeper::~OwnerKeeper() = default;

absl::StatusOr<OwnerKeeper::Listeners> OwnerKeeper::List(const core::PortEntries& ports) const {
  Listeners listeners;
  auto found = guard_.Records().ListListenersOn(
      [](const core::PortKey& /*key*/) { return true; },
      [&](const core::Listener& listener) {
        if (listener.noted) {
          return ports.contains(listener.key) &&
                 rules_.Trusts(listener.binder->uid, listener.binder->cgroup_id);
        }
        if (rules_.Trusts(listener.uid, listener.cgroup_id)) return true;
        listeners.untrusted.insert(HashOf(KeyOf(listener)));
        return false;
      });
  if (!found.ok()) return found.status();
  listeners.list = std::move(found->listeners);
  return listeners;
}

void OwnerKeeper::DropOtherDatagrams(const core::PortEntries& ports,
                                     std::vector<core::Listener>& listeners) const {
  std::erase_if(listeners, [&](const core::Listener& one) {
    return one.key.protocol == core::Protocol::kUdp && !ports.contains(one.key) &&
           !records_.IsEarlier(one);
  });
}

void OwnerKeeper::NoteEarlier(std::vector<core::Listener>& listeners) {
  if (!notes_.NoteEarlier(listeners)) changed_();
}

std::optional<core::Binder> OwnerKeeper::KnownRecordOf(const core::Listener& listener,
                                                       const core::PortRange& automatic) const {
  const SocketProcess* const process = holders_.Find(listener.inode);
  const bool looked_for = listener.inode == 0 || process != nullptr;
  if (const core::Binder* const note = notes_.DatagramNoteOf(listener); note != nullptr) {
    // The record is by address, and is that of a socket with this user and cgroup.
    const bool same = note->uid == listener.uid && note->cgroup_id == listener.cgroup_id;
    return same ? std::optional<core::Binder>(*note) : std::nullopt;
  }
  // Until the thread has read /proc, what an earlier run found still holds. Without that, it is
  // unknown: whether it is a holder depends on its name.
  if (!looked_for) {
    return records_.Trusted(listener) ? records_.FormerRecordOf(listener) : std::nullopt;
  }
  // The note on it is still to be read.
  if (listener.key.protocol == core::Protocol::kUdp && process != nullptr && process->pid != 0 &&
      !notes_.Untouchable(listener.inode)) {
    return records_.FormerRecordOf(listener);
  }
  if (!records_.Trusted(listener)) return std::nullopt;
  return records_.RecordOf(listener, automatic);
}

absl::Status OwnerKeeper::Apply(const Listeners& listeners) {
  const core::PortRange automatic = AutomaticPorts();
  dataplane::BpfGuard::EarlierSockets records;
  absl::flat_hash_set<abi::ListenerKey> refused;
  absl::flat_hash_set<uint64_t> live;
  absl::flat_hash_set<SocketId> without_note;
  for (const core::Listener& listener : listeners.list) {
    live.insert(listener.inode);
    if (listener.noted) continue;
    without_note.insert(SocketOf(listener));
    const abi::ListenerKey key = KeyOf(listener);
    core::Listener known = listener;
    known.binder = KnownRecordOf(listener, automatic);
    if (!known.binder) {
      SocketProcess* const process = holders_.Find(listener.inode);
      if (process != nullptr) process->refused = true;
      refused.insert(key);
      continue;
    }
    if (rules_.Judge(known) != core::OwnerVerdict::kGuarded) refused.insert(key);
    known.binder->on_socket = notes_.DatagramNoteOf(listener) != nullptr;
    const auto [record, added] = records.emplace(key, *known.binder);
    if (!added && !known.binder->on_socket) record->second.on_socket = false;
  }
  // Sockets that share an address share a record: all of them must be guarded. An ignored owner
  // stays in the map, to be counted as such.
  std::erase_if(records, [&](const auto& record) {
    const abi::ListenerKey& key = record.first;
    if (!refused.contains(key) && !listeners.untrusted.contains(HashOf(key))) return false;
    core::Listener shared;
    shared.key = key.port;
    shared.binder = record.second;
    return rules_.Judge(shared) == core::OwnerVerdict::kGuarded;
  });
  holders_.Keep(live);
  notes_.Keep(live, without_note);
  records_.Keep(without_note);
  if (records != written_) ++changes_;
  written_ = std::move(records);
  absl::Status written = guard_.SetEarlierSockets(written_);
  // From here on, the records that were just written tell what it told.
  if (written.ok() && records_.HasFormer() && holders_.Unknown(listeners.list).empty()) {
    records_.ForgetFormer();
  }
  return written;
}

void OwnerKeeper::SearchNow(std::vector<core::Listener> sockets) {
  OwnerSearch::Found walk;
  walk.sockets = std::move(sockets);
  walk.gaps = node::FillOwners(walk.sockets, "/proc", node::OwnerBudget{}, &walk.holders);
  if (walk.gaps.skipped_processes > 0) {
    // Found again, and read without haste, by the first Sync(): those without an owner, and
    // those of which every holder must be known.
    std::erase_if(walk.sockets, [this](const core::Listener& one) {
      return one.owner.pid == 0 || (!one.noted && !records_.IsEarlier(one));
    });
    spdlog::warn(
        "{} processes have too many descriptors to be read at the start; listeners of theirs that "
        "were bound before are guarded once that is done",
        walk.gaps.skipped_processes);
  }
  const auto not_found =
      std::count_if(walk.sockets.begin(), walk.sockets.end(),
                    [](const core::Listener& one) { return one.owner.pid == 0 && !one.noted; });
  if (not_found > 0 && rules_.policy.IgnoresByDefault()) {
    spdlog::warn(
        "found no owner of {} listeners, so --only-process leaves them unguarded: the controller "
        "may not read their /proc, or runs in another pid namespace",
        not_found);
  }
  holders_.Learn(walk);
}

absl::Status OwnerKeeper::Prepare(const core::PortEntries& ports) {
  absl::Status status = cgroups_.Sync();
  const bool first = !std::exchange(prepared_, true);
  // Attach() removes them.
  if (first) {
    auto former = guard_.FormerRecords();
    status.Update(former.status());
    if (former.ok()) records_.SetFormer(*std::move(former));
    // Attach() writes the version of this build. Without this, an error below would make the next
    // call trust every socket without a note.
    const absl::StatusOr<abi::Config> config = guard_.Config();
    guarded_before_ =
        guard_.adopted() && (!config.ok() || config->abi_version >= dataplane::kFirstAbiWithUids);
  }
  auto listeners = List(ports);
  if (!listeners.ok()) return listeners.status();
  // Again after the programs were attached: until then none saw a bind().
  if (!earlier_known_ || !guarded_before_) records_.KnowEarlier(listeners->list, guarded_before_);
  earlier_known_ = true;
  DropOtherDatagrams(ports, listeners->list);
  std::vector<core::Listener> sockets = holders_.Unknown(listeners->list);
  notes_.CorrectNames(ports, listeners->list, sockets);
  SearchNow(std::move(sockets));
  NoteEarlier(listeners->list);
  // What is still unknown, the first Sync() finds again.
  std::vector<core::Listener> unknown;
  notes_.CorrectNames(ports, listeners->list, unknown);
  status.Update(Apply(*listeners));
  return status;
}

absl::Status OwnerKeeper::Follow() {
  NPG_RETURN_IF_ERROR(search_.Follow());
  cgroups_.Follow();
  return absl::OkStatus();
}

void OwnerKeeper::Maintain() { cgroups_.Maintain(); }

absl::Status OwnerKeeper::Sync(const core::PortEntries& ports) {
  // An error there does not keep the records from being current.
  absl::Status status = cgroups_.Sync();
  auto listeners = List(ports);
  if (!listeners.ok()) return listeners.status();
  DropOtherDatagrams(ports, listeners->list);
  NoteEarlier(listeners->list);
  std::vector<core::Listener> unknown = holders_.Unknown(listeners->list);
  notes_.CorrectNames(ports, listeners->list, unknown);
  // What it finds must not wait as long as a Sync() that found nothing.
  if (search_.Start(std::move(unknown))) ++changes_;
  status.Update(Apply(*listeners));
  return status;
}

bool OwnerKeeper::NeedsCare(const core::PortEntries& ports) const {
  if (cgroups_.NeedsCare()) return true;
  return std::any_of(written_.begin(), written_.end(),
                     [&](const auto& record) { return ports.contains(record.first.port); });
}

void OwnerKeeper::RetryUnknown() {
  holders_.RetryUnknown();
  notes_.RetryUntouchable();
}

}  // namespace npg::controller
