// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_CORE_OWNER_POLICY_H_
#define NODEPORT_GUARD_CORE_OWNER_POLICY_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/string_view.h"
#include "core/listener.h"
#include "core/port_ranges.h"

namespace npg::core {

// What the owner of a listener means for connects to it.
enum class OwnerVerdict : uint8_t {
  kGuarded,
  kIgnored,     // it only holds the port for others, or --only-process does not name it
  kUntrusted,   // the administrator does not answer for it
  kNoListener,  // it asked for no port: a UDP socket that only sends
};

// "guarded", "ignored", "untrusted", "no_listener": the values of JSON.
absl::string_view Name(OwnerVerdict verdict);

// Selects the guarded listeners by facts of their bind().
struct OwnerPolicy {
  // By the name of the process (comm, at most 15 bytes): not those of `ignored` on the number
  // that they asked for, because they may only hold it for others; a socket that asked for any
  // port cannot. If `only` has names, only theirs.
  std::vector<std::string> ignored;
  std::vector<std::string> only;
  // Of these users, as the initial user namespace knows them, or of any user.
  std::vector<uint32_t> uids = {0};
  bool any_uid = false;
  // Of a cgroup below one of these, whatever the user: glob patterns, see cgroup_glob.h.
  std::vector<std::string> cgroups;

  // The default for a name in neither list.
  bool IgnoresByDefault() const { return !only.empty(); }
  // True when a listener on `port` that this process bound is ignored. An
  // unknown owner ("") counts as a name in neither list.
  bool Ignores(const Binder& binder, uint16_t port) const;
};

// A policy, with what the node has of it at present.
struct OwnerRules {
  OwnerPolicy policy;
  absl::flat_hash_set<uint64_t> served_cgroups;  // ids of those that policy.cgroups selects

  // By the listener's record, as the programs decide: without one it is untrusted, or no listener.
  OwnerVerdict Judge(const Listener& listener) const;

  // True when the administrator answers for listeners of this user or cgroup.
  bool Trusts(uint32_t uid, uint64_t cgroup_id) const;
};

// What is known of the bind() of a listener for which there is no record: its user and cgroup
// are those of the process that created the socket, its name is that of the process that holds
// it. Whether it asked for its number is a guess that errs on the side of leaving connects
// alone: a UDP socket within the range of automatic ports did not, a TCP socket on a loopback
// address within it neither, every other did. `automatic` is net.ipv4.ip_local_port_range.
// With `sees_requests`, the programs have seen every request for a number since before the
// socket was made, and would have noted it on a UDP socket: that one did not.
Binder GuessBinder(const Listener& listener, const PortRange& automatic,
                   bool sees_requests = false);

}  // namespace npg::core

#endif  // NODEPORT_GUARD_CORE_OWNER_POLICY_H_
