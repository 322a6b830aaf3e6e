// SPDX-License-Identifier: Apache-2.0
#include "controller/self_probe.h"

#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "abi/names.h"
#include "absl/cleanup/cleanup.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "base/errno_status.h"
#include "controller/probe_client.h"
#include "controller/probe_exchange.h"
#include "controller/probe_judgement.h"
#include "controller/probe_losses.h"
#include "controller/probe_sockets.h"
#include "controller/probe_tracking.h"
#include "core/desired_state.h"
#include "core/mark.h"
#include "core/port_blocks.h"
#include "dataplane/bpf/bpf_guard.h"
#include "dataplane/nft/nft_table.h"

namespace npg::controller {
namespace {

constexpr absl::string_view kCanaryName = "nodeport-guard/self-probe";
// The number of probes that use the same ports. A process that knows the ports can send from and
// to them between two probes. If conntrack tracks those packets, the next probe meets existing
// entries, and no event reports a new one.
constexpr int kSamePorts = 12;
// For an answer over loopback. The first one covers two lost SYNs, which the kernel sends again
// after 1 s and 3 s; the second one, for what was broken the last time and is expected to be broken
// still, one of them, or lost data (after 200 ms).
constexpr absl::Duration kAnswer = absl::Milliseconds(3500);
constexpr absl::Duration kAnswerWhenBroken = absl::Milliseconds(1500);

absl::string_view ProgramOf(int family) {
  return family == AF_INET ? "npg_connect4" : "npg_connect6";
}

}  // namespace

// What a probe needs until it has ended.
struct SelfProbe::Attempt {
  explicit Attempt(ProbeSockets::Ports& ports) : sockets(ports), exchange(sockets, kTurn) {}

