// SPDX-License-Identifier: Apache-2.0
#include "controller/guard_repair.h"

#include <fcntl.h>
#include <spdlog/spdlog.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "abi/names.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "base/errno_status.h"
#include "base/unique_fd.h"
#include "dataplane/bpf/bpf_guard.h"
#include "dataplane/bpf/controller_lock.h"

namespace npg::controller {

absl::StatusOr<base::UniqueFd> OpenCgroup(const std::string& path) {
  base::UniqueFd cgroup(open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!cgroup) return base::ErrnoStatus(errno, absl::StrCat("open cgroup ", path));
  return cgroup;
}

GuardRepair::GuardRepair(dataplane::BpfGuard& guard, dataplane::ControllerLock& lock,
                         base::UniqueFd cgroup, std::string cgroup_path, std::string pin_folder)
    : guard_(guard),
      lock_(lock),
      cgroup_(std::move(cgroup)),
      cgroup_path_(std::move(cgroup_path)),
      pin_folder_(std::move(pin_folder)) {}

// The lock is on the pin folder: when another process removed that, and a repair or another
// process created it again, the lock is on nothing that has a name.
absl::Status GuardRepair::RenewLock() {
  const absl::StatusOr<bool> renewed = lock_.Renew();
  lock_fault_.Note(renewed.status());
  if (renewed.ok() && *renewed) {
    spdlog::warn("repaired: the pin folder {} was removed; the lock is on the new one",
                 pin_folder_);
    Count(1);
  }
  return renewed.status();
}

void GuardRepair::Repair() {
  const absl::Status locked = RenewLock();
  // Another process has the lock, and repairs its own. Other errors (no bpf file system, a
  // folder of another user) do not keep the programs from being attached again.
  if (absl::IsUnavailable(locked)) return;
  // A cgroup that was removed and created again under the same name is another one.
  struct stat open_one {
  }, named_one{};
  if (stat(cgroup_path_.c_str(), &named_one) == 0 &&
      (fstat(cgroup_.get(), &open_one) != 0 || open_one.st_ino != named_one.st_ino)) {
    absl::StatusOr<base::UniqueFd> opened = OpenCgroup(cgroup_path_);
    repair_fault_.Note(opened.status());
    cgroup_ = opened.ok() ? *std::move(opened) : base::UniqueFd();
  }
  absl::StatusOr<std::vector<std::string>> repaired =
      guard_.Repair(cgroup_.get(), /*pins=*/locked.ok());
  repair_fault_.Note(repaired.status());
  if (repaired.ok()) {
    for (const std::string& line : *repaired) spdlog::warn("repaired: {}", line);
    if (!repaired->empty()) Count(repaired->size());
  }
}

void GuardRepair::Count(uint64_t repairs) {
  guard_.AddToCounter(abi::Counter::kRulesRestored, repairs).IgnoreError();
}

}  // namespace npg::controller
