// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_DOCTOR_FACTS_H_
#define NODEPORT_GUARD_DOCTOR_FACTS_H_

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "abi/entries.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/mark.h"
#include "core/port_ranges.h"
#include "inspect/trial.h"
#include "node/cgroup_programs.h"
#include "node/rules_reader.h"
#include "node/untracked_obstacles.h"

// The facts that findings are made of, without any judgement.
namespace npg::doctor {

struct KernelFacts {
  std::string release;           // as uname has it
  bool memlock_limited = false;  // RLIMIT_MEMLOCK can only be raised by CAP_SYS_RESOURCE
  inspect::Trial programs, ring_buffer, cgroup_link, nf_tables, nft_owner, sock_diag;
  std::vector<inspect::Trial> helpers;
};

struct MountFacts {
  absl::StatusOr<std::string> cgroup = std::string();  // what would be guarded
  bool named = false;                                  // --cgroup named it
  bool whole = true;                                   // it is the root of the hierarchy
  bool root_in_sight = true;                           // the mount that it lies on shows that root
  std::string bpffs;
  absl::Status bpffs_status;
};

struct PortFacts {
  absl::StatusOr<core::PortRange> local =
      core::PortRange{};  // the kernel assigns these to sockets without a port
  absl::StatusOr<core::PortRanges> reserved = core::PortRanges();  // except these
  std::vector<uint16_t> allocated;                                 // as NodePorts
  std::vector<uint16_t> health_checks;                             // healthCheckNodePorts
  std::vector<uint16_t> assigned;  // of TCP listeners that asked for any port
  std::vector<std::string> source_errors;
  std::vector<std::string> skipped;  // input of sources
  // NodePorts that the sources cannot see, one line for each source that lacks some.
  std::vector<std::string> unseen;

  // On NodePorts, as text: "33589/tcp 127.0.0.1 containerd[812]".
  std::vector<std::string> listeners;  // that connects to loopback reach
  size_t not_looked_up = 0;            // of these: those that no guard sees (core::IsLookedUp())
  std::vector<std::string> exposed_listeners;  // that connects to a node address reach
  std::vector<std::string> kube_proxy;         // of kube-proxy itself
  // Of users that --guard-uid does not name by default, each with the flags that name it.
  std::vector<std::string> untrusted;
  // Guarded, or to be guarded, with a long accept queue at one look: with its length, and how the
  // listener is ignored.
  std::vector<std::string> not_accepting;
};

struct GuardFacts {
  enum class State { kNone, kLoaded, kUnreadable };
  State state = State::kNone;
  std::string error;  // why it cannot be read
  // Also of a guard that cannot be read otherwise; 0 where not even that can.
  uint32_t abi_version = 0;
  std::string version;
  pid_t controller = 0;  // 0: none, -1: in a pid namespace out of sight
  std::optional<bool> same_netns;
  std::optional<core::Mark> mark;
  bool local_scope = false;
  std::vector<std::string> problems;  // as status finds them
  std::string standing_aside;         // for what the guard stands aside; empty: for nothing
  abi::Protection protection;         // reserved ports and bind protection
  size_t nodeports = 0;               // that the guard knows
  size_t refusable = 0;               // of these, those whose bind may be refused or reported
  bool only_rules = false;            // the source netfilter alone says what they are
};

// What following the node's connects through its rules could not answer, one line each, with
// table, chain and rule.
struct EvaluatedRules {
  std::vector<std::string> unknown;  // cannot be evaluated
  std::vector<std::string> broad;    // take so many ports that they name none
  size_t count = 0;                  // rules that were read
  bool all = true;                   // false: RulesSeen::unseen has what was not
};

struct Facts {
  std::string version;        // of this program
  uint32_t abi_version = 0;   // and the pins' layout that it knows
  uint64_t capabilities = 0;  // effective ones, one bit each
  KernelFacts kernel;
  MountFacts mounts;
  std::optional<bool> netns_of_init;  // this process is in the one of pid 1
  absl::StatusOr<node::CgroupPrograms> programs = node::CgroupPrograms();
  bool cilium_socket_lb = false;  // Cilium's connect programs are there: node::HasCiliumSocketLb()
  core::Mark mark;                // that is or would be used
  bool local_scope = false;       // the scope that is or would be used
  // What --scope local leaves out: the first of them as text, and why; empty: nothing.
  std::string left_out_addresses;
  node::RulesSeen rules;
  EvaluatedRules evaluated;
  absl::StatusOr<std::vector<node::UntrackedObstacle>> obstacles =
      std::vector<node::UntrackedObstacle>();
  bool legacy_tables = false;  // ip_tables has some
  PortFacts ports;
  absl::StatusOr<bool> route_localnet = false;
  GuardFacts guard;
};

}  // namespace npg::doctor

#endif  // NODEPORT_GUARD_DOCTOR_FACTS_H_
