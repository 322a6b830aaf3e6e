// SPDX-License-Identifier: Apache-2.0
#include "bench/rules_bench.h"

#include <linux/netlink.h>
#include <sys/types.h>

#include <algorithm>
#include <array>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "base/errno_status.h"
#include "base/netlink_socket.h"
#include "base/nft_objects.h"
#include "bench/cluster.h"
#include "bench/figure.h"
#include "bench/measure.h"
#include "bench/process_usage.h"
#include "rules/connect.h"
#include "rules/evaluator.h"
#include "rules/nft_reader.h"
#include "rules/rule.h"
#include "rules/rule_set.h"
#include "testing/command.h"
#include "testing/guard_process.h"
#include "testing/kube_proxy_rules.h"
#include "testing/test_node.h"

namespace npg::bench {
namespace {

using ::npg::testing::GuardProcess;
using ::npg::testing::IptablesVariant;
using ::npg::testing::TestNode;

constexpr uint16_t kFirstPort = 20000;
constexpr uint16_t kServices = 10000;
constexpr uint16_t kNewPort = kFirstPort + kServices;
constexpr int kStarts = 5;
constexpr int kAdditions = 20;
constexpr absl::Duration kDeadline = absl::Seconds(60);
// Between two additions, so that the guard has finished the last one.
constexpr absl::Duration kRest = absl::Milliseconds(500);

// Of the guard and its children.
constexpr double kFirstReadingGoal = 0.4;  // seconds of processor time
constexpr double kPeakGoal = 24;           // MiB
constexpr double kLatencyGoal = 100;       // ms
constexpr double kChangeGoal = 20;         // ms of processor time
constexpr double kRewriteGoal = 3;         // % of a processor

// Remembers the chains that an evaluation reads.
class Recorder : public rules::RuleReader {
 public:
  explicit Recorder(rules::NftReader reader) : reader_(std::move(reader)) {}

  absl::Status ReadChain(const rules::ChainName& chain, rules::RuleSet& rules) override {
    chains_.push_back(chain);
    return reader_.ReadChain(chain, rules);
  }
  absl::Status ReadSet(const rules::TableId& table, const rules::SetName& name,
                       rules::RuleSet& rules) override {
    return reader_.ReadSet(table, name, rules);
  }

  rules::NftReader& reader() { return reader_; }
  const std::vector<rules::ChainName>& chains() const { return chains_; }

 private:
  rules::NftReader reader_;
  std::vector<rules::ChainName> chains_;
};

// The kernel's lists of the rules of `chains`, which are not looked at.
absl::Status ListOnly(const std::vector<rules::ChainName>& chains) {
  absl::StatusOr<base::NetlinkSocket> socket = base::NetlinkSocket::Open(NETLINK_NETFILTER);
  if (!socket.ok()) return socket.status();
  size_t rules = 0;
  for (const rules::ChainName& chain : chains) {
    alignas(nlmsghdr) std::array<char, 512> buffer{};
    nlmsghdr* const request = nftnl_nlmsg_build_hdr(
        buffer.data(), NFT_MSG_GETRULE, chain.table.family, NLM_F_REQUEST | NLM_F_DUMP, 0);
    mnl_attr_put_strz(request, NFTA_RULE_TABLE, chain.table.name.c_str());
    mnl_attr_put_strz(request, NFTA_RULE_CHAIN, chain.name.c_str());
    NPG_RETURN_IF_ERROR(socket->AskForEach(
        *request, "list", [] {}, [&rules](const nlmsghdr& /*message*/) { ++rules; }));
  }
  return rules > kServices ? absl::OkStatus() : absl::InternalError("the kernel listed no rules");
}

class RulesBench {
 public:
  RulesBench(std::unique_ptr<TestNode> node, IptablesVariant variant,
             absl::FunctionRef<bool()> stop)
      : node_(std::move(node)),
        variant_(variant),
        group_(absl::StrCat(kServices, " Services, ", nft() ? "nf_tables" : "legacy tables")),
        stop_(stop) {}

