// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_SOURCES_NFT_SOCKET_H_
#define NODEPORT_GUARD_SOURCES_NFT_SOCKET_H_

#include <libmnl/libmnl.h>

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace npg::sources {

struct MnlSocketCloser {
  void operator()(mnl_socket* socket) const { mnl_socket_close(socket); }
};
using MnlSocket = std::unique_ptr<mnl_socket, MnlSocketCloser>;

// Opens a netfilter netlink socket that is in the multicast groups `groups`
// (a mask of 1 << (NFNLGRP_... - 1)) of the current network namespace.
absl::StatusOr<MnlSocket> OpenNetfilterSocket(unsigned groups);

// Asks nf_tables of the current network namespace. Changes nothing. Families
// are AF_INET, AF_INET6. Errors name what was asked for;
// PERMISSION_DENIED without CAP_NET_ADMIN.
class NftSocket {
 public:
  static absl::StatusOr<NftSocket> Open();

  absl::StatusOr<bool> HasChain(uint8_t family, absl::string_view table, absl::string_view chain);

  // The kernel's reply to NFT_MSG_GETSETELEM: netlink messages, NLMSG_DONE or
  // NLMSG_ERROR at the end. What it says (other than that it is not permitted) is for
  // DecodeMapElements() to say.
  absl::StatusOr<std::vector<char>> DumpMap(uint8_t family, absl::string_view table,
                                            absl::string_view map);

 private:
  explicit NftSocket(MnlSocket socket) : socket_(std::move(socket)) {}

  struct Request {
    uint16_t type;            // NFT_MSG_...
    uint16_t flags;           // NLM_F_DUMP or NLM_F_ACK
    uint8_t family;           // AF_INET or AF_INET6
    uint16_t name_attribute;  // of the object in the table; the table's is 1 in every message
  };

  // Sends the request and gathers the reply, to its last message.
  absl::StatusOr<std::vector<char>> Ask(const Request& request, absl::string_view table,
                                        absl::string_view name);

  MnlSocket socket_;
  uint32_t sequence_ = 0;
};

}  // namespace npg::sources

#endif  // NODEPORT_GUARD_SOURCES_NFT_SOCKET_H_
