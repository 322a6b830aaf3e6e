// SPDX-License-Identifier: Apache-2.0
#include "serve/process_usage.h"

#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <limits>
#include <string>
#include <system_error>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "base/errno_status.h"
#include "base/small_file.h"

namespace npg::serve {
namespace {

constexpr size_t kMaxBytes = size_t{1} << 22;  // /proc/stat has a line for each CPU

absl::Status Unreadable(absl::string_view path) {
  return absl::InternalError(absl::StrCat(path, ": not as a kernel writes it"));
}

absl::Duration Ticks(uint64_t ticks) {
  static const auto kPerSecond = static_cast<double>(sysconf(_SC_CLK_TCK));
  return absl::Seconds(static_cast<double>(ticks) / kPerSecond);
}

// Reads the number after `name` on a line of `text`.
bool NumberAfter(absl::string_view text, absl::string_view name, uint64_t& number) {
  for (const absl::string_view line : absl::StrSplit(text, '\n')) {
    if (line.substr(0, name.size()) != name) continue;
    const std::vector<absl::string_view> words =
        absl::StrSplit(line.substr(name.size()), ' ', absl::SkipEmpty());
    if (!words.empty() && words[0] == "unlimited") {
      number = std::numeric_limits<uint64_t>::max();
      return true;
    }
    return !words.empty() && absl::SimpleAtoi(words[0], &number);
  }
  return false;
}

// proc(5), /proc/pid/stat. Counts fields after the name, which is in parentheses and may
// itself contain blanks and parentheses.
absl::Status ParseStat(absl::string_view text, const std::string& path, absl::Time boot,
                       ProcessUsage& usage) {
  const size_t name_end = text.rfind(')');
  if (name_end == absl::string_view::npos) return Unreadable(path);
  const std::vector<absl::string_view> fields =
      absl::StrSplit(text.substr(name_end + 1), ' ', absl::SkipWhitespace());
  uint64_t user = 0, system = 0, start = 0, pages = 0;
  // Index 0 is field 3, state.
  if (fields.size() < 22 || !absl::SimpleAtoi(fields[11], &user) ||
      !absl::SimpleAtoi(fields[12], &system) || !absl::SimpleAtoi(fields[17], &usage.threads) ||
      !absl::SimpleAtoi(fields[19], &start) ||
      !absl::SimpleAtoi(fields[20], &usage.virtual_bytes) ||
      !absl::SimpleAtoi(fields[21], &pages)) {
    return Unreadable(path);
  }
  usage.cpu = Ticks(user + system);
  usage.started = boot + Ticks(start);
  usage.resident_bytes = pages * static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
  return absl::OkStatus();
}

absl::StatusOr<uint64_t> CountEntries(const std::string& folder) {
  std::error_code error;
  uint64_t count = 0;
  std::filesystem::directory_iterator entry(folder, error);
  while (!error && entry != std::filesystem::directory_iterator()) {
    ++count;
    entry.increment(error);
  }
  if (error) return absl::ErrnoToStatus(error.value(), folder);
  return count;
}

}  // namespace

absl::StatusOr<ProcessUsage> ReadProcessUsage(const std::string& proc) {
  const auto read = [&](absl::string_view name) {
    return base::ReadSmallFile(absl::StrCat(proc, name), kMaxBytes);
  };
  const absl::StatusOr<std::string> kernel = read("/stat");
  if (!kernel.ok()) return kernel.status();
  const absl::StatusOr<std::string> stat = read("/self/stat");
  if (!stat.ok()) return stat.status();
  const absl::StatusOr<std::string> limits = read("/self/limits");
  if (!limits.ok()) return limits.status();
  const absl::StatusOr<uint64_t> fds = CountEntries(absl::StrCat(proc, "/self/fd"));
  if (!fds.ok()) return fds.status();

  ProcessUsage usage;
  uint64_t boot = 0;
  if (!NumberAfter(*kernel, "btime ", boot)) return Unreadable(absl::StrCat(proc, "/stat"));
  if (!NumberAfter(*limits, "Max open files", usage.max_fds)) {
    return Unreadable(absl::StrCat(proc, "/self/limits"));
  }
  NPG_RETURN_IF_ERROR(ParseStat(*stat, absl::StrCat(proc, "/self/stat"),
                                absl::FromUnixSeconds(static_cast<int64_t>(boot)), usage));
  usage.open_fds = *fds;
  return usage;
}

}  // namespace npg::serve
