// SPDX-License-Identifier: Apache-2.0
#include "sources/netfilter_reader.h"

#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/time.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <ctime>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

#include "absl/container/btree_set.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "base/errno_status.h"
#include "base/event_loop.h"
#include "base/memory.h"
#include "base/netlink_monitor.h"
#include "base/thread.h"
#include "base/unique_fd.h"
#include "core/listener.h"
#include "core/node_address.h"
#include "core/port.h"
#include "node/ip_vs_services.h"
#include "node/node_addresses.h"
#include "rules/connect.h"
#include "rules/evaluator.h"
#include "rules/node_rules.h"
#include "rules/rule_changes.h"
#include "rules/save_command.h"

namespace npg::sources {
namespace {

// The addresses that a listener of the node may have. Those of Services, of which IPVS makes
// thousands, are left out.
absl::StatusOr<core::AddressSet> NodeAddresses() {
  const absl::StatusOr<std::vector<core::NodeAddress>> all = node::ListNodeAddresses();
  if (!all.ok()) return all.status();
  const std::vector<core::AddressRole> roles = core::RolesOf(*all);
  core::AddressSet addresses;
  for (size_t i = 0; i < all->size(); ++i) {
    if (roles[i] != core::AddressRole::kServiceInterface) addresses.insert((*all)[i].address);
  }
  return addresses;
}

// The rules as of the thread that uses this, for the addresses that the node has at the time.
class NamespaceRules {
 public:
  explicit NamespaceRules(NetfilterEdges::OwnAddresses own)
      : own_addresses_(std::move(own)), stop_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {}

  absl::StatusOr<rules::NodeRules::Reading> Read(const rules::RuleChanges& changes, int tries) {
    absl::StatusOr<core::AddressSet> node = NodeAddresses();
    if (!node.ok()) return node.status();
    absl::StatusOr<core::AddressSet> own = own_addresses_ ? own_addresses_() : core::AddressSet();
    if (!own.ok()) return own.status();
    rules::RuleChanges next = changes;
    if (!rules_ || *own != own_ || *node != node_) {
      // The rules that were read are those that the connects to the other addresses meet.
      if (rules_) next = rules::RuleChanges::Everything();
      own_ = *std::move(own);
      node_ = *std::move(node);
      rules::NodeRules::Options options;
      options.command_folders = rules::CommandFolders();
      options.stop_fd = stop_.get();
      rules_ =
          std::make_unique<rules::NodeRules>(std::move(options), rules::ConnectsToLoopbackAnd(own_),
                                             rules::EvaluateOptions{.node_addresses = node_});
    }
    return rules_->Read(next, tries);
  }

  absl::StatusOr<core::PortSnapshot> ReadIpVs() const {
    const absl::StatusOr<absl::btree_set<core::PortKey>> keys =
        node::IpVsPorts(own_, "/proc/thread-self/net/ip_vs");
    if (!keys.ok()) return keys.status();
    core::PortSnapshot ports;
    for (const core::PortKey& key : *keys) ports.emplace(key, "IPVS");
    return ports;
  }

  void Stop() const { eventfd_write(stop_.get(), 1); }

