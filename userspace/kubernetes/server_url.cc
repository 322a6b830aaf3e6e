// SPDX-License-Identifier: Apache-2.0
#include "kubernetes/server_url.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "base/errno_status.h"
#include "core/dns_name.h"
#include "core/port.h"
#include "core/service_name.h"

namespace npg::kubernetes {
namespace {

constexpr absl::string_view kHttps = "https://";
constexpr absl::string_view kForm = "write https://HOST:PORT";

constexpr size_t kMaxUrl = 2048;

// The URL for a message; without it if it may contain a password or a token.
std::string Shown(absl::string_view url) {
  if (url.find_first_of("@?#") != absl::string_view::npos) return "the URL";
  return absl::StrCat("\"", core::Printable(url), "\"");
}

absl::Status Wrong(absl::string_view url, absl::string_view why) {
  return absl::InvalidArgumentError(absl::StrCat(Shown(url), " ", why));
}

bool IsIpv6(const std::string& text) {
  in6_addr address{};
  return inet_pton(AF_INET6, text.c_str(), &address) == 1;
}

// True when `text` is visible ASCII, without characters that are invalid in URLs.
bool IsUrlText(absl::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) {
    return absl::ascii_isgraph(static_cast<unsigned char>(c)) &&
           !absl::StrContains("\"<>\\^`{|}", c);
  });
}

// Removes the host from `authority`, which keeps "" or ":PORT".
absl::Status CheckHost(absl::string_view url, absl::string_view& authority) {
  if (absl::StartsWith(authority, "[")) {
    const size_t end = authority.find(']');
    if (end == absl::string_view::npos || !IsIpv6(std::string(authority.substr(1, end - 1)))) {
      return Wrong(url, "has no IPv6 address between its brackets");
    }
    authority.remove_prefix(end + 1);
    return absl::OkStatus();
  }
  if (std::count(authority.begin(), authority.end(), ':') > 1) {
    return Wrong(url, "has an IPv6 address without brackets; write https://[ADDRESS]:PORT");
  }
  const absl::string_view host = authority.substr(0, authority.find(':'));
  if (host.empty()) return Wrong(url, absl::StrCat("names no host; ", kForm));
  if (!core::IsHostName(host))
    return Wrong(url, "has a host that is neither a name nor an address");
  authority.remove_prefix(host.size());
  return absl::OkStatus();
}

absl::Status CheckAuthority(absl::string_view url, absl::string_view authority) {
  if (absl::StrContains(authority, '@')) {
    return Wrong(url, "has a user name in it; credentials come from elsewhere, leave it out");
  }
  NPG_RETURN_IF_ERROR(CheckHost(url, authority));
  if (authority.empty()) return absl::OkStatus();
  if (authority.front() != ':') return Wrong(url, "goes on behind its bracket without a port");
  const absl::StatusOr<uint16_t> port = core::ParsePort(authority.substr(1));
  if (port.ok()) return absl::OkStatus();
  return Wrong(url, absl::StrCat("has no valid port: ", port.status().message()));
}

}  // namespace

absl::StatusOr<std::string> CheckServerUrl(absl::string_view url) {
  if (url.empty()) return absl::InvalidArgumentError(absl::StrCat("is empty; ", kForm));
  if (url.size() > kMaxUrl) return absl::InvalidArgumentError("is longer than a URL can be");
  if (!IsUrlText(url)) {
    return Wrong(url, "has a blank, a control character or another that no URL has");
  }
  if (absl::StartsWithIgnoreCase(url, "http://")) {
    return Wrong(url, "is not https: the token would be sent in the clear; write https://");
  }
  if (!absl::StartsWithIgnoreCase(url, kHttps)) {
    return Wrong(url, absl::StrCat("does not begin with https://; ", kForm));
  }
  const absl::string_view rest = url.substr(kHttps.size());
  if (rest.find_first_of("?#") != absl::string_view::npos) {
    return Wrong(url, "has a query or a fragment; leave out what follows ? or #");
  }
  NPG_RETURN_IF_ERROR(CheckAuthority(url, rest.substr(0, rest.find('/'))));
  // The authority is not empty by now, so this ends.
  absl::string_view trimmed = rest;
  while (absl::EndsWith(trimmed, "/")) trimmed.remove_suffix(1);
  return absl::StrCat(kHttps, trimmed);
}

absl::Status CheckProxyUrl(absl::string_view url) {
  const size_t scheme_end = url.find("://");
  const std::string scheme = absl::AsciiStrToLower(url.substr(0, scheme_end));
  if (scheme_end == absl::string_view::npos ||
      (scheme != "http" && scheme != "https" && scheme != "socks5")) {
    return absl::InvalidArgumentError("is not a URL of http, https or socks5");
  }
  if (url.size() > kMaxUrl || !IsUrlText(url)) {
    return absl::InvalidArgumentError("is too long, or has a character that no URL has");
  }
  absl::string_view authority = url.substr(scheme_end + 3);
  authority = authority.substr(0, authority.find_first_of("/?#"));
  // Find the last '@': a password may contain another.
  authority.remove_prefix(authority.rfind('@') + 1);
  if (CheckAuthority(url, authority).ok()) return absl::OkStatus();
  return absl::InvalidArgumentError("has no valid host and port");
}

absl::Status CheckHostName(absl::string_view name) {
  if (core::IsHostName(name) || IsIpv6(std::string(name))) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("\"", core::Printable(name), "\" is neither a host name nor an IP address"));
}

}  // namespace npg::kubernetes
