// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_SOURCES_NETFILTER_SOURCE_H_
#define NODEPORT_GUARD_SOURCES_NETFILTER_SOURCE_H_

#include <cstdint>
#include <functional>
#include <memory>

#include "abi/names.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/event_loop.h"
#include "base/netlink_monitor.h"
#include "core/port.h"
#include "sources/change_reporter.h"
#include "sources/netfilter_reader.h"
#include "sources/rule_parts.h"
#include "sources/source.h"

namespace npg::sources {

// The ports that the present rules of this network namespace take away from the host:
// those of kube-proxy in iptables (of either variant) and in nftables, and the host ports
// of the CNI plugin portmap. See iptables_save.h and nft_maps.h.
//
// A reading covers no NodePorts where there are no rules of kube-proxy, and a part of them where
// rules could not be read, or where IPVS or OVN-Kubernetes implements NodePorts, too.
//
// Needs CAP_NET_ADMIN. A part that cannot be read makes the whole reading an error;
// PartialPorts() has the ports of the others, which are a part of the NodePorts. When
// no iptables-save is installed, the nftables part is the reading, with one skipped line.
// Follow() reports the first reading unless Read() has returned the same. It reads a part
// again after a notification, at most once a second, and iptables-legacy, which sends
// none, every 10 s; a part that failed at the same interval, or after a pause as long as the
// failed reading: a command that does not end does not run all the time. A port is removed when two
// readings in a row lack it. Read() that takes longer than Options::read_limit is
// DEADLINE_EXCEEDED, and PartialPorts() has what was read by then; Follow() has no such limit.
class NetfilterSource : public Source {
 public:
  struct Options {
    absl::Duration debounce = absl::Milliseconds(50);
    // Between the starts of two readings. After a long reading the next one waits ten
    // times its duration, up to `max_gap`: with ten thousand Services, a reading takes a
    // third of a second of CPU time.
    absl::Duration min_gap = absl::Seconds(1);
    absl::Duration max_gap = absl::Seconds(10);
    absl::Duration poll = absl::Seconds(10);               // iptables-legacy, and parts that failed
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
  void Changed(RulePartSet parts);
  void Schedule();
  void StartReading();
  void OnRead(NetfilterReader::Outcome outcome);
  void Poll();

  const NetfilterEdges edges_;
  const Options options_;
  ChangeReporter reporter_;
  core::PortSnapshot partial_;
  Callback callback_;
  base::EventLoop* loop_ = nullptr;  // set by Follow()
  std::unique_ptr<base::NetlinkMonitor> monitor_;

  std::unique_ptr<NetfilterReader> reader_;  // of Follow(), and of the Read() before it
  bool reading_ = false;
  RulePartSet dirty_;                        // to be read again as soon as possible
  RulePartSet failed_;                       // to be tried again with the poll,
  uint64_t failed_not_before_ns_ = 0;        // not before that
  base::EventLoop::TimerId read_timer_ = 0;  // 0 = not armed
  base::EventLoop::TimerId poll_timer_ = 0;
  uint64_t read_started_ns_ = 0;
  uint64_t not_before_ns_ = 0;  // when the next reading may start
};

}  // namespace npg::sources

#endif  // NODEPORT_GUARD_SOURCES_NETFILTER_SOURCE_H_
