// SPDX-License-Identifier: Apache-2.0
#include "dataplane/bpf/bpf_guard.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <numeric>
#include <optional>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "abi/convert.h"
#include "abi/entries.h"
#include "abi/names.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/string_view.h"
#include "base/errno_status.h"
#include "base/unique_fd.h"
#include "dataplane/bpf/guard_state.h"
#include "dataplane/bpf/map_migration.h"
#include "dataplane/bpf/pin_folder.h"
#include "dataplane/bpf/pin_paths.h"
#include "dataplane/bpf/pinned_map.h"
#include "dataplane/bpf/skeleton.h"
#include "dataplane/bpf/unallocated_ports.h"
#include "guard_abi.h"
#include "node/cgroups.h"

namespace npg::dataplane {

BpfGuard::BpfGuard(PinPaths pins, Skeleton skeleton)
    : pins_(std::move(pins)), skeleton_(std::move(skeleton)) {
  const std::array<bpf_program*, kLinkNames.size()> programs = {
      skeleton_->progs.npg_connect4, skeleton_->progs.npg_connect6, skeleton_->progs.npg_bind4,
      skeleton_->progs.npg_bind6};
  for (size_t i = 0; i < programs.size(); ++i) {
    attachments_[i].name = kLinkNames[i];
    attachments_[i].program = programs[i];
  }
}

absl::StatusOr<std::unique_ptr<BpfGuard>> BpfGuard::Load(const PinPaths& pins,
                                                         const ProgramConstants& constants) {
  Skeleton skeleton = OpenGuardPrograms(constants);
  if (!skeleton) return base::ErrnoStatus(errno, "open the embedded BPF object");
  std::unique_ptr<BpfGuard> guard(new BpfGuard(pins, std::move(skeleton)));
  // The constants may not be readable once they are loaded.
  guard->refusal_errno_ = guard->skeleton_->rodata->has_set_retval != 0 ? EADDRINUSE : EPERM;
  NPG_RETURN_IF_ERROR(guard->ReuseMaps());
  NPG_RETURN_IF_ERROR(LoadSkeleton(guard->skeleton_, "load the BPF programs"));
  for (Attachment& attachment : guard->attachments_) {
    bpf_prog_info info{};
    uint32_t size = sizeof(info);
    if (bpf_obj_get_info_by_fd(bpf_program__fd(attachment.program), &info, &size) != 0) {
      return base::ErrnoStatus(errno, absl::StrCat("describe program ", attachment.name));
    }
    attachment.program_id = info.id;
  }
  NPG_RETURN_IF_ERROR(guard->MigrateEntries());
  const auto& maps = guard->skeleton_->maps;
  NPG_RETURN_IF_ERROR(
      UnallocatedPorts(bpf_map__fd(maps.unallocated), bpf_map__fd(maps.nodeports)).Rebuild());
  return guard;
}

namespace {

// Opens the program with this id by its pin, or else by the id; errno on failure.
base::UniqueFd OpenProgram(const std::string& pin, uint32_t id) {
  if (absl::StatusOr<base::UniqueFd> program = OpenPin(pin); program.ok()) {
    bpf_prog_info info{};
    uint32_t size = sizeof(info);
    if (bpf_obj_get_info_by_fd(program->get(), &info, &size) == 0 && info.id == id) {
      return *std::move(program);
    }
  }
  return base::UniqueFd(bpf_prog_get_fd_by_id(id));
}

// True when the object that is pinned there is that of the descriptor.
template <typename Info>
bool IsPinnedAt(const std::string& path, int fd, uint32_t Info::*id) {
  const base::UniqueFd pinned(bpf_obj_get(path.c_str()));
  if (!pinned) return false;
  Info there{};
  Info here{};
  uint32_t size = sizeof(there);
  if (bpf_obj_get_info_by_fd(pinned.get(), &there, &size) != 0) return false;
  size = sizeof(here);
  return bpf_obj_get_info_by_fd(fd, &here, &size) == 0 && there.*id == here.*id;
}

}  // namespace

// Excludes constants, and maps that only a live controller needs.
bool BpfGuard::IsPinned(const Skeleton& skeleton, const bpf_map* map) {
  return map != skeleton->maps.learned_cookie && map != skeleton->maps.binds &&
         map != skeleton->maps.last_unknown && map != skeleton->maps.datagram_targets &&
         !bpf_map__is_internal(map);
}

absl::Status BpfGuard::ReuseMaps() {
  bpf_map* map = nullptr;
  bpf_object__for_each_map(map, skeleton_->obj) {
    if (!IsPinned(skeleton_, map)) continue;
    absl::StatusOr<base::UniqueFd> fd = OpenPin(pins_.Map(bpf_map__name(map)));
    if (absl::IsNotFound(fd.status())) continue;
    if (!fd.ok()) return fd.status();
    absl::StatusOr<bool> same = SameLayout(fd->get(), map);
    if (!same.ok()) return same.status();
    adopted_ = true;
    if (!*same) {
      outdated_maps_.emplace_back(bpf_map__name(map), *std::move(fd));
      continue;
    }
    // libbpf duplicates the descriptor.
    if (const int error = bpf_map__reuse_fd(map, fd->get()); error != 0) {
      return base::ErrnoStatus(-error, absl::StrCat("adopt map ", bpf_map__name(map)));
    }
  }
  return absl::OkStatus();
}

absl::Status BpfGuard::MigrateEntries() {
  if (outdated_maps_.empty()) return absl::OkStatus();
  for (const auto& [name, fd] : outdated_maps_) {
    const bpf_map* map = bpf_object__find_map_by_name(skeleton_->obj, name.c_str());
    absl::StatusOr<std::string> note = MigrateMap(fd.get(), bpf_map__fd(map));
    if (!note.ok()) return base::Annotate(note.status(), absl::StrCat("migrate map ", name));
    notes_.push_back(
        absl::StrCat("map ", name, " has another layout than the pinned one: ", *note));
  }
  // No program counts in the new map yet; the attached ones still count in the old one.
  for (const auto& row : abi::kCounters) {
    const absl::StatusOr<uint64_t> carried = Counter(row.value);
    if (!carried.ok()) return carried.status();
    carried_counters_[row.value] = *carried;
  }
  return absl::OkStatus();
}

absl::StatusOr<abi::Config> BpfGuard::Config() const {
  absl::StatusOr<std::optional<npg_config>> config =
      LookupElement<uint32_t, npg_config>(bpf_map__fd(skeleton_->maps.config), "config", 0);
  if (!config.ok()) return config.status();
  return abi::FromC(config->value_or(npg_config{}));
}

absl::Status BpfGuard::AttachOne(int cgroup_fd, uint64_t cgroup_id, Attachment& attachment) {
  const int program_fd = bpf_program__fd(attachment.program);
  absl::StatusOr<base::UniqueFd> pinned = OpenPin(pins_.Link(attachment.name));
  if (!pinned.ok() && !absl::IsNotFound(pinned.status())) return pinned.status();
  if (pinned.ok()) {
    absl::StatusOr<LinkState> state = DescribeLink(pinned->get(), attachment.name);
    if (!state.ok()) return state.status();
    if (state->cgroup_id == cgroup_id) {
      // Before the update: that frees a program that nothing else refers to.
      attachment.former_program = OpenProgram(pins_.Program(attachment.name), state->program_id);
      attachment.former_error = attachment.former_program ? 0 : errno;
      if (bpf_link_update(pinned->get(), program_fd, nullptr) != 0) {
        return base::ErrnoStatus(errno, absl::StrCat("update link ", attachment.name));
      }
      attachment.replaced_program = state->program_id;
      attachment.link = *std::move(pinned);
      return absl::OkStatus();
    }
    // Of another cgroup, or of a removed one: a new link replaces it.
  }
  base::UniqueFd link(bpf_link_create(
      program_fd, cgroup_fd, bpf_program__expected_attach_type(attachment.program), nullptr));
  if (!link) {
    return base::ErrnoStatus(
        errno, absl::StrCat("attach ", attachment.name,
                            " to the cgroup (a program attached without BPF_F_ALLOW_MULTI blocks "
                            "others; see 'bpftool cgroup tree')"));
  }
  attachment.link = std::move(link);
  attachment.replaced_program = 0;
  return absl::OkStatus();
}

absl::Status BpfGuard::UndoAttach(absl::Status failure) {
  std::vector<absl::string_view> kept;
  int error = 0;
  for (Attachment& attachment : attachments_) {
    if (attachment.replaced_program != 0) {
      const base::UniqueFd program = std::move(attachment.former_program);
      // Where this fails the new program stays, which guards, too.
      if (!program) {
        error = attachment.former_error;
        kept.emplace_back(attachment.name);
      } else if (bpf_link_update(attachment.link.get(), program.get(), nullptr) != 0) {
        error = errno;
        kept.emplace_back(attachment.name);
      }
    } else if (attachment.link) {
      // A link that PinLinks() has pinned stays attached when its descriptor is closed. The pin
      // may still be that of a link to another cgroup, which is the earlier run's.
      bpf_link_detach(attachment.link.get());
      const std::string pin = pins_.Link(attachment.name);
      if (IsPinnedAt(pin, attachment.link.get(), &bpf_link_info::id)) unlink(pin.c_str());
    }
    attachment.link.Reset();
    attachment.former_program.Reset();
    attachment.replaced_program = 0;
  }
  if (kept.empty()) return failure;
  return {failure.code(),
          absl::StrCat(failure.message(), "; the former programs of ", absl::StrJoin(kept, ", "),
                       " could not be restored (no pin has them, as with older versions; open by "
                       "id: ",
                       std::generic_category().message(error),
                       "; that needs CAP_SYS_ADMIN), so the new ones stay attached")};
}

absl::StatusOr<BpfGuard::FormerPins> BpfGuard::ReadFormerPins() const {
  FormerPins former;
  for (const Attachment& attachment : attachments_) {
    absl::StatusOr<base::UniqueFd> program = OpenPin(pins_.Program(attachment.name));
    if (absl::IsNotFound(program.status())) {
      former.new_programs.emplace_back(attachment.name);
      continue;
    }
    if (!program.ok()) return program.status();
    former.programs.emplace_back(attachment.name, *std::move(program));
  }
  former.maps = access(pins_.Maps().c_str(), F_OK) == 0;
  const bpf_map* map = nullptr;
  bpf_object__for_each_map(map, skeleton_->obj) {
    if (!IsPinned(skeleton_, map)) continue;
    std::string name = bpf_map__name(map);
    if (access(pins_.Map(name).c_str(), F_OK) != 0) former.new_maps.push_back(std::move(name));
  }
  return former;
}

// As far as possible: the caller already has an error to report.
void BpfGuard::RestorePins(const FormerPins& former) {
  const auto publish = [](const std::string& folder, const auto& objects) {
    std::vector<Pin> pins;
    pins.reserve(objects.size());
    for (const auto& [name, fd] : objects) pins.push_back({name, fd.get()});
    PublishPins(folder, pins).IgnoreError();
  };
  if (former.programs.empty()) {
    RemovePinFolder(pins_.Programs()).status().IgnoreError();
  } else {
    publish(pins_.Programs(), former.programs);
    for (const std::string& name : former.new_programs) unlink(pins_.Program(name).c_str());
  }
  if (!former.maps) {
    RemovePinFolder(pins_.Maps()).status().IgnoreError();
    return;
  }
  // The restored programs use the maps of their own layout.
  if (!outdated_maps_.empty()) publish(pins_.Maps(), outdated_maps_);
  for (const std::string& name : former.new_maps) unlink(pins_.Map(name).c_str());
}

absl::Status BpfGuard::PinMaps() {
  std::vector<Pin> pins;
  bpf_map* map = nullptr;
  bpf_object__for_each_map(map, skeleton_->obj) {
    if (IsPinned(skeleton_, map)) pins.push_back({bpf_map__name(map), bpf_map__fd(map)});
  }
  return PublishPins(pins_.Maps(), pins);
}

absl::Status BpfGuard::PinPrograms() {
  std::vector<Pin> pins;
  for (const Attachment& attachment : attachments_) {
    pins.push_back({attachment.name, bpf_program__fd(attachment.program)});
  }
  return PublishPins(pins_.Programs(), pins);
}

absl::Status BpfGuard::PinLinks() {
  std::vector<Pin> pins;
  for (const Attachment& attachment : attachments_) {
    pins.push_back({attachment.name, attachment.link.get()});
  }
  return PublishPins(pins_.Links(), pins);
}

absl::Status BpfGuard::Attach(int cgroup_fd, const abi::Config& config) {
  absl::StatusOr<uint64_t> cgroup_id = node::CgroupId(cgroup_fd);
  if (!cgroup_id.ok()) return cgroup_id.status();
  const absl::StatusOr<abi::Config> before = Config();
  if (!before.ok()) return before.status();
  const absl::StatusOr<FormerPins> former = ReadFormerPins();
  if (!former.ok()) return former.status();
  const int config_fd = bpf_map__fd(skeleton_->maps.config);

  // The maps first: a pinned link must never be without its maps.
  absl::Status status = PinMaps();
  if (status.ok()) status = PutElement(config_fd, "config", uint32_t{0}, abi::ToC(config));
  // Those at bind() first: a socket that is bound from then on has a record when a new
  // connect program looks for it.
  for (size_t i = attachments_.size(); i-- > 0 && status.ok();) {
    status = AttachOne(cgroup_fd, *cgroup_id, attachments_[i]);
  }
  // The programs before the links: a guard whose links are pinned has them.
  if (status.ok()) status = PinPrograms();
  if (status.ok()) status = PinLinks();
  if (status.ok()) {
    for (Attachment& attachment : attachments_) attachment.former_program.Reset();
    return status;
  }
  status = UndoAttach(status);
  if (former->maps) {
    PutElement(config_fd, "config", uint32_t{0}, abi::ToC(*before)).IgnoreError();
  }
  RestorePins(*former);
  return status;
}

absl::Status BpfGuard::SetStandingAside(abi::TrafficBits traffic) {
  absl::StatusOr<abi::Config> config = Config();
  if (!config.ok()) return config.status();
  // Equal bits with kUnproven are written, too.
  if (config->standing_aside == traffic) return absl::OkStatus();
  config->standing_aside = traffic;
  return PutElement(bpf_map__fd(skeleton_->maps.config), "config", uint32_t{0}, abi::ToC(*config));
}

// The links and maps of an earlier run that had others. Nothing decides by them any more.
void BpfGuard::RemoveObsoletePins() {
  for (const char* name : kFormerLinkNames) {
    const base::UniqueFd link(bpf_obj_get(pins_.Link(name).c_str()));
    if (!link) continue;
    bpf_link_detach(link.get());
    unlink(pins_.Link(name).c_str());
    unlink(pins_.Program(name).c_str());
  }
  for (const char* name : kFormerMapNames) unlink(pins_.Map(name).c_str());
}

absl::Status BpfGuard::FinishMigration() {
  RemoveObsoletePins();
  absl::Status result;
  for (const auto& [name, fd] : outdated_maps_) {
    if (bpf_map__name(skeleton_->maps.counters) != name) continue;
    const absl::StatusOr<bpf_map_info> info = DescribeMap(fd.get(), name);
    if (!info.ok()) return info.status();
    // Another type or size of values: its counts cannot be added.
    if (info->type != BPF_MAP_TYPE_PERCPU_ARRAY || info->value_size != sizeof(uint64_t)) continue;
    for (const auto& row : abi::kCounters) {
      const auto index = static_cast<uint32_t>(row.value);
      if (index >= info->max_entries) break;
      const auto values = PerCpuValues(fd.get(), name, index);
      if (!values.ok()) return values.status();
      const uint64_t sum = std::accumulate(values->begin(), values->end(), uint64_t{0});
      uint64_t& carried = carried_counters_[row.value];
      if (sum == carried) continue;
      const absl::Status added = AddToCounter(row.value, sum - carried);
      result.Update(added);
      if (added.ok()) carried = sum;
    }
  }
  if (result.ok()) outdated_maps_.clear();
  return result;
}

absl::Status BpfGuard::CheckLinks(int cgroup_fd) const {
  const absl::StatusOr<uint64_t> cgroup_id = node::CgroupId(cgroup_fd);
  if (!cgroup_id.ok()) return cgroup_id.status();
  for (const Attachment& attachment : attachments_) {
    const absl::StatusOr<LinkState> state = DescribeLink(attachment.link.get(), attachment.name);
    if (!state.ok()) return state.status();
    if (state->cgroup_id == 0) {
      return absl::FailedPreconditionError(absl::StrCat(
          attachment.name, " is not attached: its link was detached or its cgroup removed"));
    }
    if (state->cgroup_id != *cgroup_id) {
      return absl::FailedPreconditionError(absl::StrCat(attachment.name,
                                                        " is attached to cgroup id ",
                                                        state->cgroup_id, ", not to ", *cgroup_id));
    }
    if (state->program_id != attachment.program_id) {
      return absl::FailedPreconditionError(
          absl::StrCat("the link of ", attachment.name, " runs program id ", state->program_id,
                       ", which is not the guard's: another process replaced it"));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<std::string>> BpfGuard::Repair(int cgroup_fd, bool pins) {
  absl::StatusOr<uint64_t> cgroup_id = node::CgroupId(cgroup_fd);
  if (!cgroup_id.ok()) return cgroup_id.status();
  std::vector<std::string> repaired;
  std::vector<absl::string_view> reattached;
  absl::Status failed;  // of one link, which does not stop the others
  for (Attachment& attachment : attachments_) {
    absl::StatusOr<LinkState> state = DescribeLink(attachment.link.get(), attachment.name);
    if (!state.ok()) return state.status();
    if (state->cgroup_id != *cgroup_id) {
      // On failure the dead link stays, and the next call finds it again.
      const absl::Status attached = AttachOne(cgroup_fd, *cgroup_id, attachment);
      attachment.former_program.Reset();  // a repair is not undone
      failed.Update(attached);
      if (!attached.ok()) continue;
      reattached.emplace_back(attachment.name);
      repaired.push_back(absl::StrCat(attachment.name, " was detached and is attached again"));
    } else if (state->program_id != attachment.program_id) {
      if (bpf_link_update(attachment.link.get(), bpf_program__fd(attachment.program), nullptr) !=
          0) {
        return base::ErrnoStatus(errno, absl::StrCat("update link ", attachment.name));
      }
      repaired.push_back(absl::StrCat(attachment.name, " was replaced and runs again"));
    }
  }
  if (pins) failed.Update(RepairPins(reattached, repaired));
  if (!failed.ok()) return failed;
  return repaired;
}

absl::Status BpfGuard::RepairPins(const std::vector<absl::string_view>& reattached,
                                  std::vector<std::string>& repaired) {
  std::vector<std::string> lost;
  for (const Attachment& attachment : attachments_) {
    // A link that was just attached again has no pin yet, and needs no second line.
    if (std::find(reattached.begin(), reattached.end(), attachment.name) != reattached.end()) {
      continue;
    }
    if (IsPinnedAt(pins_.Link(attachment.name), attachment.link.get(), &bpf_link_info::id)) {
      continue;
    }
    lost.push_back(absl::StrCat("link ", attachment.name));
  }
  bpf_map* map = nullptr;
  const size_t links_lost = lost.size();
  bpf_object__for_each_map(map, skeleton_->obj) {
    if (!IsPinned(skeleton_, map)) continue;
    if (IsPinnedAt(pins_.Map(bpf_map__name(map)), bpf_map__fd(map), &bpf_map_info::id)) continue;
    lost.push_back(absl::StrCat("map ", bpf_map__name(map)));
  }
  const bool map_lost = lost.size() > links_lost;
  const size_t maps_lost = lost.size();
  for (const Attachment& attachment : attachments_) {
    if (IsPinnedAt(pins_.Program(attachment.name), bpf_program__fd(attachment.program),
                   &bpf_prog_info::id)) {
      continue;
    }
    lost.push_back(absl::StrCat("program ", attachment.name));
  }
  const bool program_lost = lost.size() > maps_lost;
  for (const std::string& name : lost) {
    repaired.push_back(absl::StrCat("the pin of ", name, " is restored"));
  }
  if (repaired.empty()) return absl::OkStatus();
  if (mkdir(pins_.Root().c_str(), 0700) != 0 && errno != EEXIST) {
    return base::ErrnoStatus(errno, absl::StrCat("create ", pins_.Root()));
  }
  if (map_lost) NPG_RETURN_IF_ERROR(PinMaps());
  if (program_lost) NPG_RETURN_IF_ERROR(PinPrograms());
  return PinLinks();
}

absl::StatusOr<std::vector<std::string>> RemoveLinkPins(const PinPaths& pins) {
  // Detach first: unlinking a pin only drops a reference, and the kernel detaches the program
  // later, from a work item (bpf_link_put() in kernel/bpf/syscall.c).
  const auto detach = [&pins](absl::string_view name) {
    const base::UniqueFd link(bpf_obj_get(pins.Link(name).c_str()));
    if (link) bpf_link_detach(link.get());
  };
  for (const absl::string_view name : kLinkNames) detach(name);
  for (const absl::string_view name : kFormerLinkNames) detach(name);
  return RemovePinFolder(pins.Links());
}

absl::StatusOr<std::vector<std::string>> RemovePins(const PinPaths& pins) {
  absl::StatusOr<std::vector<std::string>> removed = RemoveLinkPins(pins);
  if (!removed.ok()) return removed;
  // Their names are those of the links.
  NPG_RETURN_IF_ERROR(RemovePinFolder(pins.Programs()).status());
  absl::StatusOr<std::vector<std::string>> maps = RemovePinFolder(pins.Maps());
  if (!maps.ok()) return maps;
  removed->insert(removed->end(), maps->begin(), maps->end());
  return removed;
}

}  // namespace npg::dataplane
