// SPDX-License-Identifier: Apache-2.0
#include "controller/controller.h"

#include <fcntl.h>
#include <signal.h>  // NOLINT(modernize-deprecated-headers): sigprocmask() is POSIX, not <csignal>
#include <spdlog/spdlog.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "abi/entries.h"
#include "abi/names.h"
#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "base/capabilities.h"
#include "base/clock.h"
#include "base/errno_status.h"
#include "base/event_loop.h"
#include "base/memory.h"
#include "base/service_manager.h"
#include "base/unique_fd.h"
#include "controller/accept_queue_watch.h"
#include "controller/exemption_follower.h"
#include "controller/health_keeper.h"
#include "controller/node_follower.h"
#include "controller/owner_keeper.h"
#include "controller/self_probe.h"
#include "controller/source_states.h"
#include "controller/standing_aside.h"
#include "controller/unload.h"
#include "controller/until_done.h"
#include "core/desired_state.h"
#include "core/flow.h"
#include "core/listener.h"
#include "core/mark.h"
#include "dataplane/bpf/bpf_guard.h"
#include "dataplane/bpf/controller_lock.h"
#include "dataplane/bpf/netns_cookie.h"
#include "dataplane/nft/nft_table.h"
#include "log/fields.h"
#include "log/health.h"
#include "log/log.h"
#include "log/repeated_fault.h"
#include "node/cgroups.h"
#include "node/sock_diag.h"
#include "sources/source.h"

namespace npg::controller {
namespace {

// Listing sockets costs milliseconds, because the kernel walks its whole hash table.
// Without a reason it is done once in this many rounds.
constexpr int kRoundsToFull = 6;
// From the first sign of a listener without a record until OwnerKeeper::Sync(). Any process can
// cause such signs without end: each Sync() that changes nothing doubles the interval.
constexpr absl::Duration kOwnersDelay = absl::Milliseconds(5);
constexpr absl::Duration kMaxOwnersDelay = absl::Seconds(5);
constexpr absl::Duration kOwnersAgain = absl::Milliseconds(200);
// From the start until the first FinishTakeover().
constexpr absl::Duration kStarted = absl::Seconds(1);

class Controller {
 public:
  // `lock` and `health` outlive it.
  Controller(Options options, std::vector<std::unique_ptr<sources::Source>> sources,
             dataplane::ControllerLock& lock, log::Health& health)
      : options_(std::move(options)), lock_(lock), health_(health), sources_(std::move(sources)) {}

  absl::Status Start();
  // Starts the periodic work. On an error it removes the guard again, unless that was
  // adopted.
  absl::Status Follow();
  absl::Status Serve() { return loop_->Run(); }

 private:
  absl::Status OpenCgroup();
  absl::Status ApplyOptions();
  absl::Status Attach();
  abi::SourceBits FollowedSources() const;
  absl::Status ReadSources();
  absl::Status CheckNetns() const;
  absl::Status FollowAll();
  absl::Status FollowSources();
  absl::Status WatchSignals();
  // The changes that one call made to the map.
  struct Applied {
    size_t put = 0;
    size_t removed = 0;
  };
  absl::StatusOr<Applied> ApplyDesired();
  void OnReading(const sources::Source& source, const absl::StatusOr<sources::Reading>& reading);
  void LogSkipped(const sources::Source& source, const std::vector<std::string>& skipped);
  void SyncOwners();
  void SyncOwnersSoon();
  absl::Status WriteStates();
  absl::Status ReconcileFlows(bool full);
  void StartHealth();
  void FollowExemptions();
  void ReportReady();
  absl::Status FinishTakeover();
  absl::Status RenewLock();
  void RepairLinks();
  void CountRepairs(uint64_t repairs);
  void Maintain();
  void LookAtAcceptQueues();
  std::vector<core::Flow> LiveFlows();

