// SPDX-License-Identifier: Apache-2.0
#include <poll.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/types.h>

#include <cerrno>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <iostream>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "abi/entries.h"
#include "abi/names.h"
#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "base/clock.h"
#include "base/errno_status.h"
#include "base/unique_fd.h"
#include "cli/args/options.h"
#include "cli/event_rings.h"
#include "cli/event_text.h"
#include "cli/execute.h"
#include "cli/exit_code.h"
#include "cli/node_paths.h"
#include "cli/output.h"
#include "dataplane/bpf/guard_state.h"
#include "dataplane/bpf/pin_paths.h"
#include "node/cgroups.h"
#include "node/owners.h"

namespace npg::cli {
namespace {

// Another reader can be faster and take the wake-up; see EventsReader::fd().
constexpr int kLookAgainMilliseconds = 100;

// Blocks SIGINT and SIGTERM; the descriptor is readable once one of them arrived.
absl::StatusOr<base::UniqueFd> BlockEndingSignals() {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGINT);
  sigaddset(&signals, SIGTERM);
  if (sigprocmask(SIG_BLOCK, &signals, nullptr) != 0)
    return base::ErrnoStatus(errno, "sigprocmask");
  base::UniqueFd fd(signalfd(-1, &signals, SFD_CLOEXEC));
  if (!fd) return base::ErrnoStatus(errno, "signalfd");
  return fd;
}

// Identifies the pin; {} when there is none. Cheaper than identifying the map.
std::pair<dev_t, ino_t> PinIdentity(const dataplane::PinPaths& pins) {
  struct stat info {};
  if (stat(pins.Map("events").c_str(), &info) != 0) return {};
  return {info.st_dev, info.st_ino};
}

class Follower {
 public:
  Follower(const EventsOptions& options, dataplane::GuardState state, std::string cgroup)
      : options_(options), state_(std::move(state)), cgroup_(std::move(cgroup)) {}

  // Prints the events; true once --count of them were printed.
  absl::StatusOr<bool> Print(const std::vector<AnyEvent>& events) {
    std::string text;
    bool enough = false;
    for (const AnyEvent& event : events) {
      const auto facts = std::visit(
          [this](const auto& one) -> std::variant<EventFacts, BindEventFacts> {
            return FactsOf(one);
          },
          event);
      absl::StrAppend(
          &text,
          std::visit(
              [this](const auto& one) { return options_.json ? EventJson(one) : EventText(one); },
              facts),
          "\n");
      ++printed_;
      enough = printed_ == options_.count;
      if (enough) break;
    }
    if (absl::Status status = WriteOut(text); !status.ok()) return status;
    return enough;
  }

  // Use after another controller has pinned its maps.
  void SetState(dataplane::GuardState state) { state_ = std::move(state); }

 private:
  EventFacts FactsOf(const abi::Event& event) {
    EventFacts facts;
    facts.event = event;
    facts.time = base::TimeFromBoot(event.boot_ns);
    // An event whose entries were removed meanwhile is shown without them.
    facts.nodeport = state_.NodePort(event.port).value_or(std::nullopt);
    facts.client_cgroup = PathOf(event.cgroup_id);
    if (event.owner.pid != 0) {
      // Entries that the controller wrote may have no cgroup id.
      facts.listener_cgroup = event.owner.cgroup_id != 0 ? PathOf(event.owner.cgroup_id)
                                                         : node::CgroupOf(event.owner.pid);
    }
    return facts;
  }

  BindEventFacts FactsOf(const abi::BindEvent& event) {
    BindEventFacts facts;
    facts.event = event;
    facts.time = base::TimeFromBoot(event.boot_ns);
    facts.nodeport = state_.NodePort(event.port).value_or(std::nullopt);
    facts.cgroup = PathOf(event.cgroup_id);
    return facts;
  }

  // Cached: events come from few cgroups, and the kernel never reuses an id.
  std::string PathOf(uint64_t cgroup_id) {
    constexpr size_t kMax = 4096;
    if (cgroup_.empty() || cgroup_id == 0) return "";
    if (paths_.size() >= kMax) paths_.clear();
    const auto [it, fresh] = paths_.try_emplace(cgroup_id);
    if (fresh) it->second = node::CgroupBelowRoot(cgroup_, cgroup_id);
    return it->second;
  }

