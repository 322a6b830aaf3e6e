// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_INSPECT_TEXT_H_
#define NODEPORT_GUARD_INSPECT_TEXT_H_

#include <sys/types.h>

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "abi/entries.h"
#include "absl/strings/string_view.h"
#include "core/listener.h"
#include "inspect/guard_facts.h"
#include "inspect/guard_parts.h"

// Texts about the guard, its node and conflicts that several places print. They are not
// escaped: the caller makes them printable.

namespace npg::inspect {

// The process that holds a socket, if known: from /proc, or else as recorded at bind().
struct OwnerName {
  pid_t pid = 0;  // 0: not known
  std::string comm;

  bool operator==(const OwnerName&) const = default;
};

// "127.0.0.1", "::1": as core::AddressText(), without the brackets.
std::string AddressValue(const std::array<uint8_t, 16>& address);

// From /proc, or if not found there, as recorded at bind(). `noted` may be null.
OwnerName NameOf(const core::Listener& listener, const abi::Listener* noted);

// "containerd[812]"; "uid 0" where no process is known.
std::string OwnerText(const OwnerName& owner, uint32_t uid);
std::string OwnerText(const core::Listener& listener, const abi::Listener* noted);

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

// The last error of a source, or that it has not answered yet.
std::string WhyNotConnected(const abi::SourceState& state);

// "connect 3, expired 1"; "" when there were none.
std::string ErrorsText(const abi::SourceState& state);

// "kube-proxy, ovnkube"; "none" for an empty list.
std::string NamesText(const std::vector<std::string>& names);

// The verdict on an owner of this name, and the flag that decides it: "guarded:
// --ignore-process does not name containerd (kube-proxy, ovnkube)".
std::string PolicyRule(const GuardFacts& facts, absl::string_view comm);

}  // namespace npg::inspect

#endif  // NODEPORT_GUARD_INSPECT_TEXT_H_