  Options options_;
  dataplane::ControllerLock& lock_;
  log::Health& health_;
  std::unique_ptr<base::EventLoop> loop_;  // declared before everything that registers with it
  std::vector<std::unique_ptr<sources::Source>> sources_;
  base::UniqueFd cgroup_;
  uint64_t netns_cookie_ = 0;
  // The traffic that may not be exempted before the first self-probe.
  abi::TrafficBits aside_before_ = abi::AllTraffic();
  bool aside_known_ = false;  // an earlier run left it
  bool following_ = false;    // FollowAll() has done its work
  bool probed_ = false;       // the first self-probe has ended
  std::unique_ptr<dataplane::BpfGuard> guard_;
  std::unique_ptr<dataplane::NftTable> table_;
  base::UniqueFd signals_;

  core::DesiredState desired_;
  absl::Status applied_;  // OK: the map has all of it
  std::optional<OwnerKeeper> owners_;
  base::EventLoop::TimerId owners_timer_ = 0;  // 0 = not armed
  base::EventLoop::TimerId owners_again_ = 0;
  uint64_t owners_synced_ = 0;  // CLOCK_BOOTTIME
  absl::Duration owners_delay_ = kOwnersDelay;
  std::optional<NodeFollower> node_;
  std::optional<SourceStates> states_;
  std::optional<SelfProbe> probe_;
  std::optional<StandingAside> aside_;
  std::optional<HealthKeeper> health_keeper_;
  std::optional<AcceptQueueWatch> accept_queues_;
  std::unique_ptr<ExemptionFollower> exemptions_;
  int round_ = 0;                 // of maintenance
  uint64_t reconcile_after_ = 0;  // CLOCK_BOOTTIME: not again before
  absl::flat_hash_map<std::string, std::vector<std::string>> skipped_;
  absl::flat_hash_map<std::string, log::RepeatedFault> source_faults_;
  log::RepeatedFault apply_fault_{"apply the NodePorts"};
  log::RepeatedFault owners_fault_{"look up the owners of listeners"};
  log::RepeatedFault states_fault_{"write the state of the sources"};
  log::RepeatedFault lock_fault_{"keep the lock on the pins"};
  UntilDone takeover_{"finish the takeover from the earlier run",
                      [this] { return FinishTakeover(); }};
  log::RepeatedFault repair_fault_{"repair the BPF links"};
  log::RepeatedFault flows_fault_{"list the exempted connections"};
  log::RepeatedFault reconcile_fault_{"reconcile the flow entries"};
  log::RepeatedFault exemptions_fault_{"log exemptions"};
};

absl::Status Controller::OpenCgroup() {
  cgroup_.Reset(open(options_.cgroup.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!cgroup_) return base::ErrnoStatus(errno, absl::StrCat("open cgroup ", options_.cgroup));
  return absl::OkStatus();
}

abi::SourceBits Controller::FollowedSources() const {
  abi::SourceBits bits = 0;
  for (const auto& source : sources_) bits |= abi::Bit(source->id());
  return bits;
}

absl::Status Controller::ReadSources() {
  absl::StatusOr<core::PortEntries> in_map = guard_->NodePorts();
  if (!in_map.ok()) return in_map.status();
  desired_.Adopt(*in_map, FollowedSources());
  for (const auto& source : sources_) {
    if (!source->local()) continue;
    spdlog::debug("reading source {}", std::string(source->name()));
    absl::StatusOr<sources::Reading> reading = source->Read();
    if (!reading.ok()) {
      return base::Annotate(reading.status(), absl::StrCat("source ", source->name()));
    }
    LogSkipped(*source, reading->skipped);
    desired_.Set(abi::Bit(source->id()), reading->ports);
  }
  return absl::OkStatus();
}

void Controller::LogSkipped(const sources::Source& source,
                            const std::vector<std::string>& skipped) {
  constexpr size_t kMax = 20;
  std::vector<std::string>& known = skipped_[std::string(source.name())];
  if (skipped == known) return;
  for (size_t i = 0; i < std::min(kMax, skipped.size()); ++i) {
    spdlog::warn("source {}: skipped {}", std::string(source.name()), skipped[i]);
  }
  if (skipped.size() > kMax) {
    spdlog::warn("source {}: skipped {} more", std::string(source.name()), skipped.size() - kMax);
  }
  known = skipped;
}

// Refuses pins of another network namespace: a DaemonSet without hostNetwork would
// turn the node's guard towards its own pod.
absl::Status Controller::CheckNetns() const {
  absl::StatusOr<abi::Config> config = guard_->Config();
  if (!config.ok()) return config.status();
  if (!guard_->adopted() || config->netns_cookie == 0 || config->netns_cookie == netns_cookie_) {
    return absl::OkStatus();
  }
  return absl::FailedPreconditionError(absl::StrCat(
      "the guard pinned in ", options_.pins.Root(), " serves another network namespace (cookie ",
      config->netns_cookie, ", this one has ", netns_cookie_,
      "); run in the node's network namespace (hostNetwork), or remove it with "
      "'nodeport-guard unload'"));
}

absl::StatusOr<Controller::Applied> Controller::ApplyDesired() {
  const core::Difference difference = desired_.Pending();
  if (difference.empty()) return Applied{};
  // After an error the next reading or maintenance tries all of it again.
  const absl::StatusOr<size_t> fresh = guard_->ApplyNodePorts(difference);
  applied_ = fresh.status();
  if (owners_ && (!fresh.ok() || *fresh > 0)) SyncOwnersSoon();
  if (!fresh.ok()) return fresh.status();
  desired_.MarkApplied();
  if (node_) node_->PortsChanged();
  return Applied{difference.put.size(), difference.remove.size()};
}

void Controller::SyncOwners() {
  const uint64_t before = owners_->changes();
  owners_fault_.Note(owners_->Sync(desired_.Entries()));
  node_->OwnersChanged();
  owners_synced_ = base::BootNanoseconds();
  owners_delay_ =
      owners_->changes() == before ? std::min(2 * owners_delay_, kMaxOwnersDelay) : kOwnersDelay;
}

void Controller::SyncOwnersSoon() {
  if (owners_timer_ != 0) return;
  const auto since =
      absl::Nanoseconds(static_cast<int64_t>(base::BootNanoseconds() - owners_synced_));
  owners_timer_ = loop_->After(std::max(kOwnersDelay, owners_delay_ - since), [this] {
    owners_timer_ = 0;
    SyncOwners();
  });
}

absl::Status Controller::WriteStates() {
  for (const auto& source : sources_)
    NPG_RETURN_IF_ERROR(states_->Write(source->id(), source->State()));
  return absl::OkStatus();
}

absl::Status Controller::Start() {
  absl::StatusOr<std::unique_ptr<base::EventLoop>> loop = base::EventLoop::Create();
  if (!loop.ok()) return loop.status();
  loop_ = *std::move(loop);
  NPG_RETURN_IF_ERROR(WatchSignals());
  NPG_RETURN_IF_ERROR(OpenCgroup());
  absl::StatusOr<uint64_t> cookie = dataplane::NetnsCookie(cgroup_.get());
  if (!cookie.ok()) return cookie.status();
  netns_cookie_ = *cookie;

  absl::StatusOr<std::unique_ptr<dataplane::BpfGuard>> guard =
      dataplane::BpfGuard::Load(options_.pins, options_.scope);
  if (!guard.ok()) return guard.status();
  guard_ = *std::move(guard);
  NPG_RETURN_IF_ERROR(CheckNetns());
  for (const std::string& note : guard_->notes()) spdlog::warn("{}", note);

  // Maps first: no attached program may decide on half a map.
  NPG_RETURN_IF_ERROR(ReadSources());
  NPG_RETURN_IF_ERROR(ApplyDesired().status());
  absl::StatusOr<abi::Config> before = guard_->Config();
  if (!before.ok()) return before.status();
  // A run that ended before its first self-probe knew nothing.
  aside_known_ = before->abi_version != 0 && before->mode == abi::Mode::kEnforce &&
                 (before->standing_aside & abi::kUnproven) == 0;
  aside_before_ = aside_known_ ? before->standing_aside : abi::AllTraffic();
  const absl::StatusOr<dataplane::BpfGuard::FormerMaps> maps_before = guard_->ReadFormerMaps();
  if (!maps_before.ok()) return maps_before.status();
  // An adopted guard sets its own mark until its programs are replaced.
  std::optional<core::Mark> former_mark;
  if (before->mark_mask != 0) former_mark = core::Mark{before->mark, before->mark_mask};
  absl::StatusOr<std::unique_ptr<dataplane::NftTable>> table =
      dataplane::NftTable::Install(options_.mark, former_mark, options_.own_nft_table);
  if (!table.ok()) return table.status();
  table_ = *std::move(table);
  node_.emplace(*loop_, *guard_, *table_, desired_,
                NodeFollower::Settings{options_.mode, options_.scope, options_.local_addresses});
  if (options_.mode == abi::Mode::kEnforce) node_->SetStandingAside(aside_before_);
  owners_.emplace(*loop_, *guard_, options_.policy, options_.cgroup_root,
                  node::IsHierarchyRoot(cgroup_.get()), [this] { SyncOwnersSoon(); });

  absl::Status attached = ApplyOptions();
  if (attached.ok()) attached = Attach();
  if (!attached.ok()) {
    // An adopted guard keeps its former settings. The table accepts both marks.
    if (!table_->adopted()) table_->Remove().IgnoreError();
    if (guard_->adopted()) {
      guard_->WriteFormerMaps(*maps_before).IgnoreError();
    }
    return attached;
  }
  // Again, for sockets that were bound before the programs were attached.
  owners_fault_.Note(owners_->Prepare(desired_.Entries()));
  node_->Begin(owners_->rules());
  accept_queues_.emplace(*guard_, owners_->rules(), health_);
  states_.emplace([this](abi::Source source, const abi::SourceState& state) {
    return guard_->SetSourceState(source, state);
  });
  states_fault_.Note(guard_->KeepSourceStates(FollowedSources()));
  states_fault_.Note(WriteStates());
  return absl::OkStatus();
}

// Adopted programs read these options at once: write them as late as possible, and
// restore the former ones if Attach() fails.
absl::Status Controller::ApplyOptions() {
  NPG_RETURN_IF_ERROR(node_->Prepare());
  NPG_RETURN_IF_ERROR(guard_->SetOwnerPolicy(options_.policy));
  absl::Status prepared = owners_->Prepare(desired_.Entries());
  // A full map does not end the start: the other listeners are guarded.
  if (!prepared.ok() && !absl::IsResourceExhausted(prepared)) return prepared;
  owners_fault_.Note(prepared);
  return absl::OkStatus();
}

absl::Status Controller::Attach() {
  abi::Config config;
  config.abi_version = abi::kVersion;
  config.mode = options_.mode;
  config.mark = options_.mark.value;
  config.mark_mask = options_.mark.mask;
  config.netns_cookie = netns_cookie_;
  config.scope = options_.scope;
  config.default_verdict = options_.policy.IgnoresByDefault() ? abi::OwnerVerdict::kIgnored
                                                              : abi::OwnerVerdict::kGuarded;
  config.any_uid = options_.policy.any_uid;
  config.started = absl::Now();
  config.version = options_.version;
  // Nothing is exempted before a self-probe has shown that rules of this node let it through.
  // An adopted guard keeps what the earlier run knew.
  if (options_.mode == abi::Mode::kEnforce) {
    config.standing_aside = aside_before_ | (aside_known_ ? 0 : abi::kUnproven);
  }
  return guard_->Attach(cgroup_.get(), config);
}

absl::Status Controller::WatchSignals() {
  sigset_t mask;
  sigemptyset(&mask);
  sigaddset(&mask, SIGTERM);
  sigaddset(&mask, SIGINT);
  if (sigprocmask(SIG_BLOCK, &mask, nullptr) != 0) return base::ErrnoStatus(errno, "block signals");
  signals_.Reset(signalfd(-1, &mask, SFD_CLOEXEC | SFD_NONBLOCK));
  if (!signals_) return base::ErrnoStatus(errno, "signalfd");
  return loop_->AddFd(signals_.get(), EPOLLIN, [this](uint32_t /*events*/) {
    signalfd_siginfo info{};
    if (read(signals_.get(), &info, sizeof(info)) != sizeof(info)) return;
    spdlog::info("{}: stopping", info.ssi_signo == SIGTERM ? "SIGTERM" : "SIGINT");
    loop_->Stop();
  });
}

void Controller::OnReading(const sources::Source& source,
                           const absl::StatusOr<sources::Reading>& reading) {
  const std::string name(source.name());
  source_faults_.try_emplace(name, absl::StrCat("source ", name, ": keeping the last reading"))
      .first->second.Note(reading.status());
  states_fault_.Note(states_->Write(source.id(), source.State()));
  if (!reading.ok()) return;
  LogSkipped(source, reading->skipped);
  desired_.Set(abi::Bit(source.id()), reading->ports);
  const absl::StatusOr<Applied> applied = ApplyDesired();
  apply_fault_.Note(applied.status());
  health_keeper_->SourceRead(name);
  if (applied.ok() && applied->put + applied->removed > 0) {
    log::Log(spdlog::level::info,
             absl::StrCat("source ", name, ": ", applied->put, " ports put, ", applied->removed,
                          " removed, ", desired_.Entries().size(), " guarded in all"),
             log::Fields()
                 .Add("source", name)
                 .Add("put", applied->put)
                 .Add("removed", applied->removed)
                 .Add("nodeports", desired_.Entries().size()));
  }
}

absl::Status Controller::FollowSources() {
  for (const auto& source : sources_) {
    const sources::Source* followed = source.get();
    NPG_RETURN_IF_ERROR(base::Annotate(
        source->Follow(*loop_,
                       [this, followed](const auto& reading) { OnReading(*followed, reading); }),
        absl::StrCat("follow source ", source->name())));
  }
  return absl::OkStatus();
}

// Without the unmarked ones: their entries may be missing although no other process removed them.
std::vector<core::Flow> Controller::LiveFlows() {
  absl::StatusOr<std::vector<core::Flow>> flows =
      node::ListMarkedFlows(options_.mark, node_->addresses());
  flows_fault_.Note(flows.status());
  return flows.ok() ? *std::move(flows) : std::vector<core::Flow>();
}

absl::Status Controller::ReconcileFlows(bool full) {
  if (!full) {
    const absl::StatusOr<bool> quiet = table_->Quiet(probe_->ports());
    if (!quiet.ok()) return quiet.status();
    if (*quiet) return absl::OkStatus();
  }
  // An error does not mean that no connection is open: remove nothing then.
  absl::StatusOr<std::vector<core::Flow>> exempt =
      node::ListExemptFlows(options_.mark, node_->datagram_targets(), node_->addresses());
  if (!exempt.ok()) return exempt.status();
  absl::StatusOr<std::vector<core::Flow>> connected = node::ListLocalFlows(node_->addresses());
  if (!connected.ok()) return connected.status();
  return table_->Reconcile(*exempt, *connected);
}

void Controller::StartHealth() {
  probe_.emplace(*guard_, *table_, options_.mark, options_.mode);
  if (options_.mode == abi::Mode::kEnforce) {
    aside_.emplace(*loop_, *guard_, aside_before_, aside_known_, options_.obstacles, [this] {
      node_->SetStandingAside(aside_->traffic());
      node_->OwnersChanged();
      health_keeper_->AsideChanged();
    });
  }
  HealthKeeper::Questions questions;
  questions.lock = [this] { return RenewLock(); };
  questions.programs = [this] { return guard_->CheckLinks(cgroup_.get()); };
  questions.table = [this] { return table_->ExemptedPackets().status(); };
  questions.probe = [this] {
    std::optional<SelfProbe::Result> result = probe_->Run(cgroup_.get(), desired_.Entries());
    if (result && aside_) aside_->Note(result->status(), probe_->tested(), probe_->broken());
    return result;
  };
  questions.probed = [this] {
    probed_ = true;
    if (following_) ReportReady();
  };
  questions.aside = [this] { return aside_ ? aside_->text() : std::string(); };
  questions.applied = [this] { return applied_; };
  questions.repair = [this] { RepairLinks(); };
  health_keeper_.emplace(health_, *loop_, sources_, options_.mode == abi::Mode::kObserve,
                         options_.intervals.self_probe, std::move(questions));
  for (const auto& source : sources_) {
    if (source->local()) health_keeper_->SourceRead(source->name());
  }
  health_keeper_->Start();
}

// The lock is on the pin folder: when another process removed that, and a repair or another
// process created it again, the lock is on nothing that has a name.
absl::Status Controller::RenewLock() {
  const absl::StatusOr<bool> renewed = lock_.Renew();
  lock_fault_.Note(renewed.status());
  if (renewed.ok() && *renewed) {
    spdlog::warn("repaired: the pin folder {} was removed; the lock is on the new one",
                 options_.pins.Root());
    CountRepairs(1);
  }
  return renewed.status();
}

void Controller::RepairLinks() {
  const absl::Status locked = RenewLock();
  // Another process has the lock, and repairs its own. Other errors (no bpf file system, a
  // folder of another user) do not keep the programs from being attached again.
  if (absl::IsUnavailable(locked)) return;
  // A cgroup that was removed and created again under the same name is another one.
  struct stat open_one {
  }, named_one{};
  if (fstat(cgroup_.get(), &open_one) == 0 && stat(options_.cgroup.c_str(), &named_one) == 0 &&
      open_one.st_ino != named_one.st_ino) {
    repair_fault_.Note(OpenCgroup());
  }
  absl::StatusOr<std::vector<std::string>> repaired =
      guard_->Repair(cgroup_.get(), /*pins=*/locked.ok());
  repair_fault_.Note(repaired.status());
  if (repaired.ok()) {
    for (const std::string& line : *repaired) spdlog::warn("repaired: {}", line);
    if (!repaired->empty()) CountRepairs(repaired->size());
  }
}

void Controller::CountRepairs(uint64_t repairs) {
  guard_->AddToCounter(abi::Counter::kRulesRestored, repairs).IgnoreError();
}

void Controller::Maintain() {
  RepairLinks();
  takeover_.Try();
  FollowExemptions();
  apply_fault_.Note(ApplyDesired().status());
  states_fault_.Note(WriteStates());
  for (auto& [name, fault] : source_faults_) fault.Remind();
  const bool full = ++round_ % kRoundsToFull == 0;
  owners_->Maintain();
  if (full) owners_->RetryUnknown();
  if (full || owners_->NeedsCare(desired_.Entries())) SyncOwners();
  node_->Maintain();
  // To list large sets of flows takes the kernel long: for a tenth of the time at most.
  constexpr uint64_t kShare = 10;
  if (const uint64_t begin = base::BootNanoseconds(); begin >= reconcile_after_) {
    reconcile_fault_.Note(ReconcileFlows(full));
    reconcile_after_ = begin + kShare * (base::BootNanoseconds() - begin);
  }
  loop_->After(options_.intervals.maintenance, [this] { Maintain(); });
}

void Controller::LookAtAcceptQueues() {
  accept_queues_->Look(desired_.Entries(), node_->guarded_addresses());
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

// By now, every connect that ran a program of the earlier run has returned.
absl::Status Controller::FinishTakeover() {
  absl::Status finished = table_->ForgetFormerMark();
  finished.Update(guard_->FinishMigration());
  return finished;
}

absl::Status Controller::Follow() {
  absl::Status status = FollowAll();
  if (!status.ok() && !guard_->adopted()) {
    dataplane::RemovePins(options_.pins).status().IgnoreError();
    table_->Remove().IgnoreError();
  }
  return status;
}

absl::Status Controller::FollowAll() {
  StartHealth();
  NPG_RETURN_IF_ERROR(FollowSources());
  NPG_RETURN_IF_ERROR(node_->Follow());
  NPG_RETURN_IF_ERROR(owners_->Follow());
  NPG_RETURN_IF_ERROR(guard_->WatchBinds(*loop_, [this] {
    node_->BindNoted();
    SyncOwnersSoon();
    // The program runs before the bind or connect: a task that was preempted there does it later.
    if (owners_again_ != 0) return;
    owners_again_ = loop_->After(kOwnersAgain, [this] {
      owners_again_ = 0;
      SyncOwnersSoon();
    });
  }));
  FollowExemptions();
  NPG_RETURN_IF_ERROR(table_->Guard(
      *loop_, [this] { return LiveFlows(); },
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
        CountRepairs(1);
      }));
  following_ = true;
  if (probed_) ReportReady();
  loop_->After(options_.intervals.maintenance, [this] { Maintain(); });
  loop_->After(options_.intervals.accept_queues, [this] { LookAtAcceptQueues(); });
  // Maintenance tries it again if it fails.
  loop_->After(kStarted, [this] {
    takeover_.Try();
    base::ReleaseUnusedMemory();
  });
  return absl::OkStatus();
}

// Once it is known whether the guard may exempt connects.
void Controller::ReportReady() {
  std::vector<std::string> names;
  for (const auto& source : sources_) names.emplace_back(source->name());
  const bool enforcing = options_.mode == abi::Mode::kEnforce;
  log::Log(
      spdlog::level::info,
      absl::StrCat("ready: ", enforcing ? "guarding" : "observing", " ", desired_.Entries().size(),
                   " NodePorts from ", absl::StrJoin(names, ", "), " in cgroup ", options_.cgroup,
                   guard_->adopted() ? ", adopted from an earlier run" : "",
                   table_->owned() ? ""
                   : options_.own_nft_table
                       ? "; this kernel cannot protect the nft table from others, it is watched "
                         "instead"
                       : "; other programs can change the nft table, it is watched",
                   options_.page.empty() ? "" : "; status page: ", options_.page),
      log::Fields()
          .Add("event", "ready")
          .Add("mode", abi::Name(options_.mode))
          .Add("nodeports", desired_.Entries().size())
          .Add("adopted", guard_->adopted())
          .Add("version", options_.version));
  if (const absl::Status notified = base::NotifyServiceManager("READY=1"); !notified.ok()) {
    spdlog::warn("{}", std::string(notified.message()));
  }
}

}  // namespace

absl::Status Run(const Options& options, std::vector<std::unique_ptr<sources::Source>> sources,
                 log::Health& health) {
  {
    absl::StatusOr<dataplane::ControllerLock> lock =
        dataplane::ControllerLock::Acquire(options.pins);
    if (!lock.ok()) return lock.status();
    absl::StatusOr<std::shared_ptr<void>> served = std::shared_ptr<void>();
    if (options.serve) served = options.serve();
    if (!served.ok()) return served.status();
    Controller controller(options, std::move(sources), *lock, health);
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
