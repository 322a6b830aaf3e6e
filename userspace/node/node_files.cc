// SPDX-License-Identifier: Apache-2.0
#include "node/node_files.h"

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
#include "core/port.h"
#include "core/port_ranges.h"

namespace npg::node {
namespace {

// Reserved ports may fill several pages.
constexpr size_t kMaxFileBytes = size_t{1} << 20;

absl::StatusOr<std::string> Read(const std::string& path) {
  return base::ReadSmallFile(path, kMaxFileBytes);
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

absl::StatusOr<core::PortRanges> ReadReservedPorts(const std::string& proc) {
  const std::string path = absl::StrCat(proc, "/sys/net/ipv4/ip_local_reserved_ports");
  const absl::StatusOr<std::string> text = Read(path);
  if (!text.ok()) return text.status();
  absl::StatusOr<core::PortRanges> ranges = core::ParsePortRanges(*text);
  if (!ranges.ok()) return base::Annotate(ranges.status(), path);
  return ranges;
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
