// SPDX-License-Identifier: Apache-2.0
#include "controller/controller.h"

#include <fcntl.h>
#include <signal.h>  // NOLINT(modernize-deprecated-headers): sigprocmask() is POSIX, not <csignal>
#include <spdlog/spdlog.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <memory>
#include <set>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "base/errno_status.h"
#include "base/event_loop.h"
#include "base/unique_fd.h"
#include "controller/unload.h"
#include "core/conflicts.h"
#include "core/desired_state.h"
#include "core/listener.h"
#include "dataplane/bpf_guard.h"
#include "dataplane/controller_lock.h"
#include "dataplane/netns_cookie.h"
#include "dataplane/nft_table.h"
#include "guard_abi.h"
#include "listeners/owners.h"
#include "listeners/sock_diag.h"
#include "sources/source.h"

namespace npg::controller {
namespace {

// How often the slow work is done: flow entries of closed UDP clients go within
// a minute, and what was detached behind our back is back within ten seconds.
constexpr absl::Duration kMaintenance = absl::Seconds(10);

// The same complaint every ten seconds helps nobody: said when it is new, and
// when it is over.
class RepeatedFault {
 public:
  explicit RepeatedFault(std::string what) : what_(std::move(what)) {}

  void Note(const absl::Status& status) {
    const std::string message(status.message());
    if (!status.ok() && message != last_) spdlog::error("{}: {}", what_, message);
    if (status.ok() && !last_.empty()) spdlog::info("{}: works again", what_);
    last_ = status.ok() ? "" : message;
  }

 private:
  std::string what_;
  std::string last_;
};

class Controller {
 public:
  Controller(Options options, std::vector<std::unique_ptr<sources::Source>> sources)
      : options_(std::move(options)), sources_(std::move(sources)) {}

  absl::Status Start();
  absl::Status Serve();

 private:
  absl::Status OpenCgroup();
  absl::Status ReadSources();
  absl::Status CheckNetns() const;
  absl::Status FollowSources();
  absl::Status WatchSignals();
  absl::Status ApplyDesired();
  void OnReading(const sources::Source& source, const absl::StatusOr<sources::Reading>& reading);
  void LogSkipped(const sources::Source& source, const std::vector<std::string>& skipped);
  absl::Status ClassifyListeners();
  absl::Status ReconcileFlows();
  void Maintain();
  std::vector<dataplane::Flow> LiveFlows();

  Options options_;
  std::unique_ptr<base::EventLoop> loop_;  // before all that registers with it
  std::vector<std::unique_ptr<sources::Source>> sources_;
  base::UniqueFd cgroup_;
  uint64_t netns_cookie_ = 0;
  std::unique_ptr<dataplane::BpfGuard> guard_;
  std::unique_ptr<dataplane::NftTable> table_;
  base::UniqueFd signals_;

