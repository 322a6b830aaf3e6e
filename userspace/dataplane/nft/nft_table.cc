// SPDX-License-Identifier: Apache-2.0
#include "dataplane/nft/nft_table.h"

#include <linux/netlink.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/algorithm/container.h"
#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/types/span.h"
#include "base/errno_status.h"
#include "base/event_loop.h"
#include "base/netlink_socket.h"
#include "core/datagram_targets.h"
#include "core/flow.h"
#include "core/mark.h"
#include "core/port_blocks.h"
#include "dataplane/nft/nft_elements.h"
#include "dataplane/nft/nft_flows.h"
#include "dataplane/nft/nft_install.h"
#include "dataplane/nft/nft_keeper.h"
#include "dataplane/nft/nft_rules.h"
#include "dataplane/nft/nft_snapshot.h"

namespace npg::dataplane {
namespace {

class InstalledTable : public NftTable {
 public:
  InstalledTable(base::NetlinkSocket socket, const NftSettings& settings, NftInstalled installed)
      : socket_(std::move(socket)), settings_(settings), installed_(installed) {
    settings_.ipvs_bypass = installed.ipvs_bypass;
    settings_.asked = installed.asked;
    settings_.blocks = installed.blocks;
  }

  bool owned() const override { return installed_.owned; }
  bool adopted() const override { return installed_.adopted; }
  absl::Status Guard(base::EventLoop& loop, std::function<std::vector<core::Flow>()> live_flows,
                     std::function<void(const absl::Status&)> restored) override;
  absl::Status Reconcile(const std::vector<core::Flow>& live,
                         const std::vector<core::Flow>& connected) override;
  absl::Status SetDatagramTargets(const core::DatagramTargets& targets) override;
  absl::Status SetIpvsBypass(bool wanted) override;
  absl::Status Cover(core::PortBlocks blocks) override;
  absl::Status CoverOnly(core::PortBlocks blocks) override;
  absl::Status ForgetFormerMark() override;
  bool ipvs_bypass() const override { return *settings_.ipvs_bypass; }
  absl::StatusOr<bool> Quiet(absl::Span<const uint16_t> probes) override;
  absl::StatusOr<bool> Knows(const core::Flow& flow) override;
  absl::StatusOr<uint64_t> ExemptedPackets() override;
  absl::Status Remove() override;

 private:
  absl::StatusOr<bool> Repair(bool entries_lost);
  enum class Extent { kAdd, kAddAndRemove };
  // The sum of the changes of all sets.
  struct Outcome {
    bool added = false;
    absl::Status full;
  };
  absl::StatusOr<Outcome> Compare(Extent extent, const std::vector<core::Flow>& live,
                                  const std::vector<core::Flow>& connected);
  absl::StatusOr<bool> ApplyTargets();
  absl::Status MatchAskedChain();
  absl::Status ChangeRules(const NftSettings& wanted);
  using Comparison = std::function<NftSetChange(const std::vector<NftElement>& elements)>;
  absl::StatusOr<NftSetChange> ChangeSet(Extent extent, const NftSetSpec& set,
                                         std::vector<NftElement> elements,
                                         const Comparison& compare);

