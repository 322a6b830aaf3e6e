// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_SOURCES_NETFILTER_READER_H_
#define NODEPORT_GUARD_SOURCES_NETFILTER_READER_H_

#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/event_loop.h"
#include "base/netlink_monitor.h"
#include "base/unique_fd.h"
#include "core/listener.h"
#include "core/port.h"
#include "node/node_port_traces.h"
#include "rules/node_rules.h"
#include "rules/rule_changes.h"

namespace npg::sources {

// The access of source netfilter to the system. Tests replace it. The functions that read are
// called on the thread of a NetfilterReader.
struct NetfilterEdges {
  // The addresses of the node besides loopback that are guarded.
  using OwnAddresses = std::function<absl::StatusOr<core::AddressSet>()>;

  // rules::NodeRules::Read().
  std::function<absl::StatusOr<rules::NodeRules::Reading>(const rules::RuleChanges& changes,
                                                          int tries)>
      read;
  // The ports that IPVS takes, as of the addresses of the last `read`.
  std::function<absl::StatusOr<core::PortSnapshot>()> read_ip_vs;
  std::function<node::NodePortTraces()> read_traces = node::ReadNodePortTraces;
  // Makes a `read` that waits for a command return at once, now and later. Called on another
  // thread.
  std::function<void()> stop = [] {};
  // Receives notifications of nf_tables. Called on the loop's thread.
  std::function<absl::StatusOr<std::unique_ptr<base::NetlinkMonitor>>(
      base::EventLoop& loop, base::NetlinkMonitor::Handler handler)>
      listen;

  // The real ones, of the current network namespace. Without `own`: of connects to loopback only.
  static NetfilterEdges OfThisNamespace(OwnAddresses own = nullptr);
};

// Reads on a thread of its own, because a reading takes up to a second, and longer if a command
// hangs.
class NetfilterReader {
 public:
  struct Outcome {
    absl::StatusOr<rules::NodeRules::Reading> rules;
    absl::StatusOr<core::PortSnapshot> ip_vs;
    node::NodePortTraces traces;
    bool all = false;     // all rules were to be read
    bool poll = false;    // of what sends no notifications, legacy tables among them
    absl::Duration took;  // wall-clock time
    absl::Duration cpu;   // processor time, with that of the commands
  };

  static absl::StatusOr<std::unique_ptr<NetfilterReader>> Start(NetfilterEdges edges);
  // Waits for the present reading, after NetfilterEdges::stop().
  ~NetfilterReader();
  NetfilterReader(const NetfilterReader&) = delete;
  NetfilterReader& operator=(const NetfilterReader&) = delete;

  // Begins a reading. Only while !busy().
  void Begin(rules::RuleChanges changes, int tries);
  // From Begin() until its outcome is taken.
  bool busy() const { return busy_; }

  // An eventfd, readable when there is an outcome.
  int fd() const { return done_.get(); }
  // The outcome; waits for it for `limit` at most. nullopt: the reading has not ended, or none
  // began.
  std::optional<Outcome> Take(absl::Duration limit = absl::ZeroDuration());

  // What the present reading has found by now in nf_tables: legacy tables take longer, and are read
  // after them. Nothing once its outcome is taken.
  core::PortSnapshot PortsSoFar() const;

 private:
  struct Job {
    rules::RuleChanges changes;
    int tries = 1;
  };

  explicit NetfilterReader(NetfilterEdges edges) : edges_(std::move(edges)) {}

  void Work();
  Outcome Read(const Job& job);
  absl::StatusOr<rules::NodeRules::Reading> ReadRules(const Job& job);

  const NetfilterEdges edges_;
  base::UniqueFd done_;
  bool busy_ = false;  // of the caller's thread

  mutable std::mutex mutex_;
  std::condition_variable change_;  // of the members below
  std::optional<Job> job_;
  std::optional<Outcome> outcome_;
  core::PortSnapshot so_far_;
  bool stopping_ = false;

  absl::StatusOr<core::PortSnapshot> ip_vs_;  // of the thread
  std::thread thread_;
};

}  // namespace npg::sources

#endif  // NODEPORT_GUARD_SOURCES_NETFILTER_READER_H_
