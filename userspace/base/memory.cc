// SPDX-License-Identifier: Apache-2.0
#include "base/memory.h"

#include <malloc.h>
#include <sys/mman.h>

#include <fstream>
#include <istream>
#include <string>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"

namespace npg::base {
namespace {

// "7f00-7fff r-xp 00000000 fe:00 1234 /usr/lib/libc.so.6", if it is a mapping of
// a file that nobody writes to; otherwise {}.
MemoryRange ParseMapping(absl::string_view line) {
  const std::vector<absl::string_view> fields = absl::StrSplit(line, ' ', absl::SkipEmpty());
  if (fields.size() < 6 || fields[1].size() != 4 || !absl::StartsWith(fields[5], "/")) return {};
  const bool read_only_private = fields[1][0] == 'r' && fields[1][1] == '-' && fields[1][3] == 'p';
  const std::vector<absl::string_view> range = absl::StrSplit(fields[0], '-');
  MemoryRange mapping;
  if (!read_only_private || range.size() != 2 || !absl::SimpleHexAtoi(range[0], &mapping.begin) ||
      !absl::SimpleHexAtoi(range[1], &mapping.end)) {
    return {};
  }
  return mapping;
}

// "Anonymous:            4 kB"
bool IsZero(absl::string_view line) {
  const std::vector<absl::string_view> fields = absl::StrSplit(line, ' ', absl::SkipEmpty());
  return fields.size() >= 2 && fields[1] == "0";
}

}  // namespace

std::vector<MemoryRange> CleanFileMappings(std::istream& smaps) {
  std::vector<MemoryRange> clean;
  std::string line;
  MemoryRange mapping;
  // Pages that were written before they became read-only (relocations) are not
  // in the file: they would come back as they were there. So would those of
  // them that are swapped out.
  bool no_copies = false;
  while (std::getline(smaps, line)) {
    if (!line.empty() && !absl::ascii_isupper(static_cast<unsigned char>(line[0]))) {
      mapping = ParseMapping(line);
      no_copies = false;
    } else if (absl::StartsWith(line, "Anonymous:")) {
      no_copies = IsZero(line);
    } else if (absl::StartsWith(line, "Swap:") && mapping.end != 0) {
      if (no_copies && IsZero(line)) clean.push_back(mapping);
    }
  }
  return clean;
}

void ReleaseUnusedMemory() {
  malloc_trim(0);
  std::ifstream smaps("/proc/self/smaps");
  for (const MemoryRange& range : CleanFileMappings(smaps)) {
    // NOLINTNEXTLINE(performance-no-int-to-ptr): the kernel names it as a number.
    madvise(reinterpret_cast<void*>(range.begin), range.end - range.begin, MADV_DONTNEED);
  }
}

}  // namespace npg::base
