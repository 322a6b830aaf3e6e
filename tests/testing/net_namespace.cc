// SPDX-License-Identifier: Apache-2.0
#include "testing/net_namespace.h"

#include <fcntl.h>
#include <sched.h>
#include <unistd.h>

#include <cerrno>
#include <functional>
#include <string>
#include <thread>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "base/errno_status.h"
#include "base/unique_fd.h"
#include "testing/command.h"

namespace npg::testing {

absl::StatusOr<NetNamespace> NetNamespace::Current() {
  base::UniqueFd fd(open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC));
  if (!fd) return base::ErrnoStatus(errno, "open /proc/thread-self/ns/net");
  return NetNamespace(std::move(fd));
}

absl::StatusOr<NetNamespace> NetNamespace::Create() {
  absl::StatusOr<NetNamespace> made = absl::UnknownError("not run");
  std::thread([&made] {
    if (unshare(CLONE_NEWNET) != 0) {
      made = base::ErrnoStatus(errno, "unshare(CLONE_NEWNET)");
      return;
    }
    made = Current();
    const auto up = RunCommand({"ip", "link", "set", "lo", "up"});
    if (made.ok() && !up.ok()) made = up.status();
  }).join();
  return made;
}

absl::Status NetNamespace::Enter() const {
  if (setns(fd_.get(), CLONE_NEWNET) != 0) return base::ErrnoStatus(errno, "setns");
  return absl::OkStatus();
}

absl::Status NetNamespace::Run(const std::function<absl::Status()>& function) const {
  absl::Status status;
  std::thread([this, &function, &status] {
    status = Enter();
    if (status.ok()) status = function();
  }).join();
  return status;
}

std::string NetNamespace::Path() const {
  return absl::StrCat("/proc/", getpid(), "/fd/", fd_.get());
}

}  // namespace npg::testing
