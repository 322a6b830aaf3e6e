// SPDX-License-Identifier: Apache-2.0
#include "controller/node_follower.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "abi/names.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "base/errno_status.h"
#include "base/event_loop.h"
#include "controller/ipvs_bypass.h"
#include "core/desired_state.h"
#include "core/listener.h"
#include "core/node_address.h"
#include "dataplane/bpf/bpf_guard.h"
#include "dataplane/nft/nft_table.h"
#include "log/fields.h"
#include "log/log.h"
#include "node/node_addresses.h"

namespace npg::controller {
namespace {

// From the first notification of a change of UDP listeners or addresses until they
// are read: notifications tend to come in bursts.
constexpr absl::Duration kSettle = absl::Milliseconds(2);
// The minimum interval between two reads, for processes that bind and close sockets in a loop.
constexpr absl::Duration kMinInterval = absl::Milliseconds(40);
// In IPVS mode, each Service has an address on the node.
constexpr size_t kMaxLeftOutLogged = 10;

}  // namespace

NodeFollower::NodeFollower(base::EventLoop& loop, dataplane::BpfGuard& guard,
                           dataplane::NftTable& table, const core::DesiredState& ports,
                           Settings settings)
    : loop_(loop), guard_(guard), table_(table), ports_(ports), settings_(std::move(settings)) {}

absl::Status NodeFollower::Prepare() {
  NPG_RETURN_IF_ERROR(SyncAddresses());
  ipvs_fault_.Note(MatchIpvs(table_, guarded_));
  return absl::OkStatus();
}

void NodeFollower::Begin(const core::OwnerRules& rules) {
  datagrams_.emplace(loop_, guard_, table_, rules, [this] { PortsChanged(); });
  datagrams_fault_.Note(SyncDatagrams());
}

absl::Status NodeFollower::Follow() {
  if (settings_.scope != abi::Scope::kLocal && !settings_.own_addresses_changed) {
    return absl::OkStatus();
  }
  auto watch = node::WatchAddresses(loop_, [this] { AddressesSoon(); });
  if (!watch.ok()) return base::Annotate(watch.status(), "follow the node's addresses");
  address_watch_ = *std::move(watch);
  AddressesSoon();
  return absl::OkStatus();
}

void NodeFollower::Maintain() {
  addresses_fault_.Note(SyncAddresses());
  datagrams_fault_.Note(SyncDatagrams(/*verify=*/true));
  ipvs_fault_.Note(MatchIpvs(table_, guarded_));
}

absl::Status NodeFollower::SyncAddresses() {
  const absl::StatusOr<std::vector<core::NodeAddress>> addresses = node::ListNodeAddresses();
  if (!addresses.ok()) return addresses.status();
  addresses_ = node::ToSet(*addresses);
  const core::JudgedAddresses judged = core::JudgeAddresses(*addresses, settings_.local_addresses);
  core::AddressSet own = node::ToSet(judged.own);
  const bool changed = own != own_;
  own_ = std::move(own);
  if (changed && settings_.own_addresses_changed) settings_.own_addresses_changed();
  if (settings_.scope != abi::Scope::kLocal) return guard_.SetLocalAddresses({});
  guarded_ = own_;
  LogLeftOut(judged.left_out);
  return guard_.SetLocalAddresses(judged.own);
}

// Services come and go with addresses: info at the start, debug for changes.
void NodeFollower::LogLeftOut(const std::vector<core::LeftOutAddress>& left_out) {
  std::string text = core::LeftOutText(left_out, kMaxLeftOutLogged);
  if (text == left_out_) return;
  left_out_ = std::move(text);
  const auto level = left_out_logged_ ? spdlog::level::debug : spdlog::level::info;
  left_out_logged_ = true;
  if (left_out.empty()) {
    log::Log(level, "--scope local leaves out no address of this node any more",
             log::Fields().Add("event", "addresses_left_out").Add("addresses", 0));
    return;
  }
  log::Log(level,
           absl::StrCat("--scope local leaves out ", left_out_,
                        "; '--local-address +ADDRESS' guards one nevertheless"),
           log::Fields().Add("event", "addresses_left_out").Add("addresses", left_out.size()));
}

// In mode observe, the table exempts no datagrams.
absl::Status NodeFollower::SyncDatagrams(bool verify) {
  if (settings_.mode != abi::Mode::kEnforce) return table_.SetDatagramTargets({});
  return datagrams_->Sync(ports_.Entries(), guarded_, (aside_ & abi::Bit(abi::Traffic::kUdp4)) == 0,
                          (aside_ & abi::Bit(abi::Traffic::kUdp6)) == 0, verify);
}

void NodeFollower::AddressesSoon() {
  if (addresses_timer_ != 0) return;
  addresses_timer_ = loop_.After(Settle(), [this] {
    addresses_timer_ = 0;
    last_look_ = base::BootNanoseconds();
    addresses_fault_.Note(SyncAddresses());
    datagrams_fault_.Note(SyncDatagrams());
  });
}

absl::Duration NodeFollower::Settle() const {
  const auto since = absl::Nanoseconds(static_cast<int64_t>(base::BootNanoseconds() - last_look_));
  return std::max(kSettle, kMinInterval - since);
}

void NodeFollower::PortsChanged() {
  if (datagrams_timer_ != 0 || !datagrams_) return;
  datagrams_timer_ = loop_.After(Settle(), [this] {
    datagrams_timer_ = 0;
    last_look_ = base::BootNanoseconds();
    datagrams_fault_.Note(SyncDatagrams());
  });
}

void NodeFollower::BindNoted() {
  PortsChanged();
  // The program runs before the bind or connect: a task that was preempted there does it later.
  if (later_timer_ != 0) return;
  later_timer_ = loop_.After(kMinInterval, [this] {
    later_timer_ = 0;
    PortsChanged();
  });
}

void NodeFollower::TableLost() {
  if (datagrams_) datagrams_fault_.Note(datagrams_->ForgetTargets());
}

void NodeFollower::OwnersChanged() {
  if (datagrams_) datagrams_fault_.Note(SyncDatagrams());
}

}  // namespace npg::controller
