// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_CONTROLLER_CONTROLLER_H_
#define NODEPORT_GUARD_CONTROLLER_CONTROLLER_H_

#include <memory>
#include <string>
#include <vector>

#include "abi/names.h"
#include "absl/status/status.h"
#include "controller/side_services.h"
#include "core/bind_facts.h"
#include "core/intervals.h"
#include "core/mark.h"
#include "core/node_address.h"
#include "core/owner_policy.h"
#include "dataplane/bpf/pin_paths.h"
#include "log/health.h"
#include "node/untracked_obstacles.h"
#include "sources/source.h"

namespace npg::controller {

struct Options {
  std::string cgroup;       // folder of the cgroup2 to guard
  std::string cgroup_root;  // folder of the root of its hierarchy; for policy.cgroups
  dataplane::PinPaths pins{dataplane::PinPaths::kDefaultBpffs};
  abi::Mode mode = abi::Mode::kEnforce;
  core::Mark mark;
  abi::Scope scope = abi::Scope::kLoopback;
  core::AddressChoice local_addresses;  // for Scope::kLocal
  core::OwnerPolicy policy;             // names of at most 15 bytes
  std::string version;                  // shown by `status`
  bool detach_on_exit = false;
  bool own_nft_table = true;  // NftTable::Install()
  abi::ReservePorts reserve_ports = abi::ReservePorts::kOff;
  std::vector<std::string> reserved_ports_paths;  // of the sysctl: node::ReservedPortsPaths()
  abi::BindProtection bind_protection = abi::BindProtection::kOff;
  core::BindExceptions bind_exceptions;  // its cgroups need cgroup_root
  core::Intervals intervals;
  // Started after this controller has locked the pins, before it changes anything, and kept
  // until the pins are unlocked.
  std::vector<SideService> services;
  // Gets the rules for which the guard stands aside; may be null.
  std::shared_ptr<node::LastObstacles> obstacles;
};

// Loads or adopts the guard, keeps the map `nodeports` equal to the union of the
// sources, and restores what other processes remove, until SIGTERM or SIGINT. The
// guard then stays, as it does after a crash, unless `detach_on_exit`. Reports its
// state in `health`.
//
// Programs, links, pins and nft table appear together or not at all. Errors of
// the start: UNAVAILABLE when another controller has these pins,
// PERMISSION_DENIED, UNIMPLEMENTED or FAILED_PRECONDITION when this node cannot
// be guarded, and INVALID_ARGUMENT for a folder that is no cgroup. A source that cannot be read
// is none: it is followed, and log and `health` have its error. Services that do not start are
// started later.
absl::Status Run(const Options& options, std::vector<std::unique_ptr<sources::Source>> sources,
                 log::Health& health);

}  // namespace npg::controller

#endif  // NODEPORT_GUARD_CONTROLLER_CONTROLLER_H_
