// SPDX-License-Identifier: Apache-2.0
#include "controller/accept_queue_watch.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <cstddef>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "base/text.h"
#include "core/accept_queue.h"
#include "core/desired_state.h"
#include "core/listener.h"
#include "core/owner_policy.h"
#include "core/port.h"
#include "dataplane/bpf/bpf_guard.h"
#include "log/fields.h"
#include "log/health.h"
#include "log/log.h"
#include "node/sock_diag.h"

namespace npg::controller {
namespace {

// Lines of one look. With --guard-uid any, every user can cause them.
constexpr size_t kMaxQueueLines = 5;

// As noted at bind(), since --ignore-process compares that name.
std::string BinderText(const core::Listener& listener) {
  const std::optional<core::Binder>& binder = listener.binder;
  if (!binder || binder->comm.empty()) return absl::StrCat("a process of uid ", listener.uid);
  return core::ProcessText(binder->comm, binder->pid);
}

void LogNotAccepting(const core::PortEntries& ports, const core::OwnerPolicy& policy,
                     const std::vector<core::Listener>& found) {
  for (size_t i = 0; i < std::min(found.size(), kMaxQueueLines); ++i) {
    const core::Listener& listener = found[i];
    const auto entry = ports.find(listener.key);
    const std::string service =
        entry == ports.end() ? "" : std::string(entry->second.service.text());
    const std::string comm = listener.binder ? listener.binder->comm : "";
    log::Log(
        spdlog::level::warn,
        absl::StrCat(BinderText(listener), " does not accept on ",
                     core::AddressText(listener.address), " port ", core::ToString(listener.key),
                     ", which is a NodePort: ", core::AcceptQueueText(listener),
                     ", and connections that waited a minute ago still do; if the process "
                     "only holds the port, ",
                     core::HowToIgnore(listener, policy)),
        log::Fields()
            .Add("event", "not_accepting")
            .Add("port", listener.key.port)
            .Add("protocol", core::ProtocolName(listener.key.protocol))
            .Add("service", service)
            .Add("listener_address", core::AddressText(listener.address))
            .Add("listener_pid", listener.binder ? listener.binder->pid : 0)
            .Add("listener_comm", comm)
            .Add("waiting", listener.accept_queue)
            .Add("limit", listener.accept_limit));
  }
  if (found.size() <= kMaxQueueLines) return;
  const size_t more = found.size() - kMaxQueueLines;
  log::Log(spdlog::level::warn,
           absl::StrCat(base::Count(more, "more listener"), more == 1 ? " does" : " do",
                        " not accept; 'nodeport-guard status' shows the queues"),
           log::Fields().Add("event", "not_accepting").Add("count", more));
}

AcceptQueueWatch::Lists ListsOf(const dataplane::BpfGuard& guard) {
  const auto listeners =
      [&guard](absl::FunctionRef<bool(const core::PortKey&)> wanted,
               node::KeepListener keep) -> absl::StatusOr<std::vector<core::Listener>> {
    absl::StatusOr<node::ListenersOn> found = guard.Records().ListTcpListenersOn(wanted, keep);
    if (!found.ok()) return found.status();
    return std::move(found->listeners);
  };
  return {listeners, node::ListWaitingConnections};
}

}  // namespace

AcceptQueueWatch::AcceptQueueWatch(const dataplane::BpfGuard& guard, const core::OwnerRules& rules,
                                   log::Health& health)
    : AcceptQueueWatch(ListsOf(guard), rules, health) {}

AcceptQueueWatch::AcceptQueueWatch(Lists lists, const core::OwnerRules& rules, log::Health& health)
    : lists_(std::move(lists)), rules_(rules), health_(health) {}

absl::StatusOr<std::vector<core::Listener>> AcceptQueueWatch::List(
    const core::PortEntries& ports, const core::AddressSet& own) const {
  const bool any = std::any_of(ports.begin(), ports.end(), [](const auto& entry) {
    return entry.first.protocol == core::Protocol::kTcp;
  });
  if (!any) return std::vector<core::Listener>();
  absl::StatusOr<std::vector<core::Listener>> found = lists_.listeners(
      [&ports](const core::PortKey& key) { return ports.contains(key); },
      [&](const core::Listener& listener) {
        if (listener.accept_queue == 0 && !queues_.Knows(listener)) return false;
        if (!core::ReachableOverLoopbackOr(own, listener)) return false;
        // Records by address are not known here; Judge() follows below.
        return listener.noted ? rules_.Judge(listener) == core::OwnerVerdict::kGuarded
                              : rules_.Trusts(listener.uid, listener.cgroup_id);
      });
  if (!found.ok()) return found.status();
  std::erase_if(*found, [this](const core::Listener& listener) {
    return rules_.Judge(listener) != core::OwnerVerdict::kGuarded;
  });
  return found;
}

absl::StatusOr<std::vector<core::Listener>> AcceptQueueWatch::Find(const core::PortEntries& ports,
                                                                   const core::AddressSet& own) {
  const absl::StatusOr<std::vector<core::Listener>> listeners = List(ports, own);
  if (!listeners.ok()) return listeners.status();
  return queues_.Look(*listeners, lists_.waiting);
}

void AcceptQueueWatch::Look(const core::PortEntries& ports, const core::AddressSet& own) {
  const absl::StatusOr<std::vector<core::Listener>> found = Find(ports, own);
  fault_.Note(found.status());
  if (found.ok()) LogNotAccepting(ports, rules_.policy, *found);
  health_.Update([&](log::HealthState& state) {
    state.not_accepting = found.ok() ? std::make_optional(queues_.not_accepting()) : std::nullopt;
  });
}

}  // namespace npg::controller
