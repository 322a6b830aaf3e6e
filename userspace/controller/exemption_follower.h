// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_CONTROLLER_EXEMPTION_FOLLOWER_H_
#define NODEPORT_GUARD_CONTROLLER_EXEMPTION_FOLLOWER_H_

#include <memory>
#include <utility>

#include "abi/entries.h"
#include "absl/status/statusor.h"
#include "base/event_loop.h"
#include "dataplane/bpf/events_reader.h"
#include "dataplane/bpf/guard_state.h"
#include "dataplane/bpf/pin_paths.h"
#include "log/exemption_log.h"

namespace npg::controller {

// Reads the guard's events, as any number of others may, and logs what they are.
class ExemptionFollower {
 public:
  // From now on, on `loop`, which is to outlive it. Every `look` it sees whether a summary
  // is due, and whether there are events that another reader of the buffer took the wake-up
  // of. Errors as those of opening the pins.
  static absl::StatusOr<std::unique_ptr<ExemptionFollower>> Start(base::EventLoop& loop,
                                                                  const dataplane::PinPaths& pins,
                                                                  absl::Duration look);
  ~ExemptionFollower();
  ExemptionFollower(const ExemptionFollower&) = delete;
  ExemptionFollower& operator=(const ExemptionFollower&) = delete;

 private:
  ExemptionFollower(base::EventLoop& loop, dataplane::GuardState state,
                    std::unique_ptr<dataplane::EventsReader> reader, absl::Duration look);

  log::ExemptionLog::Before Totals() const;
  absl::Status Watch();
  void OnEvents();
  void Drain();
  void Look();
  log::Exemption FactsOf(const abi::Event& event) const;

  base::EventLoop& loop_;
  const absl::Duration look_;
  dataplane::GuardState state_;
  std::unique_ptr<dataplane::EventsReader> reader_;
  log::ExemptionLog log_;
  bool watching_ = false;
  base::EventLoop::TimerId watch_timer_ = 0;
  base::EventLoop::TimerId look_timer_ = 0;
};

}  // namespace npg::controller

#endif  // NODEPORT_GUARD_CONTROLLER_EXEMPTION_FOLLOWER_H_
