// SPDX-License-Identifier: Apache-2.0
#include "core/node_address.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/algorithm/container.h"
#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "base/decimal.h"
#include "base/printable.h"
#include "core/listener.h"

namespace npg::core {
namespace {

using Bytes = std::array<uint8_t, 16>;

constexpr uint8_t kBitsOfV4 = 32;
constexpr uint8_t kBitsOfV6 = 128;
constexpr uint8_t kV4Offset = kBitsOfV6 - kBitsOfV4;  // of IPv4 in a v4-mapped address
constexpr uint8_t kLinkLocalBits = 10;                // fe80::/10
constexpr uint8_t kLoopbackBits = 8;                  // 127.0.0.0/8

// Interfaces that are made for addresses of Services. Most are of the kind dummy; the name
// also holds where another kind stands in for it.
constexpr std::array<absl::string_view, 4> kServiceInterfaces = {
    "kube-ipvs0",     // kube-proxy, mode ipvs (pkg/proxy/ipvs)
    "kube-dummy-if",  // kube-router
    "nodelocaldns",   // NodeLocal DNSCache
    "kube-lb0",       // PureLB
};

bool IsLinkLocal6(const Bytes& address) {
  return address[0] == 0xfe && (address[1] & 0xc0) == 0x80;
}

bool IsLinkLocal4(const Bytes& address) {
  return IsV4Mapped(address) && address[12] == 169 && address[13] == 254;
}

bool IsHost(const NodeAddress& address) {
  return address.prefix >= (IsV4Mapped(address.address) ? kBitsOfV4 : kBitsOfV6);
}

// What an interface has of one family.
struct Neighbours {
  bool subnet = false;
  size_t hosts = 0;  // addresses with the longest prefix that are usable
};

using Interface = std::pair<uint32_t, bool>;  // its index; whether IPv4

Interface InterfaceOf(const NodeAddress& address) {
  return {address.ifindex, IsV4Mapped(address.address)};
}

AddressRole RoleOf(const NodeAddress& address, const Neighbours& neighbours) {
  if (IsLinkLocal6(address.address)) return AddressRole::kLinkLocal;
  if (absl::c_linear_search(kServiceInterfaces, address.interface)) {
    return AddressRole::kServiceInterface;
  }
  if (address.kind == "dummy") return AddressRole::kDummy;
  if (address.loopback) return AddressRole::kLoopback;
  if (address.deprecated) return AddressRole::kDeprecated;
  if (address.tentative || address.interface.empty()) return AddressRole::kTentative;
  if (!IsHost(address)) return AddressRole::kNode;
  if (neighbours.subnet) return AddressRole::kBesideSubnet;
  return neighbours.hosts > 1 ? AddressRole::kSeveralHosts : AddressRole::kNode;
}

bool Names(const AddressChoice& choice, const Bytes& address) {
  return std::any_of(choice.ranges.begin(), choice.ranges.end(),
                     [&](const AddressRange& range) { return range.Contains(address); });
}

void Finish(JudgedAddresses& judged) {
  std::sort(judged.own.begin(), judged.own.end());
  std::sort(judged.left_out.begin(), judged.left_out.end(),
            [](const LeftOutAddress& one, const LeftOutAddress& other) {
              return one.address < other.address;
            });
}

}  // namespace

absl::string_view Meaning(AddressRole role) {
  switch (role) {
    case AddressRole::kNode:
      return "is the node's own";
    case AddressRole::kServiceInterface:
      return "the interface is one for addresses of Services";
    case AddressRole::kDummy:
      return "the interface is of the kind dummy";
    case AddressRole::kLoopback:
      return "the interface is lo";
    case AddressRole::kBesideSubnet:
      return "a host prefix beside a subnet address of the interface, as a VIP has it";
    case AddressRole::kSeveralHosts:
      return "one of several host prefixes of the interface, any of which may be a VIP";
    case AddressRole::kDeprecated:
      return "deprecated";
    case AddressRole::kTentative:
      return "tentative, a duplicate, or its interface is gone";
    case AddressRole::kLinkLocal:
      return "link-local";
    case AddressRole::kNotNamed:
      return "--local-address does not name it";
  }
  return "";
}

bool AddressRange::Contains(const Bytes& other) const {
  // ::/0 is every IPv6 address, not the IPv4 ones that are mapped into IPv6.
  if (IsV4Mapped(address) != IsV4Mapped(other)) return false;
  constexpr uint8_t kBitsOfByte = 8;
  const size_t whole = prefix / kBitsOfByte;
  if (std::memcmp(address.data(), other.data(), whole) != 0) return false;
  const unsigned rest = prefix % kBitsOfByte;
  return rest == 0 || ((address[whole] ^ other[whole]) >> (kBitsOfByte - rest)) == 0;
}

absl::StatusOr<AddressRange> ParseAddressRange(absl::string_view text) {
  const auto refuse = [&](absl::string_view why) {
    return absl::InvalidArgumentError(absl::StrCat(base::Quoted(text), " ", why));
  };
  const size_t slash = text.find('/');
  const std::string host(text.substr(0, slash));
  AddressRange range;
  uint8_t offset = 0;
  if (inet_pton(AF_INET, host.c_str(), &range.address[12]) == 1) {
    range.address[10] = range.address[11] = 0xff;
    offset = kV4Offset;
  } else if (inet_pton(AF_INET6, host.c_str(), range.address.data()) != 1) {
    return refuse("is not an IP address or CIDR, as 192.0.2.7 or 2001:db8::/64");
  }
  if (slash != absl::string_view::npos) {
    const std::optional<uint32_t> bits = base::ParseDecimal<uint32_t>(text.substr(slash + 1));
    if (!bits || *bits > static_cast<uint32_t>(kBitsOfV6 - offset)) {
      return refuse(absl::StrCat("has no prefix length from 0 to ", kBitsOfV6 - offset));
    }
    range.prefix = static_cast<uint8_t>(*bits + offset);
  }
  if (IsLinkLocal6(range.address) && range.prefix >= kLinkLocalBits) {
    return refuse("is link-local: a connect program does not know the interface that it needs");
  }
  const uint8_t loopback = IsV4Mapped(range.address) ? kV4Offset + kLoopbackBits : kBitsOfV6;
  if (IsLoopback(range.address) && range.prefix >= loopback) {
    return refuse("is loopback, which is guarded in every scope");
  }
  return range;
}

absl::StatusOr<AddressChoice> ParseAddressChoice(const std::vector<std::string>& values) {
  if (values.empty()) return absl::InvalidArgumentError("names no address");
  AddressChoice choice;
  choice.given = true;
  choice.add = absl::StartsWith(values.front(), "+");
  for (const std::string& value : values) {
    absl::string_view text = value;
    if (absl::ConsumePrefix(&text, "+") && !choice.add) {
      return absl::InvalidArgumentError(absl::StrCat(
          base::Quoted(value), " is to be added to the addresses that are found, but ",
          base::Quoted(values.front()), " replaces them: begin the list with +, or write none"));
    }
    const absl::StatusOr<AddressRange> range = ParseAddressRange(text);
    if (!range.ok()) return range.status();
    choice.ranges.push_back(*range);
  }
  return choice;
}

std::vector<AddressRole> RolesOf(const std::vector<NodeAddress>& addresses) {
  absl::flat_hash_map<Interface, Neighbours> interfaces;
  for (const NodeAddress& address : addresses) {
    Neighbours& neighbours = interfaces[InterfaceOf(address)];
    if (IsHost(address)) {
      if (!address.deprecated && !address.tentative) ++neighbours.hosts;
    } else if (!IsLinkLocal6(address.address) && !IsLinkLocal4(address.address)) {
      neighbours.subnet = true;
    }
  }
  std::vector<AddressRole> roles;
  roles.reserve(addresses.size());
  for (const NodeAddress& address : addresses) {
    roles.push_back(RoleOf(address, interfaces[InterfaceOf(address)]));
  }
  return roles;
}

JudgedAddresses JudgeAddresses(const std::vector<NodeAddress>& addresses,
                               const AddressChoice& choice) {
  const std::vector<AddressRole> roles = RolesOf(addresses);
  // An address that is left out on one interface is not guarded because another has it, too:
  // the programs see the address alone.
  absl::flat_hash_set<Bytes> doubtful;
  for (size_t i = 0; i < addresses.size(); ++i) {
    if (roles[i] != AddressRole::kNode) doubtful.insert(addresses[i].address);
  }
  JudgedAddresses judged;
  for (size_t i = 0; i < addresses.size(); ++i) {
    const NodeAddress& address = addresses[i];
    if (roles[i] == AddressRole::kLinkLocal) continue;
    const bool named = choice.given && Names(choice, address.address);
    const bool found = choice.add && !doubtful.contains(address.address);
    if (named || found) {
      judged.own.push_back({address.address, address.ifindex});
    } else if (roles[i] != AddressRole::kNode || !choice.add) {
      judged.left_out.push_back(
          {address.address, address.interface,
           roles[i] == AddressRole::kNode ? AddressRole::kNotNamed : roles[i]});
    }
  }
  Finish(judged);
  return judged;
}

std::vector<LeftOutAddress> LeftOutOf(const std::vector<NodeAddress>& addresses,
                                      const AddressSet& guarded) {
  JudgedAddresses judged = JudgeAddresses(addresses, AddressChoice{true, false, {}});
  std::erase_if(judged.left_out,
                [&](const LeftOutAddress& left_out) { return guarded.contains(left_out.address); });
  return std::move(judged.left_out);
}

std::string LeftOutText(const std::vector<LeftOutAddress>& left_out, size_t max) {
  std::vector<std::string> parts;
  for (size_t i = 0; i < left_out.size() && i < max; ++i) {
    parts.push_back(absl::StrCat(AddressText(left_out[i].address), " on ",
                                 base::Printable(left_out[i].interface), " (",
                                 Meaning(left_out[i].role), ")"));
  }
  if (left_out.size() > max) parts.push_back(absl::StrCat("and ", left_out.size() - max, " more"));
  return absl::StrJoin(parts, ", ");
}

}  // namespace npg::core
