// SPDX-License-Identifier: Apache-2.0
#include "node/reserved_ports.h"

#include <fcntl.h>
#include <sys/types.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "base/errno_status.h"
#include "base/unique_fd.h"
#include "core/port_ranges.h"
#include "core/reserved_plan.h"
#include "node/node_files.h"

namespace npg::node {
namespace {

// The offset of a write: from 0, it replaces what is reserved; after it, it adds.
constexpr off_t kReplaces = 0;
constexpr off_t kAdds = 1;

// The file of /proc belongs to the network namespace of the task that opens it, so no descriptor
// is kept.
base::UniqueFd OpenToWrite(const std::string& path) {
  return base::UniqueFd(open(path.c_str(), O_WRONLY | O_CLOEXEC | O_NOCTTY));
}

// What ends the error. Short: `status` shows 127 bytes of both.
absl::string_view RemedyFor(int error) {
  switch (error) {
    case EROFS:
      return "; needs deploy/components/reserve-ports or ReadWritePaths=";
    case EACCES:
    case EPERM:
      return "; needs CAP_NET_ADMIN";
    case ENOENT:
      return "; needs /proc of this node";
    default:
      return "";
  }
}

absl::Status WriteError(int error, const std::string& path) {
  const absl::Status status = base::ErrnoStatus(error, path);
  return {status.code(), absl::StrCat(status.message(), RemedyFor(error))};
}

absl::Status WriteAt(int fd, const std::string& path, const std::string& text, off_t offset) {
  ssize_t written = 0;
  do {
    written = pwrite(fd, text.data(), text.size(), offset);
  } while (written < 0 && errno == EINTR);
  if (written < 0) return WriteError(errno, path);
  if (static_cast<size_t>(written) != text.size()) {
    return absl::InternalError(
        absl::StrCat(path, ": the kernel used ", written, " of ", text.size(), " bytes"));
  }
  return absl::OkStatus();
}

// The first write has `offset`, the others add.
absl::Status WriteAll(const std::string& path, const std::vector<std::string>& texts,
                      off_t offset) {
  const base::UniqueFd fd = OpenToWrite(path);
  if (!fd) return WriteError(errno, path);
  for (const std::string& text : texts) {
    NPG_RETURN_IF_ERROR(WriteAt(fd.get(), path, text, offset));
    offset = kAdds;
  }
  return absl::OkStatus();
}

}  // namespace

std::vector<std::string> ReservedPortsPaths() {
  return {"/proc/sys/net/ipv4/ip_local_reserved_ports", "/host/ip_local_reserved_ports"};
}

absl::StatusOr<ReservedPortsFile> ReservedPortsFile::Open(const std::vector<std::string>& paths) {
  absl::Status first_error;
  for (const std::string& path : paths) {
    if (OpenToWrite(path)) return ReservedPortsFile(path);
    first_error.Update(WriteError(errno, path));
  }
  if (first_error.ok()) return absl::InvalidArgumentError("no file to reserve ports in");
  return first_error;
}

absl::StatusOr<core::PortRanges> ReservedPortsFile::Read() const { return ReadPortRanges(path_); }

absl::Status ReservedPortsFile::Add(const core::PortRanges& ports) const {
  if (ports.empty()) return absl::OkStatus();
  return WriteAll(path_, core::ReservedWrites(ports, {}), kAdds);
}

absl::Status ReservedPortsFile::Replace(const core::PortRanges& first,
                                        const core::PortRanges& rest) const {
  return WriteAll(path_, core::ReservedWrites(first, rest), kReplaces);
}

}  // namespace npg::node
