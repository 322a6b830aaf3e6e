// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_DATAPLANE_NFT_NFT_KEEPER_H_
#define NODEPORT_GUARD_DATAPLANE_NFT_NFT_KEEPER_H_

#include <linux/netlink.h>

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/event_loop.h"
#include "base/netlink_monitor.h"

namespace npg::dataplane {

// Receives nf_tables notifications and repairs the table when another process has
// changed it. Stops when it is destroyed; the loop outlives it.
class NftKeeper {
 public:
  struct Actions {
    // Called once, when the keeper already sees changes: enters what the table lacks at the
    // start, which is no repair. After an error, the first verification looks for lost
    // entries.
    std::function<absl::Status()> begin;
    // Verifies the table and restores what is wrong or missing; true if something was.
    // `entries_lost`: entries may be missing although all else is right.
    std::function<absl::StatusOr<bool>(bool entries_lost)> repair;
    // Called with OK after each repair that changed something, and with the error of a
    // failed one unless it is the same as before.
    std::function<void(const absl::Status&)> repaired;
  };

  // Ignores changes through the netlink port `own_port_id`. Verifies the table once at
  // the start.
  static absl::StatusOr<std::unique_ptr<NftKeeper>> Start(base::EventLoop& loop,
                                                          uint32_t own_port_id, Actions actions);
  ~NftKeeper();
  NftKeeper(const NftKeeper&) = delete;
  NftKeeper& operator=(const NftKeeper&) = delete;

 private:
  NftKeeper(base::EventLoop& loop, uint32_t own_port_id, Actions actions)
      : loop_(loop), own_port_id_(own_port_id), actions_(std::move(actions)) {}

  void OnMessage(const nlmsghdr& message);
  void OnSettled(const absl::Status& status);
  void Check();
  void Report(const absl::Status& failure);
  void CheckAfter(absl::Duration delay);

  base::EventLoop& loop_;
  std::unique_ptr<base::NetlinkMonitor> monitor_;
  const uint32_t own_port_id_;
  const Actions actions_;
  bool touched_ = true;
  bool entries_lost_ = false;
  std::string failure_;                 // that was reported last; empty after a success
  std::deque<uint64_t> repairs_;        // boot times in ns, of the last second
  base::EventLoop::TimerId timer_ = 0;  // 0: none is armed
};

}  // namespace npg::dataplane

#endif  // NODEPORT_GUARD_DATAPLANE_NFT_NFT_KEEPER_H_
