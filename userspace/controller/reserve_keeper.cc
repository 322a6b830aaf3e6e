// SPDX-License-Identifier: Apache-2.0
#include "controller/reserve_keeper.h"

#include <cstddef>
#include <string>
#include <utility>
#include <vector>

#include "abi/names.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "base/errno_status.h"
#include "core/port_ranges.h"
#include "core/reserved_plan.h"
#include "dataplane/bpf/pin_paths.h"
#include "dataplane/bpf/reserved_map.h"
#include "node/node_files.h"
#include "node/reserved_ports.h"

namespace npg::controller {
namespace {

using Notes = dataplane::ReservedMap::Content;

// A removal rewrites the sysctl. A Service that is made again soon costs none.
constexpr absl::Duration kRemovalInterval = absl::Seconds(5);

bool HasOwnPorts(const Notes& notes) { return !notes.ours.empty() || !notes.unsure.empty(); }

core::ReservedNow NowOf(core::PortRanges content, const Notes& notes) {
  return {std::move(content), notes.ours, notes.unsure, notes.admin};
}

// ABORTED when another process has changed the sysctl since it was read: what it wrote would be
// lost.
absl::Status ReplaceUnchanged(const node::ReservedPortsFile& file, const core::ReservedStep& step,
                              const core::PortRanges& expected) {
  const absl::StatusOr<core::PortRanges> content = file.Read();
  if (!content.ok()) return content.status();
  if (*content != expected) {
    return absl::AbortedError(file.path() + ": another process changes it all the time");
  }
  return file.Replace(step.ports, step.rest);
}

// The file to write, if that of `paths` which can be written is of this network namespace: the
// first one always is, and can always be read.
absl::StatusOr<node::ReservedPortsFile> OpenReserved(const std::vector<std::string>& paths,
                                                     const core::PortRanges& content) {
  absl::StatusOr<node::ReservedPortsFile> file = node::ReservedPortsFile::Open(paths);
  if (!file.ok() || file->path() == paths.front()) return file;
  const absl::StatusOr<core::PortRanges> same = file->Read();
  if (!same.ok()) return same.status();
  if (*same == content) return file;
  return absl::FailedPreconditionError(file->path() +
                                       ": is of another network namespace; mount that of the node");
}

// `content`: that of the sysctl before the steps.
absl::Status TakeSteps(const std::vector<core::ReservedStep>& steps, core::PortRanges content,
                       dataplane::ReservedMap& map, const node::ReservedPortsFile& file) {
  using Kind = core::ReservedStep::Kind;
  using Reservation = dataplane::ReservedMap::Reservation;
  for (const core::ReservedStep& step : steps) {
    absl::Status taken;
    switch (step.kind) {
      case Kind::kNoteAdmin:
        taken = map.Put(step.ports, Reservation::kAdmin);
        break;
      case Kind::kNoteUnsure:
        taken = map.Put(step.ports, Reservation::kUnsure);
        break;
      case Kind::kNoteOurs:
        taken = map.Put(step.ports, Reservation::kOurs);
        break;
      case Kind::kForget:
        taken = map.Remove(step.ports);
        break;
      case Kind::kAdd:
        taken = file.Add(step.ports);
        content = core::Union(content, step.ports);
        break;
      case Kind::kReplace:
        taken = ReplaceUnchanged(file, step, content);
        content = core::Union(step.ports, step.rest);
        break;
    }
    NPG_RETURN_IF_ERROR(taken);
  }
  return absl::OkStatus();
}

absl::StatusOr<core::PortRanges> ReadReserved(const std::vector<std::string>& paths) {
  if (paths.empty()) return absl::InvalidArgumentError("no file to reserve ports in");
  return node::ReadPortRanges(paths.front());
}

// Carries the plan out; the removal only if `remove`. Opens the sysctl for writing only if there is
// something to do: it may be read-only where nothing needs to be reserved.
absl::Status CarryOut(const core::ReservedNow& now, const core::ReservedPlan& plan, bool remove,
                      dataplane::ReservedMap& map, const std::vector<std::string>& paths) {
  std::vector<core::ReservedStep> steps = core::StepsToAdd(now, plan);
  if (remove) {
    const std::vector<core::ReservedStep> more = core::StepsToRemove(plan);
    steps.insert(steps.end(), more.begin(), more.end());
  }
  if (steps.empty()) return absl::OkStatus();
  const absl::StatusOr<node::ReservedPortsFile> file = OpenReserved(paths, now.content);
  if (!file.ok()) return file.status();
  return TakeSteps(steps, now.content, map, *file);
}

// The notes after the steps of `plan`.
Notes NotesAfter(const core::ReservedPlan& plan, bool removed) {
  Notes notes;
  notes.ours = core::Union(plan.ours, plan.add);
  if (removed) notes.ours = core::Without(notes.ours, plan.remove);
  if (!notes.ours.empty()) notes.admin = plan.admin;
  return notes;
}

absl::Status TooFewLeft() {
  return absl::FailedPreconditionError(
      absl::StrCat(abi::Meaning(abi::ReserveState::kTooFew),
                   "; widen net.ipv4.ip_local_port_range, or move it away from the NodePorts "
                   "('nodeport-guard doctor' says how)"));
}

// One try of RestoreReservedPorts().
absl::StatusOr<size_t> TryRestore(dataplane::ReservedMap& map,
                                  const std::vector<std::string>& paths) {
  const absl::StatusOr<Notes> notes = map.Read();
  if (!notes.ok()) return notes.status();
  if (!HasOwnPorts(*notes)) return 0;
  absl::StatusOr<core::PortRanges> content = ReadReserved(paths);
  if (!content.ok()) return content.status();
  const core::ReservedNow now = NowOf(*std::move(content), *notes);
  const core::ReservedPlan plan = core::PlanRestore(now);
  NPG_RETURN_IF_ERROR(CarryOut(now, plan, true, map, paths));
  return core::CountPorts(plan.remove);
}

}  // namespace

ReserveKeeper::ReserveKeeper(Settings settings, dataplane::ReservedMap map)
    : settings_(std::move(settings)), map_(std::move(map)) {}

void ReserveKeeper::Sync(const core::PortRanges& wanted, bool complete, absl::Time now) {
  const bool same = notes_.has_value() && wanted == wanted_;
  wanted_ = wanted;
  complete_ = complete;
  // Maintain() sees changes of others, removes, and repeats what has failed.
  if (!same) Follow(false, now);
}

void ReserveKeeper::Maintain(absl::Time now) { Follow(true, now); }

void ReserveKeeper::Follow(bool maintain, absl::Time now) {
  if (const absl::Status status = TryFollow(maintain, now); !status.ok()) return Fail(status);
  state_ = {abi::ReserveState::kOff, core::CountPorts(notes_->ours), ""};
  if (on()) state_.state = too_few_ ? abi::ReserveState::kTooFew : abi::ReserveState::kOk;
  fault_.Note(too_few_ ? TooFewLeft() : absl::OkStatus());
}

void ReserveKeeper::Fail(const absl::Status& status) {
  notes_.reset();
  // Another process was faster; the next Maintain() takes its change over.
  if (absl::IsAborted(status)) return;
  state_.state = abi::ReserveState::kFailed;
  state_.error = std::string(status.message());
  fault_.Note(status);
  if (const auto notes = map_.Read(); notes.ok()) state_.ports = core::CountPorts(notes->ours);
}

bool ReserveKeeper::MayRemove(absl::Time now) const {
  if (!on()) return true;
  return complete_ && now - removed_ >= kRemovalInterval;
}

absl::StatusOr<core::PortRange> ReserveKeeper::LocalRange() const {
  if (!on()) return core::PortRange{};
  return node::ReadLocalPortRange(settings_.proc);
}

absl::Status ReserveKeeper::TryFollow(bool maintain, absl::Time now) {
  if (!notes_) {
    absl::StatusOr<Notes> read = map_.Read();
    if (!read.ok()) return read.status();
    notes_ = *std::move(read);
  }
  too_few_ = too_few_ && on();
  // Nothing was ever added: the sysctl is none of this run's business.
  if (!on() && !HasOwnPorts(*notes_) && notes_->admin.empty()) return absl::OkStatus();

  absl::StatusOr<core::PortRanges> content = ReadReserved(settings_.paths);
  if (!content.ok()) return content.status();
  const absl::StatusOr<core::PortRange> local = LocalRange();
  if (!local.ok()) return local.status();

  const core::ReservedNow reserved = NowOf(*std::move(content), *notes_);
  core::PortRanges wanted = on() ? wanted_ : core::PortRanges();
  // What an earlier run has added is still wanted while it is not known what there is.
  if (on() && !complete_) wanted = core::Union(wanted, core::Union(notes_->ours, notes_->unsure));
  const core::ReservedPlan plan = core::PlanReserved(reserved, wanted, *local);
  const bool remove =
      !plan.remove.empty() && (plan.too_few || !on() || (maintain && MayRemove(now)));
  NPG_RETURN_IF_ERROR(CarryOut(reserved, plan, remove, map_, settings_.paths));
  if (remove) removed_ = now;
  notes_ = NotesAfter(plan, remove);
  too_few_ = plan.too_few;
  return absl::OkStatus();
}

absl::StatusOr<size_t> RestoreReservedPorts(const dataplane::PinPaths& pins,
                                            const std::vector<std::string>& paths) {
  constexpr int kTries = 5;
  absl::StatusOr<dataplane::ReservedMap> map = dataplane::ReservedMap::Open(pins);
  if (absl::IsNotFound(map.status())) return 0;
  if (!map.ok()) return map.status();
  absl::StatusOr<size_t> removed = TryRestore(*map, paths);
  for (int i = 1; i < kTries && absl::IsAborted(removed.status()); ++i) {
    removed = TryRestore(*map, paths);
  }
  return removed;
}

bool HasReservedPorts(const dataplane::PinPaths& pins) {
  const absl::StatusOr<dataplane::ReservedMap> map = dataplane::ReservedMap::Open(pins);
  if (!map.ok()) return false;
  const absl::StatusOr<Notes> notes = map->Read();
  return notes.ok() && HasOwnPorts(*notes);
}

}  // namespace npg::controller
