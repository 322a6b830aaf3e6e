// SPDX-License-Identifier: Apache-2.0
#include "dataplane/nft/nft_keeper.h"

#include <linux/netlink.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "base/event_loop.h"
#include "base/netlink_monitor.h"
#include "base/netlink_view.h"
#include "base/nft_objects.h"
#include "dataplane/nft/nft_table.h"

namespace npg::dataplane {
namespace {

// If another process keeps removing the table, it is restored this often in a second,
// then with pauses, to limit the CPU time of both.
constexpr size_t kMaxRepairsPerSecond = 10;
constexpr absl::Duration kPause = absl::Seconds(1);
constexpr absl::Duration kRetry = absl::Seconds(1);

bool ConcernsTable(const nlmsghdr& message) {
  const auto table = base::ChangedTable(base::ViewOf(message));
  return table && table->family == NFPROTO_INET && table->name == kNftTableName;
}

}  // namespace

absl::StatusOr<std::unique_ptr<NftKeeper>> NftKeeper::Start(base::EventLoop& loop,
                                                            uint32_t own_port_id, Actions actions) {
  std::unique_ptr<NftKeeper> keeper(new NftKeeper(loop, own_port_id, std::move(actions)));
  NftKeeper* const self = keeper.get();
  base::NetlinkMonitor::Handler handler;
  handler.message = [self](const nlmsghdr& message) { self->OnMessage(message); };
  handler.lost = [self] { self->touched_ = self->entries_lost_ = true; };
  handler.settled = [self](const absl::Status& status) { self->OnSettled(status); };
  // The socket receives all changes of nf_tables; kube-proxy writes thousands of Services
  // in one transaction. After a lost message the whole table is verified.
  constexpr int kQueueBytes = 4 << 20;
  auto monitor = base::NetlinkMonitor::Start(loop, NETLINK_NETFILTER, {NFNLGRP_NFTABLES},
                                             kQueueBytes, std::move(handler));
  if (!monitor.ok()) return monitor.status();
  keeper->monitor_ = *std::move(monitor);
  keeper->entries_lost_ = !keeper->actions_.begin().ok();
  // Changes between the installation and now were not seen.
  keeper->CheckAfter(absl::ZeroDuration());
  return keeper;
}

NftKeeper::~NftKeeper() {
  if (timer_ != 0) loop_.Cancel(timer_);
}

void NftKeeper::OnMessage(const nlmsghdr& message) {
  if (message.nlmsg_pid == own_port_id_ || !ConcernsTable(message)) return;
  switch (message.nlmsg_type & 0xff) {
    case NFT_MSG_NEWSETELEM:
      return;  // a foreign entry; Reconcile() removes it
    case NFT_MSG_DELSETELEM:
      entries_lost_ = true;
      break;
    default:
      break;
  }
  touched_ = true;
}

void NftKeeper::OnSettled(const absl::Status& status) {
  if (!status.ok()) Report(status);
  // An armed timer means that repairs were too frequent or failed: it will check.
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
