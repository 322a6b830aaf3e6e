// SPDX-License-Identifier: Apache-2.0
#include "controller/ports_keeper.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <cstddef>
#include <string>
#include <utility>
#include <vector>

#include "abi/entries.h"
#include "abi/names.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "base/errno_status.h"
#include "base/event_loop.h"
#include "core/bind_facts.h"
#include "core/desired_state.h"
#include "core/port_blocks.h"
#include "dataplane/bpf/bpf_guard.h"
#include "log/fields.h"
#include "log/log.h"
#include "sources/source.h"

namespace npg::controller {
namespace {

abi::SourceBits BitsOf(const PortsKeeper::Sources& sources) {
  abi::SourceBits bits = 0;
  for (const auto& source : sources) bits |= abi::Bit(source->id());
  return bits;
}

}  // namespace

PortsKeeper::PortsKeeper(dataplane::BpfGuard& guard, const Sources& sources, Callbacks callbacks)
    : guard_(guard),
      sources_(sources),
      callbacks_(std::move(callbacks)),
      followed_(BitsOf(sources)),
      states_([this](abi::Source source, const abi::SourceState& state) {
        return guard_.SetSourceState(source, state);
      }) {}

absl::Status PortsKeeper::Start() {
  NPG_RETURN_IF_ERROR(ReadLocal());
  absl::Status applied = Apply().status();
  if (!absl::IsResourceExhausted(applied)) return applied;
  apply_fault_.Note(applied);
  return absl::OkStatus();
}

void PortsKeeper::BeginStates() {
  states_fault_.Note(guard_.KeepSourceStates(followed_));
  states_fault_.Note(WriteStates());
}

void PortsKeeper::Maintain() {
  apply_fault_.Note(Apply().status());
  states_fault_.Note(WriteStates());
  for (auto& [name, fault] : source_faults_) fault.Remind();
}

std::vector<const core::BindFacts*> PortsKeeper::bind_facts() const {
  std::vector<const core::BindFacts*> facts;
  for (const auto& source : sources_) {
    if (const core::BindFacts* const known = source->bind_facts()) facts.push_back(known);
  }
  return facts;
}

absl::Status PortsKeeper::ReadLocal() {
  absl::StatusOr<core::PortEntries> in_map = guard_.NodePorts();
  if (!in_map.ok()) return in_map.status();
  desired_.Adopt(*in_map, followed_);
  for (const auto& source : sources_) {
    if (!source->local()) continue;
    spdlog::debug("reading source {}", std::string(source->name()));
    absl::StatusOr<sources::Reading> reading = source->Read();
    NoteSource(*source, reading.status());
    if (!reading.ok()) {
      desired_.Add(abi::Bit(source->id()), source->PartialPorts());
      continue;
    }
    LogSkipped(*source, reading->skipped);
    desired_.Set(abi::Bit(source->id()), reading->ports);
    read_ |= abi::Bit(source->id());
    read_at_start_.push_back(source->name());
  }
  return absl::OkStatus();
}

void PortsKeeper::NoteSource(const sources::Source& source, const absl::Status& status) {
  const std::string name(source.name());
  source_faults_.try_emplace(name, absl::StrCat("source ", name, ": keeping the last reading"))
      .first->second.Note(status);
}

void PortsKeeper::LogSkipped(const sources::Source& source,
                             const std::vector<std::string>& skipped) {
  constexpr size_t kMax = 20;
  std::vector<std::string>& known = skipped_[std::string(source.name())];
  if (skipped == known) return;
  for (size_t i = 0; i < std::min(kMax, skipped.size()); ++i) {
    spdlog::warn("source {}: skipped {}", std::string(source.name()), skipped[i]);
  }
  if (skipped.size() > kMax) {
    spdlog::warn("source {}: skipped {} more", std::string(source.name()), skipped.size() - kMax);
  }
  known = skipped;
}

absl::StatusOr<PortsKeeper::Applied> PortsKeeper::Apply() {
  const core::Difference difference = desired_.Pending();
  if (difference.empty()) return Applied{};
  // After an error the next reading or maintenance tries all of it again.
  core::PortBlocks blocks;
  for (const auto& [key, entry] : difference.put) blocks.Add(key.port);
  applied_ = callbacks_.cover(blocks);
  if (!applied_.ok()) return applied_;
  callbacks_.changing(difference);
  const absl::StatusOr<size_t> fresh = guard_.ApplyNodePorts(difference);
  applied_ = fresh.status();
  if (!fresh.ok() || *fresh > 0) callbacks_.fresh();
  if (!fresh.ok()) return fresh.status();
  desired_.MarkApplied();
  callbacks_.changed();
  return Applied{difference.put.size(), difference.remove.size()};
}

absl::Status PortsKeeper::WriteStates() {
  for (const auto& source : sources_)
    NPG_RETURN_IF_ERROR(states_.Write(source->id(), source->State()));
  return absl::OkStatus();
}

void PortsKeeper::OnReading(const sources::Source& source,
                            const absl::StatusOr<sources::Reading>& reading) {
  const std::string name(source.name());
  NoteSource(source, reading.status());
  if (reading.ok()) {
    LogSkipped(source, reading->skipped);
    if (reading->changed) {
      desired_.Update(abi::Bit(source.id()), reading->ports, *reading->changed);
    } else {
      desired_.Set(abi::Bit(source.id()), reading->ports);
    }
    read_ |= abi::Bit(source.id());
  } else {
    desired_.Add(abi::Bit(source.id()), source.PartialPorts());
  }
  const absl::StatusOr<Applied> change = Apply();
  apply_fault_.Note(change.status());
  // After the ports, which connects wait for.
  states_fault_.Note(states_.Write(source.id(), source.State()));
  if (reading.ok()) callbacks_.read(name);
  if (change.ok() && change->put + change->removed > 0) {
    log::Log(spdlog::level::info,
             absl::StrCat("source ", name, ": ", change->put, " ports put, ", change->removed,
                          " removed, ", desired_.Entries().size(), " guarded in all"),
             log::Fields()
                 .Add("source", name)
                 .Add("put", change->put)
                 .Add("removed", change->removed)
                 .Add("nodeports", desired_.Entries().size()));
  }
}

absl::Status PortsKeeper::Follow(base::EventLoop& loop) {
  for (const auto& source : sources_) {
    const sources::Source* followed = source.get();
    if (!guard_.adopted()) source->HurryFirstReading();
    NPG_RETURN_IF_ERROR(base::Annotate(
        source->Follow(loop,
                       [this, followed](const auto& reading) { OnReading(*followed, reading); }),
        absl::StrCat("follow source ", source->name())));
  }
  return absl::OkStatus();
}

}  // namespace npg::controller
