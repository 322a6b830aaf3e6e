// SPDX-License-Identifier: Apache-2.0
#include "sources/ip_vs_services.h"

#include <fcntl.h>
#include <sys/types.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "base/errno_status.h"
#include "base/unique_fd.h"

namespace npg::sources {
namespace {

// A million endpoints are less.
constexpr size_t kMostBytes = size_t{64} << 20;

bool AreHexDigits(absl::string_view text) {
  return std::all_of(text.begin(), text.end(),
                     [](char c) { return absl::ascii_isxdigit(static_cast<unsigned char>(c)); });
}

// "TCP  7F000001:8335 rr". A service of an IPv6 address has that in brackets, one
// of a firewall mark is "FWM  00000001 rr", and a destination begins with "  -> ".
bool IsLoopbackService(absl::string_view line) {
  if (!absl::ConsumePrefix(&line, "TCP ") && !absl::ConsumePrefix(&line, "UDP ")) return false;
  line = absl::StripLeadingAsciiWhitespace(line);
  constexpr size_t kAddress = 8;
  constexpr size_t kPort = 4;
  if (line.size() < kAddress + 1 + kPort || !absl::StartsWith(line, "7F")) return false;
  const absl::string_view rest = line.substr(kAddress + 1 + kPort);
  return AreHexDigits(line.substr(0, kAddress)) && line[kAddress] == ':' &&
         AreHexDigits(line.substr(kAddress + 1, kPort)) && (rest.empty() || rest[0] == ' ');
}

}  // namespace

void IpVsServices::Feed(absl::string_view text) {
  while (!text.empty() && !on_loopback_) {
    const size_t end = text.find('\n');
    const absl::string_view piece = text.substr(0, end);
    absl::StrAppend(&line_, piece.substr(0, kLineStart - line_.size()));
    if (end == absl::string_view::npos) return;
    on_loopback_ = IsLoopbackService(line_);
    line_.clear();
    text.remove_prefix(end + 1);
  }
}

absl::StatusOr<bool> HasIpVsServiceOnLoopback(const std::string& path) {
  const base::UniqueFd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK));
  if (!fd && errno == ENOENT) return false;
  if (!fd) return base::ErrnoStatus(errno, absl::StrCat("open ", path));
  IpVsServices services;
  std::array<char, 4096> chunk{};  // the kernel hands out no more at once
  for (size_t total = 0; total <= kMostBytes && !services.on_loopback();) {
    const ssize_t got = read(fd.get(), chunk.data(), chunk.size());
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return base::ErrnoStatus(errno, absl::StrCat("read ", path));
    if (got == 0) return false;
    services.Feed({chunk.data(), static_cast<size_t>(got)});
    total += static_cast<size_t>(got);
  }
  if (services.on_loopback()) return true;
  return absl::ResourceExhaustedError(
      absl::StrCat(path, ": is larger than ", kMostBytes >> 20, " MiB"));
}

}  // namespace npg::sources
