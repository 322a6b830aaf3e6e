// SPDX-License-Identifier: Apache-2.0
#include "controller/side_services.h"

#include <algorithm>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/event_loop.h"
#include "log/repeated_fault.h"

namespace npg::controller {

SideServices::SideServices(const std::vector<SideService>& services) {
  for (const SideService& service : services) {
    entries_.push_back({service, log::RepeatedFault(service.what), nullptr});
  }
}

void SideServices::Start() {
  for (Entry& entry : entries_) {
    if (entry.running) continue;
    absl::StatusOr<std::shared_ptr<void>> started = entry.service.start();
    entry.fault.Note(started.status());
    if (started.ok()) entry.running = *std::move(started);
  }
}

void SideServices::Follow(base::EventLoop& loop, absl::Duration retry) {
  if (AllRun()) return;
  loop.After(retry, [this, &loop, retry] {
    Start();
    Follow(loop, retry);
  });
}

std::string SideServices::page() const {
  for (const Entry& entry : entries_) {
    if (entry.running && !entry.service.page.empty()) return entry.service.page;
  }
  return "";
}

bool SideServices::AllRun() const {
  return std::all_of(entries_.begin(), entries_.end(),
                     [](const Entry& entry) { return entry.running != nullptr; });
}

}  // namespace npg::controller
