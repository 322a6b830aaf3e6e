// SPDX-License-Identifier: Apache-2.0
#include "base/netlink_view.h"

#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>

#include "absl/functional/function_ref.h"
#include "absl/strings/string_view.h"

namespace npg::base {
namespace {

// MAX_ERRNO of include/linux/err.h.
constexpr int kMaxErrno = 4095;

}  // namespace

bool NextMessage(absl::string_view& bytes, NetlinkMessage& message) {
  nlmsghdr header{};
  if (bytes.size() < sizeof(header)) return false;
  std::memcpy(&header, bytes.data(), sizeof(header));
  if (header.nlmsg_len < sizeof(header) || header.nlmsg_len > bytes.size()) return false;
  message = {header.nlmsg_type, header.nlmsg_flags, header.nlmsg_seq,
             bytes.substr(sizeof(header), header.nlmsg_len - sizeof(header))};
  AdvanceAligned(bytes, header.nlmsg_len);
  return true;
}

NetlinkMessage ViewOf(const nlmsghdr& message) {
  const size_t length = std::max<size_t>(message.nlmsg_len, sizeof(message)) - sizeof(message);
  return {message.nlmsg_type,
          message.nlmsg_flags,
          message.nlmsg_seq,
          {reinterpret_cast<const char*>(&message) + sizeof(message), length}};
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
  // The kernel's errors are negative.
  const int error = HeaderOf<int>(payload).value_or(-EPROTO);
  return error <= 0 && error >= -kMaxErrno ? -error : EPROTO;
}

void NetlinkReply::Take(absl::string_view datagram,
                        absl::FunctionRef<void(const nlmsghdr& message)> visit) {
  for (NetlinkMessage message; !ended_ && NextMessage(datagram, message);) {
    if (message.sequence != sequence_) continue;  // left over from an earlier failure
    if ((message.flags & NLM_F_DUMP_INTR) != 0) interrupted_ = true;
    switch (message.type) {
      case NLMSG_DONE:
        ended_ = true;
        // It has an error if the walk failed half way.
        error_ = message.payload.empty() ? 0 : ErrorOf(message.payload);
        break;
      case NLMSG_ERROR:
        ended_ = true;
        error_ = ErrorOf(message.payload);
        if (error_ == 0 && dump_) error_ = EPROTO;
        break;
      default:
        visit(*reinterpret_cast<const nlmsghdr*>(message.payload.data() - sizeof(nlmsghdr)));
    }
  }
  // Some walks report the change as an error.
  if (error_ == EINTR || error_ == EAGAIN) interrupted_ = true;
}

NftMessage ParseNftMessage(absl::string_view payload) {
  if (payload.size() < sizeof(nfgenmsg)) return {};
  return {static_cast<uint8_t>(payload.front()), payload.substr(sizeof(nfgenmsg))};
}

std::optional<NftTableRef> ChangedTable(const NetlinkMessage& message) {
  // All messages but the end of a transaction have the table's name in attribute 1.
  static_assert(int{NFTA_TABLE_NAME} == 1 && int{NFTA_CHAIN_TABLE} == 1 &&
                int{NFTA_RULE_TABLE} == 1 && int{NFTA_SET_TABLE} == 1 &&
                int{NFTA_SET_ELEM_LIST_TABLE} == 1 && int{NFTA_OBJ_TABLE} == 1 &&
                int{NFTA_FLOWTABLE_TABLE} == 1);
  if (message.type >> 8 != NFNL_SUBSYS_NFTABLES || (message.type & 0xff) == NFT_MSG_NEWGEN) {
    return std::nullopt;
  }
  const NftMessage nft = ParseNftMessage(message.payload);
  return NftTableRef{nft.family, TextOf(FindAttribute(nft.attributes, NFTA_TABLE_NAME))};
}

}  // namespace npg::base
