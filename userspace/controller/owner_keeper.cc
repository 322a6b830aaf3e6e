// SPDX-License-Identifier: Apache-2.0
#include "controller/owner_keeper.h"

#include <fcntl.h>
#include <spdlog/spdlog.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/types.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "abi/entries.h"
#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/functional/function_ref.h"
#include "absl/hash/hash.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "base/errno_status.h"
#include "base/event_loop.h"
#include "base/thread.h"
#include "base/unique_fd.h"
#include "core/desired_state.h"
#include "core/listener.h"
#include "core/owner_policy.h"
#include "core/port.h"
#include "core/port_ranges.h"
#include "dataplane/bpf/bpf_guard.h"
#include "dataplane/bpf/guard_state.h"
#include "node/cgroup_watch.h"
#include "node/cgroups.h"
#include "node/node_files.h"
#include "node/owners.h"
#include "node/sock_diag.h"

namespace npg::controller {
namespace {

// The kernel's default, for a node on which it cannot be read.
constexpr core::PortRange kUsualAutomatic = {32768, 60999};

// What NoteEarlier() may take of the start or of the loop: some thousand listeners.
constexpr absl::Duration kNoteTime = absl::Milliseconds(50);

abi::ListenerKey KeyOf(const core::Listener& listener) { return {listener.key, listener.address}; }

size_t HashOf(const abi::ListenerKey& key) { return absl::Hash<abi::ListenerKey>()(key); }

// The id of a cgroup by its path in /proc/PID/cgroup; 0 when that is empty, outside this
// process's cgroup namespace, or removed.
uint64_t CgroupIdAt(const std::string& root, const std::string& path) {
  if (path.empty() || path == "/.." || absl::StartsWith(path, "/../")) return 0;
  const base::UniqueFd folder(
      open(absl::StrCat(root, path).c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  return folder ? node::CgroupId(folder.get()).value_or(0) : 0;
}

}  // namespace

OwnerKeeper::OwnerKeeper(base::EventLoop& loop, dataplane::BpfGuard& guard,
                         core::OwnerPolicy policy, std::string cgroup_root, bool sees_all_binds,
                         std::function<void()> changed)
    : loop_(loop),
      guard_(guard),
      rules_{std::move(policy), {}},
      cgroup_root_(std::move(cgroup_root)),
      sees_all_binds_(sees_all_binds),
      changed_(std::move(changed)) {}

OwnerKeeper::~OwnerKeeper() {
  stop_ = true;
  if (walk_.joinable()) walk_.join();
  if (done_) loop_.RemoveFd(done_.get());
  loop_.Cancel(walk_timer_);
}

OwnerKeeper::Socket OwnerKeeper::SocketOf(const core::Listener& listener) {
  return {listener.inode, KeyOf(listener)};
}

const OwnerKeeper::Holder* OwnerKeeper::HolderOf(const Process& process, pid_t pid) {
  const auto holder = std::find_if(process.holders.begin(), process.holders.end(),
                                   [pid](const Holder& one) { return one.pid == pid; });
  return holder == process.holders.end() ? nullptr : &*holder;
}

absl::Status OwnerKeeper::SyncCgroups() {
  absl::flat_hash_set<uint64_t> ids;
  absl::Status status;
  if (!rules_.policy.cgroups.empty()) {
    auto listed = node::ListCgroups(cgroup_root_, rules_.policy.cgroups, abi::kMaxCgroups);
    status.Update(listed.status());
    // Those known before, at first none: the map may still have the ids of an earlier run with
    // another policy.
    ids = listed.ok() ? *std::move(listed) : rules_.served_cgroups;
  }
  if (cgroups_written_ && ids == rules_.served_cgroups) return status;
  const absl::Status written = guard_.SetServedCgroups(ids);
  cgroups_written_ = written.ok();
  rules_.served_cgroups = std::move(ids);
  status.Update(written);
  return status;
}

absl::StatusOr<OwnerKeeper::Listeners> OwnerKeeper::List(const core::PortEntries& ports) const {
  Listeners listeners;
  auto found = guard_.Records().ListListenersOn(
      [](const core::PortKey& /*key*/) { return true; },
      [&](const core::Listener& listener) {
        if (listener.noted) {
          return ports.contains(listener.key) &&
                 rules_.Trusts(listener.binder->uid, listener.binder->cgroup_id);
        }
        if (rules_.Trusts(listener.uid, listener.cgroup_id)) return true;
        listeners.untrusted.insert(HashOf(KeyOf(listener)));
        return false;
      });
  if (!found.ok()) return found.status();
  listeners.list = std::move(found->listeners);
  return listeners;
}

// A guard of this ABI has noted every bind() since it was attached, so a socket without a note
// may have become a listener under it. Those it has a record of by address were judged before.
void OwnerKeeper::KnowEarlier(const std::vector<core::Listener>& listeners) {
  for (const core::Listener& listener : listeners) {
    if (listener.noted) continue;
    const std::optional<core::Binder>& binder = listener.binder;
    if (!guarded_before_) {
      earlier_[SocketOf(listener)] = 0;
    } else if (binder && binder->uid == listener.uid && binder->cgroup_id == listener.cgroup_id) {
      earlier_[SocketOf(listener)] = binder->pid;
    }
  }
}

bool OwnerKeeper::Trusted(const core::Listener& listener) const {
  if (rules_.policy.any_uid) return true;
  const auto process = processes_.find(listener.inode);
  const bool found = process != processes_.end() && process->second.pid != 0;
  if (const auto earlier = earlier_.find(SocketOf(listener)); earlier != earlier_.end()) {
    const pid_t pid = earlier->second;
    if (pid == 0 || !found || HolderOf(process->second, pid) != nullptr) return true;
  }
  if (!found || !process->second.complete) return false;
  const std::vector<Holder>& holders = process->second.holders;
  return !holders.empty() && std::all_of(holders.begin(), holders.end(), [this](const Holder& one) {
    return one.uid && rules_.Trusts(*one.uid, one.cgroup_id);
  });
}

bool OwnerKeeper::SeesRequestsOf(const core::Listener& listener) const {
  return sees_all_binds_ && !earlier_.contains(SocketOf(listener));
}

std::vector<core::Listener> OwnerKeeper::Unknown(
    const std::vector<core::Listener>& listeners) const {
  std::vector<core::Listener> unknown;
  for (const core::Listener& listener : listeners) {
    if (listener.noted || listener.inode == 0) continue;
    const auto process = processes_.find(listener.inode);
    if (process == processes_.end() || process->second.retry) unknown.push_back(listener);
  }
  return unknown;
}

void OwnerKeeper::Learn(const Walk& walk) {
  // A process that not even CAP_SYS_PTRACE can read does not count: a security module of the node
  // may hide some for good.
  const bool complete = walk.gaps.skipped_processes == 0;
  const bool cgroups = !rules_.policy.cgroups.empty();
  for (const core::Listener& socket : walk.sockets) {
    Process process;
    process.pid = socket.owner.pid;
    process.comm = socket.owner.comm;
    process.complete = complete;
    if (const auto holders = walk.holders.find(socket.inode); holders != walk.holders.end()) {
      for (const node::Holder& one : holders->second) {
        const uint64_t cgroup_id = cgroups ? CgroupIdAt(cgroup_root_, one.cgroup) : 0;
        process.holders.push_back({one.pid, one.descriptor, one.uid, cgroup_id});
      }
    }
    processes_[socket.inode] = std::move(process);
  }
}

core::Binder OwnerKeeper::RecordOf(const core::Listener& listener,
                                   const core::PortRange& automatic) const {
  core::Listener known = listener;
  const auto process = processes_.find(listener.inode);
  if (process != processes_.end()) {
    known.owner.pid = process->second.pid;
    known.owner.comm = process->second.comm;
  }
  core::Binder binder = core::GuessBinder(known, automatic, SeesRequestsOf(listener));
  // The record outlives the policy: of root's socket that another user has, it names that user.
  if (binder.uid == 0 && process != processes_.end() && !earlier_.contains(SocketOf(listener))) {
    const std::vector<Holder>& holders = process->second.holders;
    const auto other = std::find_if(holders.begin(), holders.end(),
                                    [](const Holder& one) { return one.uid && *one.uid != 0; });
    if (other != holders.end()) {
      binder.uid = *other->uid;
      binder.cgroup_id = other->cgroup_id;
    }
  }
  // With socket activation, the process that bound it is one holder, and the owner another.
  const auto holds = [&](pid_t pid) {
    return pid == binder.pid ||
           (process != processes_.end() && HolderOf(process->second, pid) != nullptr);
  };
  if (listener.key.protocol == core::Protocol::kUdp && SeesRequestsOf(listener)) return binder;
  // What an earlier run knew of the same process is better than a guess.
  const core::Binder* better = nullptr;
  const auto former = former_.find(KeyOf(listener));
  if (listener.binder && holds(listener.binder->pid)) {
    better = &*listener.binder;
  } else if (former != former_.end() && (binder.pid == 0 || holds(former->second.pid))) {
    better = &former->second;
  }
  if (better != nullptr) {
    binder.asked_port = better->asked_port;
    if (binder.comm.empty()) binder.comm = better->comm;
  }
  return binder;
}

std::optional<core::Binder> OwnerKeeper::FormerRecordOf(const core::Listener& listener) const {
  // Its address may have been that of a listener.
  if (listener.key.protocol == core::Protocol::kUdp && SeesRequestsOf(listener)) {
    return std::nullopt;
  }
  std::optional<core::Binder> record = listener.binder;
  if (record) {
    const bool same = record->uid == listener.uid && record->cgroup_id == listener.cgroup_id;
    return same ? record : std::nullopt;
  }
  const auto former = former_.find(KeyOf(listener));
  if (former == former_.end()) return std::nullopt;
  record = former->second;
  record->uid = listener.uid;
  record->cgroup_id = listener.cgroup_id;
  return record;
}

void OwnerKeeper::DropOtherDatagrams(const core::PortEntries& ports,
                                     std::vector<core::Listener>& listeners) const {
  std::erase_if(listeners, [&](const core::Listener& one) {
    return one.key.protocol == core::Protocol::kUdp && !ports.contains(one.key) &&
           !earlier_.contains(SocketOf(one));
  });
}

std::string OwnerKeeper::ProcessNameOf(const core::Listener& listener,
                                       const core::Binder& noted) const {
  const auto process = processes_.find(listener.inode);
  if (process == processes_.end() || HolderOf(process->second, noted.pid) == nullptr) {
    return noted.comm;
  }
  core::Binder renamed = noted;
  renamed.comm = node::CommOf(noted.pid);
  const uint16_t port = listener.key.port;
  const bool matters = !renamed.comm.empty() &&
                       rules_.policy.Ignores(renamed, port) != rules_.policy.Ignores(noted, port);
  return matters ? renamed.comm : noted.comm;
}

void OwnerKeeper::NoteOne(core::Listener& listener, pid_t pid, const core::PortRange& automatic) {
  const bool datagrams = listener.key.protocol == core::Protocol::kUdp;
  const bool trusted = Trusted(listener);
  if (!datagrams && !trusted) return;
  core::Binder binder = RecordOf(listener, automatic);
  const absl::Status noted = WriteOn(listener, pid, [&](int socket) -> absl::Status {
    absl::Status status = absl::AbortedError("no holder may speak for it");
    if (trusted) status = guard_.NoteOnSocket(socket, binder);
    if (!datagrams || status.ok()) return status;
    const auto note = guard_.NoteOf(socket);
    if (!note.ok()) return note.status();
    if (!note->has_value()) return status;
    binder = **note;
    const std::string name = ProcessNameOf(listener, binder);
    if (name != binder.comm) {
      NPG_RETURN_IF_ERROR(guard_.RenameOnSocket(socket, binder, name));
      binder.comm = name;
    }
    return absl::AlreadyExistsError("noted at bind()");
  });
  if (absl::IsAborted(noted)) processes_[listener.inode].no_note = true;
  if (!noted.ok() && !absl::IsAlreadyExists(noted)) return;
  if (datagrams) {
    datagram_owners_[SocketOf(listener)] = std::move(binder);
    ++changes_;
    return;
  }
  listener.binder = std::move(binder);
  listener.noted = true;
}

// A record on the socket itself cannot be mistaken for that of another socket.
void OwnerKeeper::NoteEarlier(std::vector<core::Listener>& listeners) {
  const core::PortRange automatic = node::ReadLocalPortRange("/proc").value_or(kUsualAutomatic);
  const uint64_t deadline =
      base::BootNanoseconds() + static_cast<uint64_t>(absl::ToInt64Nanoseconds(kNoteTime));
  for (core::Listener& listener : listeners) {
    if (listener.noted || untouchable_.contains(listener.inode)) continue;
    if (datagram_owners_.contains(SocketOf(listener))) continue;
    const auto process = processes_.find(listener.inode);
    if (process == processes_.end() || process->second.pid == 0 || process->second.retry) continue;
    if (process->second.no_note) continue;
    NoteOne(listener, process->second.pid, automatic);
    if (base::BootNanoseconds() > deadline) {
      changed_();
      return;
    }
  }
}

absl::StatusOr<base::UniqueFd> OwnerKeeper::Duplicate(uint64_t inode, pid_t pid) {
  const auto process = processes_.find(inode);
  const Holder* const holder =
      process == processes_.end() ? nullptr : HolderOf(process->second, pid);
  if (holder == nullptr) {
    return absl::NotFoundError(absl::StrCat("process ", pid, " does not hold the socket"));
  }
  auto socket = node::DuplicateSocket(pid, holder->descriptor, inode);
  if (absl::IsPermissionDenied(socket.status()) && !refusal_logged_) {
    refusal_logged_ = true;
    spdlog::warn(
        "note the owners of listeners on their sockets: {}; they are known by the address instead; "
        "give the controller CAP_SYS_PTRACE, and allow it the system call pidfd_getfd",
        std::string(socket.status().message()));
  }
  return socket;
}

absl::Status OwnerKeeper::WriteOn(const core::Listener& listener, pid_t pid,
                                  absl::FunctionRef<absl::Status(int socket)> write) {
  const absl::StatusOr<base::UniqueFd> socket = Duplicate(listener.inode, pid);
  absl::Status written = socket.ok() ? write(socket->get()) : socket.status();
  if (written.ok()) {
    ++changes_;
  } else if (!absl::IsAlreadyExists(written) && !absl::IsAborted(written)) {
    untouchable_[listener.inode] = written.code();
    spdlog::debug("note the owner of {} on its socket: {}", core::ToString(listener.key),
                  std::string(written.message()));
  }
  return written;
}

std::optional<core::Binder> OwnerKeeper::KnownRecordOf(const core::Listener& listener,
                                                       const core::PortRange& automatic) const {
  const auto process = processes_.find(listener.inode);
  const bool looked_for = listener.inode == 0 || process != processes_.end();
  if (const auto note = datagram_owners_.find(SocketOf(listener)); note != datagram_owners_.end()) {
    // The record is by address, and is that of a socket with this user and cgroup.
    const bool same =
        note->second.uid == listener.uid && note->second.cgroup_id == listener.cgroup_id;
    return same ? std::optional<core::Binder>(note->second) : std::nullopt;
  }
  // Until the thread has read /proc, what an earlier run found still holds. Without that, it is
  // unknown: whether it is a holder depends on its name.
  if (!looked_for) return Trusted(listener) ? FormerRecordOf(listener) : std::nullopt;
  // The note on it is still to be read.
  if (listener.key.protocol == core::Protocol::kUdp && process != processes_.end() &&
      process->second.pid != 0 && !untouchable_.contains(listener.inode)) {
    return FormerRecordOf(listener);
  }
  if (!Trusted(listener)) return std::nullopt;
  return RecordOf(listener, automatic);
}

absl::Status OwnerKeeper::Apply(const Listeners& listeners) {
  const core::PortRange automatic = node::ReadLocalPortRange("/proc").value_or(kUsualAutomatic);
  dataplane::BpfGuard::EarlierSockets records;
  absl::flat_hash_set<abi::ListenerKey> refused;
  absl::flat_hash_set<uint64_t> live;
  absl::flat_hash_set<Socket> without_note;
  for (const core::Listener& listener : listeners.list) {
    live.insert(listener.inode);
    if (listener.noted) continue;
    without_note.insert(SocketOf(listener));
    const abi::ListenerKey key = KeyOf(listener);
    core::Listener known = listener;
    known.binder = KnownRecordOf(listener, automatic);
    if (!known.binder) {
      const auto process = processes_.find(listener.inode);
      if (process != processes_.end()) process->second.refused = true;
      refused.insert(key);
      continue;
    }
    if (rules_.Judge(known) != core::OwnerVerdict::kGuarded) refused.insert(key);
    known.binder->on_socket = datagram_owners_.contains(SocketOf(listener));
    const auto [record, added] = records.emplace(key, *known.binder);
    if (!added && !known.binder->on_socket) record->second.on_socket = false;
  }
  // Sockets that share an address share a record: all of them must be guarded. An ignored owner
  // stays in the map, to be counted as such.
  std::erase_if(records, [&](const auto& record) {
    const abi::ListenerKey& key = record.first;
    if (!refused.contains(key) && !listeners.untrusted.contains(HashOf(key))) return false;
    core::Listener shared;
    shared.key = key.port;
    shared.binder = record.second;
    return rules_.Judge(shared) == core::OwnerVerdict::kGuarded;
  });
  absl::erase_if(processes_, [&](const auto& entry) { return !live.contains(entry.first); });
  absl::erase_if(untouchable_, [&](const auto& entry) { return !live.contains(entry.first); });
  absl::erase_if(datagram_owners_,
                 [&](const auto& entry) { return !without_note.contains(entry.first); });
  absl::erase_if(earlier_, [&](const auto& entry) { return !without_note.contains(entry.first); });
  if (records != records_) ++changes_;
  records_ = std::move(records);
  absl::Status written = guard_.SetEarlierSockets(records_);
  // From here on, the records that were just written tell what it told.
  if (written.ok() && !former_.empty() && Unknown(listeners.list).empty()) former_.clear();
  return written;
}

absl::Status OwnerKeeper::Prepare(const core::PortEntries& ports) {
  absl::Status status = SyncCgroups();
  const bool first = !std::exchange(prepared_, true);
  // Attach() removes them.
  if (first) {
    auto former = guard_.FormerRecords();
    status.Update(former.status());
    if (former.ok()) former_ = *std::move(former);
  }
  auto listeners = List(ports);
  if (!listeners.ok()) return listeners.status();
  if (first) {
    const absl::StatusOr<abi::Config> config = guard_.Config();
    guarded_before_ =
        guard_.adopted() && (!config.ok() || config->abi_version >= dataplane::kFirstAbiWithUids);
  }
  // Again after the programs were attached: until then none saw a bind().
  if (first || !guarded_before_) KnowEarlier(listeners->list);
  DropOtherDatagrams(ports, listeners->list);
  Walk walk;
  walk.sockets = Unknown(listeners->list);
  CorrectNames(ports, listeners->list, walk.sockets);
  walk.gaps = node::FillOwners(walk.sockets, "/proc", node::OwnerBudget{}, &walk.holders);
  if (walk.gaps.skipped_processes > 0) {
    // Found again, and read without haste, by the first Sync(): those without an owner, and
    // those of which every holder must be known.
    std::erase_if(walk.sockets, [this](const core::Listener& one) {
      return one.owner.pid == 0 || (!one.noted && !earlier_.contains(SocketOf(one)));
    });
    spdlog::warn(
        "{} processes have too many descriptors to be read at the start; listeners of theirs that "
        "were bound before are guarded once that is done",
        walk.gaps.skipped_processes);
  }
  const auto not_found =
      std::count_if(walk.sockets.begin(), walk.sockets.end(),
                    [](const core::Listener& one) { return one.owner.pid == 0 && !one.noted; });
  if (not_found > 0 && rules_.policy.IgnoresByDefault()) {
    spdlog::warn(
        "found no owner of {} listeners, so --only-process leaves them unguarded: the controller "
        "may not read their /proc, or runs in another pid namespace",
        not_found);
  }
  Learn(walk);
  NoteEarlier(listeners->list);
  // What is still unknown, the first Sync() finds again.
  std::vector<core::Listener> unknown;
  CorrectNames(ports, listeners->list, unknown);
  status.Update(Apply(*listeners));
  return status;
}

absl::Status OwnerKeeper::Follow() {
  done_.Reset(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!done_) return base::ErrnoStatus(errno, "create an eventfd");
  NPG_RETURN_IF_ERROR(loop_.AddFd(done_.get(), EPOLLIN, [this](uint32_t) { FinishWalk(); }));
  if (rules_.policy.cgroups.empty()) return absl::OkStatus();
  WatchCgroups();
  changed_();
  return absl::OkStatus();
}

void OwnerKeeper::Maintain() {
  if (rules_.policy.cgroups.empty() || watching_) return;
  WatchCgroups();
  if (watching_) changed_();  // for the cgroups that were made before
}

// Without a watch the guard works on, and only learns later of new cgroups.
void OwnerKeeper::WatchCgroups() {
  if (cgroup_watch_) {
    NoteWatch(cgroup_watch_->WatchFolders());
    return;
  }
  auto watch = node::CgroupWatch::Start(loop_, cgroup_root_, rules_.policy.cgroups,
                                        [this](const absl::Status& watched) {
                                          NoteWatch(watched);
                                          // At once: how long sockets wait for Sync() depends on
                                          // how often it found nothing. It reports the error.
                                          SyncCgroups().IgnoreError();
                                          changed_();
                                        });
  NoteWatch(watch.status());
  if (watch.ok()) cgroup_watch_ = *std::move(watch);
}

void OwnerKeeper::NoteWatch(const absl::Status& watched) {
  watching_ = watched.ok();
  watch_fault_.Note(watched.ok()
                        ? watched
                        : absl::Status(watched.code(), absl::StrCat(watched.message(),
                                                                    "; until then, new cgroups are "
                                                                    "guarded within ten seconds")));
}

absl::Status OwnerKeeper::Sync(const core::PortEntries& ports) {
  // An error there does not keep the records from being current.
  absl::Status status = SyncCgroups();
  auto listeners = List(ports);
  if (!listeners.ok()) return listeners.status();
  DropOtherDatagrams(ports, listeners->list);
  NoteEarlier(listeners->list);
  std::vector<core::Listener> unknown = Unknown(listeners->list);
  CorrectNames(ports, listeners->list, unknown);
  StartWalk(std::move(unknown));
  status.Update(Apply(*listeners));
  return status;
}

bool OwnerKeeper::NeedsCare(const core::PortEntries& ports) const {
  if (!cgroups_written_ || (!rules_.policy.cgroups.empty() && !watching_)) return true;
  return std::any_of(records_.begin(), records_.end(),
                     [&](const auto& record) { return ports.contains(record.first.port); });
}

void OwnerKeeper::RetryUnknown() {
  for (auto& [inode, process] : processes_)
    process.retry = process.pid == 0 || process.refused || process.no_note;
  absl::erase_if(untouchable_, [this](const auto& entry) {
    const auto& [inode, code] = entry;
    if (code == absl::StatusCode::kUnimplemented) return false;  // MPTCP stays as it is
    // The process has the socket as another descriptor, or another process has it.
    const auto process = processes_.find(inode);
    if (code == absl::StatusCode::kNotFound && process != processes_.end()) {
      process->second.retry = true;
    }
    return true;
  });
}

// At bind() the programs see only the name of the thread; operators configure that of the process.
void OwnerKeeper::CorrectNames(const core::PortEntries& ports,
                               const std::vector<core::Listener>& listeners,
                               std::vector<core::Listener>& unknown) {
  for (const core::Listener& listener : listeners) {
    if (!listener.noted || !ports.contains(listener.key) || listener.binder->pid == 0) continue;
    if (listener.inode == 0 || untouchable_.contains(listener.inode)) continue;
    const core::Binder& noted = *listener.binder;
    core::Binder renamed = noted;
    renamed.comm = node::CommOf(noted.pid);
    const uint16_t port = listener.key.port;
    if (renamed.comm.empty() ||
        rules_.policy.Ignores(renamed, port) == rules_.policy.Ignores(noted, port)) {
      continue;
    }
    const auto process = processes_.find(listener.inode);
    if (process == processes_.end() || process->second.retry) {
      unknown.push_back(listener);
      continue;
    }
    // The next Sync() sees whether it worked.
    WriteOn(listener, noted.pid, [&](int socket) {
      return guard_.RenameOnSocket(socket, noted, renamed.comm);
    }).IgnoreError();
  }
}

void OwnerKeeper::StartWalk(std::vector<core::Listener> unknown) {
  if (unknown.empty() || walk_.joinable()) return;
  const uint64_t now = base::BootNanoseconds();
  if (now < next_walk_) {
    if (walk_timer_ == 0) {
      walk_timer_ = loop_.After(absl::Nanoseconds(static_cast<int64_t>(next_walk_ - now)), [this] {
        walk_timer_ = 0;
        changed_();
      });
    }
    return;
  }
  walk_began_ = now;
  walked_ = {};
  walked_.sockets = std::move(unknown);
  absl::StatusOr<std::thread> thread = base::StartThread("npg-owners", [this] {
    // No limit in time: nothing waits for it.
    node::OwnerBudget budget;
    budget.descriptors_of_process = budget.descriptors = size_t{64} << 20;
    budget.time = absl::Minutes(10);
    budget.stop = &stop_;
    walked_.gaps = node::FillOwners(walked_.sockets, "/proc", budget, &walked_.holders);
    constexpr uint64_t kOne = 1;
    [[maybe_unused]] const ssize_t written = write(done_.get(), &kOne, sizeof(kOne));
  });
  if (!thread.ok()) {
    spdlog::warn("look for the owners of listeners: {}", std::string(thread.status().message()));
    return;
  }
  walk_ = *std::move(thread);
  ++changes_;  // what it finds must not wait as long as a Sync() that found nothing
}

void OwnerKeeper::FinishWalk() {
  uint64_t count = 0;
  if (read(done_.get(), &count, sizeof(count)) != sizeof(count)) return;
  walk_.join();
  // Sockets that come and go may not keep it busy: at most a tenth of a processor.
  const uint64_t now = base::BootNanoseconds();
  next_walk_ = now + 9 * (now - walk_began_);
  Learn(walked_);
  walked_ = {};
  changed_();
}

}  // namespace npg::controller
