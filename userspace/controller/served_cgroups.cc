// SPDX-License-Identifier: Apache-2.0
#include "controller/served_cgroups.h"

#include <cstdint>
#include <functional>
#include <string>
#include <utility>

#include "abi/entries.h"
#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/event_loop.h"
#include "core/owner_policy.h"
#include "dataplane/bpf/bpf_guard.h"
#include "node/cgroup_watch.h"

namespace npg::controller {

ServedCgroups::ServedCgroups(base::EventLoop& loop, dataplane::BpfGuard& guard,
                             core::OwnerRules& rules, std::string root,
                             std::function<void()> changed)
    : loop_(loop),
      guard_(guard),
      rules_(rules),
      root_(std::move(root)),
      changed_(std::move(changed)) {}

absl::Status ServedCgroups::Sync() {
  absl::flat_hash_set<uint64_t> ids;
  absl::Status status;
  if (!rules_.policy.cgroups.empty()) {
    auto listed = node::ListCgroups(root_, rules_.policy.cgroups, abi::kMaxCgroups);
    status.Update(listed.status());
    // Those known before, at first none: the map may still have the ids of an earlier run with
    // another policy.
    ids = listed.ok() ? *std::move(listed) : rules_.served_cgroups;
  }
  if (written_ && ids == rules_.served_cgroups) return status;
  const absl::Status written = guard_.SetServedCgroups(ids);
  written_ = written.ok();
  rules_.served_cgroups = std::move(ids);
  status.Update(written);
  return status;
}

void ServedCgroups::Follow() {
  if (rules_.policy.cgroups.empty()) return;
  Watch();
  changed_();
}

void ServedCgroups::Maintain() {
  if (rules_.policy.cgroups.empty() || watching_) return;
  Watch();
  if (watching_) changed_();  // for the cgroups that were made before
}

bool ServedCgroups::NeedsCare() const {
  return !written_ || (!rules_.policy.cgroups.empty() && !watching_);
}

// Without a watch the guard works on, and only learns later of new cgroups.
void ServedCgroups::Watch() {
  if (watch_) {
    NoteWatch(watch_->WatchFolders());
    return;
  }
  auto watch = node::CgroupWatch::Start(loop_, root_, rules_.policy.cgroups,
                                        [this](const absl::Status& watched) {
                                          NoteWatch(watched);
                                          // At once: how long sockets wait for
                                          // OwnerKeeper::Sync() depends on how often it found
                                          // nothing. It reports the error.
                                          Sync().IgnoreError();
                                          changed_();
                                        });
  NoteWatch(watch.status());
  if (watch.ok()) watch_ = *std::move(watch);
}

void ServedCgroups::NoteWatch(const absl::Status& watched) {
  watching_ = watched.ok();
  watch_fault_.Note(watched.ok()
                        ? watched
                        : absl::Status(watched.code(), absl::StrCat(watched.message(),
                                                                    "; until then, new cgroups are "
                                                                    "guarded within ten seconds")));
}

}  // namespace npg::controller
