// SPDX-License-Identifier: Apache-2.0
#include "controller/controller.h"

#include <spdlog/spdlog.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "abi/names.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "base/capabilities.h"
#include "base/errno_status.h"
#include "base/event_loop.h"
#include "base/memory.h"
#include "base/unique_fd.h"
#include "controller/accept_queue_watch.h"
#include "controller/exemption_follower.h"
#include "controller/flow_reconciler.h"
#include "controller/guard_repair.h"
#include "controller/guard_start.h"
#include "controller/health_keeper.h"
#include "controller/node_follower.h"
#include "controller/owner_keeper.h"
#include "controller/owner_schedule.h"
#include "controller/port_protection.h"
#include "controller/ports_keeper.h"
#include "controller/ready_report.h"
#include "controller/self_probe.h"
#include "controller/side_services.h"
#include "controller/standing_aside.h"
#include "controller/stop_signals.h"
#include "controller/unload.h"
#include "controller/until_done.h"
#include "core/desired_state.h"
#include "core/port_blocks.h"
#include "dataplane/bpf/bpf_guard.h"
#include "dataplane/bpf/controller_lock.h"
#include "dataplane/bpf/netns_cookie.h"
#include "dataplane/nft/nft_table.h"
#include "log/fields.h"
#include "log/health.h"
#include "log/log.h"
#include "log/repeated_fault.h"
#include "node/cgroups.h"
#include "sources/source.h"

namespace npg::controller {
namespace {

// Listing sockets costs milliseconds, because the kernel walks its whole hash table.
// Without a reason it is done once in this many rounds.
constexpr int kRoundsToFull = 6;
// From the start until the first FinishTakeover().
constexpr absl::Duration kStarted = absl::Seconds(1);

// Joins the parts of the controller: makes them in the order of the start, and calls them from the
// loop.
class Controller {
 public:
  // `lock`, `services` and `health` outlive it.
  Controller(Options options, std::vector<std::unique_ptr<sources::Source>> sources,
             dataplane::ControllerLock& lock, SideServices& services, log::Health& health)
      : options_(std::move(options)),
        lock_(lock),
        services_(services),
        health_(health),
        sources_(std::move(sources)) {}

  absl::Status Start();
  // Starts the periodic work. On an error it removes the guard again, unless that was
  // adopted.
  absl::Status Follow();
  absl::Status Serve() { return loop_->Run(); }

 private:
  absl::Status Load(base::UniqueFd cgroup);
  absl::Status ApplyOptions();
  absl::Status FollowAll();
  std::function<void()> OwnAddressesChanged();
  void NoteOwners(const absl::Status& status);
  bool SyncOwners();
  void StartHealth();
  void FollowExemptions();
  // Once it is known whether the guard may exempt connects.
  void Ready();
  absl::Status CoverOnlyNodePorts();
  absl::Status FinishTakeover();
  void Maintain();
  void LookAtAcceptQueues();

  Options options_;
  dataplane::ControllerLock& lock_;
  SideServices& services_;
  log::Health& health_;
  std::unique_ptr<base::EventLoop> loop_;  // declared before everything that registers with it
  std::vector<std::unique_ptr<sources::Source>> sources_;
  uint64_t netns_cookie_ = 0;
  // Of FormerRun.
  abi::TrafficBits aside_before_ = abi::AllTraffic();
  bool aside_known_ = false;
  bool following_ = false;  // FollowAll() has done its work
  bool probed_ = false;     // the first self-probe has ended
  std::unique_ptr<dataplane::BpfGuard> guard_;
  std::unique_ptr<dataplane::NftTable> table_;
  StopSignals signals_;

