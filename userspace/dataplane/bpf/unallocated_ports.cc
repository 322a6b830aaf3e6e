// SPDX-License-Identifier: Apache-2.0
#include "dataplane/bpf/unallocated_ports.h"

#include <bpf/bpf.h>
#include <linux/in.h>

#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <numeric>
#include <optional>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "base/errno_status.h"
#include "dataplane/bpf/pinned_map.h"
#include "guard_abi.h"

namespace npg::dataplane {
namespace {

constexpr const char* kUnallocated = "unallocated";
constexpr uint32_t kBits = 64;
// Each costs two system calls by itself. Reading the whole map costs one longer one.
constexpr size_t kFewWords = 4;

uint64_t Bit(uint16_t port) { return uint64_t{1} << (port % kBits); }

// Sets or clears bits of a word, by a write if that changes it.
absl::Status Write(int map, uint32_t word, uint64_t mask, bool set) {
  const absl::StatusOr<std::optional<uint64_t>> bits =
      LookupElement<uint32_t, uint64_t>(map, kUnallocated, word);
  if (!bits.ok()) return bits.status();
  const uint64_t before = bits->value_or(0);
  const uint64_t after = set ? before | mask : before & ~mask;
  return after == before ? absl::OkStatus() : PutElement(map, kUnallocated, word, after);
}

// Clears bits of many words with two system calls. Only the controller writes the map, so no
// other change gets lost between the two.
absl::Status ClearMany(int map, const absl::flat_hash_map<uint32_t, uint64_t>& masks) {
  std::vector<uint32_t> words;
  std::vector<uint64_t> bits;
  NPG_RETURN_IF_ERROR(
      (ForEachElement<uint32_t, uint64_t>(map, kUnallocated, [&](uint32_t word, uint64_t before) {
        const auto mask = masks.find(word);
        if (mask == masks.end() || (before & mask->second) == 0) return;
        words.push_back(word);
        bits.push_back(before & ~mask->second);
      })));
  if (words.empty()) return absl::OkStatus();
  auto count = static_cast<uint32_t>(words.size());
  if (bpf_map_update_batch(map, words.data(), bits.data(), &count, nullptr) != 0) {
    return base::ErrnoStatus(errno, "write map unallocated");
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status UnallocatedPorts::Rebuild() const {
  const auto entries = AllElements<npg_port_key, npg_nodeport>(nodeports_, "nodeports");
  if (!entries.ok()) return entries.status();
  std::array<uint32_t, NPG_PORT_WORDS> words{};
  std::iota(words.begin(), words.end(), 0U);
  std::array<uint64_t, NPG_PORT_WORDS> bits{};
  bits.fill(~uint64_t{0});
  for (const auto& [key, value] : *entries) bits.at(key.port / kBits) &= ~Bit(key.port);
  uint32_t count = NPG_PORT_WORDS;
  if (bpf_map_update_batch(map_, words.data(), bits.data(), &count, nullptr) != 0) {
    return base::ErrnoStatus(errno, "write map unallocated");
  }
  return absl::OkStatus();
}

absl::Status UnallocatedPorts::Allocate(absl::Span<const uint16_t> ports) const {
  absl::flat_hash_map<uint32_t, uint64_t> words;
  for (const uint16_t port : ports) words[port / kBits] |= Bit(port);
  if (words.size() > kFewWords) return ClearMany(map_, words);
  for (const auto& [word, mask] : words) NPG_RETURN_IF_ERROR(Write(map_, word, mask, false));
  return absl::OkStatus();
}

absl::Status UnallocatedPorts::Release(uint16_t port) const {
  for (const uint8_t protocol : {uint8_t{IPPROTO_TCP}, uint8_t{IPPROTO_UDP}}) {
    const auto entry = LookupElement<npg_port_key, npg_nodeport>(nodeports_, "nodeports",
                                                                 npg_port_key{port, protocol, 0});
    if (!entry.ok()) return entry.status();
    if (entry->has_value()) return absl::OkStatus();
  }
  return Write(map_, port / kBits, Bit(port), true);
}

}  // namespace npg::dataplane