  // In the kernel, this socket owns the table.
  base::NetlinkSocket socket_;
  NftSettings settings_;  // ipvs_bypass, asked and blocks have a value
  NftInstalled installed_;
  std::function<std::vector<core::Flow>()> live_flows_ = [] { return std::vector<core::Flow>(); };
  std::optional<core::DatagramTargets> targets_;
  std::unique_ptr<NftKeeper> keeper_;
};

absl::Status InstalledTable::Guard(base::EventLoop& loop,
                                   std::function<std::vector<core::Flow>()> live_flows,
                                   std::function<void(const absl::Status&)> restored) {
  NftKeeper::Actions actions;
  live_flows_ = std::move(live_flows);
  // A new table has no entries of the connections that outlived the former one.
  actions.begin = [this] { return Compare(Extent::kAdd, live_flows_(), {}).status(); };
  actions.repair = [this](bool entries_lost) { return Repair(entries_lost); };
  actions.repaired = std::move(restored);
  auto keeper = NftKeeper::Start(loop, socket_.port_id(), std::move(actions));
  if (!keeper.ok()) return base::Annotate(keeper.status(), "watch the nft table");
  keeper_ = *std::move(keeper);
  return absl::OkStatus();
}

absl::StatusOr<bool> InstalledTable::Repair(bool entries_lost) {
  if (targets_) settings_.asked = !targets_->empty();
  const absl::StatusOr<NftSnapshot> snapshot = ReadNftSnapshot(socket_);
  if (!snapshot.ok()) return snapshot.status();
  const bool intact = IsIntact(*snapshot, settings_, installed_.owned);
  if (!intact) {
    const absl::StatusOr<NftInstalled> again = InstallTable(socket_, settings_);
    if (!again.ok()) return again.status();
    installed_.owned = again->owned;
  } else if (!entries_lost) {
    return false;
  }
  const absl::StatusOr<bool> targets_lost = ApplyTargets();
  if (!targets_lost.ok()) return targets_lost.status();
  // The rules first: they add the connections that begin now.
  const absl::StatusOr<Outcome> outcome = Compare(Extent::kAdd, live_flows_(), {});
  if (!outcome.ok()) return outcome.status();
  return !intact || *targets_lost || outcome->added;
}

absl::StatusOr<NftSetChange> InstalledTable::ChangeSet(Extent extent, const NftSetSpec& set,
                                                       std::vector<NftElement> elements,
                                                       const Comparison& compare) {
  // An entry may expire between our read and its removal.
  constexpr int kMaxChangeTries = 5;
  for (int tries = 1;; ++tries) {
    NftSetChange change = compare(elements);
    if (extent == Extent::kAdd) change.remove.clear();
    const absl::Status status = ApplyChange(socket_, set, change);
    if (status.ok()) return change;
    if (!absl::IsNotFound(status) || tries == kMaxChangeTries) return status;
    auto again = ReadNftElements(socket_, set.name);
    if (!again.ok()) return again.status();
    elements = *std::move(again);
  }
}

absl::StatusOr<InstalledTable::Outcome> InstalledTable::Compare(
    Extent extent, const std::vector<core::Flow>& live, const std::vector<core::Flow>& connected) {
  // Their ports need not be NodePorts any more.
  core::PortBlocks servers;
  for (const core::Flow& flow : live) servers.Add(flow.server_port);
  NPG_RETURN_IF_ERROR(Cover(servers));
  Outcome outcome;
  for (const NftSetSpec& set : kNftSets) {
    // No list of sockets shows the use of the sets of datagrams.
    if (!set.has_flows() || set.use == NftSetUse::kDatagrams) continue;
    auto elements = ReadNftElements(socket_, set.name);
    if (!elements.ok()) return elements.status();
    const uint32_t size = set.size(settings_.set_size);
    const absl::StatusOr<NftSetChange> change =
        ChangeSet(extent, set, *std::move(elements), [&](const std::vector<NftElement>& now) {
          return CompareFlows(set, size, now, live, connected);
        });
    if (!change.ok()) return change.status();
    outcome.added = outcome.added || !change->add.empty();
    if (change->no_room == 0) continue;
    outcome.full.Update(absl::ResourceExhaustedError(absl::StrCat(
        "set ", set.name, " of nft table inet ", kNftTableName, " is full (", size,
        " entries): ", change->no_room,
        " are missing, replies to so many exempted connections are tracked and may meet NAT")));
  }
  return outcome;
}

absl::Status InstalledTable::Reconcile(const std::vector<core::Flow>& live,
                                       const std::vector<core::Flow>& connected) {
  const absl::StatusOr<Outcome> outcome = Compare(Extent::kAddAndRemove, live, connected);
  return outcome.ok() ? outcome->full : outcome.status();
}

// True when it had to change a set.
absl::StatusOr<bool> InstalledTable::ApplyTargets() {
  if (!targets_) return false;
  bool changed = false;
  absl::Status result;
  for (const NftSetSpec& set : kNftSets) {
    if (set.dynamic()) continue;
    auto elements = ReadNftElements(socket_, set.name);
    if (!elements.ok()) return elements.status();
    const absl::StatusOr<NftSetChange> change = ChangeSet(
        Extent::kAddAndRemove, set, *std::move(elements),
        [&](const std::vector<NftElement>& now) { return CompareTargets(set, now, *targets_); });
    // A full set does not stop the others.
    result.Update(change.status());
    changed = changed || (change.ok() && (!change->add.empty() || !change->remove.empty()));
  }
  if (!result.ok()) return result;
  return changed;
}

absl::Status InstalledTable::SetDatagramTargets(const core::DatagramTargets& targets) {
  targets_ = targets;
  core::PortBlocks blocks;
  for (const uint16_t port : targets.loopback4) blocks.Add(port);
  for (const auto& [address, port] : targets.addresses) blocks.Add(port);
  NPG_RETURN_IF_ERROR(Cover(blocks));
  // The chain comes before the first target and goes after the last one: what a target listener
  // asks is noted as long as answers to it would be exempt.
  if (!targets.empty()) NPG_RETURN_IF_ERROR(MatchAskedChain());
  NPG_RETURN_IF_ERROR(ApplyTargets().status());
  return MatchAskedChain();
}

// Adds or removes kAskedChain, as the targets need it.
absl::Status InstalledTable::MatchAskedChain() {
  const bool wanted = !targets_->empty();
  if (*settings_.asked == wanted) return absl::OkStatus();
  NftSettings settings = settings_;
  settings.asked = wanted;
  return ChangeRules(settings);
}

// Compares the entries of flows, which takes long for large sets, only if another process has
// changed the table.
absl::Status InstalledTable::ChangeRules(const NftSettings& wanted) {
  const absl::StatusOr<NftSnapshot> snapshot = ReadNftSnapshot(socket_);
  if (!snapshot.ok()) return snapshot.status();
  const bool intact = IsIntact(*snapshot, settings_, installed_.owned);
  const NftSettings before = std::exchange(settings_, wanted);
  absl::Status status;
  bool flows_lost = !intact;
  if (intact) {
    NftSettings settings = settings_;
    settings.own = installed_.owned;  // not first with flags that the kernel may lack
    const absl::StatusOr<NftInstalled> again = InstallTable(socket_, settings);
    status = again.status();
    // Another process may have just removed the table.
    flows_lost = again.ok() && !again->adopted;
  }
  if (flows_lost) status = Repair(/*entries_lost=*/true).status();
  if (!status.ok()) settings_ = before;
  return status;
}

absl::Status InstalledTable::Cover(core::PortBlocks blocks) {
  if (settings_.blocks->Contains(blocks)) return absl::OkStatus();
  NftSettings settings = settings_;
  settings.blocks->Add(blocks);
  return ChangeRules(settings);
}

absl::Status InstalledTable::CoverOnly(core::PortBlocks blocks) {
  if (*settings_.blocks == blocks) return absl::OkStatus();
  NftSettings settings = settings_;
  settings.blocks = blocks;
  for (const NftSetSpec& set : kNftSets) {
    if (!set.has_flows() && set.use != NftSetUse::kTargetPorts) continue;
    const auto elements = ReadNftElements(socket_, set.name);
    // Another process has just removed the table. It is restored as it was.
    if (absl::IsNotFound(elements.status())) return absl::OkStatus();
    if (!elements.ok()) return elements.status();
    for (const NftElement& element : *elements) {
      // The tuple is that of the replies. (An earlier build may have left both directions.)
      settings.blocks->Add(set.has_flows() ? TuplePorts(set.family, element.key)[0]
                                           : PortOf(element.key));
    }
  }
  if (settings.blocks == settings_.blocks) return absl::OkStatus();
  return ChangeRules(settings);
}

// Works like a repair, because another process may have just removed the table.
absl::Status InstalledTable::SetIpvsBypass(bool wanted) {
  if (wanted == ipvs_bypass()) return absl::OkStatus();
  settings_.ipvs_bypass = wanted;
  absl::Status status = Repair(/*entries_lost=*/false).status();
  if (!status.ok()) settings_.ipvs_bypass = !wanted;
  return status;
}

absl::Status InstalledTable::ForgetFormerMark() {
  if (!settings_.former_mark) return absl::OkStatus();
  const std::optional<core::Mark> former = std::exchange(settings_.former_mark, std::nullopt);
  absl::Status status = Repair(/*entries_lost=*/false).status();
  if (!status.ok()) settings_.former_mark = former;
  return status;
}

absl::StatusOr<bool> InstalledTable::Quiet(absl::Span<const uint16_t> probes) {
  for (const NftSetSpec& set : kNftSets) {
    if (!set.has_flows()) continue;
    const auto elements = ReadNftElements(socket_, set.name);
    if (!elements.ok()) return elements.status();
    for (const NftElement& element : *elements) {
      const bool probe = absl::c_all_of(TuplePorts(set.family, element.key), [&](uint16_t port) {
        return absl::c_linear_search(probes, port);
      });
      if (!probe) return false;
    }
  }
  return true;
}

absl::StatusOr<bool> InstalledTable::Knows(const core::Flow& flow) {
  for (const NftSetSpec& set : kNftSets) {
    if (set.use != NftSetUse::kFlows || set.protocol != flow.protocol ||
        set.family != FlowFamily(flow)) {
      continue;
    }
    return HasNftElement(socket_, set.name, FlowKeys(flow)[1]);
  }
  return absl::InvalidArgumentError("the nft table has no set for flows of this protocol");
}

absl::StatusOr<uint64_t> InstalledTable::ExemptedPackets() {
  return ReadNftCounter(socket_, kExemptedCounter);
}

absl::Status InstalledTable::Remove() {
  keeper_.reset();  // it would restore the table
  return RemoveTable(socket_);
}

}  // namespace

absl::StatusOr<std::unique_ptr<NftTable>> InstallNftTable(const NftSettings& settings) {
  absl::StatusOr<base::NetlinkSocket> socket = base::NetlinkSocket::Open(NETLINK_NETFILTER);
  if (!socket.ok()) return socket.status();
  const absl::StatusOr<NftInstalled> installed = InstallTable(*socket, settings);
  if (!installed.ok()) return installed.status();
  return std::make_unique<InstalledTable>(*std::move(socket), settings, *installed);
}

absl::StatusOr<std::unique_ptr<NftTable>> NftTable::Install(core::Mark mark,
                                                            std::optional<core::Mark> former,
                                                            bool own) {
  NftSettings settings;
  settings.own = own;
  settings.mark = mark;
  if (former != mark) settings.former_mark = former;
  return InstallNftTable(settings);
}

// A flow has one entry, that of its replies.
static_assert(kFlowsPerSet == kSetSize && kSetSize < kTcpSetSize);

absl::StatusOr<NftTableState> ReadNftTable() {
  absl::StatusOr<base::NetlinkSocket> socket = base::NetlinkSocket::Open(NETLINK_NETFILTER);
  if (!socket.ok()) return socket.status();
  const absl::StatusOr<NftSnapshot> snapshot = ReadNftSnapshot(*socket);
  if (!snapshot.ok()) return snapshot.status();
  NftTableState state;
  const auto hook = snapshot->chains.find(kHookChain);
  state.present = snapshot->present && hook != snapshot->chains.end() && hook->second.hooked;
  state.owner_portid = snapshot->owner;
  state.ipvs_bypass =
      snapshot->chains.contains(kBypassChain) && snapshot->chains.contains(kBypassBackChain);
  const auto counter = snapshot->objects.find(kExemptedCounter);
  if (counter != snapshot->objects.end()) state.exempted_packets = counter->second.packets;
  // A connected socket may have entries in both sets of its address family.
  absl::flat_hash_set<std::string> udp;
  for (const NftSetSpec& set : kNftSets) {
    const bool flows = set.use == NftSetUse::kFlows || set.use == NftSetUse::kDatagrams;
    if ((!flows && set.dynamic()) || !snapshot->sets.contains(set.name)) continue;
    const auto elements = ReadNftElements(*socket, set.name);
    if (absl::IsNotFound(elements.status())) continue;  // the table is being removed
    if (!elements.ok()) return elements.status();
    const auto count = static_cast<uint32_t>(elements->size());
    if (!flows) {
      if (set.use == NftSetUse::kTargetPorts) state.datagram_ports = count;
      AddTargets(set, *elements, state.targets);
      continue;
    }
    state.flow_entries += count;
    if (set.protocol == IPPROTO_TCP) {
      state.flows += count;
    } else {
      for (const NftElement& element : *elements) udp.insert(element.key);
    }
  }
  state.flows += static_cast<uint32_t>(udp.size());
  return state;
}

absl::Status RemoveNftTable() {
  absl::StatusOr<base::NetlinkSocket> socket = base::NetlinkSocket::Open(NETLINK_NETFILTER);
  if (!socket.ok()) return socket.status();
  return RemoveTable(*socket);
}

}  // namespace npg::dataplane
