// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_DATAPLANE_BPF_PINNED_MAP_H_
#define NODEPORT_GUARD_DATAPLANE_BPF_PINNED_MAP_H_

#include <bpf/bpf.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "base/errno_status.h"
#include "base/unique_fd.h"

namespace npg::dataplane {

// Opens a BPF object (map, link) by its pin. The status carries the path.
absl::StatusOr<base::UniqueFd> OpenPin(const std::string& path);

// Describes an open map, which an error calls `map`.
absl::StatusOr<bpf_map_info> DescribeMap(int fd, absl::string_view map);

// The number of values in an entry of a per-CPU map.
absl::StatusOr<uint32_t> PossibleCpus();

// The values of one entry of a per-CPU array of 64 bits, by CPU.
absl::StatusOr<std::vector<uint64_t>> PerCpuValues(int fd, absl::string_view map, uint32_t index);

// The value at `key`; nullopt when there is none.
template <typename Key, typename Value>
absl::StatusOr<std::optional<Value>> LookupElement(int fd, absl::string_view map, const Key& key) {
  Value value{};
  if (bpf_map_lookup_elem(fd, &key, &value) == 0) return value;
  if (errno == ENOENT) return std::optional<Value>();
  return base::ErrnoStatus(errno, absl::StrCat("look up an entry of map ", map));
}

// Calls `visit` with each entry of a hash map: once with each that exists throughout the call;
// entries that are added or removed meanwhile may or may not be visited.
template <typename Key, typename Value, typename Visit>
absl::Status ForEachElement(int fd, absl::string_view map, const Visit& visit) {
  // Read fewer large values at a time, because the process keeps the memory. A batch must
  // hold a whole bucket of the map.
  constexpr size_t kBatch = std::clamp<size_t>((size_t{64} << 10) / sizeof(Value), 64, 4096);
  std::vector<Key> keys(kBatch);
  std::vector<Value> values(kBatch);
  uint32_t position = 0;
  for (bool first = true;; first = false) {
    auto count = static_cast<uint32_t>(keys.size());
    const int result = bpf_map_lookup_batch(fd, first ? nullptr : &position, &position, keys.data(),
                                            values.data(), &count, nullptr);
    if (result != 0 && errno != ENOENT) {
      return base::ErrnoStatus(errno, absl::StrCat("read map ", map));
    }
    for (uint32_t i = 0; i < count; ++i) visit(keys[i], values[i]);
    if (result != 0) return absl::OkStatus();  // ENOENT: that was the last batch
  }
}

// Every entry of a hash map, as ForEachElement() visits them.
template <typename Key, typename Value>
absl::StatusOr<std::vector<std::pair<Key, Value>>> AllElements(int fd, absl::string_view map) {
  std::vector<std::pair<Key, Value>> entries;
  NPG_RETURN_IF_ERROR(
      (ForEachElement<Key, Value>(fd, map, [&entries](const Key& key, const Value& value) {
        entries.emplace_back(key, value);
      })));
  return entries;
}

template <typename Key, typename Value>
absl::Status PutElement(int fd, absl::string_view map, const Key& key, const Value& value,
                        uint64_t flags = BPF_ANY) {
  if (bpf_map_update_elem(fd, &key, &value, flags) == 0) return absl::OkStatus();
  return base::ErrnoStatus(errno, absl::StrCat("write an entry of map ", map));
}

// Writes many entries with few system calls. Calls `failed` with the position and the error of
// each that could not be written; the others are written.
template <typename Key, typename Value, typename Failed>
void PutElements(int fd, absl::string_view map, const std::vector<Key>& keys,
                 const std::vector<Value>& values, const Failed& failed) {
  for (size_t at = 0; at < keys.size(); ++at) {
    const auto left = static_cast<uint32_t>(keys.size() - at);
    uint32_t written = left;
    if (bpf_map_update_batch(fd, &keys[at], &values[at], &written, nullptr) == 0) return;
    // Some errors leave the count as it was. The next entry, by itself, has the error to report.
    if (written < left) at += written;
    const absl::Status status = PutElement(fd, map, keys[at], values[at]);
    if (!status.ok()) failed(at, status);
  }
}

// A missing entry is no error.
template <typename Key>
absl::Status RemoveElement(int fd, absl::string_view map, const Key& key) {
  if (bpf_map_delete_elem(fd, &key) == 0 || errno == ENOENT) return absl::OkStatus();
  return base::ErrnoStatus(errno, absl::StrCat("remove an entry of map ", map));
}

// Makes the keys of a map those of `wanted`, whose values never change.
template <typename Key, typename Value>
absl::Status SetMembers(int fd, absl::string_view map, const std::vector<Key>& wanted,
                        const Value& value) {
  const auto present = AllElements<Key, Value>(fd, map);
  if (!present.ok()) return present.status();
  const auto bytes = [](const Key& key) {
    return std::string(reinterpret_cast<const char*>(&key), sizeof(Key));
  };
  absl::flat_hash_set<std::string> missing;
  for (const Key& key : wanted) missing.insert(bytes(key));
  for (const auto& [key, ignored] : *present) {
    if (missing.erase(bytes(key)) == 0) NPG_RETURN_IF_ERROR(RemoveElement(fd, map, key));
  }
  for (const Key& key : wanted) {
    if (missing.contains(bytes(key))) NPG_RETURN_IF_ERROR(PutElement(fd, map, key, value));
  }
  return absl::OkStatus();
}

}  // namespace npg::dataplane

#endif  // NODEPORT_GUARD_DATAPLANE_BPF_PINNED_MAP_H_
