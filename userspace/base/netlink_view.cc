// SPDX-License-Identifier: Apache-2.0
#include "base/netlink_view.h"

#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "absl/strings/string_view.h"

namespace npg::base {
namespace {

// Messages and attributes alike start on a multiple of four bytes.
constexpr size_t kAlignment = 4;

// Takes `length` bytes and what pads them off `bytes`, as far as it is there.
void Advance(absl::string_view& bytes, size_t length) {
  const size_t padded = (length + kAlignment - 1) / kAlignment * kAlignment;
  bytes.remove_prefix(std::min(padded, bytes.size()));
}

}  // namespace

bool NextMessage(absl::string_view& bytes, NetlinkMessage& message) {
  nlmsghdr header{};
  if (bytes.size() < sizeof(header)) return false;
  std::memcpy(&header, bytes.data(), sizeof(header));
  if (header.nlmsg_len < sizeof(header) || header.nlmsg_len > bytes.size()) return false;
  message = {header.nlmsg_type, header.nlmsg_flags,
             bytes.substr(sizeof(header), header.nlmsg_len - sizeof(header))};
  Advance(bytes, header.nlmsg_len);
  return true;
}

bool NextAttribute(absl::string_view& bytes, NetlinkAttribute& attribute) {
  nlattr header{};
  if (bytes.size() < sizeof(header)) return false;
  std::memcpy(&header, bytes.data(), sizeof(header));
  if (header.nla_len < sizeof(header) || header.nla_len > bytes.size()) return false;
  attribute = {static_cast<uint16_t>(header.nla_type & NLA_TYPE_MASK),
               bytes.substr(sizeof(header), header.nla_len - sizeof(header))};
  Advance(bytes, header.nla_len);
  return true;
}

absl::string_view FindAttribute(absl::string_view attributes, uint16_t type) {
  for (NetlinkAttribute attribute; NextAttribute(attributes, attribute);) {
    if (attribute.type == type) return attribute.payload;
  }
  return "";
}

absl::string_view TextOf(absl::string_view payload) {
  return payload.substr(0, payload.find('\0'));
}

int ErrorOf(absl::string_view payload) {
  int error = -EPROTO;
  if (payload.size() >= sizeof(error)) std::memcpy(&error, payload.data(), sizeof(error));
  return -error;
}

NftMessage ParseNftMessage(absl::string_view payload) {
  if (payload.size() < sizeof(nfgenmsg)) return {};
  return {static_cast<uint8_t>(payload.front()), payload.substr(sizeof(nfgenmsg))};
}

}  // namespace npg::base
