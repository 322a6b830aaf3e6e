// SPDX-License-Identifier: Apache-2.0
#include "kubernetes/proxy.h"

#include <arpa/inet.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "kubernetes/cluster_access.h"
#include "kubernetes/in_cluster.h"

namespace npg::kubernetes {
namespace {

constexpr size_t kAddressBytes = 16;
constexpr unsigned kAddressBits = 128;
constexpr unsigned kIpv4Bits = 32;
constexpr unsigned kByteBits = 8;
constexpr std::array<uint8_t, 12> kMappedPrefix = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
constexpr uint8_t kIpv4Loopback = 127;

// An address of either family; IPv4 in its mapped form, ::ffff:a.b.c.d, as in Go.
using AnyAddress = std::array<uint8_t, kAddressBytes>;

struct Endpoint {
  std::string host;
  std::string port;  // empty in NO_PROXY: any
};

std::optional<AnyAddress> ParseAnyAddress(const std::string& text) {
  AnyAddress address{};
  if (inet_pton(AF_INET6, text.c_str(), address.data()) == 1) return address;
  std::copy(kMappedPrefix.begin(), kMappedPrefix.end(), address.begin());
  if (inet_pton(AF_INET, text.c_str(), address.data() + kMappedPrefix.size()) == 1) return address;
  return std::nullopt;
}

bool IsMapped(const AnyAddress& address) {
  return std::equal(kMappedPrefix.begin(), kMappedPrefix.end(), address.begin());
}

bool IsLoopbackAddress(const AnyAddress& address) {
  if (IsMapped(address)) return address[kMappedPrefix.size()] == kIpv4Loopback;
  AnyAddress loopback{};
  loopback.back() = 1;
  return address == loopback;
}

// The address with zeros behind its first `bits` bits.
AnyAddress Masked(AnyAddress address, unsigned bits) {
  for (size_t i = 0; i < address.size(); ++i) {
    const auto before = static_cast<unsigned>(i) * kByteBits;
    if (bits >= before + kByteBits) continue;
    const unsigned kept = bits > before ? bits - before : 0;
    address[i] = static_cast<uint8_t>(address[i] & ~(0xffU >> kept));
  }
  return address;
}

// Nothing when `text` is no CIDR.
std::optional<bool> CidrContains(absl::string_view text, const AnyAddress& address) {
  const std::pair<std::string, std::string> parts = absl::StrSplit(text, absl::MaxSplits('/', 1));
  const std::optional<AnyAddress> network = ParseAnyAddress(parts.first);
  unsigned bits = 0;
  if (!network || parts.second.empty() ||
      parts.second.find_first_not_of("0123456789") != std::string::npos ||
      !absl::SimpleAtoi(parts.second, &bits)) {
    return std::nullopt;
  }
  const bool ipv4 = !absl::StrContains(parts.first, ':');
  if (bits > (ipv4 ? kIpv4Bits : kAddressBits)) return std::nullopt;
  if (ipv4) bits += kAddressBits - kIpv4Bits;
  const AnyAddress base = Masked(*network, bits);
  // ::/0 holds no IPv4 addresses.
  return IsMapped(base) == IsMapped(address) && Masked(address, bits) == base;
}

// Host and port of "host:port" or "[address]:port"; otherwise all of it is the host.
Endpoint SplitEndpoint(absl::string_view text) {
  const size_t colon = text.rfind(':');
  Endpoint whole{std::string(text), ""};
  if (colon == absl::string_view::npos) return whole;
  absl::string_view host = text.substr(0, colon);
  if (absl::ConsumePrefix(&host, "[")) {
    if (!absl::ConsumeSuffix(&host, "]")) return whole;
  } else if (absl::StrContains(host, ':')) {
    return whole;
  }
  if (host.find_first_of("[]") != absl::string_view::npos) return whole;
  return {std::string(host), std::string(text.substr(colon + 1))};
}

// Of "https://HOST[:PORT][/PATH]", in lower case.
Endpoint EndpointOf(absl::string_view server) {
  absl::ConsumePrefix(&server, "https://");
  const std::string authority = absl::AsciiStrToLower(server.substr(0, server.find('/')));
  Endpoint endpoint = SplitEndpoint(authority);
  if (endpoint.port.empty()) endpoint.port = "443";
  absl::string_view host = endpoint.host;
  if (absl::ConsumePrefix(&host, "[")) {
    absl::ConsumeSuffix(&host, "]");
    endpoint.host = std::string(host);
  }
  return endpoint;
}

// `entry` is one of NO_PROXY, in lower case, without blanks around it, and not empty.
bool Excludes(absl::string_view entry, const Endpoint& server,
              const std::optional<AnyAddress>& address) {
  if (entry == "*") return true;
  if (const std::optional<bool> contains = CidrContains(entry, address.value_or(AnyAddress{}))) {
    return address && *contains;
  }
  const Endpoint excluded = SplitEndpoint(entry);
  if (excluded.host.empty()) return false;
  if (!excluded.port.empty() && excluded.port != server.port) return false;
  if (const std::optional<AnyAddress> one = ParseAnyAddress(excluded.host)) return one == address;
  if (address) return false;
  absl::string_view domain = excluded.host;
  if (absl::StartsWith(domain, "*.")) domain.remove_prefix(1);
  if (absl::StartsWith(domain, ".")) return absl::EndsWith(server.host, domain);
  return server.host == domain || absl::EndsWith(server.host, absl::StrCat(".", domain));
}

bool UsesProxy(const Endpoint& server, absl::string_view no_proxy) {
  const std::optional<AnyAddress> address = ParseAnyAddress(server.host);
  if (server.host == "localhost" || (address && IsLoopbackAddress(*address))) return false;
  const std::string lower = absl::AsciiStrToLower(no_proxy);
  const std::vector<absl::string_view> entries = absl::StrSplit(lower, ',');
  return std::ranges::none_of(entries, [&](absl::string_view entry) {
    entry = absl::StripAsciiWhitespace(entry);
    return !entry.empty() && Excludes(entry, server, address);
  });
}

// The first of the two that is not empty.
std::string EitherVariable(const Environment& environment, const std::string& upper) {
  std::string value = environment(upper).value_or("");
  return value.empty() ? environment(absl::AsciiStrToLower(upper)).value_or("") : value;
}

}  // namespace

std::string ProxyOf(const ClusterAccess& access, const Environment& environment) {
  if (!access.proxy_url.empty()) return access.proxy_url;
  std::string proxy = EitherVariable(environment, "HTTPS_PROXY");
  if (proxy.empty()) return "";
  if (!UsesProxy(EndpointOf(access.server), EitherVariable(environment, "NO_PROXY"))) return "";
  return absl::StrContains(proxy, "://") ? proxy : absl::StrCat("http://", proxy);
}

}  // namespace npg::kubernetes
