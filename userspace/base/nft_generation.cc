// SPDX-License-Identifier: Apache-2.0
#include "base/nft_generation.h"

#include <arpa/inet.h>
#include <libmnl/libmnl.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>
#include <sys/socket.h>

#include <array>
#include <cstdint>
#include <optional>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/netlink_socket.h"

namespace npg::base {

absl::StatusOr<uint32_t> NftGeneration(NetlinkSocket& socket) {
  alignas(nlmsghdr) std::array<char, 64> buffer{};
  nlmsghdr* const request = mnl_nlmsg_put_header(buffer.data());
  request->nlmsg_type = static_cast<uint16_t>((NFNL_SUBSYS_NFTABLES << 8) | NFT_MSG_GETGEN);
  auto* const header =
      static_cast<nfgenmsg*>(mnl_nlmsg_put_extra_header(request, sizeof(nfgenmsg)));
  header->nfgen_family = AF_UNSPEC;
  header->version = NFNETLINK_V0;
  const auto answer = socket.Ask(*request, "read the nf_tables generation");
  if (!answer.ok()) return answer.status();
  std::optional<uint32_t> generation;
  answer->ForEach([&generation](const nlmsghdr& message) {
    const auto visit = [](const nlattr* attribute, void* data) {
      if (mnl_attr_get_type(attribute) == NFTA_GEN_ID) {
        *static_cast<std::optional<uint32_t>*>(data) = ntohl(mnl_attr_get_u32(attribute));
      }
      return MNL_CB_OK;
    };
    mnl_attr_parse(&message, sizeof(nfgenmsg), visit, &generation);
  });
  if (!generation.has_value()) {
    return absl::InternalError("the kernel reports no nf_tables generation");
  }
  return *generation;
}

}  // namespace npg::base
