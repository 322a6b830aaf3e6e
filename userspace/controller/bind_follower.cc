// SPDX-License-Identifier: Apache-2.0
#include "controller/bind_follower.h"

#include <sys/types.h>

#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include "abi/entries.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "base/errno_status.h"
#include "base/event_loop.h"
#include "base/small_file.h"
#include "core/workload.h"
#include "dataplane/bpf/bind_events_reader.h"
#include "dataplane/bpf/guard_state.h"
#include "dataplane/bpf/pin_paths.h"
#include "log/bind_log.h"
#include "log/log.h"
#include "node/cgroups.h"
#include "node/owners.h"

namespace npg::controller {

absl::StatusOr<std::unique_ptr<BindFollower>> BindFollower::Start(base::EventLoop& loop,
                                                                  const dataplane::PinPaths& pins,
                                                                  std::string cgroup,
                                                                  absl::Duration look) {
  absl::StatusOr<dataplane::GuardState> state = dataplane::GuardState::Open(pins);
  if (!state.ok()) return state.status();
  absl::StatusOr<std::unique_ptr<dataplane::BindEventsReader>> reader =
      dataplane::BindEventsReader::Open(pins);
  if (!reader.ok()) return reader.status();
  std::unique_ptr<BindFollower> follower(
      new BindFollower(loop, *std::move(state), *std::move(reader), std::move(cgroup), look));
  NPG_RETURN_IF_ERROR(follower->ring_.Start());
  return follower;
}

BindFollower::BindFollower(base::EventLoop& loop, dataplane::GuardState state,
                           std::unique_ptr<dataplane::BindEventsReader> reader, std::string cgroup,
                           absl::Duration look)
    : cgroup_(std::move(cgroup)),
      state_(std::move(state)),
      log_([](auto level, auto message, const auto& fields) { log::Log(level, message, fields); }),
      ring_(loop, std::move(reader), look, {[this] { Drain(); }, nullptr}) {}

void BindFollower::Drain() {
  uint64_t lost = 0;
  const absl::Time now = absl::Now();
  for (const abi::BindEvent& event : ring_.reader().Drain(&lost)) log_.Note(FactsOf(event), now);
}

// For the log only: omits what is gone by now. A process whose bind() failed often ends at once.
log::ProtectedBind BindFollower::FactsOf(const abi::BindEvent& event) const {
  log::ProtectedBind bind;
  bind.event = event;
  const auto nodeport = state_.NodePort(event.port);
  if (nodeport.ok() && nodeport->has_value()) bind.service = (*nodeport)->service;
  // By the id, which outlives the process.
  std::string path = node::CgroupBelowRoot(cgroup_, event.cgroup_id);
  if (path.empty()) path = node::CgroupOf(static_cast<pid_t>(event.pid));
  bind.workload = core::ParseCgroupPath(path);
  const auto executable = base::ReadLink(absl::StrCat("/proc/", event.pid, "/exe"));
  if (executable.ok()) bind.executable = *executable;
  return bind;
}

}  // namespace npg::controller
