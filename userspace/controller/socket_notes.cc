// SPDX-License-Identifier: Apache-2.0
#include "controller/socket_notes.h"

#include <spdlog/spdlog.h>
#include <sys/types.h>

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "base/errno_status.h"
#include "base/unique_fd.h"
#include "controller/owner_records.h"
#include "controller/socket_holders.h"
#include "controller/socket_id.h"
#include "core/desired_state.h"
#include "core/listener.h"
#include "core/owner_policy.h"
#include "core/port.h"
#include "core/port_ranges.h"
#include "dataplane/bpf/bpf_guard.h"
#include "node/owners.h"

namespace npg::controller {
namespace {

// What NoteEarlier() may take of the start or of the loop: some thousand listeners.
constexpr absl::Duration kNoteTime = absl::Milliseconds(50);

}  // namespace

std::string SocketNotes::ProcessNameOf(const core::Listener& listener,
                                       const core::Binder& noted) const {
  const SocketProcess* const process = holders_.Find(listener.inode);
  if (process == nullptr || process->HolderOf(noted.pid) == nullptr) return noted.comm;
  core::Binder renamed = noted;
  renamed.comm = node::CommOf(noted.pid);
  const uint16_t port = listener.key.port;
  const bool matters = !renamed.comm.empty() &&
                       rules_.policy.Ignores(renamed, port) != rules_.policy.Ignores(noted, port);
  return matters ? renamed.comm : noted.comm;
}

void SocketNotes::NoteOne(core::Listener& listener, pid_t pid, const core::PortRange& automatic) {
  const bool datagrams = listener.key.protocol == core::Protocol::kUdp;
  const bool trusted = records_.Trusted(listener);
  if (!datagrams && !trusted) return;
  core::Binder binder = records_.RecordOf(listener, automatic);
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
  SocketProcess* const process = holders_.Find(listener.inode);
  if (process != nullptr && absl::IsAborted(noted)) process->no_note = true;
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
bool SocketNotes::NoteEarlier(std::vector<core::Listener>& listeners) {
  const core::PortRange automatic = AutomaticPorts();
  const uint64_t deadline =
      base::BootNanoseconds() + static_cast<uint64_t>(absl::ToInt64Nanoseconds(kNoteTime));
  for (core::Listener& listener : listeners) {
    if (listener.noted || untouchable_.contains(listener.inode)) continue;
    if (datagram_owners_.contains(SocketOf(listener))) continue;
    const SocketProcess* const process = holders_.Find(listener.inode);
    if (process == nullptr || process->pid == 0 || process->retry) continue;
    if (process->no_note) continue;
    NoteOne(listener, process->pid, automatic);
    if (base::BootNanoseconds() > deadline) return false;
  }
  return true;
}

absl::StatusOr<base::UniqueFd> SocketNotes::Duplicate(uint64_t inode, pid_t pid) {
  const SocketProcess* const process = holders_.Find(inode);
  const SocketHolder* const holder = process == nullptr ? nullptr : process->HolderOf(pid);
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

absl::Status SocketNotes::WriteOn(const core::Listener& listener, pid_t pid,
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

// At bind() the programs see only the name of the thread; operators configure that of the process.
void SocketNotes::CorrectNames(const core::PortEntries& ports,
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
    const SocketProcess* const process = holders_.Find(listener.inode);
    if (process == nullptr || process->retry) {
      unknown.push_back(listener);
      continue;
    }
    // The next Sync() sees whether it worked.
    WriteOn(listener, noted.pid, [&](int socket) {
      return guard_.RenameOnSocket(socket, noted, renamed.comm);
    }).IgnoreError();
  }
}

const core::Binder* SocketNotes::DatagramNoteOf(const core::Listener& listener) const {
  const auto note = datagram_owners_.find(SocketOf(listener));
  return note == datagram_owners_.end() ? nullptr : &note->second;
}

void SocketNotes::RetryUntouchable() {
  absl::erase_if(untouchable_, [this](const auto& entry) {
    const auto& [inode, code] = entry;
    if (code == absl::StatusCode::kUnimplemented) return false;  // MPTCP stays as it is
    // The process has the socket as another descriptor, or another process has it.
    SocketProcess* const process = holders_.Find(inode);
    if (code == absl::StatusCode::kNotFound && process != nullptr) process->retry = true;
    return true;
  });
}

void SocketNotes::Keep(const absl::flat_hash_set<uint64_t>& inodes,
                       const absl::flat_hash_set<SocketId>& sockets) {
  absl::erase_if(untouchable_, [&](const auto& entry) { return !inodes.contains(entry.first); });
  absl::erase_if(datagram_owners_,
                 [&](const auto& entry) { return !sockets.contains(entry.first); });
}

}  // namespace npg::controller
