// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_BASE_NETLINK_VIEW_H_
#define NODEPORT_GUARD_BASE_NETLINK_VIEW_H_

#include <linux/netlink.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>

#include "absl/functional/function_ref.h"
#include "absl/strings/string_view.h"

namespace npg::base {

// Walks bytes that a netlink socket delivered, in any alignment and of any
// content: nothing is read beyond their end.

// The header's fields in host order; payload is what follows the header.
struct NetlinkMessage {
  uint16_t type = 0;
  uint16_t flags = 0;
  uint32_t sequence = 0;
  absl::string_view payload;
};

// Takes the next message off `bytes`. False at the end, and where the rest is
// no whole message.
bool NextMessage(absl::string_view& bytes, NetlinkMessage& message);

// A message that is whole, as NetlinkSocket hands it out; empty where its length is less than a
// header.
NetlinkMessage ViewOf(const nlmsghdr& message);

// A value of exactly the payload's size, as it is there; nullopt when the size is another.
template <typename Value>
std::optional<Value> ValueOf(absl::string_view payload) {
  if (payload.size() != sizeof(Value)) return std::nullopt;
  Value value;
  std::memcpy(&value, payload.data(), sizeof(value));
  return value;
}

// The fixed header that a payload begins with; nullopt when the payload is shorter.
template <typename Header>
std::optional<Header> HeaderOf(absl::string_view payload) {
  return ValueOf<Header>(payload.substr(0, sizeof(Header)));
}

// The attributes that follow that header.
template <typename Header>
absl::string_view AttributesBehind(absl::string_view payload) {
  constexpr size_t kAligned = NLMSG_ALIGN(sizeof(Header));
  return payload.size() < kAligned ? "" : payload.substr(kAligned);
}

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
// stands for a payload that is too short, or holds no errno.
int ErrorOf(absl::string_view payload);

// The answer to one request, as it comes datagram by datagram.
class NetlinkReply {
 public:
  // The answer to a request of a list (`dump`) ends with NLMSG_DONE, the answer to any
  // other with the acknowledgement that was asked for.
  NetlinkReply(uint32_t sequence, bool dump) : sequence_(sequence), dump_(dump) {}

  // Calls `visit` for each message of the answer in `datagram`, but not for the one that
  // ends it. `datagram` starts on a multiple of four bytes.
  void Take(absl::string_view datagram, absl::FunctionRef<void(const nlmsghdr& message)> visit);

  bool ended() const { return ended_; }

  // What the kernel walked was changed meanwhile: the answer does not count.
  bool interrupted() const { return interrupted_; }

  // The errno with which the answer ended; 0 when all is well.
  int error() const { return error_; }

 private:
  const uint32_t sequence_;
  const bool dump_;
  bool ended_ = false;
  bool interrupted_ = false;
  int error_ = 0;
};

// An nf_tables message's payload: the family and the attributes behind it.
struct NftMessage {
  uint8_t family = 0;  // NFPROTO_..., of which two are AF_INET and AF_INET6
  absl::string_view attributes;
};

NftMessage ParseNftMessage(absl::string_view payload);

// The table of which an nf_tables notification tells a change, or of which a part has
// changed.
struct NftTableRef {
  uint8_t family = 0;
  absl::string_view name;
};

// nullopt for a message that names no table: the end of a transaction.
std::optional<NftTableRef> ChangedTable(const NetlinkMessage& message);

}  // namespace npg::base

#endif  // NODEPORT_GUARD_BASE_NETLINK_VIEW_H_