  absl::StatusOr<std::vector<Figure>> Run(absl::Duration rewrite);
  std::unique_ptr<TestNode> TakeNode() && { return std::move(node_); }

 private:
  bool nft() const { return variant_ == IptablesVariant::kNft; }
  std::string Program(absl::string_view suffix) const {
    return absl::StrCat("iptables-", nft() ? "nft" : "legacy", suffix);
  }
  void Add(absl::string_view what, absl::string_view unit, double value,
           std::optional<double> goal = std::nullopt) {
    figures_.push_back({group_, std::string(what), std::string(unit), value, goal});
  }
  absl::Status Restore() const {
    return testing::RunCommand({Program("-restore"), "--wait", "30"}, text_).status();
  }
  absl::StatusOr<GuardProcess> StartGuard() const {
    return GuardProcess::Start(*node_, {"--source", "netfilter", "--detach-on-exit"});
  }
  absl::Status Await(absl::string_view what, absl::FunctionRef<bool()> condition) const;

  absl::Status MeasureReading();
  absl::Status MeasureStarts();
  absl::Status MeasureAdditions(const GuardProcess& guard, const NodePortsMap& map);
  absl::Status MeasureRewrites(const GuardProcess& guard, absl::Duration rewrite);

  std::unique_ptr<TestNode> node_;
  const IptablesVariant variant_;
  const std::string group_;
  const std::string text_ = IptablesRules(kFirstPort, kServices);
  absl::FunctionRef<bool()> stop_;
  double empty_cpu_ = 0;  // seconds, of a start without rules
  std::vector<Figure> figures_;
};

absl::Status RulesBench::Await(absl::string_view what, absl::FunctionRef<bool()> condition) const {
  const absl::Time end = absl::Now() + kDeadline;
  while (!condition()) {
    if (stop_()) return absl::CancelledError("interrupted");
    if (absl::Now() > end) return absl::DeadlineExceededError(absl::StrCat("no ", what));
    std::this_thread::yield();
  }
  return absl::OkStatus();
}

// Of the kernel, which lists the rules, and of the evaluation, both in this process.
absl::Status RulesBench::MeasureReading() {
  std::vector<double> list, whole, again;
  for (int round = 0; round < kStarts; ++round) {
    if (stop_()) return absl::CancelledError("interrupted");
    absl::StatusOr<rules::NftReader> reader = rules::NftReader::Open("nodeport_guard");
    if (!reader.ok()) return reader.status();
    Recorder recorder(*std::move(reader));
    rules::RuleSet rules(rules::ConnectsToLoopbackAnd({}));
    double start = ThreadNanoseconds();
    NPG_RETURN_IF_ERROR(recorder.reader().ReadBaseChains(rules));
    for (std::vector<double>* const times : {&whole, &again}) {
      const auto found = rules::Evaluate(rules, recorder, {});
      if (!found.ok()) return found.status();
      if (found->taken.size() != kServices) {
        return absl::InternalError(absl::StrCat(found->taken.size(), " ports are taken"));
      }
      times->push_back((ThreadNanoseconds() - start) / 1e6);
      start = ThreadNanoseconds();
    }
    NPG_RETURN_IF_ERROR(ListOnly(recorder.chains()));
    list.push_back((ThreadNanoseconds() - start) / 1e6);
  }
  Add("CPU of the kernel's lists alone", "ms", Quantile(list, 0.5));
  Add("CPU of reading and evaluating", "ms", Quantile(whole, 0.5));
  Add("CPU of evaluating again", "ms", Quantile(again, 0.5));
  return absl::OkStatus();
}

absl::StatusOr<double> CpuWithChildren(pid_t guard) {
  const absl::StatusOr<double> own = CpuSeconds(guard);
  if (!own.ok()) return own.status();
  const absl::StatusOr<double> children = CpuSecondsOfChildren(guard);
  if (!children.ok()) return children.status();
  return *own + *children;
}

absl::Status RulesBench::MeasureStarts() {
  std::vector<double> cpu, peaks;
  for (int round = 0; round < kStarts; ++round) {
    absl::StatusOr<testing::ChildProcess> guard = testing::ChildProcess::Start(
        testing::GuardCommand(*node_, {"run", "--source", "netfilter", "--detach-on-exit"}));
    if (!guard.ok()) return guard.status();
    std::optional<NodePortsMap> map;
    double peak = 0;
    NPG_RETURN_IF_ERROR(Await("NodePorts in the map", [&] {
      peak = std::max(peak, PeakWithChildren(guard->pid()));
      if (!map) {
        if (absl::StatusOr<NodePortsMap> opened = NodePortsMap::Open(node_->bpffs()); opened.ok()) {
          map.emplace(*std::move(opened));
        }
      }
      return map && map->Size() == kServices;
    }));
    peaks.push_back(peak);
    const absl::StatusOr<double> used = CpuWithChildren(guard->pid());
    if (!used.ok()) return used.status();
    cpu.push_back(*used - empty_cpu_);
    guard->Signal(SIGTERM);
    NPG_RETURN_IF_ERROR(guard->Wait().status());
    // Its pins have the entries.
    NPG_RETURN_IF_ERROR(testing::RunCommand(testing::GuardCommand(*node_, {"unload"})).status());
  }
  Add("CPU from start to filled map, less a start without rules", "s", Quantile(cpu, 0.5),
      nft() ? std::optional(kFirstReadingGoal) : std::nullopt);
  Add("peak resident, with commands", "MiB", Quantile(peaks, 0.5), kPeakGoal);
  return absl::OkStatus();
}

// From the first notification of the kernel to the entry in the map.
absl::Status RulesBench::MeasureAdditions(const GuardProcess& guard, const NodePortsMap& map) {
  absl::StatusOr<base::NetlinkSocket> socket = base::NetlinkSocket::Open(NETLINK_NETFILTER);
  if (!socket.ok()) return socket.status();
  NPG_RETURN_IF_ERROR(socket->Join(NFNLGRP_NFTABLES));
  std::vector<double> latency;
  double used = 0;
  for (int i = 0; i < kAdditions; ++i) {
    const auto port = static_cast<uint16_t>(kNewPort + i);
    absl::SleepFor(kRest);
    while (true) {
      const auto received = socket->Receive([](const nlmsghdr& /*message*/) {});
      if (!received.ok()) return received.status();
      if (*received == base::NetlinkSocket::Received::kNothing) break;
    }
    const absl::StatusOr<double> before = CpuSeconds(guard.pid());
    if (!before.ok()) return before.status();
    auto command = testing::ChildProcess::Start(
        {"nft", absl::StrCat("add rule ip nat KUBE-NODEPORTS tcp dport ", port,
                             " dnat to 10.244.0.1:8080")});
    if (!command.ok()) return command.status();
    std::optional<absl::Time> notified;
    NPG_RETURN_IF_ERROR(Await("entry of an added rule", [&] {
      if (!notified) {
        const auto received = socket->Receive([](const nlmsghdr& /*message*/) {});
        if (received.ok() && *received == base::NetlinkSocket::Received::kMessages) {
          notified = absl::Now();
        }
      }
      return map.HasTcp(port);
    }));
    if (!notified) return absl::InternalError("an entry came before its notification");
    latency.push_back(absl::ToDoubleMilliseconds(absl::Now() - *notified));
    NPG_RETURN_IF_ERROR(command->Wait().status());
    absl::SleepFor(kRest);  // what follows the change counts, too
    const absl::StatusOr<double> after = CpuSeconds(guard.pid());
    if (!after.ok()) return after.status();
    used += *after - *before;
  }
  Add("a rule added, to map entry, p50", "ms", Quantile(latency, 0.5));
  Add("a rule added, to map entry, longest", "ms", Quantile(latency, 1), kLatencyGoal);
  Add("CPU of a rule added, with all that follows", "ms", used * 1e3 / kAdditions, kChangeGoal);
  return absl::OkStatus();
}

absl::Status RulesBench::MeasureRewrites(const GuardProcess& guard, absl::Duration rewrite) {
  const absl::StatusOr<double> before = CpuWithChildren(guard.pid());
  if (!before.ok()) return before.status();
  const absl::Time start = absl::Now();
  int rewrites = 0;
  for (absl::Time next = start; absl::Now() < start + rewrite; ++rewrites) {
    if (stop_()) return absl::CancelledError("interrupted");
    NPG_RETURN_IF_ERROR(Restore());
    next += absl::Seconds(1);
    absl::SleepFor(std::max(next - absl::Now(), absl::ZeroDuration()));
  }
  const absl::Duration took = absl::Now() - start;
  const absl::StatusOr<double> after = CpuWithChildren(guard.pid());
  if (!after.ok()) return after.status();
  const std::string what = absl::StrCat("all rules rewritten ", rewrites, " times in ",
                                        absl::ToInt64Seconds(took), " s");
  Add(absl::StrCat(what, ", CPU"), "%", (*after - *before) / absl::ToDoubleSeconds(took) * 100,
      kRewriteGoal);
  const absl::StatusOr<Memory> memory = MemoryOf(guard.pid());
  if (!memory.ok()) return memory.status();
  Add(absl::StrCat(what, ", peak resident"), "MiB", memory->peak, kPeakGoal);
  Add("resident afterwards", "MiB", memory->now);
  return absl::OkStatus();
}

absl::StatusOr<std::vector<Figure>> RulesBench::Run(absl::Duration rewrite) {
  {
    absl::StatusOr<GuardProcess> guard = StartGuard();
    if (!guard.ok()) return guard.status();
    const absl::StatusOr<double> used = CpuSeconds(guard->pid());
    if (!used.ok()) return used.status();
    empty_cpu_ = *used;
    const absl::StatusOr<Memory> memory = MemoryOf(guard->pid());
    if (!memory.ok()) return memory.status();
    Add("peak resident of a start without rules", "MiB", memory->peak);
    NPG_RETURN_IF_ERROR(guard->Stop());
  }
  NPG_RETURN_IF_ERROR(Restore());
  if (nft()) NPG_RETURN_IF_ERROR(MeasureReading());
  NPG_RETURN_IF_ERROR(MeasureStarts());
  absl::StatusOr<GuardProcess> guard = StartGuard();
  if (!guard.ok()) return guard.status();
  absl::StatusOr<NodePortsMap> map = NodePortsMap::Open(node_->bpffs());
  if (!map.ok()) return map.status();
  NPG_RETURN_IF_ERROR(Await("NodePorts in the map", [&] { return map->Size() == kServices; }));
  if (nft()) NPG_RETURN_IF_ERROR(MeasureAdditions(*guard, *map));
  NPG_RETURN_IF_ERROR(MeasureRewrites(*guard, rewrite));
  NPG_RETURN_IF_ERROR(guard->Stop());
  NPG_RETURN_IF_ERROR(testing::RunCommand({Program(""), "-w", "30", "-t", "nat", "-F"}).status());
  NPG_RETURN_IF_ERROR(testing::RunCommand({Program(""), "-w", "30", "-t", "nat", "-X"}).status());
  return figures_;
}

}  // namespace

absl::StatusOr<std::vector<Figure>> RulesFigures(absl::Duration rewrite,
                                                 absl::FunctionRef<bool()> stop) {
  auto node = TestNode::Create();
  if (!node.ok()) return node.status();
  std::unique_ptr<TestNode> place = *std::move(node);
  std::vector<Figure> all;
  for (const IptablesVariant variant : {IptablesVariant::kNft, IptablesVariant::kLegacy}) {
    RulesBench bench(std::move(place), variant, stop);
    absl::StatusOr<std::vector<Figure>> figures = bench.Run(rewrite);
    if (!figures.ok()) return figures.status();
    all.insert(all.end(), figures->begin(), figures->end());
    place = std::move(bench).TakeNode();
  }
  return all;
}

}  // namespace npg::bench
