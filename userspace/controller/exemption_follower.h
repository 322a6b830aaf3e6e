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

// Reads the guard's events, beside any number of other readers, and logs them.
class ExemptionFollower {
 public:
  // Starts on `loop`, which outlives it. Every `look` it checks whether a summary is due,
  // and reads events whose wake-up another reader of the buffer consumed. Errors as those
  // of opening the pins.
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
