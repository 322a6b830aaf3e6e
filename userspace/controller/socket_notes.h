// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_CONTROLLER_SOCKET_NOTES_H_
#define NODEPORT_GUARD_CONTROLLER_SOCKET_NOTES_H_

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/unique_fd.h"
#include "controller/owner_records.h"
#include "controller/socket_holders.h"
#include "controller/socket_id.h"
#include "core/desired_state.h"
#include "core/listener.h"
#include "core/owner_policy.h"
#include "core/port_ranges.h"
#include "dataplane/bpf/bpf_guard.h"

namespace npg::controller {

// Writes the notes on the sockets of listeners: adds those that were not made at bind(), and
// corrects names. Reads the notes on UDP sockets, which the kernel does not list. It does both
// through a duplicate of the socket, which a process that holds it must yield.
class SocketNotes {
 public:
  // All outlive this.
  SocketNotes(dataplane::BpfGuard& guard, const core::OwnerRules& rules, SocketHolders& holders,
              const OwnerRecords& records)
      : guard_(guard), rules_(rules), holders_(holders), records_(records) {}

  // Notes those of `listeners` that have no note, if they may be trusted, and whose process is
  // known; reads the notes on UDP sockets. False: that took too long, and the rest is left to the
  // next call.
  bool NoteEarlier(std::vector<core::Listener>& listeners);

  // Corrects the names in notes on listeners on `ports`. Adds to `unknown` those whose holders must
  // be looked for first.
  void CorrectNames(const core::PortEntries& ports, const std::vector<core::Listener>& listeners,
                    std::vector<core::Listener>& unknown);

  // The note on a UDP socket, if that was read; else nullptr. Valid until the next call.
  const core::Binder* DatagramNoteOf(const core::Listener& listener) const;

  // True when nothing could be noted on the socket.
  bool Untouchable(uint64_t inode) const { return untouchable_.contains(inode); }
  // Has those tried again that may work later.
  void RetryUntouchable();

  // The number of changes to the notes that are known.
  uint64_t changes() const { return changes_; }

  // Forgets all sockets except these: `sockets` are those without a note that is listed.
  void Keep(const absl::flat_hash_set<uint64_t>& inodes,
            const absl::flat_hash_set<SocketId>& sockets);

 private:
  // Notes it, if it may be and is not, and learns the note of a UDP socket.
  void NoteOne(core::Listener& listener, pid_t pid, const core::PortRange& automatic);
  // The name of the process that bound a socket, if it still holds it and the verdict depends on
  // it; else the noted one, which is that of the thread.
  std::string ProcessNameOf(const core::Listener& listener, const core::Binder& noted) const;
  // Calls `write` with a duplicate of the socket, which process `pid` holds. It returns
  // ALREADY_EXISTS or ABORTED if there is nothing to write.
  absl::Status WriteOn(const core::Listener& listener, pid_t pid,
                       absl::FunctionRef<absl::Status(int socket)> write);
  absl::StatusOr<base::UniqueFd> Duplicate(uint64_t inode, pid_t pid);

  dataplane::BpfGuard& guard_;
  const core::OwnerRules& rules_;
  SocketHolders& holders_;
  const OwnerRecords& records_;
  // The notes on UDP sockets.
  absl::flat_hash_map<SocketId, core::Binder> datagram_owners_;
  // Sockets on which nothing could be noted, by inode, and why.
  absl::flat_hash_map<uint64_t, absl::StatusCode> untouchable_;
  uint64_t changes_ = 0;
  bool refusal_logged_ = false;
};

}  // namespace npg::controller

#endif  // NODEPORT_GUARD_CONTROLLER_SOCKET_NOTES_H_
