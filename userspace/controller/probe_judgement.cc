// SPDX-License-Identifier: Apache-2.0
#include "controller/probe_judgement.h"

#include <cstdint>
#include <vector>

#include "abi/names.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "controller/probe_client.h"
#include "controller/probe_losses.h"
#include "controller/probe_sockets.h"
#include "controller/probe_tracking.h"
#include "dataplane/nft/nft_table.h"

namespace npg::controller {
namespace {

// Collects what the parts of a probe show.
class ProbeJudge {
 public:
  // All outlive this.
  ProbeJudge(const ProbeTracking& tracking, dataplane::NftTable& table, bool lo_lost)
      : tracking_(tracking), table_(table), lo_lost_(lo_lost) {}

  void AddUnready(const ProbeSockets& sockets) { unknown_ = sockets.Unready(not_known_); }
  void AddRules();
  void AddClient(const ProbeClient& client);
  // Of all that was added.
  ProbeJudgement Result() const;
  void GiveUpPorts() const {
    for (uint16_t* const port : used_up_) *port = 0;
  }

 private:
  bool LostPacketsOf(const ProbeClient& client) const;
  void Broken(const ProbeClient& client, const absl::Status& how);
  void NotKnown(const ProbeClient& client, const absl::Status& why);
  void UseUpPortsOf(const ProbeClient& client);

  const ProbeTracking& tracking_;
  dataplane::NftTable& table_;
  const bool lo_lost_;
  absl::Status failed_, unknown_;
  abi::TrafficBits broken_ = 0;
  abi::TrafficBits not_known_ = 0;
  std::vector<uint16_t*> used_up_;  // ports that the next probe is not to have
};

void ProbeJudge::AddRules() {
  const ProbeTracking::Rules& tracks = tracking_.tracks();
  if ((tracks.traffic & ~not_known_) != 0) {
    broken_ |= tracks.traffic & ~not_known_;
    failed_.Update(absl::FailedPreconditionError(
        absl::StrCat("a rule would have exempted packets tracked again: ", tracks.where)));
  }
  const ProbeTracking::Rules& may_track = tracking_.may_track();
  if (may_track.traffic != 0) {
    not_known_ |= may_track.traffic;
    unknown_.Update(absl::UnavailableError(
        absl::StrCat("exempted packets may be tracked again: ", may_track.where)));
  }
}

bool ProbeJudge::LostPacketsOf(const ProbeClient& client) const {
  return lo_lost_ || LostPackets(client.canary->fd.get()) ||
         (!client.canary->tcp && LostPackets(client.fd.get()));
}

void ProbeJudge::Broken(const ProbeClient& client, const absl::Status& how) {
  broken_ |= abi::Bit(client.canary->traffic);
  failed_.Update(how);
}

void ProbeJudge::NotKnown(const ProbeClient& client, const absl::Status& why) {
  not_known_ |= abi::Bit(client.canary->traffic);
  unknown_.Update(why);
}

void ProbeJudge::UseUpPortsOf(const ProbeClient& client) {
  used_up_.insert(used_up_.end(), {client.port, client.canary->port});
}

void ProbeJudge::AddClient(const ProbeClient& client) {
  if (!client.ready.ok()) used_up_.push_back(client.port);
  if (!client.fd) return;
  // Other processes can fill queues: what they send shows nothing by itself. But a refusal comes
  // from the kernel.
  const bool lost = LostPacketsOf(client);
  if (client.tracked.empty() && !client.answered &&
      (absl::IsUnavailable(client.connected) || (client.connected.ok() && client.NothingSent()))) {
    NotKnown(client, client.NotTested());
    return;
  }
  // Without its entry, the table exempts only the packets of the client itself.
  if (!client.tracked.empty() || !client.answered) {
    if (const absl::StatusOr<bool> known = table_.Knows(client.flow()); !known.ok() || !*known) {
      NotKnown(client,
               absl::UnavailableError(absl::StrCat(
                   "a connect (", client.Text(), ") could not be tested: the nft table inet ",
                   dataplane::kNftTableName,
                   " has no entry of the probe's flow: its set is full, or it was changed")));
      UseUpPortsOf(client);
      return;
    }
  }
  if (!client.tracked.empty()) {
    Broken(client, absl::FailedPreconditionError(client.tracked));
    // A packet that meets an entry which is left would not be new.
    UseUpPortsOf(client);
  } else if (!client.answered && client.connected.ok() && lost) {
    NotKnown(client, absl::UnavailableError(absl::StrCat(
                         "a connect (", client.Text(),
                         ") was not answered, but the kernel dropped packets for want of room")));
    UseUpPortsOf(client);
  } else if (!client.answered) {
    Broken(client,
           absl::FailedPreconditionError(absl::StrCat(
               "an exempted connect (", client.Text(), ") was ",
               client.connected.ok() ? "not answered" : "refused",
               client.connected.ok() ? "" : absl::StrCat(": ", client.connected.message()))));
  } else if (const absl::Status seen = tracking_.AllSeen(); !seen.ok()) {
    NotKnown(client, seen);
  }
}

ProbeJudgement ProbeJudge::Result() const {
  ProbeJudgement result;
  result.broken = broken_;
  result.tested = (abi::AllTraffic() & ~not_known_) | broken_;
  result.status = failed_;
  result.status.Update(unknown_);
  return result;
}

}  // namespace

ProbeJudgement JudgeProbe(const ProbeSockets& sockets, const ProbeTracking& tracking,
                          dataplane::NftTable& table, bool lo_lost) {
  ProbeJudge judge(tracking, table, lo_lost);
  judge.AddUnready(sockets);
  judge.AddRules();
  for (const ProbeClient& client : sockets.clients()) judge.AddClient(client);
  judge.GiveUpPorts();
  return judge.Result();
}

}  // namespace npg::controller
