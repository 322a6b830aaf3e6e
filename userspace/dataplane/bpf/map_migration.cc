// SPDX-License-Identifier: Apache-2.0
#include "dataplane/bpf/map_migration.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "base/errno_status.h"
#include "dataplane/bpf/pinned_map.h"

namespace npg::dataplane {
namespace {

bool PerCpu(uint32_t type) {
  return type == BPF_MAP_TYPE_PERCPU_ARRAY || type == BPF_MAP_TYPE_PERCPU_HASH ||
         type == BPF_MAP_TYPE_LRU_PERCPU_HASH;
}

bool HasEntries(uint32_t type) {
  return type == BPF_MAP_TYPE_ARRAY || type == BPF_MAP_TYPE_HASH || type == BPF_MAP_TYPE_LRU_HASH ||
         PerCpu(type);
}

// The kernel returns a per-CPU value as one slot per possible CPU, each rounded up to
// 8 bytes.
size_t SlotBytes(const bpf_map_info& info) {
  return PerCpu(info.type) ? (info.value_size + size_t{7}) / 8 * 8 : info.value_size;
}

}  // namespace

absl::StatusOr<bool> SameLayout(int fd, const bpf_map* map) {
  absl::StatusOr<bpf_map_info> info = DescribeMap(fd, bpf_map__name(map));
  if (!info.ok()) return info.status();
  return info->type == static_cast<uint32_t>(bpf_map__type(map)) &&
         info->key_size == bpf_map__key_size(map) && info->value_size == bpf_map__value_size(map) &&
         info->max_entries == bpf_map__max_entries(map) &&
         info->map_flags == bpf_map__map_flags(map);
}

absl::StatusOr<std::string> MigrateMap(int from, int to) {
  absl::StatusOr<bpf_map_info> old_info = DescribeMap(from, "that is pinned");
  if (!old_info.ok()) return old_info.status();
  absl::StatusOr<bpf_map_info> new_info = DescribeMap(to, "that is new");
  if (!new_info.ok()) return new_info.status();
  if (!HasEntries(old_info->type) || !HasEntries(new_info->type)) {
    return "it holds nothing to carry over and starts empty";
  }
  if (old_info->key_size != new_info->key_size ||
      PerCpu(old_info->type) != PerCpu(new_info->type)) {
    return absl::StrCat("its keys changed (", old_info->key_size, " to ", new_info->key_size,
                        " bytes), so it starts empty and is filled again from the sources");
  }
  absl::StatusOr<uint32_t> cpus = PossibleCpus();
  if (!cpus.ok()) return cpus.status();
  const size_t slots = PerCpu(old_info->type) ? *cpus : 1;
  const size_t old_slot = SlotBytes(*old_info);
  const size_t new_slot = SlotBytes(*new_info);
  std::vector<char> key(old_info->key_size);
  std::vector<char> next(old_info->key_size);
  std::vector<char> old_value(slots * old_slot);
  std::vector<char> new_value(slots * new_slot);
  uint64_t carried = 0;
  uint64_t refused = 0;
  // The old programs still run: if one removes the key that was just copied, the kernel
  // restarts the walk. Bounded, because that can repeat without end.
  const uint64_t most = uint64_t{4} * old_info->max_entries;
  for (int more = bpf_map_get_next_key(from, nullptr, next.data());
       more == 0 && carried + refused < most;
       more = bpf_map_get_next_key(from, key.data(), next.data())) {
    key = next;
    if (bpf_map_lookup_elem(from, key.data(), old_value.data()) != 0) continue;  // just removed
    std::fill(new_value.begin(), new_value.end(), '\0');
    for (size_t slot = 0; slot < slots; ++slot) {
      std::memcpy(&new_value[slot * new_slot], &old_value[slot * old_slot],
                  std::min(old_info->value_size, new_info->value_size));
    }
    const bool put = bpf_map_update_elem(to, key.data(), new_value.data(), BPF_ANY) == 0;
    ++(put ? carried : refused);
  }
  if (refused == 0) return absl::StrCat(carried, " entries carried over");
  return absl::StrCat(carried, " entries carried over, ", refused, " do not fit the new layout");
}

}  // namespace npg::dataplane
