// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_CONTROLLER_EXEMPTION_FOLLOWER_H_
#define NODEPORT_GUARD_CONTROLLER_EXEMPTION_FOLLOWER_H_

#include <memory>

#include "abi/entries.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/event_loop.h"
#include "controller/ring_follower.h"
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
  ~ExemptionFollower() = default;
  ExemptionFollower(const ExemptionFollower&) = delete;
  ExemptionFollower& operator=(const ExemptionFollower&) = delete;

 private:
  ExemptionFollower(base::EventLoop& loop, dataplane::GuardState state,
                    std::unique_ptr<dataplane::EventsReader> reader, absl::Duration look);

  log::ExemptionLog::Before Totals() const;
  void Drain();
  void Look();
  log::Exemption FactsOf(const abi::Event& event) const;

  dataplane::GuardState state_;
  log::ExemptionLog log_;
  RingFollower<dataplane::EventsReader> ring_;
};

}  // namespace npg::controller

#endif  // NODEPORT_GUARD_CONTROLLER_EXEMPTION_FOLLOWER_H_