  core::DesiredState desired_;
  core::PortEntries applied_;
  // Entries of `listeners` that had no socket in the last round: one round is
  // the time a process has between bind() and listen().
  std::set<std::tuple<std::string, uint16_t, uint8_t>> absent_listeners_;
  absl::flat_hash_map<std::string, std::vector<std::string>> skipped_;
  absl::flat_hash_map<std::string, RepeatedFault> source_faults_;
  RepeatedFault apply_fault_{"apply the NodePorts"};
  RepeatedFault classify_fault_{"classify listeners"};
  RepeatedFault repair_fault_{"repair the BPF links"};
  RepeatedFault flows_fault_{"list the exempted connections"};
  RepeatedFault reconcile_fault_{"reconcile the flow entries"};
};

absl::Status Controller::OpenCgroup() {
  cgroup_.Reset(open(options_.cgroup.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!cgroup_) return base::ErrnoStatus(errno, absl::StrCat("open cgroup ", options_.cgroup));
  return absl::OkStatus();
}

absl::Status Controller::ReadSources() {
  uint32_t bits = 0;
  for (const auto& source : sources_) bits |= source->bit();
  desired_.Adopt(applied_, bits);
  for (const auto& source : sources_) {
    spdlog::debug("reading source {}", std::string(source->name()));
    absl::StatusOr<sources::Reading> reading = source->Read();
    if (!reading.ok()) {
      return base::Annotate(reading.status(), absl::StrCat("source ", source->name()));
    }
    LogSkipped(*source, reading->skipped);
    desired_.Set(source->bit(), std::move(reading->ports));
  }
  return absl::OkStatus();
}

void Controller::LogSkipped(const sources::Source& source,
                            const std::vector<std::string>& skipped) {
  constexpr size_t kMost = 20;
  std::vector<std::string>& known = skipped_[std::string(source.name())];
  if (skipped == known) return;
  for (size_t i = 0; i < std::min(kMost, skipped.size()); ++i) {
    spdlog::warn("source {}: skipped {}", std::string(source.name()), skipped[i]);
  }
  if (skipped.size() > kMost) {
    spdlog::warn("source {}: skipped {} more", std::string(source.name()), skipped.size() - kMost);
  }
  known = skipped;
}

// Pins outlive the network namespace they serve only by mistake: a DaemonSet
// without hostNetwork would turn the node's guard towards its own pod.
absl::Status Controller::CheckNetns() const {
  absl::StatusOr<npg_config> config = guard_->Config();
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

absl::Status Controller::ApplyDesired() {
  core::PortEntries wanted = desired_.Entries();
  const core::Difference difference = core::Diff(applied_, wanted);
  if (difference.empty()) return absl::OkStatus();
  // After an error the map is read again, so that what failed is tried again.
  if (absl::Status status = guard_->ApplyNodePorts(difference); !status.ok()) {
    if (absl::StatusOr<core::PortEntries> entries = guard_->NodePorts(); entries.ok()) {
      applied_ = *std::move(entries);
    }
    return status;
  }
  applied_ = std::move(wanted);
  spdlog::debug("nodeports: {} put, {} removed, {} now", difference.put.size(),
                difference.remove.size(), applied_.size());
  return absl::OkStatus();
}

// Enters the owners of listeners on NodePorts that were bound when no program
// was there to see it or the port was no NodePort yet, and removes the entries
// of sockets that are gone.
absl::Status Controller::ClassifyListeners() {
  absl::StatusOr<std::vector<core::Listener>> found = listeners::ListListeners();
  if (!found.ok()) return found.status();
  std::set<std::tuple<std::string, uint16_t, uint8_t>> live;
  std::vector<core::Listener> on_nodeports;
  const auto id = [](const auto& address, uint16_t port, uint8_t protocol) {
    return std::make_tuple(std::string(std::begin(address), std::end(address)), port, protocol);
  };
  for (const core::Listener& listener : *found) {
    live.insert(
        id(listener.address, listener.key.port, static_cast<uint8_t>(listener.key.protocol)));
    if (applied_.contains(listener.key)) on_nodeports.push_back(listener);
  }
  listeners::FillOwners(on_nodeports);
  NPG_RETURN_IF_ERROR(guard_->AddListeners(on_nodeports, options_.ignored_processes));

  auto entries = guard_->Listeners();
  if (!entries.ok()) return entries.status();
  std::set<std::tuple<std::string, uint16_t, uint8_t>> absent;
  for (const auto& [key, value] : *entries) {
    const auto entry = id(key.address, key.port, key.protocol);
    if (live.contains(entry)) continue;
    if (absent_listeners_.contains(entry)) {
      NPG_RETURN_IF_ERROR(guard_->RemoveListener(key));
    } else {
      absent.insert(entry);
    }
  }
  absent_listeners_ = std::move(absent);
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
      dataplane::BpfGuard::Load(options_.pins);
  if (!guard.ok()) return guard.status();
  guard_ = *std::move(guard);
  NPG_RETURN_IF_ERROR(CheckNetns());
  for (const std::string& note : guard_->notes()) spdlog::warn("{}", note);

  // Maps first: nothing may be attached that decides on half a map.
  absl::StatusOr<core::PortEntries> entries = guard_->NodePorts();
  if (!entries.ok()) return entries.status();
  applied_ = *std::move(entries);
  NPG_RETURN_IF_ERROR(ReadSources());
  NPG_RETURN_IF_ERROR(ApplyDesired());
  NPG_RETURN_IF_ERROR(guard_->SetIgnoredProcesses(options_.ignored_processes));
  NPG_RETURN_IF_ERROR(ClassifyListeners());

  absl::StatusOr<std::unique_ptr<dataplane::NftTable>> table =
      dataplane::NftTable::Install(options_.mark);
  if (!table.ok()) return table.status();
  table_ = *std::move(table);

  npg_config config{};
  config.abi_version = NPG_ABI_VERSION;
  config.mode = options_.mode;
  config.mark = options_.mark.value;
  config.mark_mask = options_.mark.mask;
  config.netns_cookie = netns_cookie_;
  config.started = static_cast<uint64_t>(absl::ToUnixSeconds(absl::Now()));
  std::memcpy(config.version, options_.version.data(),
              std::min(options_.version.size(), sizeof(config.version) - 1));
  if (absl::Status status = guard_->Attach(cgroup_.get(), config); !status.ok()) {
    if (!table_->adopted()) table_->Remove().IgnoreError();
    return status;
  }
  return absl::OkStatus();
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
  if (!reading.ok()) return;
  LogSkipped(source, reading->skipped);
  desired_.Set(source.bit(), reading->ports);
  const absl::Status status = ApplyDesired();
  apply_fault_.Note(status);
  if (status.ok()) {
    spdlog::info("source {}: {} ports, {} guarded in all", name, reading->ports.size(),
                 applied_.size());
  }
  classify_fault_.Note(ClassifyListeners());
}

absl::Status Controller::FollowSources() {
  for (const auto& source : sources_) {
    const sources::Source* told = source.get();
    NPG_RETURN_IF_ERROR(base::Annotate(
        source->Follow(*loop_, [this, told](const auto& reading) { OnReading(*told, reading); }),
        absl::StrCat("follow source ", source->name())));
  }
  return absl::OkStatus();
}

std::vector<dataplane::Flow> Controller::LiveFlows() {
  absl::StatusOr<std::vector<dataplane::Flow>> flows = listeners::ListMarkedFlows(options_.mark);
  flows_fault_.Note(flows.status());
  return flows.ok() ? *std::move(flows) : std::vector<dataplane::Flow>();
}

absl::Status Controller::ReconcileFlows() {
  // An error must not pass for "no connection lives": then nothing is removed.
  absl::StatusOr<std::vector<dataplane::Flow>> marked = listeners::ListMarkedFlows(options_.mark);
  if (!marked.ok()) return marked.status();
  absl::StatusOr<std::vector<dataplane::Flow>> connected = listeners::ListLoopbackFlows();
  if (!connected.ok()) return connected.status();
  return table_->Reconcile(*marked, *connected);
}

void Controller::Maintain() {
  absl::StatusOr<std::vector<std::string>> repaired = guard_->Repair(cgroup_.get());
  repair_fault_.Note(repaired.status());
  if (repaired.ok()) {
    for (const std::string& line : *repaired) spdlog::warn("repaired: {}", line);
  }
  apply_fault_.Note(ApplyDesired());
  classify_fault_.Note(ClassifyListeners());
  reconcile_fault_.Note(ReconcileFlows());
  loop_->After(kMaintenance, [this] { Maintain(); });
}

absl::Status Controller::Serve() {
  NPG_RETURN_IF_ERROR(FollowSources());
  NPG_RETURN_IF_ERROR(table_->Guard(
      *loop_, [this] { return LiveFlows(); },
      [this](const absl::Status& status) {
        if (!status.ok()) {
          spdlog::error("restore nft table inet {}: {}", std::string(dataplane::kNftTableName),
                        std::string(status.message()));
          return;
        }
        spdlog::warn("nft table inet {} was changed or removed by somebody else and is restored",
                     std::string(dataplane::kNftTableName));
        guard_->AddToCounter(NPG_COUNTER_RULES_RESTORED, 1).IgnoreError();
      }));
  std::vector<std::string> names;
  for (const auto& source : sources_) names.emplace_back(source->name());
  spdlog::info("ready: {} {} NodePorts from {} in cgroup {}{}{}",
               options_.mode == NPG_MODE_ENFORCE ? "guarding" : "observing", applied_.size(),
               absl::StrJoin(names, ", "), options_.cgroup,
               guard_->adopted() ? ", adopted from an earlier run" : "",
               table_->owned() ? ""
                               : "; this kernel cannot protect the nft table from others, it "
                                 "is watched instead");
  loop_->After(kMaintenance, [this] { Maintain(); });
  return loop_->Run();
}

}  // namespace

absl::Status Run(const Options& options, std::vector<std::unique_ptr<sources::Source>> sources) {
  {
    absl::StatusOr<dataplane::ControllerLock> lock =
        dataplane::ControllerLock::Acquire(options.pins);
    if (!lock.ok()) return lock.status();
    Controller controller(options, std::move(sources));
    NPG_RETURN_IF_ERROR(controller.Start());
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