 private:
  const NetfilterEdges::OwnAddresses own_addresses_;
  const base::UniqueFd stop_;
  core::AddressSet own_;
  core::AddressSet node_;
  std::unique_ptr<rules::NodeRules> rules_;
};

// Of this thread, and of the children of this process that have ended.
absl::Duration CpuTime() {
  timespec thread{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &thread);
  rusage children{};
  getrusage(RUSAGE_CHILDREN, &children);
  return absl::DurationFromTimespec(thread) + absl::DurationFromTimeval(children.ru_utime) +
         absl::DurationFromTimeval(children.ru_stime);
}

absl::StatusOr<std::unique_ptr<base::NetlinkMonitor>> ListenToNfTables(
    base::EventLoop& loop, base::NetlinkMonitor::Handler handler) {
  absl::StatusOr<std::unique_ptr<base::NetlinkMonitor>> monitor = base::NetlinkMonitor::Start(
      loop, NETLINK_NETFILTER, {NFNLGRP_NFTABLES}, 0, std::move(handler));
  if (monitor.ok()) return monitor;
  return base::NameCapability(base::Annotate(monitor.status(), "listen to nf_tables changes"));
}

}  // namespace

NetfilterEdges NetfilterEdges::OfThisNamespace(OwnAddresses own) {
  const auto rules = std::make_shared<NamespaceRules>(std::move(own));
  NetfilterEdges edges;
  edges.read = [rules](const rules::RuleChanges& changes, int tries) {
    return rules->Read(changes, tries);
  };
  edges.read_ip_vs = [rules] { return rules->ReadIpVs(); };
  edges.stop = [rules] { rules->Stop(); };
  edges.listen = ListenToNfTables;
  return edges;
}

absl::StatusOr<std::unique_ptr<NetfilterReader>> NetfilterReader::Start(NetfilterEdges edges) {
  std::unique_ptr<NetfilterReader> reader(new NetfilterReader(std::move(edges)));
  reader->done_.Reset(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!reader->done_) return base::ErrnoStatus(errno, "create an eventfd");
  absl::StatusOr<std::thread> thread =
      base::StartThread("npg-netfilter", [raw = reader.get()] { raw->Work(); });
  if (!thread.ok()) return thread.status();
  reader->thread_ = *std::move(thread);
  return reader;
}

NetfilterReader::~NetfilterReader() {
  if (!thread_.joinable()) return;
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  change_.notify_all();
  edges_.stop();
  thread_.join();
}

void NetfilterReader::Begin(rules::RuleChanges changes, int tries) {
  busy_ = true;
  {
    const std::lock_guard lock(mutex_);
    job_ = Job{std::move(changes), tries};
    so_far_.clear();
  }
  change_.notify_all();
}

std::optional<NetfilterReader::Outcome> NetfilterReader::Take(absl::Duration limit) {
  std::unique_lock lock(mutex_);
  const auto ended = [this] { return outcome_.has_value(); };
  if (!busy_) return std::nullopt;
  if (limit == absl::InfiniteDuration()) {
    change_.wait(lock, ended);
  } else if (!change_.wait_for(lock, absl::ToChronoMicroseconds(limit), ended)) {
    return std::nullopt;
  }
  busy_ = false;
  eventfd_t count = 0;
  eventfd_read(done_.get(), &count);
  so_far_.clear();
  return std::exchange(outcome_, std::nullopt);
}

core::PortSnapshot NetfilterReader::PortsSoFar() const {
  const std::lock_guard lock(mutex_);
  return so_far_;
}

void NetfilterReader::Work() {
  std::unique_lock lock(mutex_);
  for (;;) {
    change_.wait(lock, [this] { return stopping_ || job_.has_value(); });
    if (stopping_) return;
    const Job job = *std::exchange(job_, std::nullopt);
    lock.unlock();
    Outcome outcome = Read(job);
    // A full reading leaves holes in this thread's part of the heap.
    if (job.changes.all) base::ReleaseUnusedMemory();
    lock.lock();
    outcome_ = std::move(outcome);
    eventfd_write(done_.get(), 1);
    change_.notify_all();
  }
}

NetfilterReader::Outcome NetfilterReader::Read(const Job& job) {
  const uint64_t began_ns = base::BootNanoseconds();
  const absl::Duration cpu_before = CpuTime();
  Outcome outcome;
  outcome.all = job.changes.all;
  outcome.poll = job.changes.legacy && !job.changes.all;
  outcome.rules = ReadRules(job);
  // It sends no notifications, either.
  if (job.changes.legacy) ip_vs_ = edges_.read_ip_vs();
  outcome.ip_vs = ip_vs_;
  outcome.traces = edges_.read_traces();
  // A kernel without IPVS has no services, which contradicts kube-proxy's IPVS mode.
  if (absl::IsNotFound(ip_vs_.status()) && !outcome.traces.ipvs) {
    outcome.ip_vs = core::PortSnapshot();
  }
  outcome.cpu = CpuTime() - cpu_before;
  outcome.took = absl::Nanoseconds(static_cast<int64_t>(base::BootNanoseconds() - began_ns));
  return outcome;
}

absl::StatusOr<rules::NodeRules::Reading> NetfilterReader::ReadRules(const Job& job) {
  if (!job.changes.legacy || !job.changes.all) return edges_.read(job.changes, job.tries);
  // All rules: a caller that does not wait for the commands gets the rest.
  rules::RuleChanges first = job.changes;
  first.legacy = false;
  absl::StatusOr<rules::NodeRules::Reading> nft = edges_.read(first, job.tries);
  if (!nft.ok()) return nft;
  {
    const std::lock_guard lock(mutex_);
    so_far_ = nft->evaluation.taken;
  }
  rules::RuleChanges legacy;
  legacy.legacy = true;
  absl::StatusOr<rules::NodeRules::Reading> all = edges_.read(legacy, job.tries);
  if (!all.ok()) {
    nft->failed.push_back(all.status());
    return nft;
  }
  all->torn |= nft->torn;
  return all;
}

}  // namespace npg::sources
