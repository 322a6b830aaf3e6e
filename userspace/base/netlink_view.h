// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_BASE_NETLINK_VIEW_H_
#define NODEPORT_GUARD_BASE_NETLINK_VIEW_H_

#include <cstdint>

#include "absl/strings/string_view.h"

namespace npg::base {

// Walks bytes that a netlink socket delivered, in any alignment and of any
// content: nothing is read beyond their end.

// The header's fields in host order; payload is what follows the header.
struct NetlinkMessage {
  uint16_t type = 0;
  uint16_t flags = 0;
  absl::string_view payload;
};

// Takes the next message off `bytes`. False at the end, and where the rest is
// no whole message.
bool NextMessage(absl::string_view& bytes, NetlinkMessage& message);

// type is without the flags for nesting and byte order.
struct NetlinkAttribute {
  uint16_t type = 0;
  absl::string_view payload;
};

// The same for attributes; a nested attribute's payload is walked like this too.
bool NextAttribute(absl::string_view& bytes, NetlinkAttribute& attribute);

// The payload of the first attribute `type` in `attributes`; empty when there
// is none.
absl::string_view FindAttribute(absl::string_view attributes, uint16_t type);

// Text up to its NUL, or to the end when there is none.
absl::string_view TextOf(absl::string_view payload);

// The errno in the payload of an NLMSG_ERROR; 0 is an acknowledgement, EPROTO
// stands for a payload too short to hold one.
int ErrorOf(absl::string_view payload);

// An nf_tables message's payload: the family and the attributes behind it.
struct NftMessage {
  uint8_t family = 0;  // NFPROTO_..., of which two are AF_INET and AF_INET6
  absl::string_view attributes;
};

NftMessage ParseNftMessage(absl::string_view payload);

}  // namespace npg::base

#endif  // NODEPORT_GUARD_BASE_NETLINK_VIEW_H_
