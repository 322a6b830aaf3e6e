// SPDX-License-Identifier: Apache-2.0
#include "dataplane/bpf/pin_folder.h"

#include <bpf/bpf.h>
#include <dirent.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "base/errno_status.h"

namespace npg::dataplane {
namespace {

// Not ".new": bpffs reserves names with a dot.
std::string FolderInTheMaking(const std::string& folder) { return folder + "-new"; }

struct DirCloser {
  void operator()(DIR* dir) const { closedir(dir); }
};

absl::Status UnpinAll(const std::string& folder, std::vector<std::string>& names) {
  const std::unique_ptr<DIR, DirCloser> dir(opendir(folder.c_str()));
  if (!dir) {
    if (errno == ENOENT) return absl::OkStatus();
    return base::ErrnoStatus(errno, absl::StrCat("open ", folder));
  }
  std::vector<std::string> found;
  // NOLINTNEXTLINE(concurrency-mt-unsafe): the stream is this function's own
  while (const dirent* entry = readdir(dir.get())) {
    const std::string name = static_cast<const char*>(entry->d_name);
    if (name != "." && name != "..") found.push_back(name);
  }
  std::sort(found.begin(), found.end());
  for (const std::string& name : found) {
    const std::string path = absl::StrCat(folder, "/", name);
    if (unlink(path.c_str()) != 0) return base::ErrnoStatus(errno, absl::StrCat("unpin ", path));
    names.push_back(name);
  }
  if (rmdir(folder.c_str()) != 0) return base::ErrnoStatus(errno, absl::StrCat("remove ", folder));
  return absl::OkStatus();
}

absl::Status PublishFrom(const std::string& fresh, const std::string& folder,
                         const std::vector<Pin>& pins) {
  if (mkdir(fresh.c_str(), 0700) != 0) {
    return base::ErrnoStatus(errno, absl::StrCat("create ", fresh));
  }
  for (const Pin& pin : pins) {
    const std::string path = absl::StrCat(fresh, "/", pin.name);
    if (bpf_obj_pin(pin.fd, path.c_str()) != 0) {
      return base::ErrnoStatus(errno, absl::StrCat("pin ", path));
    }
  }
  if (access(folder.c_str(), F_OK) != 0) {
    if (rename(fresh.c_str(), folder.c_str()) == 0) return absl::OkStatus();
    return base::ErrnoStatus(errno, absl::StrCat("publish ", folder));
  }
  for (const Pin& pin : pins) {
    const std::string path = absl::StrCat(folder, "/", pin.name);
    if (rename(absl::StrCat(fresh, "/", pin.name).c_str(), path.c_str()) != 0) {
      return base::ErrnoStatus(errno, absl::StrCat("publish ", path));
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status PublishPins(const std::string& folder, const std::vector<Pin>& pins) {
  const std::string fresh = FolderInTheMaking(folder);
  std::vector<std::string> leftovers;
  NPG_RETURN_IF_ERROR(UnpinAll(fresh, leftovers));  // left by a run that was killed here
  absl::Status status = PublishFrom(fresh, folder, pins);
  status.Update(UnpinAll(fresh, leftovers));
  return status;
}

absl::StatusOr<std::vector<std::string>> RemovePinFolder(const std::string& folder) {
  std::vector<std::string> leftovers;
  NPG_RETURN_IF_ERROR(UnpinAll(FolderInTheMaking(folder), leftovers));
  std::vector<std::string> names;
  NPG_RETURN_IF_ERROR(UnpinAll(folder, names));
  return names;
}

}  // namespace npg::dataplane
