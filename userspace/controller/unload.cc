// SPDX-License-Identifier: Apache-2.0
#include "controller/unload.h"

#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <string>
#include <vector>

#include "abi/entries.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "base/errno_status.h"
#include "base/text.h"
#include "controller/reserve_keeper.h"
#include "core/datagram_targets.h"
#include "core/flow.h"
#include "core/listener.h"
#include "core/mark.h"
#include "dataplane/bpf/bpf_guard.h"
#include "dataplane/bpf/controller_lock.h"
#include "dataplane/bpf/guard_state.h"
#include "dataplane/bpf/netns_cookie.h"
#include "dataplane/nft/nft_table.h"
#include "node/node_addresses.h"
#include "node/sock_diag.h"

namespace npg::controller {
namespace {

constexpr absl::Duration kPoll = absl::Milliseconds(200);
constexpr absl::Duration kProgress = absl::Seconds(5);

void ReportFlows(const UnloadOptions& options, const std::vector<core::Flow>& flows) {
  constexpr size_t kMax = 20;
  for (size_t i = 0; i < std::min(kMax, flows.size()); ++i) {
    options.report(absl::StrCat("  ", core::ToString(flows[i])));
  }
  if (flows.size() > kMax) options.report(absl::StrCat("  and ", flows.size() - kMax, " more"));
}

// Waits up to `options.drain` for the exempted connections to end; returns the rest.
absl::StatusOr<std::vector<core::Flow>> Drain(const UnloadOptions& options, core::Mark mark,
                                              const core::DatagramTargets& targets,
                                              const core::AddressSet& own) {
  const absl::Time deadline = absl::Now() + options.drain;
  absl::Time next_report = absl::InfinitePast();
  for (;;) {
    absl::StatusOr<std::vector<core::Flow>> flows = node::ListExemptFlows(mark, targets, own);
    if (!flows.ok() || flows->empty() || absl::Now() >= deadline) return flows;
    if (absl::Now() >= next_report) {
      options.report(
          absl::StrCat("waiting up to ",
                       absl::FormatDuration(absl::Ceil(deadline - absl::Now(), absl::Seconds(1))),
                       " for ", flows->size(), " exempted connections to end:"));
      ReportFlows(options, *flows);
      next_report = absl::Now() + kProgress;
    }
    absl::SleepFor(std::min(kPoll, deadline - absl::Now()));
  }
}

// The facts that the pins have about the guard to remove.
struct Known {
  core::Mark mark;
  core::AddressSet own;  // the node's addresses besides loopback
  bool here = true;      // it serves this network namespace
};

Known ReadKnown(const dataplane::PinPaths& pins) {
  Known known;
  // Pins of any version are removed, and unreadable ones, too. Without a readable
  // config, the table is assumed to be in this namespace.
  const absl::StatusOr<abi::Config> config = dataplane::ReadConfig(pins);
  if (!config.ok() || config->mark_mask == 0) return known;
  known.mark = {config->mark, config->mark_mask};
  // Whatever the scope is now: a connection may be older than the scope.
  const auto addresses = node::ListNodeAddresses();
  if (addresses.ok()) known.own = node::ToSet(*addresses);
  const absl::StatusOr<uint64_t> cookie = dataplane::AskNetnsCookie();
  known.here = !cookie.ok() || *cookie == config->netns_cookie;
  return known;
}

absl::Status ServedElsewhere(const UnloadOptions& options, bool reserved_ports) {
  return absl::FailedPreconditionError(absl::StrCat(
      "the guard in ", options.pins.Root(),
      " served another network namespace: it is detached, but its nft table inet ",
      dataplane::kNftTableName,
      reserved_ports ? " and the ports that it has reserved are over there, so its pins stay"
                     : " is over there",
      "; run 'nodeport-guard unload' in that namespace too (on a node: nsenter "
      "--net=/proc/1/ns/net)"));
}

// Removes from net.ipv4.ip_local_reserved_ports what the controller has added.
absl::Status RestorePorts(const UnloadOptions& options) {
  const absl::StatusOr<size_t> removed =
      RestoreReservedPorts(options.pins, options.reserved_ports_paths);
  if (!removed.ok()) {
    return base::Annotate(
        removed.status(),
        absl::StrCat("the guard is detached, but its pins in ", options.pins.Root(),
                     " stay for another 'unload', because the ports that it has "
                     "reserved could not be removed"));
  }
  if (*removed > 0) {
    options.report(absl::StrCat("removed ", base::Count(*removed, "port"),
                                " from net.ipv4.ip_local_reserved_ports"));
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status Unload(const UnloadOptions& options) {
  absl::StatusOr<dataplane::ControllerLock> lock = dataplane::ControllerLock::Acquire(options.pins);
  if (!lock.ok()) return lock.status();
  const Known known = ReadKnown(options.pins);
  absl::StatusOr<dataplane::NftTableState> table = dataplane::ReadNftTable();
  if (!table.ok()) return table.status();

  absl::StatusOr<std::vector<std::string>> links = dataplane::RemoveLinkPins(options.pins);
  if (!links.ok()) return links.status();
  if (!links->empty()) options.report(absl::StrCat("detached ", absl::StrJoin(*links, ", ")));

  if (known.here && table->present) {
    absl::StatusOr<std::vector<core::Flow>> flows =
        Drain(options, known.mark, table->targets, known.own);
    if (!flows.ok()) return base::Annotate(flows.status(), "list the exempted connections");
    if (!flows->empty()) {
      options.report(absl::StrCat(flows->size(),
                                  " exempted connections are still up; where NAT claims their "
                                  "packets they will be cut (--drain SECONDS waits for them):"));
      ReportFlows(options, *flows);
    }
    NPG_RETURN_IF_ERROR(dataplane::RemoveNftTable());
    options.report(absl::StrCat("removed nft table inet ", dataplane::kNftTableName));
  }

  if (!known.here && HasReservedPorts(options.pins)) return ServedElsewhere(options, true);
  NPG_RETURN_IF_ERROR(RestorePorts(options));

  absl::StatusOr<std::vector<std::string>> maps = dataplane::RemovePins(options.pins);
  if (!maps.ok()) return maps.status();
  if (!maps->empty()) options.report(absl::StrCat("unpinned ", absl::StrJoin(*maps, ", ")));

  if (!known.here) return ServedElsewhere(options, false);
  if (links->empty() && maps->empty() && !table->present) options.report("nothing to remove");
  return absl::OkStatus();
}

}  // namespace npg::controller