  const EventsOptions& options_;
  dataplane::GuardState state_;
  std::string cgroup_;
  absl::flat_hash_map<uint64_t, std::string> paths_;  // of cgroups, by id
  uint64_t printed_ = 0;
};

// Call it after the pins have changed: a controller started, with the same maps or
// new ones, or the guard was unloaded, which is an error. False: pinning is not
// complete yet.
absl::StatusOr<bool> Reopen(Follower& follower, EventRings& rings,
                            const dataplane::PinPaths& pins) {
  absl::StatusOr<bool> same = rings.Refresh(pins);
  if (absl::IsNotFound(same.status())) {
    return absl::UnavailableError("the guard was unloaded; no more events will come");
  }
  if (!same.ok()) return same.status();
  absl::StatusOr<dataplane::GuardState> state = dataplane::GuardState::Open(pins);
  if (absl::IsNotFound(state.status())) return false;
  if (!state.ok()) return state.status();
  // Again, now that all is pinned: the events of binds may have been missing before.
  if (*same) same = rings.Refresh(pins);
  if (absl::IsNotFound(same.status())) return false;
  if (!same.ok()) return same.status();
  if (!*same) {
    absl::StatusOr<EventRings> fresh = EventRings::Open(pins);
    if (absl::IsNotFound(fresh.status())) return false;
    if (!fresh.ok()) return fresh.status();
    rings = *std::move(fresh);
    std::cerr << "nodeport-guard: the guard was loaded with a new event buffer; events before that "
                 "may be missing\n";
  }
  follower.SetState(*std::move(state));
  return true;
}

absl::StatusOr<int> Follow(Follower& follower, EventRings rings, const base::UniqueFd& signals,
                           const dataplane::PinPaths& pins, std::pair<dev_t, ino_t> followed) {
  while (true) {
    std::vector<pollfd> fds = rings.Descriptors();
    fds.push_back({signals.get(), POLLIN, 0});
    if (poll(fds.data(), fds.size(), kLookAgainMilliseconds) < 0 && errno != EINTR) {
      return base::ErrnoStatus(errno, "poll");
    }
    uint64_t lost = 0;
    const absl::StatusOr<bool> enough = follower.Print(rings.Drain(&lost));
    if (!enough.ok()) return enough.status();
    if (*enough || fds.back().revents != 0) return kExitOk;
    if (lost > 0) {
      std::cerr << "nodeport-guard: too slow: about " << lost << " events were not shown\n";
    }
    const std::pair<dev_t, ino_t> pinned = PinIdentity(pins);
    if (pinned == followed) continue;
    const absl::StatusOr<bool> reopened = Reopen(follower, rings, pins);
    if (!reopened.ok()) return reopened.status();
    if (*reopened) followed = pinned;
  }
}

}  // namespace

absl::StatusOr<int> Execute(const EventsOptions& options) {
  absl::StatusOr<std::string> cgroup = ResolveCgroup(options.node);
  if (!cgroup.ok() && !options.node.cgroup.empty()) return cgroup.status();
  const dataplane::PinPaths pins(options.node.bpffs);
  // Before they are opened: a change in between causes another Reopen().
  const std::pair<dev_t, ino_t> followed = PinIdentity(pins);
  absl::StatusOr<dataplane::GuardState> state = dataplane::GuardState::Open(pins);
  if (!state.ok()) return state.status();
  absl::StatusOr<base::UniqueFd> signals = BlockEndingSignals();
  if (!signals.ok()) return signals.status();
  const bool observe = state->config().mode == abi::Mode::kObserve;
  Follower follower(options, *std::move(state), cgroup.value_or(""));
  absl::StatusOr<EventRings> rings = EventRings::Open(pins);
  if (!rings.ok()) return rings.status();
  std::cerr << "nodeport-guard: waiting for connects to guarded listeners (" << pins.Root() << ")"
            << (observe ? ", which mode observe only counts" : "")
            << "; times are UTC, Ctrl-C ends\n";
  return Follow(follower, *std::move(rings), *signals, pins, followed);
}

}  // namespace npg::cli
