// SPDX-License-Identifier: Apache-2.0
#include "core/owner_policy.h"

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "core/listener.h"
#include "core/port.h"
#include "core/port_ranges.h"

namespace npg::core {
namespace {

bool Names(const std::vector<std::string>& names, absl::string_view comm) {
  return std::find(names.begin(), names.end(), comm) != names.end();
}

}  // namespace

absl::string_view Name(OwnerVerdict verdict) {
  switch (verdict) {
    case OwnerVerdict::kGuarded:
      return "guarded";
    case OwnerVerdict::kIgnored:
      return "ignored";
    case OwnerVerdict::kUntrusted:
      return "untrusted";
    case OwnerVerdict::kNoListener:
      break;
  }
  return "no_listener";
}

bool OwnerPolicy::Ignores(const Binder& binder, uint16_t port) const {
  if (binder.asked_port == port && Names(ignored, binder.comm)) return true;
  return !only.empty() && !Names(only, binder.comm);
}

bool OwnerRules::Trusts(uint32_t uid, uint64_t cgroup_id) const {
  return policy.any_uid ||
         std::find(policy.uids.begin(), policy.uids.end(), uid) != policy.uids.end() ||
         served_cgroups.contains(cgroup_id);
}

OwnerVerdict OwnerRules::Judge(const Listener& listener) const {
  const std::optional<Binder>& binder = listener.binder;
  const uint16_t port = listener.key.port;
  if (listener.key.protocol == Protocol::kUdp && (!binder || binder->asked_port != port)) {
    return OwnerVerdict::kNoListener;
  }
  // A record of another bind() is none: see npg_env_trusted() in bpf/nodeport_guard.bpf.c.
  const bool recorded = binder && (binder->asked_port == 0 || binder->asked_port == port);
  if (!policy.any_uid && (!recorded || !Trusts(binder->uid, binder->cgroup_id))) {
    return OwnerVerdict::kUntrusted;
  }
  return policy.Ignores(binder.value_or(Binder()), port) ? OwnerVerdict::kIgnored
                                                         : OwnerVerdict::kGuarded;
}

Binder GuessBinder(const Listener& listener, const PortRange& automatic, bool sees_requests) {
  Binder binder;
  binder.pid = listener.owner.pid;
  binder.comm = listener.owner.comm;
  binder.uid = listener.uid;
  binder.cgroup_id = listener.cgroup_id;
  const bool in_range = listener.key.port >= automatic.first && listener.key.port <= automatic.last;
  const bool udp = listener.key.protocol == Protocol::kUdp;
  const bool any = (udp && sees_requests) || (in_range && (udp || IsLoopback(listener.address)));
  binder.asked_port = any ? 0 : listener.key.port;
  return binder;
}

}  // namespace npg::core
