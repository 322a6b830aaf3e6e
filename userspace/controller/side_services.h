// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_CONTROLLER_SIDE_SERVICES_H_
#define NODEPORT_GUARD_CONTROLLER_SIDE_SERVICES_H_

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/event_loop.h"
#include "log/repeated_fault.h"

namespace npg::controller {

// A service that `run` offers beside the guard, as HTTP. The guard does not need it.
struct SideService {
  std::string what;  // names it in the log of its faults
  std::string page;  // URL of the status page that it serves; empty: none
  // Starts it; it runs for as long as the result lives. Called until it succeeds.
  std::function<absl::StatusOr<std::shared_ptr<void>>()> start;
};

// Starts services, each again until that succeeds, and logs their faults. They run for as long
// as this lives.
class SideServices {
 public:
  explicit SideServices(const std::vector<SideService>& services);
  SideServices(const SideServices&) = delete;
  SideServices& operator=(const SideServices&) = delete;
  ~SideServices() = default;

  // Starts those that do not run.
  void Start();

  // Does that every `retry` until all run. This outlives the loop's run.
  void Follow(base::EventLoop& loop, absl::Duration retry);

  // URL of the status page; empty when none is served now.
  std::string page() const;

 private:
  struct Entry {
    SideService service;
    log::RepeatedFault fault;
    std::shared_ptr<void> running;  // null: it does not run
  };

  bool AllRun() const;

  std::vector<Entry> entries_;
};

}  // namespace npg::controller

#endif  // NODEPORT_GUARD_CONTROLLER_SIDE_SERVICES_H_
