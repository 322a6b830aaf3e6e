// SPDX-License-Identifier: Apache-2.0
#include "rules/ip_set_decoder.h"

#include <arpa/inet.h>
#include <linux/netfilter/ipset/ip_set.h>
#include <linux/netfilter/nfnetlink.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "base/netlink_view.h"
#include "rules/rule.h"

namespace npg::rules {
namespace {

constexpr uint8_t kBitsOfByte = 8;

// IPSET_ATTR_BITMASK, which the headers have only since Linux 6.3.
constexpr uint16_t kIpSetBitmask = 12;

// The attributes of an element, by type.
using IpSetAttributes = std::array<absl::string_view, IPSET_ATTR_ADT_MAX + 1>;

IpSetAttributes ReadIpSetAttributes(absl::string_view bytes) {
  IpSetAttributes result;
  for (base::NetlinkAttribute each; base::NextAttribute(bytes, each);) {
    if (each.type < result.size()) result[each.type] = each.payload;
  }
  return result;
}

// What the dimensions of a type such as "hash:ip,port,net" consist of; nullopt for other types.
std::optional<std::vector<IpSetPart>> PartsOfIpSet(absl::string_view type) {
  const std::pair<absl::string_view, absl::string_view> method_and_parts =
      absl::StrSplit(type, absl::MaxSplits(':', 1));
  const auto& [method, names] = method_and_parts;
  if (method != "hash" && method != "bitmap") return std::nullopt;
  std::vector<IpSetPart> parts;
  for (const absl::string_view name : absl::StrSplit(names, ',')) {
    if (name == "ip" || name == "net") {
      parts.push_back(IpSetPart::kAddress);
    } else if (name == "port") {
      parts.push_back(method == "bitmap" ? IpSetPart::kPort : IpSetPart::kProtocolAndPort);
    } else {
      return std::nullopt;
    }
  }
  if (parts.empty()) return std::nullopt;
  return parts;
}

struct IpSetRange {
  std::string first, last;
};

// The address in an attribute that nests it; empty if there is none.
std::string IpSetAddress(absl::string_view attribute) {
  constexpr size_t kSizeOfIpv4 = 4;
  constexpr size_t kSizeOfIpv6 = 16;
  const absl::string_view ipv4 = base::FindAttribute(attribute, IPSET_ATTR_IPADDR_IPV4);
  if (ipv4.size() == kSizeOfIpv4) return std::string(ipv4);
  const absl::string_view ipv6 = base::FindAttribute(attribute, IPSET_ATTR_IPADDR_IPV6);
  return ipv6.size() == kSizeOfIpv6 ? std::string(ipv6) : "";
}

// The addresses with the first `bits` bits of `address`.
IpSetRange IpSetNetwork(const std::string& address, size_t bits) {
  IpSetRange range{address, address};
  for (size_t i = 0; i < address.size(); ++i) {
    const size_t before = i * kBitsOfByte;
    const size_t kept = std::min<size_t>(bits > before ? bits - before : 0, kBitsOfByte);
    const auto open = static_cast<uint8_t>(0xff >> kept);
    const auto byte = static_cast<uint8_t>(address[i]);
    range.first[i] = static_cast<char>(byte & ~open);
    range.last[i] = static_cast<char>(byte | open);
  }
  return range;
}

// nullopt: there is no such address in the element.
std::optional<IpSetRange> IpSetAddresses(absl::string_view from, absl::string_view to,
                                         absl::string_view cidr, std::optional<uint8_t> netmask) {
  const std::string first = IpSetAddress(from);
  if (first.empty()) return std::nullopt;
  std::string last = IpSetAddress(to);
  if (!last.empty()) {
    if (last.size() != first.size()) return std::nullopt;
    return IpSetRange{first, std::move(last)};
  }
  size_t bits = first.size() * kBitsOfByte;
  // The kernel applies both masks to the address that it looks up.
  if (const auto own = base::ValueOf<uint8_t>(cidr)) bits = std::min<size_t>(bits, *own);
  if (netmask.has_value()) bits = std::min<size_t>(bits, *netmask);
  return IpSetNetwork(first, bits);
}

// A value of at most 4 bytes with the padding of a set's key.
std::string PaddedForIpSet(absl::string_view bytes) {
  constexpr size_t kPadded = 4;
  std::string result(bytes);
  result.resize(kPadded, '\0');
  return result;
}

std::optional<IpSetRange> IpSetPorts(absl::string_view from, absl::string_view to) {
  if (from.size() != sizeof(uint16_t)) return std::nullopt;
  return IpSetRange{PaddedForIpSet(from),
                    PaddedForIpSet(to.size() == sizeof(uint16_t) ? to : from)};
}

// `index` counts the addresses of the key before this part.
std::optional<IpSetRange> IpSetPartOf(const IpSetAttributes& attributes, IpSetPart part,
                                      size_t index, std::optional<uint8_t> netmask) {
  switch (part) {
    case IpSetPart::kAddress:
      return index == 0 ? IpSetAddresses(attributes[IPSET_ATTR_IP], attributes[IPSET_ATTR_IP_TO],
                                         attributes[IPSET_ATTR_CIDR], netmask)
                        : IpSetAddresses(attributes[IPSET_ATTR_IP2], attributes[IPSET_ATTR_IP2_TO],
                                         attributes[IPSET_ATTR_CIDR2], netmask);
    case IpSetPart::kPort:
      return IpSetPorts(attributes[IPSET_ATTR_PORT], attributes[IPSET_ATTR_PORT_TO]);
    case IpSetPart::kProtocolAndPort: {
      const absl::string_view protocol = attributes[IPSET_ATTR_PROTO];
      std::optional<IpSetRange> ports =
          IpSetPorts(attributes[IPSET_ATTR_PORT], attributes[IPSET_ATTR_PORT_TO]);
      if (protocol.size() != 1 || !ports.has_value()) return std::nullopt;
      ports->first.insert(0, PaddedForIpSet(protocol));
      ports->last.insert(0, PaddedForIpSet(protocol));
      return ports;
    }
  }
  return std::nullopt;
}

bool IpSetExpires(absl::string_view timeout) {
  return base::ValueOf<uint32_t>(timeout).value_or(0) != 0;  // 0: never, in any byte order
}

// Whether `key` is the big-endian number behind `before`.
bool FollowsInIpSet(absl::string_view key, absl::string_view before, size_t digits) {
  for (size_t i = digits; i-- > 0;) {
    const auto next = static_cast<uint8_t>(static_cast<uint8_t>(before[i]) + 1);
    if (static_cast<uint8_t>(key[i]) != next) return false;
    if (next != 0) return key.substr(0, i) == before.substr(0, i);
  }
  return false;
}

// Adds the element to the last one if the two make one range: a bitmap of ports has up to 65,536.
bool ExtendsIpSet(std::vector<Element>& elements, const Element& next, size_t digits) {
  if (elements.empty()) return false;
  Element& last = elements.back();
  if (last.last.size() != next.first.size() || last.comment != next.comment ||
      !FollowsInIpSet(next.first, last.last, digits)) {
    return false;
  }
  last.last = next.last;
  return true;
}

}  // namespace

void IpSetDecoder::Fail(std::string unknown) {
  if (set_.unknown.empty()) set_.unknown = std::move(unknown);
}

void IpSetDecoder::Add(const base::NetlinkMessage& message) {
  if (message.type != ((NFNL_SUBSYS_IPSET << 8) | IPSET_CMD_LIST)) return;
  const absl::string_view attributes = base::AttributesBehind<nfgenmsg>(message.payload);
  // Only the first message has the type and the header.
  const absl::string_view type = base::TextOf(base::FindAttribute(attributes, IPSET_ATTR_TYPENAME));
  if (!type.empty()) TakeType(type);
  TakeHeader(base::FindAttribute(attributes, IPSET_ATTR_DATA));
  absl::string_view elements = base::FindAttribute(attributes, IPSET_ATTR_ADT);
  for (base::NetlinkAttribute each; base::NextAttribute(elements, each);) {
    if (each.type == IPSET_ATTR_DATA) AddElement(each.payload);
  }
}

void IpSetDecoder::TakeType(absl::string_view type) {
  type_ = std::string(type);
  is_list_ = type == "list:set";
  if (is_list_) return;
  std::optional<std::vector<IpSetPart>> parts = PartsOfIpSet(type);
  if (parts.has_value()) {
    set_.parts = *std::move(parts);
  } else {
    Fail(absl::StrCat("ipset of the type ", type));
  }
}

void IpSetDecoder::TakeHeader(absl::string_view attributes) {
  for (base::NetlinkAttribute each; base::NextAttribute(attributes, each);) {
    switch (each.type) {
      case IPSET_ATTR_NETMASK:
        netmask_ = base::ValueOf<uint8_t>(each.payload);
        break;
      case kIpSetBitmask:
        Fail("ipset with a bitmask");
        break;
      case IPSET_ATTR_TIMEOUT:
        set_.chance |= IpSetExpires(each.payload);
        break;
      default:
        break;
    }
  }
}

void IpSetDecoder::AddElement(absl::string_view attributes) {
  const IpSetAttributes values = ReadIpSetAttributes(attributes);
  set_.chance |= IpSetExpires(values[IPSET_ATTR_TIMEOUT]);
  if (is_list_) {
    members_.emplace_back(base::TextOf(values[IPSET_ATTR_NAME]));
    return;
  }
  const uint32_t flags = ntohl(base::ValueOf<uint32_t>(values[IPSET_ATTR_CADT_FLAGS]).value_or(0));
  if ((flags & IPSET_FLAG_NOMATCH) != 0) Fail("ipset with elements that exclude (nomatch)");
  if (!set_.unknown.empty()) return;
  Element element;
  size_t addresses = 0;
  for (const IpSetPart part : set_.parts) {
    const std::optional<IpSetRange> range = IpSetPartOf(values, part, addresses, netmask_);
    if (!range.has_value()) {
      return Fail(absl::StrCat("ipset of the type ", type_, " with a damaged element"));
    }
    if (part == IpSetPart::kAddress) ++addresses;
    element.first += range->first;
    element.last += range->last;
  }
  if (set_.parts.empty()) return;
  element.comment = std::string(base::TextOf(values[IPSET_ATTR_COMMENT]));
  if (set_.parts.size() == 1) {
    // A port of 2 bytes has its padding behind it.
    const size_t digits =
        set_.parts.front() == IpSetPart::kPort ? sizeof(uint16_t) : element.first.size();
    if (set_.parts.front() != IpSetPart::kProtocolAndPort &&
        ExtendsIpSet(set_.elements, element, digits)) {
      return;
    }
  }
  set_.elements.push_back(std::move(element));
}

Set IpSetDecoder::Take() && {
  if (!set_.unknown.empty()) set_.elements.clear();
  return std::move(set_);
}

}  // namespace npg::rules
