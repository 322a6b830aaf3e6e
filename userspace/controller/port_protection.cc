// SPDX-License-Identifier: Apache-2.0
#include "controller/port_protection.h"

#include <spdlog/spdlog.h>

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "abi/entries.h"
#include "abi/names.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "base/errno_status.h"
#include "base/event_loop.h"
#include "controller/bind_follower.h"
#include "controller/bind_keeper.h"
#include "controller/controller.h"
#include "controller/node_follower.h"
#include "controller/paced_task.h"
#include "controller/ports_keeper.h"
#include "controller/reserve_keeper.h"
#include "core/bind_facts.h"
#include "core/desired_state.h"
#include "core/port_ranges.h"
#include "dataplane/bpf/bpf_guard.h"
#include "dataplane/bpf/reserved_map.h"
#include "node/reserved_ports.h"

namespace npg::controller {
namespace {

// The sysctl follows a Service within 100 ms, however long a write takes.
constexpr PacedTask::Pace kReservePace = {absl::Milliseconds(20), absl::Milliseconds(70)};
constexpr PacedTask::Pace kBindPace = {absl::Milliseconds(100), absl::Seconds(30)};
// A task that was preempted between the program and the kernel's own bind() has done it by then.
constexpr absl::Duration kLookAgain = absl::Milliseconds(50);

bool SeesRules(abi::SourceBits sources) {
  return (sources & abi::Bit(abi::Source::kNetfilter)) != 0;
}

ReserveKeeper::Settings ReserveSettings(const Options& options) {
  ReserveKeeper::Settings settings;
  settings.mode = options.reserve_ports;
  settings.paths = ReservedPortsPathsOf(options);
  return settings;
}

}  // namespace

std::vector<std::string> ReservedPortsPathsOf(const Options& options) {
  return options.reserved_ports_paths.empty() ? node::ReservedPortsPaths()
                                              : options.reserved_ports_paths;
}

PortProtection::PortProtection(base::EventLoop& loop, dataplane::BpfGuard& guard,
                               const Options& options, const PortsKeeper& ports,
                               const NodeFollower& node)
    : loop_(loop),
      guard_(guard),
      options_(options),
      ports_(ports),
      node_(node),
      loopback_assumed_(!SeesRules(ports.followed())),
      bind_(
          loop, guard,
          {options.bind_protection, options.bind_exceptions, options.cgroup_root, options.policy}),
      reserve_task_(loop, kReservePace, [this] { SyncReserved(); }),
      bind_task_(loop, kBindPace, [this] { SyncBinds(); }) {}

PortProtection::~PortProtection() { loop_.Cancel(again_timer_); }

absl::Status PortProtection::Prepare() {
  if (!reserve_) {
    absl::StatusOr<dataplane::ReservedMap> map = guard_.Reserved();
    if (!map.ok()) return map.status();
    reserve_.emplace(ReserveSettings(options_), *std::move(map));
  }
  NPG_RETURN_IF_ERROR(
      bind_.Prepare(ports_.desired().Entries(), ports_.bind_facts(), ports_.facts_complete()));
  return binds() ? SyncAddresses() : absl::OkStatus();
}

void PortProtection::Begin() {
  begun_ = true;
  constexpr abi::SourceBits kKnowing =
      abi::Bit(abi::Source::kKubernetes) | abi::Bit(abi::Source::kFile);
  if (binds() && (ports_.followed() & kKnowing) == 0) {
    spdlog::warn(
        "bind protection needs the source kubernetes or file: rules do not tell which NodePorts a "
        "backend of their own Service may bind, so none is protected");
  }
  reserve_task_.Now();
  bind_task_.Now();
}

void PortProtection::Follow() {
  if (!binds()) return;
  bind_.Follow();
  FollowBinds();
}

void PortProtection::PortsChanging(const core::Difference& difference) {
  if (binds()) bind_fault_.Note(bind_.PortsChanging(difference));
}

void PortProtection::PortsChanged() {
  if (!begun_) return;
  if (reserves()) reserve_task_.Soon();
  if (binds()) bind_task_.Soon();
}

void PortProtection::AddressesChanged() {
  if (binds()) addresses_fault_.Note(SyncAddresses());
}

void PortProtection::Maintain(absl::Time now) {
  reserve_->Maintain(now);
  if (binds()) {
    exceptions_fault_.Note(bind_.Maintain());
    addresses_fault_.Note(SyncAddresses());
    if (bind_failed_) bind_task_.Now();
    FollowBinds();
  }
  WriteState(now);
}

// Of any protocol: the sysctl knows none.
core::PortRanges PortProtection::WantedReservations() const {
  if (!reserves()) return {};
  std::vector<uint16_t> wanted;
  for (const auto& [key, entry] : ports_.desired().Entries()) wanted.push_back(key.port);
  for (const core::BindFacts* const facts : ports_.bind_facts()) {
    wanted.insert(wanted.end(), facts->health_checks.begin(), facts->health_checks.end());
  }
  return core::ToRanges(wanted);
}

void PortProtection::SyncReserved() {
  const absl::Time now = absl::Now();
  reserve_->Sync(WantedReservations(), !reserves() || ports_.complete(), now);
  WriteState(now);
}

void PortProtection::SyncBinds() {
  // No port may become refusable before the map `nodeports` has it. PortsKeeper logs the error.
  bind_failed_ = !ports_.applied().ok();
  if (bind_failed_) return;
  const absl::Status synced =
      bind_.Sync(ports_.desired().Entries(), ports_.bind_facts(), ports_.facts_complete());
  bind_fault_.Note(synced);
  bind_failed_ = !synced.ok();
  WriteState(absl::Now());
  if (bind_failed_ || !bind_.HasToLookAgain() || again_timer_ != 0) return;
  again_timer_ = loop_.After(kLookAgain, [this] {
    again_timer_ = 0;
    bind_task_.Soon();
  });
}

absl::Status PortProtection::SyncAddresses() {
  return bind_.SetAddresses(node_.own_addresses(), loopback_assumed_);
}

// The log alone uses them; bind protection works without.
void PortProtection::FollowBinds() {
  if (binds_) return;
  absl::StatusOr<std::unique_ptr<BindFollower>> binds = BindFollower::Start(
      loop_, options_.pins, options_.cgroup, options_.intervals.exemption_totals);
  binds_fault_.Note(binds.status());
  if (binds.ok()) binds_ = *std::move(binds);
}

void PortProtection::WriteState(absl::Time now) {
  const ReserveKeeper::State& reserved = reserve_->state();
  abi::Protection state;
  state.bind = options_.bind_protection;
  if (state.bind == abi::BindProtection::kDeny) state.refusal_errno = guard_.refusal_errno();
  state.reserve = options_.reserve_ports;
  state.reserve_state = reserved.state;
  state.reserved_ports = reserved.ports;
  state.loopback_assumed = binds() && loopback_assumed_;
  state.error = reserved.error;
  state.since = written_ && written_->reserve_state == state.reserve_state ? written_->since : now;
  if (written_ && *written_ == state) return;
  const absl::Status written = guard_.SetProtection(state);
  state_fault_.Note(written);
  if (written.ok()) written_ = state;
}

std::string PortProtection::text() const {
  std::string text;
  if (reserves()) {
    const ReserveKeeper::State& reserved = reserve_->state();
    const bool ok = reserved.state == abi::ReserveState::kOk;
    absl::StrAppend(&text, ok ? absl::StrCat("; reserving ", reserved.ports, " ports")
                              : "; NodePorts are not reserved");
  }
  if (binds()) {
    absl::StrAppend(
        &text, "; ",
        options_.bind_protection == abi::BindProtection::kDeny ? "refusing" : "reporting",
        " binds of ", bind_.refusable(), " NodePorts");
  }
  return text;
}

}  // namespace npg::controller
