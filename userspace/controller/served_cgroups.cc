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
#include "node/cgroup_watch.h"

namespace npg::controller {

ServedCgroups::ServedCgroups(base::EventLoop& loop, Settings settings, Writer write,
                             std::function<void()> changed)
    : loop_(loop),
      settings_(std::move(settings)),
      write_(std::move(write)),
      changed_(std::move(changed)),
      watch_fault_(absl::StrCat("follow the cgroups of ", settings_.flag)) {}

absl::Status ServedCgroups::Sync() {
  absl::flat_hash_set<uint64_t> ids;
  absl::Status status;
  if (!settings_.patterns.empty()) {
    auto listed = node::ListCgroups(settings_.root, settings_.patterns, abi::kMaxCgroups);
    status.Update(listed.status());
    // Those known before, at first none: the map may still have the ids of an earlier run with
    // other patterns.
    ids = listed.ok() ? *std::move(listed) : ids_;
  }
  if (written_ && ids == ids_) return status;
  ids_ = std::move(ids);
  const absl::Status written = write_(ids_);
  written_ = written.ok();
  status.Update(written);
  return status;
}

void ServedCgroups::Follow() {
  if (settings_.patterns.empty()) return;
  Watch();
  changed_();
}

void ServedCgroups::Maintain() {
  if (settings_.patterns.empty() || watching_) return;
  Watch();
  if (watching_) changed_();  // for the cgroups that were made before
}

bool ServedCgroups::NeedsCare() const {
  return !written_ || (!settings_.patterns.empty() && !watching_);
}

// Without a watch the guard works on, and only learns later of new cgroups.
void ServedCgroups::Watch() {
  if (watch_) {
    NoteWatch(watch_->WatchFolders());
    return;
  }
  auto watch = node::CgroupWatch::Start(loop_, settings_.root, settings_.patterns,
                                        [this](const absl::Status& watched) {
                                          NoteWatch(watched);
                                          // At once: how long sockets wait for
                                          // OwnerKeeper::Sync() depends on how often it found
                                          // nothing. The next Sync() reports the error.
                                          Sync().IgnoreError();
                                          changed_();
                                        });
  NoteWatch(watch.status());
  if (watch.ok()) watch_ = *std::move(watch);
}

void ServedCgroups::NoteWatch(const absl::Status& watched) {
  watching_ = watched.ok();
  watch_fault_.Note(
      watched.ok() ? watched
                   : absl::Status(watched.code(), absl::StrCat(watched.message(), "; until then, ",
                                                               settings_.meanwhile)));
}

}  // namespace npg::controller
