// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_INSPECT_TEXT_H_
#define NODEPORT_GUARD_INSPECT_TEXT_H_

#include <sys/types.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "abi/entries.h"
#include "abi/names.h"
#include "absl/strings/string_view.h"
#include "core/listener.h"
#include "core/owner_policy.h"
#include "inspect/guard_facts.h"
#include "inspect/guard_parts.h"
#include "node/owners.h"

// Texts about the guard, its node and conflicts that several places print. They are not
// escaped: the caller makes them printable.

namespace npg::inspect {

// The process that holds a socket, if known: from /proc, or else as recorded at bind().
struct OwnerName {
  pid_t pid = 0;  // 0: not known
  std::string comm;
  bool kernel = false;  // none has it: core::Owner::no_process

  bool operator==(const OwnerName&) const = default;
};

// "127.0.0.1", "::1": as core::AddressText(), without the brackets.
std::string AddressValue(const std::array<uint8_t, 16>& address);

// From /proc, or if not found there, as recorded at bind().
OwnerName NameOf(const core::Listener& listener);

// The user that the policy compares: as recorded at bind(), or else of the socket.
uint32_t UidOf(const core::Listener& listener);

// "containerd[812]"; "the kernel" where no process has it, "uid 0" where none is known.
std::string OwnerText(const OwnerName& owner, uint32_t uid);
std::string OwnerText(const core::Listener& listener);

// Why the guard exempts no connect where GuardFacts::cilium_socket_lb is set.
std::string CiliumText();

// Why connects to a TCP listener that is bound to a device go to the Service: a predicate.
std::string NotLookedUpText();

// That no process has `count` listeners: "1 listener is open in no process: ...".
std::string NoProcessText(size_t count);

// That it is not known which process has `count` listeners, and why:
// "no process was found for 1 listener: ...".
std::string UnknownOwnersText(size_t count, const node::OwnerGaps& gaps);

// Details of the owner: "uid 0, /usr/bin/containerd, containerd.service".
std::string OwnerDetails(const core::Listener& listener);

// "0x1000/0x1000".
std::string MarkText(const abi::Config& config);

// "/sys/fs/bpf/nodeport-guard".
std::string PinsText(const GuardFacts& facts);

// "inet nodeport_guard".
std::string NftTableName();

// "33 known: kubernetes 30, file 5".
std::string NodePortsText(const NodePortCounts& counts);

// What the source skips at present, as a clause: "2 skipped", or for the source netfilter "2 rules
// cannot be evaluated (scan and doctor name them)". "" when it skips nothing.
std::string SkippedText(abi::Source source, const abi::SourceState& state);

// What receives connects to a port that the guard does not exempt, by the value `service` of the
// map `nodeports`: "default/web", "the rules of nft table ip nat, chain KUBE-NODEPORTS", "IPVS".
std::string TakerText(absl::string_view service);

// The last error of a source, or that it has not answered yet.
std::string WhyNotConnected(const abi::SourceState& state);

// "connect 3, expired 1"; "" when there were none.
std::string ErrorsText(const abi::SourceState& state);

// "kube-proxy, ovnkube"; "none" for an empty list.
std::string NamesText(const std::vector<std::string>& names);

// The verdict on the owner of a listener, and the flags that decide it: "guarded: --guard-uid
// names uid 0, --ignore-process does not name containerd".
std::string PolicyRule(const core::OwnerRules& rules, const core::Listener& listener);

// The policy in words: "of uid 0 (--guard-uid), not the ports held by kube-proxy
// (--ignore-process)".
std::string PolicyText(const core::OwnerRules& rules);

// False for a listener of root that is not trusted, since the guard does not know who bound it: no
// flag changes that.
bool HasRecord(const core::Listener& listener);

// "agent[812], uid 1000, is not trusted".
std::string UntrustedText(const core::Listener& listener);

// The flags that would guard an untrusted listener: "--guard-uid +1000 or --guard-cgroup
// /system.slice/agent.service".
std::string FlagsThatTrust(const core::Listener& listener);

// "to guard it, run with --guard-uid +1000".
std::string RemedyOfUntrusted(const core::Listener& listener);

}  // namespace npg::inspect

#endif  // NODEPORT_GUARD_INSPECT_TEXT_H_
