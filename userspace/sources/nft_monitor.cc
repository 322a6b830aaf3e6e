// SPDX-License-Identifier: Apache-2.0
#include "sources/nft_monitor.h"

#include <libmnl/libmnl.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <cstdint>
#include <functional>
#include <memory>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "base/errno_status.h"
#include "base/event_loop.h"
#include "base/netlink_view.h"
#include "sources/nft_socket.h"
#include "sources/rule_parts.h"

namespace npg::sources {
namespace {

// In one go. The rest waits for the next, so that a storm of changes leaves the
// loop time for others.
constexpr int kMaxReceives = 64;

}  // namespace

RulePartSet ChangedParts(absl::string_view messages) {
  RulePartSet parts;
  for (base::NetlinkMessage message; base::NextMessage(messages, message);) {
    // The end of a transaction names no table. All others do, in the attribute
    // that has this number in each of them.
    if (message.type == ((NFNL_SUBSYS_NFTABLES << 8) | NFT_MSG_NEWGEN)) continue;
    const base::NftMessage nft = base::ParseNftMessage(message.payload);
    parts |=
        PartOfTable(nft.family, base::TextOf(base::FindAttribute(nft.attributes, NFTA_TABLE_NAME)));
  }
  return parts;
}

absl::StatusOr<std::unique_ptr<NftMonitor>> NftMonitor::Start(
    base::EventLoop& loop, std::function<void(RulePartSet)> changed) {
  absl::StatusOr<MnlSocket> socket = OpenNetfilterSocket(1U << (NFNLGRP_NFTABLES - 1));
  if (!socket.ok()) return socket.status();
  std::unique_ptr<NftMonitor> monitor(new NftMonitor(loop, *std::move(socket), std::move(changed)));
  NPG_RETURN_IF_ERROR(loop.AddFd(mnl_socket_get_fd(monitor->socket_.get()), EPOLLIN,
                                 [raw = monitor.get()](uint32_t) { raw->OnReadable(); }));
  return monitor;
}

NftMonitor::~NftMonitor() { loop_.RemoveFd(mnl_socket_get_fd(socket_.get())); }

void NftMonitor::OnReadable() {
  std::array<char, 65536> buffer;
  RulePartSet changed;
  for (int i = 0; i < kMaxReceives; ++i) {
    const ssize_t got =
        recv(mnl_socket_get_fd(socket_.get()), buffer.data(), buffer.size(), MSG_DONTWAIT);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) break;
    if (got < 0) {
      // ENOBUFS: more happened than the socket could hold. Whatever it was, a
      // new reading finds it.
      changed |= ~LegacyParts();
      break;
    }
    changed |= ChangedParts({buffer.data(), static_cast<size_t>(got)});
  }
  if (changed.any()) changed_(changed);
}

}  // namespace npg::sources
