// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_CONTROLLER_BIND_FOLLOWER_H_
#define NODEPORT_GUARD_CONTROLLER_BIND_FOLLOWER_H_

#include <memory>
#include <string>

#include "abi/entries.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/event_loop.h"
#include "controller/ring_follower.h"
#include "dataplane/bpf/bind_events_reader.h"
#include "dataplane/bpf/guard_state.h"
#include "dataplane/bpf/pin_paths.h"
#include "log/bind_log.h"

namespace npg::controller {

// Reads the binds that bind protection reported or refused, beside any number of other readers,
// and logs them with their owners.
class BindFollower {
 public:
  // Starts on `loop`, which outlives it. `cgroup`: a folder of the cgroup2 hierarchy; `look`: see
  // RingFollower. Errors as those of opening the pins.
  static absl::StatusOr<std::unique_ptr<BindFollower>> Start(base::EventLoop& loop,
                                                             const dataplane::PinPaths& pins,
                                                             std::string cgroup,
                                                             absl::Duration look);
  ~BindFollower() = default;
  BindFollower(const BindFollower&) = delete;
  BindFollower& operator=(const BindFollower&) = delete;

 private:
  BindFollower(base::EventLoop& loop, dataplane::GuardState state,
               std::unique_ptr<dataplane::BindEventsReader> reader, std::string cgroup,
               absl::Duration look);

  void Drain();
  log::ProtectedBind FactsOf(const abi::BindEvent& event) const;

  const std::string cgroup_;
  dataplane::GuardState state_;
  log::BindLog log_;
  RingFollower<dataplane::BindEventsReader> ring_;
};

}  // namespace npg::controller

#endif  // NODEPORT_GUARD_CONTROLLER_BIND_FOLLOWER_H_
