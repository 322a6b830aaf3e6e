// SPDX-License-Identifier: Apache-2.0
#include "dataplane/pinned_map.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include <cerrno>
#include <cstdint>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "base/errno_status.h"
#include "base/unique_fd.h"

namespace npg::dataplane {

absl::StatusOr<base::UniqueFd> OpenPin(const std::string& path) {
  base::UniqueFd fd(bpf_obj_get(path.c_str()));
  if (!fd) return base::ErrnoStatus(errno, absl::StrCat("open pin ", path));
  return fd;
}

absl::StatusOr<uint32_t> PossibleCpus() {
  const int cpus = libbpf_num_possible_cpus();
  if (cpus <= 0) return base::ErrnoStatus(-cpus, "count the possible CPUs");
  return static_cast<uint32_t>(cpus);
}

}  // namespace npg::dataplane
