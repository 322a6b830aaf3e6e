// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_DOCTOR_FINDING_H_
#define NODEPORT_GUARD_DOCTOR_FINDING_H_

#include <array>
#include <string>

#include "absl/strings/string_view.h"

namespace npg::doctor {

// What is looked at. docs/doctor.md has a row for each.
enum class FindingId {
  kKernelPrograms,
  kKernelHelper,
  kKernelRingBuffer,
  kKernelCgroupLink,
  kKernelNfTables,
  kKernelNftOwner,
  kKernelSockDiag,
  kCapabilities,
  kCgroup2,
  kCgroupNamespace,
  kBpffs,
  kNetworkNamespace,
  kCgroupAttachBlocked,
  kCgroupExclusiveRefused,
  kCgroupForeignProgram,
  kCiliumSocketLb,
  kMarkCollision,
  kRules,
  kRulesTrackAgain,
  kRulesDropUntracked,
  kPortRangeAllocated,
  kPortRangeUsual,
  kReservedPorts,
  kBindProtection,
  kListenerConflict,
  kListenerUntrusted,
  kListenerNotAccepting,
  kKubeProxyMode,
  kKubeProxyLeftovers,
  kKubeProxyLocalhost,
  kNodeAddressesUnguarded,
  kKubeProxyListens,
  kSource,
  kGuard,
  kGuardProblem,
  kStandingAside,
  kGuardVersion,
  kController,
  kNotSeen,
};

struct FindingKind {
  FindingId id;
  const char* name;  // for scripts and the documentation; never changes
  const char* why;   // why it matters, whatever was found
};

// In the order of FindingId, which is the order in which they are reported.
inline constexpr std::array<FindingKind, 39> kFindingKinds = {{
    {FindingId::kKernelPrograms, "kernel-programs",
     "these programs see each connect and decide; without them there is no guard"},
    {FindingId::kKernelHelper, "kernel-helper",
     "the programs ask for listeners, set the mark and tell network namespaces apart by helpers "
     "of the kernel"},
    {FindingId::kKernelRingBuffer, "kernel-ring-buffer",
     "events go through a BPF ring buffer (kernels since 5.8)"},
    {FindingId::kKernelCgroupLink, "kernel-cgroup-link",
     "the programs are attached by pinned links, which outlive the controller (kernels since 5.7 "
     "with CONFIG_CGROUP_BPF)"},
    {FindingId::kKernelNfTables, "kernel-nf-tables",
     "marked packets get past NAT by one nftables table with a notrack rule"},
    {FindingId::kKernelNftOwner, "kernel-nft-owner",
     "an owned table survives 'nft flush ruleset', and a saved rule set that contains it cannot be "
     "loaded (run --nft-owner=off allows it); without an owner the controller watches the table "
     "and restores it, so keep it running"},
    {FindingId::kKernelSockDiag, "kernel-sock-diag",
     "listeners and exempted connections are listed by it"},
    {FindingId::kCapabilities, "capabilities",
     "loading programs takes CAP_BPF (some kernels: and CAP_PERFMON), attaching them and nftables "
     "take CAP_NET_ADMIN"},
    {FindingId::kCgroup2, "cgroup2", "only processes below a cgroup2 folder can be guarded"},
    {FindingId::kCgroupNamespace, "cgroup-namespace",
     "below a part of the hierarchy, the processes outside of it (kubelet, containerd) are not "
     "guarded"},
    {FindingId::kBpffs, "bpffs",
     "pins on a bpf file system keep the guard in place while no controller runs"},
    {FindingId::kNetworkNamespace, "network-namespace",
     "the guard and this command see the listeners and rules of one network namespace: it has to "
     "be the node's"},
    {FindingId::kCgroupAttachBlocked, "cgroup-attach-blocked",
     "the kernel refuses another program where one is attached without BPF_F_ALLOW_MULTI"},
    {FindingId::kCgroupExclusiveRefused, "cgroup-exclusive-refused",
     "the kernel keeps one mode for all programs on a hook of a cgroup; the guard's programs share "
     "the hook, so a program that wants it alone is refused, and its agent may not start"},
    {FindingId::kCgroupForeignProgram, "cgroup-foreign-program",
     "programs of others on the same hooks run beside the guard's, and may change where a connect "
     "goes or refuse it"},
    {FindingId::kCiliumSocketLb, "cilium-socket-lb",
     "a socket load balancer (Cilium, Calico, LoxiLB, Kmesh) rewrites a connect to a NodePort in "
     "the socket, before any rule that the guard gets past: what it takes cannot be given back"},
    {FindingId::kMarkCollision, "mark-collision",
     "exempted packets carry the guard's bit of the mark, so a rule that matches this bit treats "
     "them as its own, and packets that it marks are exempted by mistake"},
    {FindingId::kRules, "rules",
     "the source netfilter follows a connect through the rules of the node; where a rule cannot be "
     "evaluated, it cannot tell whether the rule takes a port from the host"},
    {FindingId::kRulesTrackAgain, "rules-track-again",
     "an exempted packet must reach its listener untracked; a rule that sets a conntrack zone has "
     "it tracked all the same, and NAT takes it"},
    {FindingId::kRulesDropUntracked, "rules-drop-untracked",
     "exempted packets arrive untracked, so a firewall that accepts by connection state alone "
     "drops them, and the guard stands aside"},
    {FindingId::kPortRangeAllocated, "port-range-allocated",
     "the kernel hands these ports to sockets that ask for any port, and NodePorts already own "
     "them"},
    {FindingId::kPortRangeUsual, "port-range-usual",
     "a port that a listener got from the kernel can become a NodePort later"},
    {FindingId::kReservedPorts, "reserved-ports",
     "with --reserve-ports allocated, the guard keeps the kernel from assigning allocated "
     "NodePorts "
     "to sockets that ask for any port"},
    {FindingId::kBindProtection, "bind-protection",
     "with --bind-protection, a process that asks for an allocated NodePort by its number is "
     "reported, or its bind() fails"},
    {FindingId::kListenerConflict, "listener-conflict",
     "without a guard, this node's own connects to them can end up in a pod or be refused"},
    {FindingId::kListenerUntrusted, "listener-untrusted",
     "any user can listen on a NodePort; the guard leads the node's connects only to listeners of "
     "users and cgroups that --guard-uid and --guard-cgroup select, and the others' go on to the "
     "Service"},
    {FindingId::kListenerNotAccepting, "listener-not-accepting",
     "a process may bind a port only to hold it and never accept a connection; once the guard "
     "leads the node's connects there, they hang"},
    {FindingId::kKubeProxyMode, "kube-proxy-mode",
     "it decides which connects to a NodePort are taken away from the host"},
    {FindingId::kKubeProxyLeftovers, "kube-proxy-leftovers",
     "rules of a mode that kube-proxy no longer runs in stay until they are removed, and keep "
     "taking ports that are no longer allocated"},
    {FindingId::kKubeProxyLocalhost, "kube-proxy-localhost",
     "it decides whether connects to loopback are taken by Services with endpoints"},
    {FindingId::kNodeAddressesUnguarded, "node-addresses-unguarded",
     "with --scope loopback, the node's connects to these listeners by a node address still end "
     "up in the Service"},
    {FindingId::kKubeProxyListens, "kube-proxy-listens",
     "kube-proxy's own sockets on NodePorts only hold or forward them: the default "
     "--ignore-process leaves such connects to it"},
    {FindingId::kSource, "source", "the guard protects the ports that its sources name, no others"},
    {FindingId::kGuard, "guard", "whether the node is guarded now"},
    {FindingId::kGuardProblem, "guard-problem", "part of the guard that is loaded does not work"},
    {FindingId::kStandingAside, "standing-aside",
     "where rules of the node would break exempted connections, the guard leaves connects to the "
     "Service"},
    {FindingId::kGuardVersion, "guard-version",
     "a controller of another version writes what this one may not understand"},
    {FindingId::kController, "controller",
     "without it the guard goes on with the NodePorts it last knew"},
    {FindingId::kNotSeen, "not-seen", "what was not seen is not judged"},
}};

enum class Severity { kOk, kNote, kWarn, kFail };

// "ok", "note", "warn", "fail".
absl::string_view SeverityName(Severity severity);

const FindingKind& KindOf(FindingId id);

struct Finding {
  FindingId id;
  Severity severity = Severity::kOk;
  std::string what;
  std::string fix;        // a command or a setting; empty when there is nothing to do
  bool prevents = false;  // the guard cannot work here until it is fixed
};

}  // namespace npg::doctor

#endif  // NODEPORT_GUARD_DOCTOR_FINDING_H_
