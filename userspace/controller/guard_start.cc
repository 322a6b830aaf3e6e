// SPDX-License-Identifier: Apache-2.0
#include "controller/guard_start.h"

#include <spdlog/spdlog.h>

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <utility>

#include "abi/entries.h"
#include "abi/names.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/errno_status.h"
#include "controller/controller.h"
#include "controller/port_protection.h"
#include "controller/reserve_keeper.h"
#include "core/desired_state.h"
#include "core/mark.h"
#include "dataplane/bpf/bpf_guard.h"
#include "dataplane/nft/nft_table.h"

namespace npg::controller {
namespace {

absl::Status CheckNetns(const Options& options, const dataplane::BpfGuard& guard,
                        uint64_t netns_cookie) {
  absl::StatusOr<abi::Config> config = guard.Config();
  if (!config.ok()) return config.status();
  if (!guard.adopted() || config->netns_cookie == 0 || config->netns_cookie == netns_cookie) {
    return absl::OkStatus();
  }
  return absl::FailedPreconditionError(absl::StrCat(
      "the guard pinned in ", options.pins.Root(), " serves another network namespace (cookie ",
      config->netns_cookie, ", this one has ", netns_cookie,
      "); run in the node's network namespace (hostNetwork), or remove it with "
      "'nodeport-guard unload'"));
}

// A controller that was killed may have removed a NodePort, and not yet its entry in `refusable`,
// which then has no effect. If that port is allocated again, it must not be refusable before
// BindKeeper has looked at its sockets.
absl::Status ForgetStaleRefusable(dataplane::BpfGuard& guard) {
  const absl::StatusOr<core::PortEntries> nodeports = guard.NodePorts();
  if (!nodeports.ok()) return nodeports.status();
  absl::StatusOr<dataplane::BpfGuard::Refusable> refusable = guard.ReadRefusable();
  if (!refusable.ok()) return refusable.status();
  const size_t stale = std::erase_if(
      *refusable, [&nodeports](const auto& port) { return !nodeports->contains(port.first); });
  return stale == 0 ? absl::OkStatus() : guard.SetRefusable(*refusable);
}

}  // namespace

absl::StatusOr<std::unique_ptr<dataplane::BpfGuard>> LoadGuard(const Options& options,
                                                               uint64_t netns_cookie) {
  absl::StatusOr<std::unique_ptr<dataplane::BpfGuard>> guard =
      dataplane::BpfGuard::Load(options.pins, {options.scope, options.bind_protection});
  if (!guard.ok()) return guard.status();
  NPG_RETURN_IF_ERROR(CheckNetns(options, **guard, netns_cookie));
  NPG_RETURN_IF_ERROR(ForgetStaleRefusable(**guard));
  for (const std::string& note : (*guard)->notes()) spdlog::warn("{}", note);
  return guard;
}

absl::StatusOr<FormerRun> ReadFormerRun(const dataplane::BpfGuard& guard) {
  FormerRun former;
  absl::StatusOr<abi::Config> before = guard.Config();
  if (!before.ok()) return before.status();
  // A run that ended before its first self-probe knew nothing.
  former.aside_known = before->abi_version != 0 && before->mode == abi::Mode::kEnforce &&
                       (before->standing_aside & abi::kUnproven) == 0;
  if (former.aside_known) former.aside = before->standing_aside;
  if (before->mark_mask != 0) former.mark = core::Mark{before->mark, before->mark_mask};
  absl::StatusOr<dataplane::BpfGuard::FormerMaps> maps = guard.ReadFormerMaps();
  if (!maps.ok()) return maps.status();
  former.maps = *std::move(maps);
  return former;
}

abi::Config ConfigFor(const Options& options, uint64_t netns_cookie, const FormerRun& former) {
  abi::Config config;
  config.abi_version = abi::kVersion;
  config.mode = options.mode;
  config.mark = options.mark.value;
  config.mark_mask = options.mark.mask;
  config.netns_cookie = netns_cookie;
  config.scope = options.scope;
  config.default_verdict =
      options.policy.IgnoresByDefault() ? abi::OwnerVerdict::kIgnored : abi::OwnerVerdict::kGuarded;
  config.any_uid = options.policy.any_uid;
  config.started = absl::Now();
  config.version = options.version;
  // Nothing is exempted before a self-probe has shown that rules of this node let it through.
  // An adopted guard keeps what the earlier run knew.
  if (options.mode == abi::Mode::kEnforce) {
    config.standing_aside = former.aside | (former.aside_known ? 0 : abi::kUnproven);
  }
  return config;
}

void UndoStart(dataplane::BpfGuard& guard, dataplane::NftTable& table, const FormerRun& former) {
  // An adopted guard keeps its former settings. The table accepts both marks.
  if (!table.adopted()) table.Remove().IgnoreError();
  if (guard.adopted()) guard.WriteFormerMaps(former.maps).IgnoreError();
}

void RemoveStarted(const Options& options, const dataplane::BpfGuard& guard,
                   dataplane::NftTable& table) {
  if (guard.adopted()) return;
  // Before the map with the ports that were added is gone.
  RestoreReservedPorts(options.pins, ReservedPortsPathsOf(options)).status().IgnoreError();
  dataplane::RemovePins(options.pins).status().IgnoreError();
  table.Remove().IgnoreError();
}

}  // namespace npg::controller
