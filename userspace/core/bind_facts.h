// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_CORE_BIND_FACTS_H_
#define NODEPORT_GUARD_CORE_BIND_FACTS_H_

#include <compare>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/container/btree_map.h"
#include "absl/container/btree_set.h"
#include "core/port.h"

namespace npg::core {

// The families of a Service's NodePort, as bits; the same as abi::kFamilyV4 and abi::kFamilyV6.
inline constexpr uint32_t kServiceV4 = 1;
inline constexpr uint32_t kServiceV6 = 2;

// What a source knows about the use of allocated ports on the node itself.
struct BindFacts {
  // NodePorts that no process of the node has a reason to bind, and the families (bits, not 0) for
  // which they are allocated.
  absl::btree_map<PortKey, uint32_t> refusable;
  // NodePorts that a backend of their own Service may bind on the node: a pod with hostNetwork
  // whose targetPort has the number of the nodePort, or is a name, or is not known (a Service
  // without a selector).
  absl::btree_set<PortKey> shared;
  // healthCheckNodePorts, TCP: kube-proxy listens there. They are no NodePorts.
  absl::btree_set<uint16_t> health_checks;

  bool operator==(const BindFacts&) const = default;
};

// The families for which a bind of this NodePort may be refused, by the facts of several sources;
// 0: for none. One that says `shared` overrules the others.
uint32_t RefusableFamilies(const std::vector<const BindFacts*>& facts, const PortKey& key);

// A user with a socket on a port before that became a NodePort.
struct PortHolder {
  PortKey port;
  uint32_t uid = 0;  // in the initial user namespace

  auto operator<=>(const PortHolder&) const = default;
};

// Who may bind NodePorts in spite of bind protection.
struct BindExceptions {
  std::vector<uint32_t> uids;          // in the initial user namespace
  std::vector<std::string> cgroups;    // glob patterns, see cgroup_glob.h
  std::vector<std::string> processes;  // names (comm), at most 15 bytes

  bool operator==(const BindExceptions&) const = default;
};

}  // namespace npg::core

#endif  // NODEPORT_GUARD_CORE_BIND_FACTS_H_
