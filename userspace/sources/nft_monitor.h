// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_SOURCES_NFT_MONITOR_H_
#define NODEPORT_GUARD_SOURCES_NFT_MONITOR_H_

#include <functional>
#include <memory>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "base/event_loop.h"
#include "sources/nft_socket.h"
#include "sources/rule_parts.h"

namespace npg::sources {

// The parts that the tables named in these nf_tables notifications belong to.
// The messages start on a multiple of four bytes.
RulePartSet ChangedParts(absl::string_view messages);

// Listens to the changes of nf_tables in the current network namespace (and
// goes on with that one, wherever the thread moves).
class NftMonitor {
 public:
  // Calls `changed`, from the loop, with the parts that have changed: all of
  // nf_tables when notifications were lost. It must not destroy the monitor.
  // PERMISSION_DENIED without CAP_NET_ADMIN.
  static absl::StatusOr<std::unique_ptr<NftMonitor>> Start(
      base::EventLoop& loop, std::function<void(RulePartSet)> changed);
  ~NftMonitor();
  NftMonitor(const NftMonitor&) = delete;
  NftMonitor& operator=(const NftMonitor&) = delete;

 private:
  NftMonitor(base::EventLoop& loop, MnlSocket socket, std::function<void(RulePartSet)> changed)
      : loop_(loop), socket_(std::move(socket)), changed_(std::move(changed)) {}

  void OnReadable();

  base::EventLoop& loop_;
  MnlSocket socket_;
  const std::function<void(RulePartSet)> changed_;
};

}  // namespace npg::sources

#endif  // NODEPORT_GUARD_SOURCES_NFT_MONITOR_H_
