// SPDX-License-Identifier: Apache-2.0
#include "inspect/guard_facts.h"

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "abi/entries.h"
#include "abi/names.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/clock.h"
#include "base/errno_status.h"
#include "core/listener.h"
#include "core/node_address.h"
#include "core/owner_policy.h"
#include "core/port.h"
#include "core/port_ranges.h"
#include "core/workload.h"
#include "dataplane/bpf/controller_lock.h"
#include "dataplane/bpf/guard_state.h"
#include "dataplane/bpf/netns_cookie.h"
#include "dataplane/bpf/pin_paths.h"
#include "dataplane/nft/nft_table.h"
#include "inspect/guard_parts.h"
#include "inspect/port_overlap.h"
#include "inspect/text.h"
#include "node/cgroups.h"
#include "node/kube_proxy_table.h"
#include "node/node_addresses.h"
#include "node/node_files.h"
#include "node/node_port_traces.h"
#include "node/owners.h"
#include "node/sock_diag.h"
#include "node/socket_lb.h"
#include "node/untracked_obstacles.h"

namespace npg::inspect {
namespace {

// Stores a value, or returns the error.
template <typename T>
absl::Status Take(absl::StatusOr<T> value, T& target) {
  if (!value.ok()) return value.status();
  target = *std::move(value);
  return absl::OkStatus();
}

absl::Status ReadMaps(const dataplane::GuardState& state, GuardFacts& facts) {
  NPG_RETURN_IF_ERROR(Take(state.NodePorts(), facts.nodeports));
  std::erase_if(facts.nodeports, [](const auto& entry) {
    return entry.second.sources == abi::Bit(abi::Source::kProbe);  // the canary, not a NodePort
  });
  NPG_RETURN_IF_ERROR(Take(state.CountEarlierSockets(), facts.earlier_sockets));
  NPG_RETURN_IF_ERROR(Take(state.GuardUids(), facts.guard_uids));
  NPG_RETURN_IF_ERROR(Take(state.GuardCgroups(), facts.guard_cgroups));
  NPG_RETURN_IF_ERROR(Take(state.PortStats(), facts.stats));
  NPG_RETURN_IF_ERROR(Take(state.Sources(), facts.sources));
  NPG_RETURN_IF_ERROR(Take(state.OwnerPolicy(), facts.policy));
  NPG_RETURN_IF_ERROR(Take(state.Protection(), facts.protection));
  NPG_RETURN_IF_ERROR(Take(state.BindStats(), facts.bind_stats));
  NPG_RETURN_IF_ERROR(Take(state.Refusable(), facts.refusable));
  NPG_RETURN_IF_ERROR(Take(state.FirstHolders(), facts.first_holders));
  std::vector<core::LocalAddress> addresses;
  NPG_RETURN_IF_ERROR(Take(state.LocalAddresses(), addresses));
  for (const core::LocalAddress& local : addresses) facts.own.insert(local.address);
  return Take(state.Counters(), facts.counters);
}

// Cgroups are named below `cgroup`, unless it is empty.
absl::Status ReadLinks(const std::string& cgroup, const dataplane::GuardState& state,
                       GuardFacts& facts) {
  std::vector<dataplane::LinkState> links;
  NPG_RETURN_IF_ERROR(Take(state.Links(), links));
  for (dataplane::LinkState& link : links) {
    std::string folder =
        !cgroup.empty() && link.cgroup_id != 0 ? node::CgroupPath(cgroup, link.cgroup_id) : "";
    facts.links.push_back({std::move(link), std::move(folder)});
  }
  return absl::OkStatus();
}

// A guard with an ABI version below kFirstAbiWithUids has no records on sockets. Call it after
// the owners are known: where its map of listeners has no entry, its programs apply the default,
// and its controller judged by the name of the process.
absl::Status AddFormerRecords(const dataplane::PinPaths& pins, GuardFacts& facts) {
  if (facts.config.abi_version >= dataplane::kFirstAbiWithUids) return absl::OkStatus();
  const auto records = dataplane::ReadFormerRecords(pins);
  if (!records.ok()) return records.status();
  for (core::Listener& listener : facts.listeners) {
    const auto record = records->find(abi::ListenerKey{listener.key, listener.address});
    if (record != records->end()) {
      listener.binder = record->second;
      continue;
    }
    core::Binder binder;
    binder.pid = listener.owner.pid;
    binder.comm = listener.owner.comm;
    binder.uid = listener.uid;
    binder.cgroup_id = listener.cgroup_id;
    binder.asked_port = listener.key.port;
    listener.binder = std::move(binder);
  }
  return absl::OkStatus();
}

// The kernel does not list the records on UDP sockets, and the controller keeps only those of
// trusted users. For other users, the range of automatic ports tells whether the socket asked for
// its port. It is for display: the programs decide by the record.
void GuessUntrusted(GuardFacts& facts) {
  const core::OwnerRules rules = Rules(facts);
  const absl::StatusOr<core::PortRange> automatic = node::ReadLocalPortRange("/proc");
  if (!automatic.ok()) return;
  for (core::Listener& listener : facts.listeners) {
    if (listener.binder || listener.key.protocol != core::Protocol::kUdp) continue;
    if (rules.Trusts(listener.uid, listener.cgroup_id)) continue;
    listener.binder = core::GuessBinder(listener, *automatic);
  }
}

// For owners whose /proc could not be read, the programs recorded the cgroup.
void NameCgroups(const std::string& cgroup, GuardFacts& facts) {
  for (core::Listener& listener : facts.listeners) {
    if (!listener.owner.cgroup.empty() || !listener.binder || listener.binder->cgroup_id == 0) {
      continue;
    }
    listener.owner.cgroup = node::CgroupBelowRoot(cgroup, listener.binder->cgroup_id);
    listener.owner.workload = core::ParseCgroupPath(listener.owner.cgroup);
  }
}

// Reads the listeners that are `interesting`, and judges by all others what the kernel assigns.
absl::Status ReadListeners(
    const dataplane::GuardState& state,
    const std::function<bool(const core::PortKey&, bool nodeport)>& interesting,
    GuardFacts& facts) {
  const auto wanted = [&](const core::PortKey& key) {
    return interesting(key, FindNodePort(facts, key) != nullptr);
  };
  const std::optional<PortSysctls> sysctls =
      facts.same_netns == false ? std::nullopt : ReadPortSysctls();
  auto found = state.Records().ListListenersOn([&](const core::PortKey& key) {
    return wanted(key) || (sysctls && MayBeAutomatic(*sysctls, key));
  });
  if (!found.ok()) return base::Annotate(found.status(), "list listeners");
  facts.listeners = std::move(found->listeners);
  if (sysctls) {
    std::vector<uint16_t> allocated;
    for (const auto& [key, nodeport] : facts.nodeports) allocated.push_back(key.port);
    facts.overlap = JudgeOverlap(*sysctls, std::move(allocated), facts.listeners);
  }
  std::erase_if(facts.listeners,
                [&](const core::Listener& listener) { return !wanted(listener.key); });
  return absl::OkStatus();
}

// The error of a guard that is not loaded. Reports a table without pins, which has no
// effect, and which `unload` removes.
absl::Status NotLoaded(const absl::Status& status) {
  const absl::StatusOr<dataplane::NftTableState> table = dataplane::ReadNftTable();
  if (!table.ok() || !table->present) return status;
  return absl::NotFoundError(absl::StrCat(status.message(), "; its nft table ", NftTableName(),
                                          " was left behind: 'nodeport-guard unload' removes it"));
}

}  // namespace

absl::StatusOr<GuardFacts> GatherGuardFacts(
    const GuardPlace& place,
    const std::function<bool(const core::PortKey&, bool nodeport)>& interesting) {
  const dataplane::PinPaths pins(place.bpffs);
  const absl::StatusOr<dataplane::GuardState> state = dataplane::GuardState::Open(pins);
  if (absl::IsNotFound(state.status())) return NotLoaded(state.status());
  if (!state.ok()) return state.status();

  GuardFacts facts;
  facts.bpffs = place.bpffs;
  facts.config = state->config();
  facts.lacks = state->lacks();
  NPG_RETURN_IF_ERROR(ReadLinks(place.cgroup, *state, facts));
  NPG_RETURN_IF_ERROR(ReadMaps(*state, facts));
  NPG_RETURN_IF_ERROR(Take(dataplane::ControllerPid(pins), facts.controller));
  if (const absl::StatusOr<uint64_t> cookie = dataplane::AskNetnsCookie(); cookie.ok()) {
    facts.same_netns = *cookie == facts.config.netns_cookie;
  }
  if (facts.config.scope == abi::Scope::kLocal && facts.same_netns != false) {
    std::vector<core::NodeAddress> addresses;
    NPG_RETURN_IF_ERROR(Take(node::ListNodeAddresses(), addresses));
    facts.left_out = core::LeftOutOf(addresses, facts.own);
  }
  facts.nft = dataplane::ReadNftTable();
  const abi::TrafficBits aside = facts.config.standing_aside & abi::AllTraffic();
  if (aside != 0 && facts.same_netns != false) {
    facts.in_the_way = node::OfFamilies(
        place.obstacles ? *place.obstacles
                        : node::ReadUntrackedObstacles(std::string(dataplane::kNftTableName))
                              .value_or(std::vector<node::UntrackedObstacle>()),
        abi::HasFamily(aside, true), abi::HasFamily(aside, false));
  }
  facts.cilium_socket_lb = node::HasCiliumSocketLb(place.bpffs, place.cgroup);
  facts.kube_proxy_nftables = node::HasKubeProxyRules().value_or(false);
  if (facts.same_netns != false) facts.traces = node::ReadNodePortTraces();

  NPG_RETURN_IF_ERROR(ReadListeners(*state, interesting, facts));
  facts.gaps = node::FillOwners(facts.listeners);
  NPG_RETURN_IF_ERROR(AddFormerRecords(pins, facts));
  GuessUntrusted(facts);
  if (!place.cgroup.empty()) NameCgroups(place.cgroup, facts);
  facts.now = absl::Now();
  facts.now_boot_ns = base::BootNanoseconds();
  return facts;
}

}  // namespace npg::inspect
