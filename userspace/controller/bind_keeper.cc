// SPDX-License-Identifier: Apache-2.0
#include "controller/bind_keeper.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <map>
#include <set>
#include <utility>
#include <vector>

#include "abi/entries.h"
#include "abi/names.h"
#include "absl/container/btree_set.h"
#include "absl/container/flat_hash_set.h"
#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/errno_status.h"
#include "base/event_loop.h"
#include "core/bind_facts.h"
#include "core/desired_state.h"
#include "core/listener.h"
#include "core/port.h"
#include "dataplane/bpf/bpf_guard.h"

namespace npg::controller {
namespace {

static_assert(core::kServiceV4 == abi::kFamilyV4 && core::kServiceV6 == abi::kFamilyV6);

// In bind_addresses, 127.0.0.0 stands for all of 127.0.0.0/8: see bpf/nodeport_guard.bpf.c.
constexpr std::array<uint8_t, 16> kLoopbackNet = {0, 0, 0,    0,    0,   0, 0, 0,
                                                  0, 0, 0xff, 0xff, 127, 0, 0, 0};

bool IsShared(const std::vector<const core::BindFacts*>& facts, const core::PortKey& key) {
  return std::any_of(facts.begin(), facts.end(),
                     [&key](const auto* one) { return one->shared.contains(key); });
}

// The families of an address that can be refused: :: takes IPv4 traffic, too.
uint32_t FamiliesOf(const std::array<uint8_t, 16>& address) {
  if (core::IsV4Mapped(address)) return core::kServiceV4;
  return core::IsWildcard(address) ? core::kServiceV4 | core::kServiceV6 : core::kServiceV6;
}

uint32_t UserOf(const core::Listener& listener) {
  return listener.binder ? listener.binder->uid : listener.uid;
}

}  // namespace

RefusablePlan PlanRefusable(const dataplane::BpfGuard::Refusable& now,
                            const core::PortEntries& entries,
                            const std::vector<const core::BindFacts*>& facts, bool complete) {
  RefusablePlan plan;
  for (const auto& [key, entry] : entries) {
    const auto present = now.find(key);
    const uint32_t before = present == now.end() ? 0 : present->second;
    const uint32_t known = core::RefusableFamilies(facts, key);
    uint32_t wanted = known;
    if (!complete) wanted = IsShared(facts, key) ? 0 : before;
    if (wanted == 0) continue;
    plan.want[key] = wanted;
    if ((before & wanted) != 0) plan.keep[key] = before & wanted;
    if ((wanted & ~before) != 0) plan.fresh.insert(key);
  }
  return plan;
}

BindKeeper::BindKeeper(base::EventLoop& loop, dataplane::BpfGuard& guard, Settings settings)
    : guard_(guard),
      settings_(std::move(settings)),
      names_(settings_.policy.ignored.begin(), settings_.policy.ignored.end()),
      cgroups_(
          loop,
          {settings_.cgroup_root, settings_.exceptions.cgroups, "--bind-allow-cgroup",
           "new cgroups are exceptions of bind protection within ten seconds"},
          [this](const absl::flat_hash_set<uint64_t>& ids) {
            cgroup_ids_ = ids;
            return guard_.SetBindCgroups(ids);
          },
          [] {}) {
  names_.insert(settings_.exceptions.processes.begin(), settings_.exceptions.processes.end());
}

absl::Status BindKeeper::Prepare(const core::PortEntries& entries,
                                 const std::vector<const core::BindFacts*>& facts, bool complete) {
  if (settings_.mode == abi::BindProtection::kOff) return Empty();
  const absl::StatusOr<Refusable> refusable = guard_.ReadRefusable();
  if (!refusable.ok()) return refusable.status();
  absl::StatusOr<Holders> holders = guard_.FirstHolders();
  if (!holders.ok()) return holders.status();
  holders_ = *std::move(holders);
  holders_written_ = true;
  NPG_RETURN_IF_ERROR(
      guard_.SetBindExceptions(settings_.exceptions.uids, settings_.exceptions.processes));
  // Without the exceptions, nothing may be refused. Sync() reports the error.
  const bool known = SyncCgroups().ok();
  return PutRefusable(known ? PlanRefusable(*refusable, entries, facts, complete).keep
                            : Refusable());
}

absl::Status BindKeeper::Empty() {
  NPG_RETURN_IF_ERROR(guard_.SetRefusable({}));
  NPG_RETURN_IF_ERROR(guard_.SetFirstHolders({}));
  NPG_RETURN_IF_ERROR(guard_.SetBindAddresses({}));
  NPG_RETURN_IF_ERROR(guard_.SetBindExceptions({}, {}));
  return guard_.SetBindCgroups({});
}

void BindKeeper::Follow() { cgroups_.Follow(); }

absl::Status BindKeeper::SyncCgroups() {
  absl::Status synced = cgroups_.Sync();
  if (synced.ok()) exceptions_known_ = true;
  return synced;
}

absl::Status BindKeeper::Maintain() {
  cgroups_.Maintain();
  return exceptions_known_ && !cgroups_.NeedsCare() ? absl::OkStatus() : SyncCgroups();
}

absl::Status BindKeeper::SetAddresses(const core::AddressSet& own, bool loopback) {
  core::AddressSet addresses = own;
  if (loopback) addresses.insert(kLoopbackNet);
  if (addresses_written_ && addresses == addresses_) return absl::OkStatus();
  addresses_ = std::move(addresses);
  absl::Status written = guard_.SetBindAddresses(addresses_);
  addresses_written_ = written.ok();
  return written;
}

absl::Status BindKeeper::PortsChanging(const core::Difference& difference) {
  for (const core::PortKey& key : difference.remove) {
    if (refusable_.contains(key)) gone_.insert(key);
  }
  const bool returns =
      !gone_.empty() && std::any_of(difference.put.begin(), difference.put.end(),
                                    [this](const auto& put) { return gone_.contains(put.first); });
  if (!returns) return absl::OkStatus();
  Refusable left = refusable_;
  std::erase_if(left, [this](const auto& port) { return gone_.contains(port.first); });
  Holders holders = holders_;
  std::erase_if(holders, [this](const auto& holder) { return gone_.contains(holder.port); });
  gone_.clear();
  NPG_RETURN_IF_ERROR(PutRefusable(left));
  return PutHolders(std::move(holders));
}

absl::Status BindKeeper::Sync(const core::PortEntries& entries,
                              const std::vector<const core::BindFacts*>& facts, bool complete) {
  if (settings_.mode == abi::BindProtection::kOff) return absl::OkStatus();
  if (!exceptions_known_) NPG_RETURN_IF_ERROR(SyncCgroups());
  const RefusablePlan plan = PlanRefusable(refusable_, entries, facts, complete);
  NPG_RETURN_IF_ERROR(PutRefusable(plan.keep));
  gone_.clear();
  NPG_RETURN_IF_ERROR(ForgetHolders(entries));
  return Add(plan);
}

// After an error the map may have a part of `ports`. refusable_ has only what it certainly has, as
// far as this may be refused, so that the next Sync() counts the rest as new.
absl::Status BindKeeper::PutRefusable(const Refusable& ports) {
  if (refusable_written_ && ports == refusable_) return absl::OkStatus();
  Refusable kept;
  for (const auto& [key, families] : ports) {
    const auto before = refusable_.find(key);
    if (before != refusable_.end() && before->second == families) kept.emplace(key, families);
  }
  absl::Status written = guard_.SetRefusable(ports);
  refusable_written_ = written.ok();
  refusable_ = written.ok() ? ports : kept;
  return written;
}

absl::Status BindKeeper::PutHolders(Holders holders) {
  if (holders_written_ && holders == holders_) return absl::OkStatus();
  holders_ = std::move(holders);
  absl::Status written = guard_.SetFirstHolders(holders_);
  holders_written_ = written.ok();
  return written;
}

// A port that is still a NodePort keeps them, whether it may be refused at present or not.
absl::Status BindKeeper::ForgetHolders(const core::PortEntries& entries) {
  Holders left = holders_;
  std::erase_if(left, [&entries](const auto& holder) { return !entries.contains(holder.port); });
  return PutHolders(std::move(left));
}

absl::Status BindKeeper::Add(const RefusablePlan& plan) {
  const bool deny = settings_.mode == abi::BindProtection::kDeny;
  absl::btree_set<core::PortKey> ports = recent_;
  ports.insert(plan.fresh.begin(), plan.fresh.end());
  if (ports.empty()) return absl::OkStatus();
  NPG_RETURN_IF_ERROR(NoteHolders(ports, [&](const core::Listener& listener) {
    return plan.fresh.contains(listener.key) ? !NamedException(listener) : Refuses(listener);
  }));
  recent_.clear();
  if (plan.fresh.empty()) return absl::OkStatus();
  NPG_RETURN_IF_ERROR(PutRefusable(plan.want));
  if (!deny) return absl::OkStatus();
  absl::Status again =
      NoteHolders(plan.fresh, [this](const core::Listener& one) { return Refuses(one); });
  if (!again.ok()) {
    PutRefusable(plan.keep).IgnoreError();
    return again;
  }
  recent_ = plan.fresh;
  return absl::OkStatus();
}

absl::Status BindKeeper::NoteHolders(const absl::btree_set<core::PortKey>& ports,
                                     absl::FunctionRef<bool(const core::Listener&)> counts) {
  const auto bound = guard_.Records().ListBoundOn(
      [&ports](const core::PortKey& key) { return ports.contains(key); });
  if (!bound.ok()) {
    return base::Annotate(bound.status(), "list the sockets that are on NodePorts already");
  }
  Holders holders = holders_;
  for (const core::Listener& listener : bound->listeners) {
    if (counts(listener)) holders.insert({listener.key, UserOf(listener)});
  }
  return PutHolders(std::move(holders));
}

bool BindKeeper::NamedException(const core::Listener& listener) const {
  return listener.binder && names_.contains(listener.binder->comm);
}

bool BindKeeper::Refuses(const core::Listener& listener) const {
  const auto port = refusable_.find(listener.key);
  if (port == refusable_.end() || (port->second & FamiliesOf(listener.address)) == 0) return false;
  const bool loopback = core::IsV4Mapped(listener.address) && core::IsLoopback(listener.address);
  if (listener.ifindex != 0 || (!core::IsWildcard(listener.address) && !loopback &&
                                !addresses_.contains(listener.address))) {
    return false;
  }
  const std::vector<uint32_t>& uids = settings_.exceptions.uids;
  if (std::find(uids.begin(), uids.end(), UserOf(listener)) != uids.end()) return false;
  const uint64_t cgroup = listener.binder ? listener.binder->cgroup_id : listener.cgroup_id;
  return !cgroup_ids_.contains(cgroup) && !NamedException(listener);
}

}  // namespace npg::controller
