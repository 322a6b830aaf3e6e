// SPDX-License-Identifier: Apache-2.0
#include "sources/netfilter_source.h"

#include <linux/netlink.h>
#include <sys/epoll.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "base/errno_status.h"
#include "base/event_loop.h"
#include "base/netlink_monitor.h"
#include "base/netlink_view.h"
#include "core/coverage.h"
#include "core/port.h"
#include "rules/node_rules.h"
#include "rules/rule_changes.h"
#include "sources/cpu_budget.h"
#include "sources/merge.h"
#include "sources/netfilter_reader.h"
#include "sources/skipped_lines.h"
#include "sources/source.h"

namespace npg::sources {
namespace {

// How often a single reading reads all rules, if they change meanwhile. Those of a source that is
// followed do it once: a notification names what changed.
constexpr int kTriesOfRead = 3;

// While a reading waits, as many notifications are received as are cheaper than to read all rules.
constexpr size_t kMaxNotifications = 10000;
constexpr absl::Duration kLookAgain = absl::Seconds(1);

// True when `ports` has not all of `before`.
bool Lacks(const core::PortSnapshot& ports, const core::PortSnapshot& before) {
  return std::any_of(before.begin(), before.end(),
                     [&](const auto& entry) { return !ports.contains(entry.first); });
}

core::Coverage CoverageOf(const rules::NodeRules::Reading& rules,
                          const NetfilterReader::Outcome& outcome) {
  // Rules of kube-proxy may be left from before something else took over.
  if (!rules.kube_proxy && !outcome.traces.ipvs) return core::Coverage::kNone;
  const bool all = rules.failed.empty() && !rules.unread && rules.evaluation.unknown.empty() &&
                   !outcome.traces.ovn && (outcome.ip_vs.ok() || !outcome.traces.ipvs);
  return all ? core::Coverage::kAll : core::Coverage::kPart;
}

std::vector<std::string> SkippedOf(const rules::NodeRules::Reading& rules,
                                   const absl::Status& ip_vs) {
  SkippedLines lines;
  for (const auto* more : {&rules.evaluation.unknown, &rules.evaluation.broad, &rules.skipped}) {
    for (const std::string& line : *more) lines.Add(line);
  }
  if (!ip_vs.ok())
    lines.Add(absl::StrCat("the services of IPVS cannot be read: ", ip_vs.message()));
  return std::move(lines).Take();
}

}  // namespace

NetfilterSource::NetfilterSource() : NetfilterSource(NetfilterEdges::OfThisNamespace(), {}) {}

NetfilterSource::NetfilterSource(NetfilterEdges edges, const Options& options)
    : edges_(std::move(edges)),
      options_(options),
      budget_(options.budget, base::BootNanoseconds()),
      change_budget_(options.change_budget, base::BootNanoseconds()),
      poll_budget_(budget_) {}

NetfilterSource::~NetfilterSource() {
  if (loop_ == nullptr) return;
  loop_->Cancel(read_timer_);
  loop_->Cancel(poll_timer_);
  loop_->RemoveFd(reader_->fd());
}

absl::Status NetfilterSource::StartReader() {
  if (reader_) return absl::OkStatus();
  absl::StatusOr<std::unique_ptr<NetfilterReader>> reader = NetfilterReader::Start(edges_);
  if (!reader.ok()) return reader.status();
  reader_ = *std::move(reader);
  return absl::OkStatus();
}

absl::StatusOr<Reading> NetfilterSource::Read() {
  absl::StatusOr<Reading> reading = ReadNow();
  reporter_.Remember(reading);
  return reading;
}

absl::StatusOr<Reading> NetfilterSource::ReadNow() {
  NPG_RETURN_IF_ERROR(StartReader());
  if (!reader_->busy()) reader_->Begin(rules::RuleChanges::Everything(), kTriesOfRead);
  std::optional<NetfilterReader::Outcome> outcome = reader_->Take(options_.read_limit);
  if (!outcome) {
    partial_ = reader_->PortsSoFar();
    Merge(partial_, before_);
    if (!partial_.empty()) reporter_.NotePart();
    return absl::DeadlineExceededError(
        absl::StrCat("the rules were not read within ", absl::FormatDuration(options_.read_limit)));
  }
  Judged judged = Judge(*std::move(outcome));
  if (judged.in_part) reporter_.NotePart();
  partial_ = std::move(judged.partial);
  return std::move(judged.reading);
}

NetfilterSource::Judged NetfilterSource::Judge(NetfilterReader::Outcome outcome) {
  Judged judged;
  if (outcome.ip_vs.ok()) ip_vs_ = *outcome.ip_vs;
  if (!outcome.rules.ok()) {
    judged.reading = outcome.rules.status();
    judged.partial = before_;
    judged.in_part = !before_.empty();
    return judged;
  }
  rules::NodeRules::Reading& rules = *outcome.rules;
  Reading all;
  all.coverage = CoverageOf(rules, outcome);
  all.skipped = SkippedOf(rules, outcome.ip_vs.status());
  all.ports = std::move(rules.evaluation.taken);
  Merge(all.ports, ip_vs_);
  judged.unsettled = rules.failed.empty() && Lacks(all.ports, before_);
  // What this reading lacks is gone if the next one lacks it, too. One that is not whole does not
  // count.
  core::PortSnapshot before = std::exchange(before_, all.ports);
  Merge(all.ports, before);
  if (rules.torn || !rules.failed.empty()) before_ = all.ports;
  if (rules.failed.empty()) {
    judged.reading = std::move(all);
  } else {
    judged.reading = rules.failed.front();
    judged.in_part = !all.ports.empty() || all.coverage != core::Coverage::kNone;
    judged.partial = std::move(all.ports);
  }
  return judged;
}

absl::Status NetfilterSource::OpenMonitor() {
  base::NetlinkMonitor::Handler handler;
  handler.message = [this,
                     own_table = rules::NodeRules::Options().own_table](const nlmsghdr& message) {
    ++notifications_;
    if (rules::NoteChange(base::ViewOf(message), own_table, changes_)) Want();
  };
  handler.lost = [this] {
    changes_.NoteAll();
    Want();
  };
  handler.settled = [this](const absl::Status& status) {
    if (!status.ok()) {  // messages were not received
      changes_.NoteAll();
      Want();
    }
    Schedule();
  };
  absl::StatusOr<std::unique_ptr<base::NetlinkMonitor>> monitor =
      edges_.listen(*loop_, std::move(handler));
  if (!monitor.ok()) return monitor.status();
  monitor_ = *std::move(monitor);
  return absl::OkStatus();
}

absl::Status NetfilterSource::Follow(base::EventLoop& loop, Callback callback) {
  NPG_RETURN_IF_ERROR(StartReader());
  NPG_RETURN_IF_ERROR(loop.AddFd(reader_->fd(), EPOLLIN, [this](uint32_t) { OnRead(); }));
  loop_ = &loop;
  callback_ = std::move(callback);
  // Join first, then read, so that no change is missed.
  NPG_RETURN_IF_ERROR(OpenMonitor());
  poll_timer_ = loop.After(options_.poll, [this] { Poll(); });
  changes_ = rules::RuleChanges::Everything();
  Want();
  Schedule();
  return absl::OkStatus();
}

void NetfilterSource::Poll() {
  poll_timer_ = loop_->After(options_.poll, [this] { Poll(); });
  changes_.ip_sets = true;
  const uint64_t now_ns = base::BootNanoseconds();
  changes_.legacy |=
      now_ns >= legacy_not_before_ns_ && poll_budget_.Wait(now_ns) == absl::ZeroDuration();
  // It could not be opened again.
  if (!monitor_) changes_.NoteAll();
  Want();
  Schedule();
}

void NetfilterSource::Want() {
  if (wanted_since_ns_ == 0) wanted_since_ns_ = base::BootNanoseconds();
}

void NetfilterSource::Schedule() {
  if (wanted_since_ns_ == 0 || reader_->busy() || read_timer_ != 0) return;
  // Without a change, it is to confirm that ports are missing.
  read_timer_ = loop_->After(changes_.empty() ? options_.confirm : options_.debounce,
                             [this] { StartOrWait(); });
}

void NetfilterSource::StartOrWait() {
  read_timer_ = 0;
  if (reader_->busy()) return;
  const uint64_t now_ns = base::BootNanoseconds();
  const absl::Duration waited = absl::Nanoseconds(static_cast<int64_t>(now_ns - wanted_since_ns_));
  const absl::Duration wait =
      std::min((changes_.all ? budget_ : change_budget_).Wait(now_ns), options_.max_gap - waited);
  if (wait <= absl::ZeroDuration()) return StartReading();
  if (changes_.all || notifications_ > kMaxNotifications) {
    monitor_.reset();
    changes_.NoteAll();
  }
  read_timer_ = loop_->After(std::min(wait, kLookAgain), [this] { StartOrWait(); });
}

void NetfilterSource::StartReading() {
  // Before the reading, so that no change is missed. After an error the next poll tries again.
  if (!monitor_) OpenMonitor().IgnoreError();
  wanted_since_ns_ = 0;
  notifications_ = 0;
  reader_->Begin(std::exchange(changes_, rules::RuleChanges()), /*tries=*/1);
}

CpuBudget& NetfilterSource::BudgetOf(const NetfilterReader::Outcome& outcome) {
  if (outcome.all) return budget_;
  return outcome.poll ? poll_budget_ : change_budget_;
}

void NetfilterSource::OnRead() {
  std::optional<NetfilterReader::Outcome> outcome = reader_->Take();
  if (!outcome) return;
  const uint64_t now_ns = base::BootNanoseconds();
  BudgetOf(*outcome).Spend(outcome->cpu, now_ns);
  if (!outcome->rules.ok()) {
    // The changes that were to be read are not known any more.
    changes_.NoteAll();
    changes_.ip_sets = true;
  }
  if (!outcome->rules.ok() || !outcome->rules->failed.empty()) {
    // Polls during this reading do not shorten it, nor does a reading of the other parts alone.
    changes_.legacy = false;
    legacy_not_before_ns_ =
        std::max(legacy_not_before_ns_,
                 now_ns + static_cast<uint64_t>(absl::ToInt64Nanoseconds(outcome->took)));
  }
  Judged judged = Judge(*std::move(outcome));
  const bool again = judged.partial != partial_;
  partial_ = std::move(judged.partial);
  if (judged.in_part) reporter_.NotePart();
  if (judged.unsettled) Want();
  reporter_.Report(std::move(judged.reading), callback_, again);
  Schedule();
}

}  // namespace npg::sources
