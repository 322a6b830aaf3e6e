// SPDX-License-Identifier: Apache-2.0
#include "controller/datagram_keeper.h"

#include <algorithm>
#include <cstdint>
#include <utility>

#include "absl/container/btree_set.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/errno_status.h"
#include "core/datagram_targets.h"
#include "core/desired_state.h"
#include "core/listener.h"
#include "core/port.h"
#include "dataplane/bpf/bpf_guard.h"
#include "node/udp_close_watch.h"

namespace npg::controller {

absl::StatusOr<core::DatagramTargets> DatagramKeeper::Find(const core::PortEntries& ports,
                                                           const core::AddressSet& own) const {
  const bool any = std::any_of(ports.begin(), ports.end(), [](const auto& entry) {
    return entry.first.protocol == core::Protocol::kUdp;
  });
  if (!any) return core::DatagramTargets{};
  const auto found = guard_.Records().ListUdpListenersOn(
      [&ports](const core::PortKey& key) { return ports.contains(key); });
  if (!found.ok()) return found.status();
  return core::FindDatagramTargets(
      ports, found->listeners, own,
      [this](const core::Listener& listener) { return rules_.Judge(listener); });
}

// Follows the closes of sockets on the ports of the targets.
absl::Status DatagramKeeper::Watch(const core::DatagramTargets& targets) {
  absl::btree_set<uint16_t> ports(targets.loopback4.begin(), targets.loopback4.end());
  for (const auto& [address, port] : targets.addresses) ports.insert(port);
  if (ports == ports_) return absl::OkStatus();
  if (ports.empty()) {
    ports_.clear();
    watch_.reset();
    return absl::OkStatus();
  }
  if (!watch_) {
    auto watch = node::UdpCloseWatch::Start(loop_, [this](uint16_t port) {
      if (port == 0 || ports_.contains(port)) closed_();
    });
    if (!watch.ok()) {
      return base::Annotate(watch.status(), "watch for UDP sockets that are closed");
    }
    watch_ = *std::move(watch);
  }
  watch_->Limit(ports);
  const bool more = !std::includes(ports_.begin(), ports_.end(), ports.begin(), ports.end());
  ports_ = std::move(ports);
  // A socket on a new port may have been closed after it was listed, and before it was watched.
  if (more) closed_();
  return absl::OkStatus();
}

// A socket is left unmarked only while the table exempts its destination: the programs forget a
// target first, and learn of it last. After an error they know none.
absl::Status DatagramKeeper::Write(const core::DatagramTargets& targets) {
  written_.reset();
  absl::Status status = guard_.KeepDatagramTargets(targets);
  if (status.ok()) status = table_.SetDatagramTargets(targets);
  status.Update(guard_.SetDatagramTargets(status.ok() ? targets : core::DatagramTargets()));
  if (status.ok()) written_ = targets;
  return status;
}

absl::Status DatagramKeeper::ForgetTargets() {
  written_.reset();
  return guard_.SetDatagramTargets({});
}

absl::Status DatagramKeeper::Sync(const core::PortEntries& ports, const core::AddressSet& own,
                                  bool v4, bool v6, bool verify) {
  absl::StatusOr<core::DatagramTargets> targets = Find(ports, own);
  if (!targets.ok()) return targets.status();
  if (!v4) targets->loopback4.clear();
  absl::erase_if(targets->addresses, [v4, v6](const auto& target) {
    return core::IsV4Mapped(target.first) ? !v4 : !v6;
  });
  targets_ = *std::move(targets);
  absl::Status status;
  if (verify || written_ != targets_) status = Write(targets_);
  status.Update(Watch(targets_));
  return status;
}

}  // namespace npg::controller
