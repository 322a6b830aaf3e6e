// SPDX-License-Identifier: Apache-2.0
#include "core/listener.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <string>

#include "absl/strings/str_cat.h"

namespace npg::core {
namespace {

constexpr uint32_t kLoopbackIfindex = 1;  // include/net/net_namespace.h: in every namespace

in6_addr ToIn6(const std::array<uint8_t, 16>& address) {
  in6_addr result{};
  std::memcpy(&result, address.data(), address.size());
  return result;
}

}  // namespace

std::string AddressText(const std::array<uint8_t, 16>& address) {
  const in6_addr v6 = ToIn6(address);
  std::array<char, INET6_ADDRSTRLEN> text{};
  if (IN6_IS_ADDR_V4MAPPED(&v6)) {
    inet_ntop(AF_INET, &address[12], text.data(), text.size());
    return text.data();
  }
  inet_ntop(AF_INET6, &v6, text.data(), text.size());
  return absl::StrCat("[", text.data(), "]");
}

bool IsV4Mapped(const std::array<uint8_t, 16>& address) {
  const in6_addr v6 = ToIn6(address);
  return IN6_IS_ADDR_V4MAPPED(&v6);
}

std::string ProcessText(absl::string_view comm, int64_t pid) {
  return absl::StrCat(comm, "[", pid, "]");
}

bool IsLoopback(const std::array<uint8_t, 16>& address) {
  constexpr uint8_t kLoopbackNet = 127;
  const in6_addr v6 = ToIn6(address);
  if (IN6_IS_ADDR_V4MAPPED(&v6)) return address[12] == kLoopbackNet;
  return IN6_IS_ADDR_LOOPBACK(&v6);
}

bool IsWildcard(const std::array<uint8_t, 16>& address) {
  const in6_addr v6 = ToIn6(address);
  if (IN6_IS_ADDR_V4MAPPED(&v6)) {
    return std::all_of(address.begin() + 12, address.end(), [](uint8_t byte) { return byte == 0; });
  }
  return IN6_IS_ADDR_UNSPECIFIED(&v6);
}

bool IsLookedUp(const Listener& listener) {
  return listener.ifindex == 0 || listener.key.protocol == Protocol::kUdp;
}

bool ReachableOverLoopback(const Listener& listener) {
  return ReachableOverLoopbackOr({}, listener);
}

bool ReachableOverLoopbackOr(const AddressSet& own, const Listener& listener) {
  if (listener.ifindex != 0 && listener.ifindex != kLoopbackIfindex) return false;
  return IsWildcard(listener.address) || IsLoopback(listener.address) ||
         own.contains(listener.address);
}

}  // namespace npg::core
