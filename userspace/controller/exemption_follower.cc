// SPDX-License-Identifier: Apache-2.0
#include "controller/exemption_follower.h"

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "abi/entries.h"
#include "absl/status/statusor.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "base/errno_status.h"
#include "base/event_loop.h"
#include "core/port.h"
#include "core/workload.h"
#include "dataplane/bpf/events_reader.h"
#include "dataplane/bpf/guard_state.h"
#include "dataplane/bpf/pin_paths.h"
#include "log/exemption_log.h"
#include "log/log.h"
#include "node/owners.h"

namespace npg::controller {

absl::StatusOr<std::unique_ptr<ExemptionFollower>> ExemptionFollower::Start(
    base::EventLoop& loop, const dataplane::PinPaths& pins, absl::Duration look) {
  absl::StatusOr<dataplane::GuardState> state = dataplane::GuardState::Open(pins);
  if (!state.ok()) return state.status();
  absl::StatusOr<std::unique_ptr<dataplane::EventsReader>> reader =
      dataplane::EventsReader::Open(pins);
  if (!reader.ok()) return reader.status();
  std::unique_ptr<ExemptionFollower> follower(
      new ExemptionFollower(loop, *std::move(state), *std::move(reader), look));
  NPG_RETURN_IF_ERROR(follower->ring_.Start());
  return follower;
}

ExemptionFollower::ExemptionFollower(base::EventLoop& loop, dataplane::GuardState state,
                                     std::unique_ptr<dataplane::EventsReader> reader,
                                     absl::Duration look)
    : state_(std::move(state)),
      log_([](auto level, auto message, const auto& fields) { log::Log(level, message, fields); },
           Totals()),
      ring_(loop, std::move(reader), look, {[this] { Drain(); }, [this] { Look(); }}) {}

log::ExemptionLog::Before ExemptionFollower::Totals() const {
  log::ExemptionLog::Before totals;
  const auto stats = state_.PortStats();
  if (!stats.ok()) return totals;
  for (const auto& [key, value] : *stats) {
    totals[key] = {value.exempted, value.observed};
  }
  return totals;
}

void ExemptionFollower::Drain() {
  uint64_t lost = 0;
  const absl::Time now = absl::Now();
  for (const abi::Event& event : ring_.reader().Drain(&lost)) log_.Note(FactsOf(event), now);
}

void ExemptionFollower::Look() {
  // Read only if a summary needs it, and then once for all of them.
  std::optional<log::ExemptionLog::Before> totals;
  log_.Tick(absl::Now(), [&](const core::PortKey& key) -> std::optional<log::ExemptionTotals> {
    if (!totals) totals = Totals();
    const auto it = totals->find(key);
    if (it == totals->end()) return std::nullopt;
    return it->second;
  });
}

// For the log only: omits entries that were removed meanwhile.
log::Exemption ExemptionFollower::FactsOf(const abi::Event& event) const {
  log::Exemption exemption;
  exemption.event = event;
  const auto nodeport = state_.NodePort(event.port);
  if (nodeport.ok() && nodeport->has_value()) exemption.service = (*nodeport)->service;
  if (event.owner.pid != 0) {
    exemption.owner.pid = event.owner.pid;
    exemption.owner.comm = event.owner.comm;
    exemption.owner.workload = core::ParseCgroupPath(node::CgroupOf(exemption.owner.pid));
  }
  return exemption;
}

}  // namespace npg::controller