  ProbeSockets sockets;
  ProbeTracking tracking;
  ProbeExchange exchange;
  absl::Duration start;             // SinceBoot()
  std::optional<uint64_t> dropped;  // LoopbackDrops() before the connects
  bool exchanged = false;
};

SelfProbe::SelfProbe(dataplane::BpfGuard& guard, dataplane::NftTable& table, core::Mark mark,
                     abi::Mode mode, int conntrack_queue)
    : guard_(guard), table_(table), mark_(mark), mode_(mode), conntrack_queue_(conntrack_queue) {}

SelfProbe::~SelfProbe() = default;

absl::StatusOr<SelfProbe::Seen> SelfProbe::Look() {
  Seen seen;
  const absl::StatusOr<uint64_t> probed = guard_.Counter(abi::Counter::kProbed);
  if (!probed.ok()) return probed.status();
  seen.probed = *probed;
  if (mode_ != abi::Mode::kEnforce) return seen;
  const absl::StatusOr<uint64_t> packets = table_.ExemptedPackets();
  if (!packets.ok()) return packets.status();
  seen.packets = *packets;
  return seen;
}

absl::Status SelfProbe::Connect(const absl::Status& entered, ProbeClient& client) {
  const absl::StatusOr<Seen> before = Look();
  if (!before.ok()) return before.status();
  NPG_RETURN_IF_ERROR(client.Connect());
  uint32_t mark = 0;
  socklen_t size = sizeof(mark);
  if (getsockopt(client.fd.get(), SOL_SOCKET, SO_MARK, &mark, &size) != 0) {
    return base::ErrnoStatus(errno, "read the mark of the self-probe's socket");
  }
  const absl::StatusOr<Seen> after = Look();
  if (!after.ok()) return after.status();
  if (after->probed == before->probed && !entered.ok()) {
    return absl::UnavailableError(absl::StrCat(
        "this process is not in the guarded cgroup, and cannot create a socket in it: ",
        entered.message()));
  }
  if (after->probed == before->probed) {
    return absl::FailedPreconditionError(
        absl::StrCat(ProgramOf(client.family),
                     " did not see a connect to a guarded port from within the cgroup"));
  }
  if (mode_ != abi::Mode::kEnforce) return absl::OkStatus();
  if ((mark & mark_.mask) != mark_.value) {
    return absl::FailedPreconditionError(
        absl::StrCat("a connect was exempted by ", ProgramOf(client.family),
                     " but its socket has the mark ", core::HexText(mark), ", not ",
                     core::ToString(mark_), ": another program sets or clears it"));
  }
  if (after->packets == before->packets && !client.canary->tcp && !client.sent &&
      !absl::IsFailedPrecondition(client.connected)) {
    // No rule refused the datagram.
    return client.NotTested();
  }
  if (after->packets == before->packets) {
    return absl::FailedPreconditionError(
        absl::StrCat("the nft table inet ", dataplane::kNftTableName,
                     " did not see the packets of a connect that was marked"));
  }
  return absl::OkStatus();
}

// The canaries are NodePorts only while this runs: the programs act at the connect.
absl::Status SelfProbe::ConnectAll() {
  core::Difference enter, leave;
  core::PortBlocks blocks;
  for (const ProbeCanary& canary : attempt_->sockets.canaries()) {
    if (!canary.fd) continue;
    blocks.Add(canary.key().port);
    enter.put.push_back({canary.key(), {abi::Bit(abi::Source::kProbe), std::string(kCanaryName)}});
    leave.remove.push_back(canary.key());
  }
  NPG_RETURN_IF_ERROR(table_.Cover(blocks));
  const absl::Cleanup remove = [&] {
    // The next start replaces or removes an entry that stays.
    guard_.ApplyNodePorts(leave).status().IgnoreError();
  };
  const auto put = guard_.ApplyNodePorts(enter);
  if (!put.ok()) return put.status();
  for (ProbeClient& client : attempt_->sockets.clients()) {
    if (!client.fd) continue;
    client.ready = Connect(attempt_->sockets.entered(), client);
    if (!client.ready.ok()) {
      // Its packets were not exempted, and show nothing.
      client.fd.Reset();
      continue;
    }
    // A busy node may be slow; what was broken the last time is expected to be so still.
    const bool was_broken = (expected_broken_ & abi::Bit(client.canary->traffic)) != 0;
    client.deadline = SinceBoot() + (was_broken ? kAnswerWhenBroken : kAnswer);
  }
  return absl::OkStatus();
}

absl::Status SelfProbe::Begin(int cgroup_fd) {
  attempt_ = std::make_unique<Attempt>(ports_);
  if (++probes_ % kSamePorts == 0) ports_.fill(0);
  // A probe that ends early has tested nothing.
  broken_ = tested_ = 0;
  NPG_RETURN_IF_ERROR(guard_.CheckLinks(cgroup_fd));
  return attempt_->sockets.Start(cgroup_fd);
}

std::optional<SelfProbe::Result> SelfProbe::GoOn(const core::PortEntries& nodeports,
                                                 absl::Duration until) {
  Attempt& attempt = *attempt_;
  ProbeSockets& sockets = attempt.sockets;
  if (sockets.starting()) {
    const std::optional<absl::Status> bound =
        sockets.Bind(nodeports, std::max(until - SinceBoot(), absl::ZeroDuration()));
    if (!bound) return std::nullopt;
    if (!bound->ok()) return *bound;
    if (mode_ == abi::Mode::kEnforce) attempt.tracking.Start(conntrack_queue_, rules_);
    attempt.dropped = LoopbackDrops();
    attempt.start = SinceBoot();
    if (const absl::Status status = ConnectAll(); !status.ok()) return status;
  }
  if (mode_ != abi::Mode::kEnforce) {
    abi::TrafficBits not_known = 0;
    if (const absl::Status unready = sockets.Unready(not_known); !unready.ok()) return unready;
    return SinceBoot() - attempt.start;
  }
  if (!attempt.exchanged) {
    attempt.exchanged =
        attempt.exchange.Turn(until, [&] { attempt.tracking.Take(sockets.clients()); });
    if (!attempt.exchanged) return std::nullopt;
  }
  const absl::Duration latency = SinceBoot() - attempt.start;
  if (!attempt.tracking.ReadRules(until)) return std::nullopt;
  const ProbeJudgement judgement = JudgeProbe(sockets, attempt.tracking, table_,
                                              /*lo_lost=*/LoopbackDrops() != attempt.dropped);
  broken_ = judgement.broken;
  tested_ = judgement.tested;
  expected_broken_ = (expected_broken_ & ~tested_) | broken_;
  if (!judgement.status.ok()) return judgement.status;
  return latency;
}

std::optional<SelfProbe::Result> SelfProbe::Run(int cgroup_fd, const core::PortEntries& nodeports) {
  const absl::Duration until = SinceBoot() + kTurn;
  absl::Status begun;
  if (!attempt_) begun = Begin(cgroup_fd);
  std::optional<Result> result;
  if (begun.ok()) {
    result = GoOn(nodeports, until);
  } else {
    result.emplace(begun);
  }
  if (result) attempt_.reset();
  return result;
}

}  // namespace npg::controller
