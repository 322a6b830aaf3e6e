// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_CONTROLLER_SOCKET_HOLDERS_H_
#define NODEPORT_GUARD_CONTROLLER_SOCKET_HOLDERS_H_

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "controller/owner_search.h"
#include "core/listener.h"

namespace npg::controller {

// A process that has a socket open, as of the time it was looked for.
struct SocketHolder {
  pid_t pid = 0;
  int descriptor = -1;
  std::optional<uint32_t> uid;  // real user id
  uint64_t cgroup_id = 0;       // 0: not known
};

// The owner of a socket.
struct SocketProcess {
  pid_t pid = 0;  // 0: was looked for and not found
  std::string comm;
  std::vector<SocketHolder> holders;
  bool complete = false;  // no process was left out to save time
  bool refused = false;   // a holder is not trusted
  bool no_note = false;   // nor was one noted at bind()
  bool retry = false;     // look for it again, but use this meanwhile

  // nullptr: this process is none of them.
  const SocketHolder* HolderOf(pid_t holder_pid) const;
};

// The processes that were found for sockets, by the socket's inode.
class SocketHolders {
 public:
  // `with_cgroups`: find out the holders' cgroups, below `cgroup_root`, the folder of the root of
  // the hierarchy.
  SocketHolders(std::string cgroup_root, bool with_cgroups);

  // Takes the result of a search, also of sockets without an owner.
  void Learn(const OwnerSearch::Found& found);

  // nullptr: it was not looked for yet. Valid until the next Learn() or Keep().
  const SocketProcess* Find(uint64_t inode) const;
  SocketProcess* Find(uint64_t inode);

  // Those of `listeners` that need a record, and whose process was not looked for yet.
  std::vector<core::Listener> Unknown(const std::vector<core::Listener>& listeners) const;

  // Has those looked for again that were not found, or that did not lead to a record.
  void RetryUnknown();

  // Forgets all sockets except these.
  void Keep(const absl::flat_hash_set<uint64_t>& inodes);

 private:
  const std::string cgroup_root_;
  const bool with_cgroups_;
  absl::flat_hash_map<uint64_t, SocketProcess> processes_;
};

}  // namespace npg::controller

#endif  // NODEPORT_GUARD_CONTROLLER_SOCKET_HOLDERS_H_
