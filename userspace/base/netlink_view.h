// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_BASE_NETLINK_VIEW_H_
#define NODEPORT_GUARD_BASE_NETLINK_VIEW_H_

#include <linux/netlink.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>

#include "absl/functional/function_ref.h"
#include "absl/strings/string_view.h"

namespace npg::base {

// Walks bytes from a netlink socket, with any alignment and content: never reads beyond
// their end.

// The header's fields in host order; payload is what follows the header.
struct NetlinkMessage {
  uint16_t type = 0;
  uint16_t flags = 0;
  uint32_t sequence = 0;
  absl::string_view payload;
};

// Removes `length` bytes, and what pads them to a multiple of four as far as it is there.
inline void AdvanceAligned(absl::string_view& bytes, size_t length) {
  bytes.remove_prefix(std::min<size_t>(NLMSG_ALIGN(length), bytes.size()));
}

// Removes the next message from `bytes`. False at the end, and when the rest is no
// complete message.
bool NextMessage(absl::string_view& bytes, NetlinkMessage& message);

// A complete message, as NetlinkSocket passes it; empty if its length is less than a header.
NetlinkMessage ViewOf(const nlmsghdr& message);

// The payload as a value of exactly its size; nullopt when the sizes differ.
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

// The same for attributes; a nested attribute's payload is walked like this too. Inline: there are
// a hundred in a rule.
inline bool NextAttribute(absl::string_view& bytes, NetlinkAttribute& attribute) {
  nlattr header{};
  if (bytes.size() < sizeof(header)) return false;
  std::memcpy(&header, bytes.data(), sizeof(header));
  if (header.nla_len < sizeof(header) || header.nla_len > bytes.size()) return false;
  attribute = {static_cast<uint16_t>(header.nla_type & NLA_TYPE_MASK),
               {bytes.data() + sizeof(header), header.nla_len - sizeof(header)}};
  AdvanceAligned(bytes, header.nla_len);
  return true;
}

// The payload of the first attribute `type` in `attributes`; empty when there
// is none.
absl::string_view FindAttribute(absl::string_view attributes, uint16_t type);

// Text up to its NUL, or to the end when there is none.
absl::string_view TextOf(absl::string_view payload);

// The errno in the payload of an NLMSG_ERROR; 0 is an acknowledgement, EPROTO a payload
// that is too short, or has no errno.
int ErrorOf(absl::string_view payload);

// The answer to one request, datagram by datagram.
class NetlinkReply {
 public:
  // The answer to a list request (`dump`) ends with NLMSG_DONE, any other with the requested
  // acknowledgement.
  NetlinkReply(uint32_t sequence, bool dump) : sequence_(sequence), dump_(dump) {}

  // Calls `visit` for each message of the answer in `datagram`, except for the last one.
  // `datagram` starts at a multiple of four bytes.
  void Take(absl::string_view datagram, absl::FunctionRef<void(const nlmsghdr& message)> visit);

  bool ended() const { return ended_; }

  // The list changed while the kernel walked it: the answer is void.
  bool interrupted() const { return interrupted_; }

  // The errno at the end of the answer; 0 for success.
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

// The table that an nf_tables notification concerns.
struct NftTableRef {
  uint8_t family = 0;
  absl::string_view name;
};

// nullopt for a message that names no table: the end of a transaction.
std::optional<NftTableRef> ChangedTable(const NetlinkMessage& message);

}  // namespace npg::base

#endif  // NODEPORT_GUARD_BASE_NETLINK_VIEW_H_