  std::optional<GuardRepair> repair_;
  std::optional<PortsKeeper> ports_;
  std::optional<OwnerSchedule> owner_schedule_;
  std::optional<OwnerKeeper> owners_;
  bool owners_again_soon_ = false;  // with the next maintenance: the last time it failed
  std::optional<NodeFollower> node_;
  std::optional<PortProtection> protection_;
  std::optional<SelfProbe> probe_;
  std::optional<FlowReconciler> flows_;
  std::optional<StandingAside> aside_;
  std::optional<HealthKeeper> health_keeper_;
  std::optional<AcceptQueueWatch> accept_queues_;
  std::unique_ptr<ExemptionFollower> exemptions_;
  int round_ = 0;  // of maintenance
  log::RepeatedFault table_fault_{"limit the nft table to the ports that have NodePorts"};
  log::RepeatedFault owners_fault_{"look up the owners of listeners"};
  UntilDone takeover_{"finish the takeover from the earlier run",
                      [this] { return FinishTakeover(); }};
  log::RepeatedFault exemptions_fault_{"log exemptions"};
};

void Controller::NoteOwners(const absl::Status& status) {
  owners_fault_.Note(status);
  // Trying again does not make room in a full map.
  owners_again_soon_ = !status.ok() && !absl::IsResourceExhausted(status);
}

bool Controller::SyncOwners() {
  const uint64_t before = owners_->changes();
  NoteOwners(owners_->Sync(ports_->desired().Entries()));
  node_->OwnersChanged();
  return owners_->changes() != before;
}

absl::Status Controller::Start() {
  absl::StatusOr<std::unique_ptr<base::EventLoop>> loop = base::EventLoop::Create();
  if (!loop.ok()) return loop.status();
  loop_ = *std::move(loop);
  NPG_RETURN_IF_ERROR(signals_.Watch(*loop_));
  absl::StatusOr<base::UniqueFd> cgroup = OpenCgroup(options_.cgroup);
  if (!cgroup.ok()) return cgroup.status();
  NPG_RETURN_IF_ERROR(Load(*std::move(cgroup)));
  const absl::StatusOr<FormerRun> former = ReadFormerRun(*guard_);
  if (!former.ok()) return former.status();
  aside_known_ = former->aside_known;
  aside_before_ = former->aside;
  absl::StatusOr<std::unique_ptr<dataplane::NftTable>> table =
      dataplane::NftTable::Install(options_.mark, former->mark, options_.own_nft_table);
  if (!table.ok()) return table.status();
  table_ = *std::move(table);
  // Maps first: no attached program may decide on half a map.
  if (absl::Status filled = ports_->Start(); !filled.ok()) {
    UndoStart(*guard_, *table_, *former);
    return filled;
  }
  node_.emplace(*loop_, *guard_, *table_, ports_->desired(),
                NodeFollower::Settings{options_.mode, options_.scope, options_.local_addresses,
                                       OwnAddressesChanged()});
  if (options_.mode == abi::Mode::kEnforce) node_->SetStandingAside(aside_before_);
  owner_schedule_.emplace(*loop_, [this] { return SyncOwners(); });
  owners_.emplace(*loop_, *guard_, options_.policy, options_.cgroup_root,
                  node::IsHierarchyRoot(repair_->cgroup_fd()),
                  [this] { owner_schedule_->SyncSoon(); });
  protection_.emplace(*loop_, *guard_, options_, *ports_, *node_);

  absl::Status attached = ApplyOptions();
  if (attached.ok()) {
    attached = guard_->Attach(repair_->cgroup_fd(), ConfigFor(options_, netns_cookie_, *former));
  }
  if (!attached.ok()) {
    UndoStart(*guard_, *table_, *former);
    return attached;
  }
  // Again, for sockets that were bound before the programs were attached.
  NoteOwners(owners_->Prepare(ports_->desired().Entries()));
  node_->Begin(owners_->rules());
  protection_->Begin();
  accept_queues_.emplace(*guard_, owners_->rules(), health_);
  ports_->BeginStates();
  return absl::OkStatus();
}

// Null without bind protection: only that needs them whatever the scope.
std::function<void()> Controller::OwnAddressesChanged() {
  if (options_.bind_protection == abi::BindProtection::kOff) return nullptr;
  return [this] {
    if (protection_) protection_->AddressesChanged();
  };
}

// Loads the programs, and prepares to fill the map `nodeports`.
absl::Status Controller::Load(base::UniqueFd cgroup) {
  absl::StatusOr<uint64_t> cookie = dataplane::NetnsCookie(cgroup.get());
  if (!cookie.ok()) return cookie.status();
  netns_cookie_ = *cookie;
  absl::StatusOr<std::unique_ptr<dataplane::BpfGuard>> guard = LoadGuard(options_, netns_cookie_);
  if (!guard.ok()) return guard.status();
  guard_ = *std::move(guard);
  repair_.emplace(*guard_, lock_, std::move(cgroup), options_.cgroup, options_.pins.Root());
  PortsKeeper::Callbacks callbacks;
  callbacks.cover = [this](core::PortBlocks blocks) { return table_->Cover(blocks); };
  callbacks.changing = [this](const core::Difference& difference) {
    if (protection_) protection_->PortsChanging(difference);
  };
  callbacks.fresh = [this] {
    if (owners_) owner_schedule_->SyncSoon();
  };
  callbacks.changed = [this] {
    if (node_) node_->PortsChanged();
    if (protection_) protection_->PortsChanged();
  };
  callbacks.read = [this](absl::string_view source) {
    health_keeper_->SourceRead(source);
    protection_->PortsChanged();
  };
  ports_.emplace(*guard_, sources_, std::move(callbacks));
  return absl::OkStatus();
}

// Adopted programs read these options at once: write them as late as possible, and
// restore the former ones if Attach() fails.
absl::Status Controller::ApplyOptions() {
  NPG_RETURN_IF_ERROR(node_->Prepare());
  NPG_RETURN_IF_ERROR(guard_->SetOwnerPolicy(options_.policy));
  NPG_RETURN_IF_ERROR(protection_->Prepare());
  // An error does not end the start: the listeners that are known are guarded, and the others
  // are looked up again after Attach() and by maintenance. Maps that cannot be written fail
  // above or in Attach(), too.
  NoteOwners(owners_->Prepare(ports_->desired().Entries()));
  return absl::OkStatus();
}

void Controller::StartHealth() {
  probe_.emplace(*guard_, *table_, options_.mark, options_.mode);
  flows_.emplace(*table_, *node_, *probe_, options_.mark);
  if (options_.mode == abi::Mode::kEnforce) {
    aside_.emplace(*loop_, *guard_, aside_before_, aside_known_, options_.obstacles, [this] {
      node_->SetStandingAside(aside_->traffic());
      node_->OwnersChanged();
      health_keeper_->AsideChanged();
    });
  }
  HealthKeeper::Questions questions;
  questions.lock = [this] { return repair_->RenewLock(); };
  questions.programs = [this] { return guard_->CheckLinks(repair_->cgroup_fd()); };
  questions.table = [this] { return table_->ExemptedPackets().status(); };
  questions.probe = [this] {
    std::optional<SelfProbe::Result> result =
        probe_->Run(repair_->cgroup_fd(), ports_->desired().Entries());
    if (result && aside_) aside_->Note(result->status(), probe_->tested(), probe_->broken());
    return result;
  };
  questions.probed = [this] {
    probed_ = true;
    if (following_) Ready();
  };
  questions.aside = [this] { return aside_ ? aside_->text() : std::string(); };
  questions.applied = [this] { return ports_->applied(); };
  questions.repair = [this] { repair_->Repair(); };
  health_keeper_.emplace(health_, *loop_, sources_, options_.mode == abi::Mode::kObserve,
                         options_.intervals.self_probe, std::move(questions));
  for (const absl::string_view name : ports_->read_at_start()) health_keeper_->SourceRead(name);
  health_keeper_->Start();
}

void Controller::Maintain() {
  repair_->Repair();
  takeover_.Try();
  FollowExemptions();
  ports_->Maintain();
  const bool full = ++round_ % kRoundsToFull == 0;
  owners_->Maintain();
  if (full) owners_->RetryUnknown();
  if (full || owners_again_soon_ || owners_->NeedsCare(ports_->desired().Entries())) {
    owner_schedule_->SyncNow();
  }
  node_->Maintain();
  if (full) table_fault_.Note(CoverOnlyNodePorts());
  protection_->Maintain(absl::Now());
  flows_->Maintain(full);
  loop_->After(options_.intervals.maintenance, [this] { Maintain(); });
}

void Controller::LookAtAcceptQueues() {
  accept_queues_->Look(ports_->desired().Entries(), node_->guarded_addresses());
  loop_->After(options_.intervals.accept_queues, [this] { LookAtAcceptQueues(); });
}

// The log alone uses them; the guard works without.
void Controller::FollowExemptions() {
  if (exemptions_) return;
  absl::StatusOr<std::unique_ptr<ExemptionFollower>> exemptions =
      ExemptionFollower::Start(*loop_, options_.pins, options_.intervals.exemption_totals);
  exemptions_fault_.Note(exemptions.status());
  if (exemptions.ok()) exemptions_ = *std::move(exemptions);
}

// Until then, other packets are considered, too: of an adopted table all of them, and those of
// blocks of ports that have no NodePort any more.
absl::Status Controller::CoverOnlyNodePorts() {
  core::PortBlocks blocks = core::BlocksOf(ports_->desired().Entries());
  blocks.Add(core::PortBlocks::Default());
  return table_->CoverOnly(blocks);
}

// By now, every connect that ran a program of the earlier run has returned.
absl::Status Controller::FinishTakeover() {
  absl::Status finished = table_->ForgetFormerMark();
  finished.Update(CoverOnlyNodePorts());
  finished.Update(guard_->FinishMigration());
  return finished;
}

absl::Status Controller::Follow() {
  absl::Status status = FollowAll();
  if (!status.ok()) RemoveStarted(options_, *guard_, *table_);
  return status;
}

absl::Status Controller::FollowAll() {
  services_.Follow(*loop_, options_.intervals.retry);
  StartHealth();
  NPG_RETURN_IF_ERROR(ports_->Follow(*loop_));
  NPG_RETURN_IF_ERROR(node_->Follow());
  NPG_RETURN_IF_ERROR(owners_->Follow());
  NPG_RETURN_IF_ERROR(guard_->WatchBinds(*loop_, [this] {
    node_->BindNoted();
    owner_schedule_->BindNoted();
  }));
  FollowExemptions();
  protection_->Follow();
  NPG_RETURN_IF_ERROR(table_->Guard(
      *loop_, [this] { return flows_->LiveFlows(); },
      [this](const absl::Status& status) {
        if (!status.ok()) {
          spdlog::error("restore nft table inet {}: {}", std::string(dataplane::kNftTableName),
                        std::string(status.message()));
          node_->TableLost();
          return;
        }
        node_->TableRestored();
        log::Log(spdlog::level::warn,
                 absl::StrCat("nft table inet ", dataplane::kNftTableName,
                              " was changed or removed by another process and is restored"),
                 log::Fields().Add("event", "rules_restored"));
        repair_->Count(1);
      }));
  following_ = true;
  if (probed_) Ready();
  loop_->After(options_.intervals.maintenance, [this] { Maintain(); });
  loop_->After(options_.intervals.accept_queues, [this] { LookAtAcceptQueues(); });
  // Maintenance tries it again if it fails.
  loop_->After(kStarted, [this] {
    takeover_.Try();
    base::ReleaseUnusedMemory();
  });
  return absl::OkStatus();
}

void Controller::Ready() {
  ReportReady(options_, sources_, ports_->desired().Entries().size(), *guard_, *table_,
              protection_->text(), services_.page());
}

}  // namespace

absl::Status Run(const Options& options, std::vector<std::unique_ptr<sources::Source>> sources,
                 log::Health& health) {
  {
    absl::StatusOr<dataplane::ControllerLock> lock =
        dataplane::ControllerLock::Acquire(options.pins);
    if (!lock.ok()) return lock.status();
    SideServices services(options.services);
    services.Start();
    Controller controller(options, std::move(sources), *lock, services, health);
    NPG_RETURN_IF_ERROR(controller.Start());
    if (const absl::Status status = base::DropStartCapabilities(); !status.ok()) {
      spdlog::warn("give up capabilities: {}", std::string(status.message()));
    }
    NPG_RETURN_IF_ERROR(controller.Follow());
    NPG_RETURN_IF_ERROR(controller.Serve());
  }
  if (!options.detach_on_exit) {
    spdlog::info("the guard stays in place; 'nodeport-guard unload' removes it");
    return absl::OkStatus();
  }
  UnloadOptions unload;
  unload.pins = options.pins;
  unload.report = [](absl::string_view line) { spdlog::info("{}", std::string(line)); };
  return Unload(unload);
}

}  // namespace npg::controller
