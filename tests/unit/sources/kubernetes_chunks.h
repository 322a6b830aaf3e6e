// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_TESTS_UNIT_SOURCES_KUBERNETES_CHUNKS_H_
#define NODEPORT_GUARD_TESTS_UNIT_SOURCES_KUBERNETES_CHUNKS_H_

#include <algorithm>
#include <cstddef>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace npg::sources {

// A body in pieces, as a network delivers it.
using Chunks = std::vector<absl::string_view>;

inline Chunks CutInto(absl::string_view text, size_t size) {
  Chunks chunks;
  for (size_t at = 0; at < text.size(); at += size) chunks.push_back(text.substr(at, size));
  return chunks;
}

// `text` whole, byte by byte, in pieces of 7 bytes, and cut at 1 to 300 random places.
inline std::vector<Chunks> ManyCuts(absl::string_view text) {
  std::vector<Chunks> result = {{text}, CutInto(text, 1), CutInto(text, 7)};
  std::mt19937 random(static_cast<uint32_t>(text.size()));
  for (const size_t cuts : {1U, 2U, 3U, 10U, 100U, 300U}) {
    std::vector<size_t> at = {0, text.size()};
    for (size_t i = 0; i < cuts; ++i) {
      at.push_back(std::uniform_int_distribution<size_t>(0, text.size())(random));
    }
    std::sort(at.begin(), at.end());
    Chunks chunks;  // some of them empty
    for (size_t i = 1; i < at.size(); ++i) {
      chunks.push_back(text.substr(at[i - 1], at[i] - at[i - 1]));
    }
    result.push_back(chunks);
  }
  return result;
}

// A byte that is likely to change the structure of JSON.
inline char HostileByte(std::mt19937& random) {
  constexpr absl::string_view kBytes("\"\\{}[]:,0-.etn \n\0\x01\xff\xc3", 20);
  return kBytes[std::uniform_int_distribution<size_t>(0, kBytes.size() - 1)(random)];
}

}  // namespace npg::sources

#endif  // NODEPORT_GUARD_TESTS_UNIT_SOURCES_KUBERNETES_CHUNKS_H_
