// SPDX-License-Identifier: Apache-2.0
#include "node/ip_vs_services.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>

#include "absl/container/btree_set.h"
#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "base/errno_status.h"
#include "base/small_file.h"
#include "base/unique_fd.h"
#include "core/listener.h"
#include "core/port.h"

namespace npg::node {
namespace {

// More than a million endpoints need.
constexpr size_t kMaxBytes = size_t{64} << 20;

using Address = std::array<uint8_t, 16>;

bool AreHexDigits(absl::string_view text) {
  return std::all_of(text.begin(), text.end(),
                     [](char c) { return absl::ascii_isxdigit(static_cast<unsigned char>(c)); });
}

// "7F000001" or, for IPv6 by the kernel's %pI6, in full length and in brackets:
// "[0000:0000:0000:0000:0000:0000:0000:0001]". Removes it from the line.
std::optional<Address> TakeAddress(absl::string_view& line) {
  constexpr size_t kIpv4Digits = 8;
  constexpr size_t kIpv6Length = 39;
  const bool ipv6 = absl::ConsumePrefix(&line, "[");
  std::string digits(line.substr(0, ipv6 ? kIpv6Length : kIpv4Digits));
  line.remove_prefix(digits.size());
  if (ipv6) {
    digits.erase(std::remove(digits.begin(), digits.end(), ':'), digits.end());
    if (!absl::ConsumePrefix(&line, "]")) return std::nullopt;
  } else {
    digits.insert(0, "00000000000000000000ffff");
  }
  Address address{};
  if (digits.size() != 2 * address.size() || !AreHexDigits(digits)) return std::nullopt;
  const char* digit = digits.data();
  for (uint8_t& byte : address) {
    std::from_chars(digit, digit + 2, byte, 16);
    digit += 2;
  }
  return address;
}

// Until `more` returns false.
absl::Status FeedIpVsFile(const std::string& path, IpVsServices& services,
                          absl::FunctionRef<bool()> more) {
  const absl::StatusOr<base::UniqueFd> fd = base::OpenToRead(path);
  if (!fd.ok()) return fd.status();
  return base::ReadPieces(fd->get(), path, kMaxBytes, [&](absl::string_view piece) {
    services.Feed(piece);
    return more();
  });
}

}  // namespace

// "TCP  7F000001:8335 rr". A service of a firewall mark is "FWM  00000001 rr", and
// a destination begins with "  -> ".
void IpVsServices::TakeLine(absl::string_view line) {
  const bool tcp = absl::ConsumePrefix(&line, "TCP ");
  if (!tcp && !absl::ConsumePrefix(&line, "UDP ")) return;
  line = absl::StripLeadingAsciiWhitespace(line);
  constexpr size_t kPort = 4;
  const std::optional<Address> address = TakeAddress(line);
  if (!address || line.size() < 1 + kPort || line[0] != ':') return;
  const absl::string_view digits = line.substr(1, kPort);
  const absl::string_view rest = line.substr(1 + kPort);
  if (!AreHexDigits(digits) || (!rest.empty() && rest[0] != ' ')) return;
  if (!core::IsLoopback(*address) && !own_.contains(*address)) return;
  found_ = true;
  core::PortKey key{0, tcp ? core::Protocol::kTcp : core::Protocol::kUdp};
  std::from_chars(digits.data(), digits.data() + digits.size(), key.port, 16);
  if (key.port != 0) ports_.insert(key);
}

void IpVsServices::Feed(absl::string_view text) {
  while (!text.empty()) {
    const size_t end = text.find('\n');
    const absl::string_view piece = text.substr(0, end);
    absl::StrAppend(&line_, piece.substr(0, kLineStart - line_.size()));
    if (end == absl::string_view::npos) return;
    TakeLine(line_);
    line_.clear();
    text.remove_prefix(end + 1);
  }
}

absl::StatusOr<bool> HasIpVsService(const core::AddressSet& own, const std::string& path) {
  IpVsServices services(own);
  const absl::Status fed = FeedIpVsFile(path, services, [&services] { return !services.found(); });
  if (!fed.ok() && !absl::IsNotFound(fed)) return fed;
  return services.found();
}

absl::StatusOr<absl::btree_set<core::PortKey>> IpVsPorts(const core::AddressSet& own,
                                                         const std::string& path) {
  IpVsServices services(own);
  NPG_RETURN_IF_ERROR(FeedIpVsFile(path, services, [] { return true; }));
  return services.ports();
}

}  // namespace npg::node
