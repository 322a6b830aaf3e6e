// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_SOURCES_NETFILTER_SOURCE_H_
#define NODEPORT_GUARD_SOURCES_NETFILTER_SOURCE_H_

#include <cstddef>
#include <cstdint>
#include <memory>

#include "abi/names.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/event_loop.h"
#include "base/netlink_monitor.h"
#include "core/port.h"
#include "rules/rule_changes.h"
#include "sources/change_reporter.h"
#include "sources/cpu_budget.h"
#include "sources/netfilter_reader.h"
#include "sources/source.h"

namespace npg::sources {

// The ports that the present rules of this network namespace, and IPVS, take away from the host,
// whichever program made them: see rules/evaluator.h.
//
// A reading covers no NodePorts where there is nothing of kube-proxy, and a part of them where
// rules could not be read or evaluated, or where OVN-Kubernetes implements NodePorts, too.
//
// Needs CAP_NET_ADMIN. If a part of the rules cannot be read, the whole reading is an error;
// PartialPorts() has the ports of the others, and all that were known before. When rules of
// iptables-legacy are here and iptables-legacy-save is not installed, the rest is the reading, with
// one skipped line.
//
// Follow() reports the first reading unless Read() has returned the same. It reads again what a
// notification names, on a thread of its own; iptables-legacy, ipsets and IPVS, which send none,
// every 10 s. A legacy part that failed is read again after a pause as long as the failed reading
// at least: a command that does not end does not run all the time. A port is removed when two
// readings in a row lack it: programs move rules between tables in two steps.
//
// Readings spend a budget of processor time. While it is used up, a change waits. If much changes
// meanwhile, the source receives no notifications, for which the kernel and this process would
// also need time.
//
// Read() that takes longer than Options::read_limit is DEADLINE_EXCEEDED, and PartialPorts() has
// what was read by then; Follow() has no such limit.
class NetfilterSource : public Source {
 public:
  struct Options {
    absl::Duration debounce = absl::Milliseconds(20);
    absl::Duration confirm = absl::Milliseconds(50);  // until a port that is missing is looked for
    CpuBudget::Limits budget = {};                    // of readings of all rules
    // Of readings of what notifications name, which cost a twentieth.
    CpuBudget::Limits change_budget = {.share = 0.05, .burst = absl::Seconds(1)};
    absl::Duration max_gap = absl::Seconds(60);  // that a change waits for the budget
    absl::Duration poll = absl::Seconds(10);     // what sends no notifications, what failed
    absl::Duration read_limit = absl::InfiniteDuration();  // of Read()
  };

  NetfilterSource();
  NetfilterSource(NetfilterEdges edges, const Options& options);
  ~NetfilterSource() override;
  NetfilterSource(const NetfilterSource&) = delete;
  NetfilterSource& operator=(const NetfilterSource&) = delete;

  abi::Source id() const override { return abi::Source::kNetfilter; }
  absl::StatusOr<Reading> Read() override;
  absl::Status Follow(base::EventLoop& loop, Callback callback) override;
  core::PortSnapshot PartialPorts() const override { return partial_; }
  SourceState State() const override { return reporter_.state(); }

 private:
  // What an outcome of the reader means.
  struct Judged {
    absl::StatusOr<Reading> reading;
    core::PortSnapshot partial;  // of an error: see PartialPorts()
    bool in_part = false;        // an error that leaves rules that were read
    bool unsettled = false;      // it lacks ports that the last one had; they are in `reading`
  };

  absl::Status StartReader();
  absl::StatusOr<Reading> ReadNow();
  absl::Status OpenMonitor();
  Judged Judge(NetfilterReader::Outcome outcome);
  void Poll();
  void Want();      // a reading
  void Schedule();  // the reading that is wanted
  void StartOrWait();
  void StartReading();
  CpuBudget& BudgetOf(const NetfilterReader::Outcome& outcome);
  void OnRead();

  const NetfilterEdges edges_;
  const Options options_;
  ChangeReporter reporter_;
  core::PortSnapshot before_;  // of the last reading, and what is not known to be gone
  core::PortSnapshot ip_vs_;   // of the last reading of IPVS that succeeded
  core::PortSnapshot partial_;
  std::unique_ptr<NetfilterReader> reader_;

  // Of Follow().
  Callback callback_;
  base::EventLoop* loop_ = nullptr;
  std::unique_ptr<base::NetlinkMonitor> monitor_;  // null: closed, while a reading waits
  CpuBudget budget_;                               // of readings of all rules
  CpuBudget change_budget_;                        // of readings of what notifications name
  CpuBudget poll_budget_;         // of polls of legacy tables, which must not use up the other
  rules::RuleChanges changes_;    // to be read
  uint64_t wanted_since_ns_ = 0;  // 0: no reading is wanted
  size_t notifications_ = 0;      // since the last reading began
  uint64_t legacy_not_before_ns_ = 0;
  base::EventLoop::TimerId read_timer_ = 0;  // 0 = not armed
  base::EventLoop::TimerId poll_timer_ = 0;
};

}  // namespace npg::sources

#endif  // NODEPORT_GUARD_SOURCES_NETFILTER_SOURCE_H_
