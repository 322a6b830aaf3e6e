// SPDX-License-Identifier: Apache-2.0
#include "node/node_files.h"

#include <sys/types.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "base/errno_status.h"
#include "base/small_file.h"
#include "base/unique_fd.h"
#include "core/port.h"
#include "core/port_ranges.h"

namespace npg::node {
namespace {

constexpr size_t kMaxFileBytes = size_t{1} << 20;
// The longest list of reserved ports, "1,3-4,6-7,...", is shorter.
constexpr size_t kMaxRangesBytes = size_t{512} << 10;
constexpr size_t kUsualRangesBytes = size_t{4} << 10;

absl::StatusOr<std::string> Read(const std::string& path) {
  return base::ReadSmallFile(path, kMaxFileBytes);
}

// What one read() from the start of the file returns.
absl::StatusOr<std::string> ReadStart(int fd, const std::string& path, size_t max_bytes) {
  std::string text(max_bytes, '\0');
  ssize_t got = 0;
  do {
    got = pread(fd, text.data(), text.size(), 0);
  } while (got < 0 && errno == EINTR);
  if (got < 0) return base::ErrnoStatus(errno, path);
  text.resize(static_cast<size_t>(got));
  return text;
}

}  // namespace

absl::StatusOr<core::PortRange> ReadLocalPortRange(const std::string& proc) {
  const std::string path = absl::StrCat(proc, "/sys/net/ipv4/ip_local_port_range");
  const absl::StatusOr<std::string> text = Read(path);
  if (!text.ok()) return text.status();
  const std::vector<absl::string_view> numbers =
      absl::StrSplit(*text, absl::ByAnyChar(" \t\n"), absl::SkipEmpty());
  if (numbers.size() == 2) {
    const absl::StatusOr<uint16_t> first = core::ParsePort(numbers[0]);
    const absl::StatusOr<uint16_t> last = core::ParsePort(numbers[1]);
    if (first.ok() && last.ok() && *first <= *last) return core::PortRange{*first, *last};
  }
  return absl::InternalError(absl::StrCat(path, ": is not two ports"));
}

// The kernel prints such a list only at the start of the file (proc_do_large_bitmap() in
// kernel/sysctl.c), so a read() after the first would return nothing and cut it. It allocates a
// buffer of the size that is asked for, which is why the long one is the exception.
absl::StatusOr<core::PortRanges> ReadPortRanges(const std::string& path) {
  const absl::StatusOr<base::UniqueFd> fd = base::OpenToRead(path);
  if (!fd.ok()) return fd.status();
  absl::StatusOr<std::string> text = ReadStart(fd->get(), path, kUsualRangesBytes);
  if (text.ok() && text->size() == kUsualRangesBytes) {
    text = ReadStart(fd->get(), path, kMaxRangesBytes);
  }
  if (!text.ok()) return text.status();
  if (text->size() == kMaxRangesBytes) {
    return absl::ResourceExhaustedError(
        absl::StrCat(path, ": is larger than ", kMaxRangesBytes >> 10, " KiB"));
  }
  absl::StatusOr<core::PortRanges> ranges = core::ParsePortRanges(*text);
  if (!ranges.ok()) return base::Annotate(ranges.status(), path);
  return ranges;
}

absl::StatusOr<core::PortRanges> ReadReservedPorts(const std::string& proc) {
  return ReadPortRanges(absl::StrCat(proc, "/sys/net/ipv4/ip_local_reserved_ports"));
}

absl::StatusOr<bool> ReadRouteLocalnet(const std::string& proc) {
  const absl::StatusOr<std::string> text =
      Read(absl::StrCat(proc, "/sys/net/ipv4/conf/all/route_localnet"));
  if (!text.ok()) return text.status();
  return absl::StripAsciiWhitespace(*text) != "0";
}

absl::StatusOr<uint64_t> ParseEffectiveCapabilities(absl::string_view status) {
  for (const absl::string_view line : absl::StrSplit(status, '\n')) {
    if (!absl::StartsWith(line, "CapEff:")) continue;
    uint64_t bits = 0;
    if (!absl::SimpleHexAtoi(absl::StripAsciiWhitespace(line.substr(7)), &bits)) break;
    return bits;
  }
  return absl::InternalError("there is no line CapEff");
}

absl::StatusOr<uint64_t> ReadEffectiveCapabilities(const std::string& proc) {
  const std::string path = absl::StrCat(proc, "/self/status");
  const absl::StatusOr<std::string> text = Read(path);
  if (!text.ok()) return text.status();
  absl::StatusOr<uint64_t> bits = ParseEffectiveCapabilities(*text);
  if (!bits.ok()) return base::Annotate(bits.status(), path);
  return bits;
}

std::optional<bool> InNetnsOfInit(const std::string& proc) {
  const absl::StatusOr<std::string> own = base::ReadLink(absl::StrCat(proc, "/self/ns/net"));
  const absl::StatusOr<std::string> init = base::ReadLink(absl::StrCat(proc, "/1/ns/net"));
  if (!own.ok() || !init.ok()) return std::nullopt;
  return *own == *init;
}

bool HasLegacyTables(const std::string& proc, bool ipv6) {
  const absl::StatusOr<std::string> names =
      Read(absl::StrCat(proc, "/self/net/", ipv6 ? "ip6_tables_names" : "ip_tables_names"));
  return names.ok() && !absl::StripAsciiWhitespace(*names).empty();
}

}  // namespace npg::node
