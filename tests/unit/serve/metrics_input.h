// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_TESTS_UNIT_SERVE_METRICS_INPUT_H_
#define NODEPORT_GUARD_TESTS_UNIT_SERVE_METRICS_INPUT_H_

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include "abi/entries.h"
#include "abi/names.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "core/port.h"
#include "core/port_overlap.h"
#include "inspect/guard_facts.h"
#include "inspect/status.h"
#include "serve/metrics.h"
#include "unit/inspect/facts.h"

// Inputs of the metrics. Their status is made from facts, as the command does.
namespace npg::serve {

inline std::shared_ptr<const inspect::Status> StatusOf(const inspect::GuardFacts& facts) {
  return std::make_shared<const inspect::Status>(inspect::MakeStatus(facts));
}

// A healthy controller, two hours old.
inline MetricsInput InputOf(const inspect::GuardFacts& facts) {
  MetricsInput input;
  input.now = facts.now;
  input.node = StatusOf(facts);
  input.health.started = facts.now - absl::Hours(2);
  input.health.loop_turn = facts.now - absl::Milliseconds(250);
  input.health.attached = absl::OkStatus();
  input.health.table = absl::OkStatus();
  input.health.probe =
      log::Probe{facts.now - absl::Seconds(3), absl::OkStatus(), absl::Microseconds(80)};
  input.health.probes_succeeded = 1440;
  input.health.probes_failed = 2;
  input.health.not_accepting = 0;
  ProcessUsage usage;
  usage.cpu = absl::Milliseconds(1500);
  usage.resident_bytes = 12'000'000;
  usage.virtual_bytes = 90'000'000;
  usage.open_fds = 31;
  usage.max_fds = 1024;
  usage.threads = 3;
  usage.started = facts.now - absl::Hours(2);
  input.process = usage;
  input.kube_events = {5, 1, 7};
  input.build = {"0.1.0", "0123abc", "1.1", abi::kVersion};
  return input;
}

// One conflict, two sources of which one is not connected, and no counter at 0.
inline inspect::GuardFacts TypicalFacts() {
  inspect::GuardFacts facts = inspect::MakeFacts();
  facts.protection.bind = abi::BindProtection::kDeny;
  facts.protection.refusal_errno = EADDRINUSE;
  facts.protection.reserve = abi::ReservePorts::kAllocated;
  facts.protection.reserve_state = abi::ReserveState::kOk;
  facts.protection.reserved_ports = 3;
  facts.protection.since = absl::FromUnixSeconds(inspect::kNow - 60);
  facts.refusable = {{{33589, core::Protocol::kTcp}, abi::kFamilyV4}};
  facts.overlap = core::JudgeOverlap({{32768, 60999}, {}, {33589}, {33591}});
  uint64_t count = 42;
  for (uint64_t& counter : facts.counters) counter = count++;
  inspect::AddSource(facts, abi::Source::kNetfilter);
  abi::SourceState& api =
      inspect::AddSource(facts, abi::Source::kKubernetes, "https://10.96.0.1:443");
  api.connected = false;
  api.since = absl::FromUnixSeconds(inspect::kNow - 300);
  api.last_event = api.last_reading = absl::FromUnixSeconds(inspect::kNow - 310);
  api.health_check_ports = 1;
  api.skipped = 2;
  api.errors[abi::SourceError::kConnect] = 9;
  return facts;
}

inline MetricsInput TypicalInput() { return InputOf(TypicalFacts()); }

// `count` conflicts; the one on port 20000 + i has i exemptions.
inline inspect::GuardFacts FactsOfManyConflicts(size_t count) {
  inspect::GuardFacts facts = inspect::MakeFacts();
  facts.nodeports.clear();
  facts.listeners.clear();
  facts.stats.clear();
  for (size_t i = 0; i < count; ++i) {
    const auto port = static_cast<uint16_t>(20000 + i);
    inspect::AddNodePort(facts, port, absl::StrCat("shop/web-", i),
                         abi::Bit(abi::Source::kKubernetes));
    facts.listeners.push_back(inspect::MakeListener("127.0.0.1", port, "agent", 100));
    abi::PortStats stats;
    stats.exempted = i;
    facts.stats.emplace_back(core::PortKey{port, core::Protocol::kTcp}, stats);
  }
  return facts;
}

}  // namespace npg::serve

#endif  // NODEPORT_GUARD_TESTS_UNIT_SERVE_METRICS_INPUT_H_
