// SPDX-License-Identifier: Apache-2.0
#include "dataplane/bpf/pinned_map.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include <cerrno>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "base/errno_status.h"
#include "base/unique_fd.h"

namespace npg::dataplane {

absl::StatusOr<base::UniqueFd> OpenPin(const std::string& path) {
  base::UniqueFd fd(bpf_obj_get(path.c_str()));
  if (!fd) return base::ErrnoStatus(errno, absl::StrCat("open pin ", path));
  return fd;
}

absl::StatusOr<bpf_map_info> DescribeMap(int fd, absl::string_view map) {
  bpf_map_info info{};
  uint32_t size = sizeof(info);
  if (bpf_obj_get_info_by_fd(fd, &info, &size) != 0) {
    return base::ErrnoStatus(errno, absl::StrCat("describe map ", map));
  }
  return info;
}

absl::StatusOr<uint32_t> PossibleCpus() {
  const int cpus = libbpf_num_possible_cpus();
  if (cpus <= 0) return base::ErrnoStatus(-cpus, "count the possible CPUs");
  return static_cast<uint32_t>(cpus);
}

absl::StatusOr<std::vector<uint64_t>> PerCpuValues(int fd, absl::string_view map, uint32_t index) {
  const absl::StatusOr<uint32_t> cpus = PossibleCpus();
  if (!cpus.ok()) return cpus.status();
  std::vector<uint64_t> values(*cpus);
  if (bpf_map_lookup_elem(fd, &index, values.data()) != 0) {
    return base::ErrnoStatus(errno, absl::StrCat("read map ", map));
  }
  return values;
}

}  // namespace npg::dataplane
