// SPDX-License-Identifier: Apache-2.0
#include "sources/nft_socket.h"

#include <libmnl/libmnl.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>
#include <sys/socket.h>
#include <sys/time.h>

#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "base/errno_status.h"
#include "base/netlink_view.h"

namespace npg::sources {
namespace {

// The kernel sends dumps in pieces of at most this size.
constexpr size_t kPiece = 65536;

// The kernel answers at once; this is for a kernel that does not.
constexpr timeval kPatience = {5, 0};

absl::Status SocketError(int error, absl::string_view what) {
  absl::Status status = base::ErrnoStatus(error, what);
  if (error != EPERM) return status;
  return {status.code(),
          absl::StrCat(status.message(), "; run as root or with the capability CAP_NET_ADMIN")};
}

// Whether `piece` holds the last message of a reply.
bool IsLast(absl::string_view piece) {
  for (base::NetlinkMessage message; base::NextMessage(piece, message);) {
    if (message.type == NLMSG_DONE || message.type == NLMSG_ERROR) return true;
  }
  return false;
}

// The errno of a reply that ends in NLMSG_ERROR; 0 is an acknowledgement.
int ErrorOfReply(absl::string_view reply) {
  for (base::NetlinkMessage message; base::NextMessage(reply, message);) {
    if (message.type == NLMSG_ERROR) return base::ErrorOf(message.payload);
  }
  return EPROTO;
}

absl::string_view FamilyName(uint8_t family) { return family == AF_INET6 ? "ip6" : "ip"; }

}  // namespace

absl::StatusOr<MnlSocket> OpenNetfilterSocket(unsigned groups) {
  MnlSocket socket(mnl_socket_open2(NETLINK_NETFILTER, SOCK_CLOEXEC));
  if (!socket) return SocketError(errno, "open a netfilter socket");
  if (mnl_socket_bind(socket.get(), groups, MNL_SOCKET_AUTOPID) != 0) {
    return SocketError(errno,
                       groups == 0 ? "bind a netfilter socket" : "listen to nf_tables changes");
  }
  return socket;
}

absl::StatusOr<NftSocket> NftSocket::Open() {
  absl::StatusOr<MnlSocket> socket = OpenNetfilterSocket(0);
  if (!socket.ok()) return socket.status();
  if (setsockopt(mnl_socket_get_fd(socket->get()), SOL_SOCKET, SO_RCVTIMEO, &kPatience,
                 sizeof(kPatience)) != 0) {
    return SocketError(errno, "limit the wait of a netfilter socket");
  }
  return NftSocket(*std::move(socket));
}

absl::StatusOr<std::vector<char>> NftSocket::Ask(const Request& request, absl::string_view table,
                                                 absl::string_view name) {
  alignas(nlmsghdr) std::array<char, 1024> buffer{};
  nlmsghdr* const message = mnl_nlmsg_put_header(buffer.data());
  message->nlmsg_type = static_cast<uint16_t>((NFNL_SUBSYS_NFTABLES << 8) | request.type);
  message->nlmsg_flags = static_cast<uint16_t>(NLM_F_REQUEST | request.flags);
  message->nlmsg_seq = ++sequence_;
  auto* const header =
      static_cast<nfgenmsg*>(mnl_nlmsg_put_extra_header(message, sizeof(nfgenmsg)));
  header->nfgen_family = request.family;
  header->version = NFNETLINK_V0;
  if (!mnl_attr_put_strz_check(message, buffer.size(), 1, std::string(table).c_str()) ||
      !mnl_attr_put_strz_check(message, buffer.size(), request.name_attribute,
                               std::string(name).c_str())) {
    return absl::InvalidArgumentError("the name is too long");
  }
  if (mnl_socket_sendto(socket_.get(), message, message->nlmsg_len) < 0) {
    return SocketError(errno, "ask nf_tables");
  }
  std::vector<char> reply;
  bool last = false;
  while (!last) {
    const size_t before = reply.size();
    reply.resize(before + kPiece);
    const ssize_t got = mnl_socket_recvfrom(socket_.get(), reply.data() + before, kPiece);
    if (got < 0 && errno == EINTR) {
      reply.resize(before);
      continue;
    }
    if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
      return absl::DeadlineExceededError(
          absl::StrCat("no answer from nf_tables within ", kPatience.tv_sec, " s"));
    }
    if (got < 0) return SocketError(errno, "receive the answer of nf_tables");
    reply.resize(before + static_cast<size_t>(got));
    last = got == 0 || IsLast({reply.data() + before, static_cast<size_t>(got)});
  }
  return reply;
}

absl::StatusOr<bool> NftSocket::HasChain(uint8_t family, absl::string_view table,
                                         absl::string_view chain) {
  const std::string what =
      absl::StrCat("look for chain ", chain, " in nftables table ", FamilyName(family), " ", table);
  const absl::StatusOr<std::vector<char>> reply =
      Ask({NFT_MSG_GETCHAIN, NLM_F_ACK, family, NFTA_CHAIN_NAME}, table, chain);
  if (!reply.ok()) return base::Annotate(reply.status(), what);
  const int error = ErrorOfReply({reply->data(), reply->size()});
  if (error == 0) return true;
  if (error == ENOENT || error == EAFNOSUPPORT) return false;
  return SocketError(error, what);
}

absl::StatusOr<std::vector<char>> NftSocket::DumpMap(uint8_t family, absl::string_view table,
                                                     absl::string_view map) {
  const std::string what =
      absl::StrCat("read nftables map ", map, " of table ", FamilyName(family), " ", table);
  absl::StatusOr<std::vector<char>> reply =
      Ask({NFT_MSG_GETSETELEM, NLM_F_DUMP, family, NFTA_SET_ELEM_LIST_SET}, table, map);
  if (!reply.ok()) return base::Annotate(reply.status(), what);
  if (ErrorOfReply({reply->data(), reply->size()}) == EPERM) return SocketError(EPERM, what);
  return reply;
}

}  // namespace npg::sources
