// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_NODE_RESERVED_PORTS_H_
#define NODEPORT_GUARD_NODE_RESERVED_PORTS_H_

#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/port_ranges.h"

namespace npg::node {

// Where net.ipv4.ip_local_reserved_ports can be written: in /proc, or where the DaemonSet mounts
// it, because /proc/sys of a container is read-only.
std::vector<std::string> ReservedPortsPaths();

// Writes net.ipv4.ip_local_reserved_ports of the network namespace of its file. The kernel takes
// at most 4095 bytes of a write, ends it at a whole number, and adds to what it has when the
// offset is not 0 (proc_do_large_bitmap() in kernel/sysctl.c).
class ReservedPortsFile {
 public:
  // The first of `paths` that can be opened for writing. The error is that of the first one, with
  // a remedy.
  static absl::StatusOr<ReservedPortsFile> Open(const std::vector<std::string>& paths);

  absl::StatusOr<core::PortRanges> Read() const;

  // Adds ports to what is reserved, without a moment in which one of those is not.
  absl::Status Add(const core::PortRanges& ports) const;

  // Replaces all. `first` is reserved with the first write if its text fits into one; between the
  // writes, ports of `rest` are not reserved.
  absl::Status Replace(const core::PortRanges& first, const core::PortRanges& rest) const;

  const std::string& path() const { return path_; }

 private:
  explicit ReservedPortsFile(std::string path) : path_(std::move(path)) {}

  std::string path_;
};

}  // namespace npg::node

#endif  // NODEPORT_GUARD_NODE_RESERVED_PORTS_H_
