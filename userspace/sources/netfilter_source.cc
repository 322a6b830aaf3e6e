// SPDX-License-Identifier: Apache-2.0
#include "sources/netfilter_source.h"

#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>

#include <algorithm>
#include <cstdint>
#include <memory>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "base/errno_status.h"
#include "base/event_loop.h"
#include "base/netlink_monitor.h"
#include "base/netlink_view.h"
#include "node/nft_queries.h"
#include "sources/netfilter_reader.h"
#include "sources/rule_parts.h"
#include "sources/source.h"

namespace npg::sources {
namespace {

// The next reading waits this many times the duration of the last.
constexpr int kRest = 10;

RulePartSet AllParts() { return RulePartSet().set(); }

}  // namespace

NetfilterSource::NetfilterSource() : NetfilterSource(NetfilterEdges::OfThisNamespace(), {}) {}

NetfilterSource::NetfilterSource(NetfilterEdges edges, const Options& options)
    : edges_(std::move(edges)),
      options_(options),
      reader_(std::make_unique<NetfilterReader>(edges_)) {}

NetfilterSource::~NetfilterSource() {
  if (loop_ == nullptr) return;
  loop_->Cancel(read_timer_);
  loop_->Cancel(poll_timer_);
}

absl::StatusOr<Reading> NetfilterSource::Read() {
  absl::StatusOr<std::unique_ptr<base::EventLoop>> loop = base::EventLoop::Create();
  if (!loop.ok()) return loop.status();
  absl::StatusOr<Reading> reading = absl::DeadlineExceededError(
      absl::StrCat("the rules were not read within ", absl::FormatDuration(options_.read_limit)));
  bool done = false;
  bool in_part = false;
  auto reader = std::make_unique<NetfilterReader>(edges_);
  reader->Start(**loop, AllParts(), [&](NetfilterReader::Outcome outcome) {
    reading = std::move(outcome.reading);
    partial_ = std::move(outcome.partial);
    in_part = outcome.in_part;
    done = true;
    (*loop)->Stop();
  });
  if (options_.read_limit != absl::InfiniteDuration()) {
    (*loop)->After(options_.read_limit, [&loop] { (*loop)->Stop(); });
  }
  NPG_RETURN_IF_ERROR((*loop)->Run());
  if (!done) {
    partial_ = reader->PortsSoFar();
    in_part = !partial_.empty();
  }
  if (in_part) reporter_.NotePart();
  reporter_.Remember(reading);
  // Follow()'s first reading is the second in a row. A reader that is not done uses this loop.
  if (loop_ == nullptr && done) reader_ = std::move(reader);
  return reading;
}

absl::Status NetfilterSource::Follow(base::EventLoop& loop, Callback callback) {
  // Join first, then read, so that no change is missed.
  base::NetlinkMonitor::Handler handler;
  handler.message = [this](const nlmsghdr& message) {
    dirty_ |= ChangedPart(base::ViewOf(message));
  };
  handler.lost = [this] { dirty_ |= ~LegacyParts(); };
  handler.settled = [this](const absl::Status& status) {
    // Messages were not received: read again.
    if (!status.ok()) dirty_ |= ~LegacyParts();
    Schedule();
  };
  absl::StatusOr<std::unique_ptr<base::NetlinkMonitor>> monitor = base::NetlinkMonitor::Start(
      loop, NETLINK_NETFILTER, {NFNLGRP_NFTABLES}, 0, std::move(handler));
  if (!monitor.ok()) {
    return node::NameCapability(base::Annotate(monitor.status(), "listen to nf_tables changes"));
  }
  monitor_ = *std::move(monitor);
  loop_ = &loop;
  callback_ = std::move(callback);
  poll_timer_ = loop.After(options_.poll, [this] { Poll(); });
  Changed(AllParts());
  return absl::OkStatus();
}

void NetfilterSource::Changed(RulePartSet parts) {
  dirty_ |= parts;
  Schedule();
}

void NetfilterSource::Poll() {
  poll_timer_ = loop_->After(options_.poll, [this] { Poll(); });
  RulePartSet parts = LegacyParts() | failed_;
  if (reading_ || base::BootNanoseconds() < failed_not_before_ns_) parts &= ~failed_;
  Changed(parts);
}

void NetfilterSource::Schedule() {
  if (dirty_.none() || reading_ || read_timer_ != 0) return;
  const uint64_t now = base::BootNanoseconds();
  const absl::Duration rest =
      not_before_ns_ > now ? absl::Nanoseconds(not_before_ns_ - now) : absl::ZeroDuration();
  read_timer_ = loop_->After(std::max(rest, options_.debounce), [this] { StartReading(); });
}

void NetfilterSource::StartReading() {
  read_timer_ = 0;
  reading_ = true;
  read_started_ns_ = base::BootNanoseconds();
  reader_->Start(*loop_, std::exchange(dirty_, RulePartSet()),
                 [this](NetfilterReader::Outcome outcome) { OnRead(std::move(outcome)); });
}

void NetfilterSource::OnRead(NetfilterReader::Outcome outcome) {
  reading_ = false;
  const uint64_t read_ended_ns = base::BootNanoseconds();
  const absl::Duration took = absl::Nanoseconds(read_ended_ns - read_started_ns_);
  const absl::Duration gap = std::clamp(took * kRest, options_.min_gap, options_.max_gap);
  not_before_ns_ = read_started_ns_ + static_cast<uint64_t>(absl::ToInt64Nanoseconds(gap));
  dirty_ |= outcome.unsettled;
  failed_ = outcome.failed;
  if (failed_.any()) {
    // A reading of the other parts alone does not shorten it.
    failed_not_before_ns_ =
        std::max(failed_not_before_ns_, read_ended_ns + (read_ended_ns - read_started_ns_));
  }
  const bool again = outcome.partial != partial_;
  partial_ = std::move(outcome.partial);
  if (outcome.in_part) reporter_.NotePart();
  reporter_.Report(std::move(outcome.reading), callback_, again);
  Schedule();
}

}  // namespace npg::sources
