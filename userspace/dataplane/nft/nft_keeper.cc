// SPDX-License-Identifier: Apache-2.0
#include "dataplane/nft/nft_keeper.h"

#include <linux/netlink.h>
#include <sys/epoll.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "base/errno_status.h"
#include "base/event_loop.h"
#include "base/netlink_socket.h"
#include "dataplane/nft/nft_objects.h"
#include "dataplane/nft/nft_table.h"

namespace npg::dataplane {
namespace {

// Somebody who removes the table each time it appears gets it back this often
// in a second, then with pauses: neither of us may eat the node's CPU.
constexpr size_t kMaxRepairsPerSecond = 10;
constexpr absl::Duration kPause = absl::Seconds(1);
constexpr absl::Duration kRetry = absl::Seconds(1);

// An event of one of these kinds begins its attributes with the table's name.
bool NamesTable(uint8_t type) {
  switch (type) {
    case NFT_MSG_NEWTABLE:
    case NFT_MSG_DELTABLE:
    case NFT_MSG_NEWCHAIN:
    case NFT_MSG_DELCHAIN:
    case NFT_MSG_NEWRULE:
    case NFT_MSG_DELRULE:
    case NFT_MSG_NEWSET:
    case NFT_MSG_DELSET:
    case NFT_MSG_NEWSETELEM:
    case NFT_MSG_DELSETELEM:
    case NFT_MSG_NEWOBJ:
    case NFT_MSG_DELOBJ:
      return true;
    default:
      return false;
  }
}
static_assert(int{NFTA_TABLE_NAME} == 1 && int{NFTA_CHAIN_TABLE} == 1 &&
              int{NFTA_RULE_TABLE} == 1 && int{NFTA_SET_TABLE} == 1 &&
              int{NFTA_SET_ELEM_LIST_TABLE} == 1 && int{NFTA_OBJ_TABLE} == 1);

bool ConcernsTable(const nlmsghdr& message) {
  if (message.nlmsg_len < mnl_nlmsg_size(sizeof(nfgenmsg)) ||
      message.nlmsg_type >> 8 != NFNL_SUBSYS_NFTABLES ||
      !NamesTable(static_cast<uint8_t>(message.nlmsg_type & 0xff))) {
    return false;
  }
  if (static_cast<const nfgenmsg*>(mnl_nlmsg_get_payload(&message))->nfgen_family != NFPROTO_INET) {
    return false;
  }
  bool ours = false;
  const auto visit = [](const nlattr* attribute, void* data) {
    if (mnl_attr_get_type(attribute) != NFTA_TABLE_NAME) return MNL_CB_OK;
    *static_cast<bool*>(data) = mnl_attr_validate(attribute, MNL_TYPE_NUL_STRING) == 0 &&
                                mnl_attr_get_str(attribute) == kNftTableName;
    return MNL_CB_STOP;
  };
  mnl_attr_parse(&message, sizeof(nfgenmsg), visit, &ours);
  return ours;
}

}  // namespace

absl::StatusOr<std::unique_ptr<NftKeeper>> NftKeeper::Start(base::EventLoop& loop,
                                                            uint32_t own_port_id, Actions actions) {
  absl::StatusOr<base::NetlinkSocket> socket = base::NetlinkSocket::Open(NETLINK_NETFILTER);
  if (!socket.ok()) return socket.status();
  // Everybody's changes come here: kube-proxy's, of thousands of Services, in one
  // transaction. Each time that some are lost the whole table is verified.
  socket->GrowQueue(4 << 20);
  NPG_RETURN_IF_ERROR(socket->Join(NFNLGRP_NFTABLES));
  std::unique_ptr<NftKeeper> keeper(
      new NftKeeper(loop, *std::move(socket), own_port_id, std::move(actions)));
  NftKeeper* self = keeper.get();
  NPG_RETURN_IF_ERROR(
      loop.AddFd(self->socket_.fd(), EPOLLIN, [self](uint32_t /*events*/) { self->OnReadable(); }));
  // Nobody watched between the installation and now.
  keeper->CheckAfter(absl::ZeroDuration());
  return keeper;
}

NftKeeper::~NftKeeper() {
  if (timer_ != 0) loop_.Cancel(timer_);
  loop_.RemoveFd(socket_.fd());
}

void NftKeeper::OnMessage(const nlmsghdr& message) {
  if (message.nlmsg_pid == own_port_id_ || !ConcernsTable(message)) return;
  switch (message.nlmsg_type & 0xff) {
    case NFT_MSG_NEWSETELEM:
      return;  // to be exempt without being a flow of ours: Reconcile() removes it
    case NFT_MSG_DELSETELEM:
      entries_lost_ = true;
      break;
    default:
      break;
  }
  touched_ = true;
}

void NftKeeper::OnReadable() {
  // Bounded, so that who rewrites rules all the time leaves time for the rest,
  // and for the repair; the loop comes back for more.
  constexpr int kMost = 256;
  for (int i = 0; i < kMost; ++i) {
    const auto received = socket_.Receive([this](const nlmsghdr& message) { OnMessage(message); });
    if (!received.ok()) {
      Report(received.status());
      break;
    }
    if (*received == base::NetlinkSocket::Received::kNothing) break;
    if (*received == base::NetlinkSocket::Received::kOverrun) touched_ = entries_lost_ = true;
  }
  // With a timer armed, we were here too often or in vain: it looks after this.
  if (touched_ && timer_ == 0) Check();
}

void NftKeeper::Report(const absl::Status& failure) {
  if (failure_ == failure.message()) return;
  failure_ = std::string(failure.message());
  actions_.repaired(failure);
}

void NftKeeper::CheckAfter(absl::Duration delay) {
  timer_ = loop_.After(delay, [this] {
    timer_ = 0;
    Check();
  });
}

void NftKeeper::Check() {
  constexpr uint64_t kSecond = 1'000'000'000;
  const uint64_t now = base::BootNanoseconds();
  while (!repairs_.empty() && now - repairs_.front() >= kSecond) repairs_.pop_front();
  if (repairs_.size() >= kMaxRepairsPerSecond) {
    CheckAfter(kPause);
    return;
  }
  const absl::StatusOr<bool> repaired = actions_.repair(entries_lost_);
  if (!repaired.ok()) {
    CheckAfter(kRetry);
    Report(repaired.status());
    return;
  }
  failure_.clear();
  touched_ = entries_lost_ = false;
  if (!*repaired) return;
  repairs_.push_back(now);
  actions_.repaired(absl::OkStatus());
}

}  // namespace npg::dataplane
