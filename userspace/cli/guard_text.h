// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_CLI_GUARD_TEXT_H_
#define NODEPORT_GUARD_CLI_GUARD_TEXT_H_

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "cli/guard_facts.h"
#include "cli/table.h"
#include "core/conflicts.h"
#include "core/listener.h"
#include "core/port.h"
#include "core/workload.h"
#include "guard_abi.h"

// What status and explain say alike about the guard: pure functions of facts.

namespace npg::cli {

// What is broken, one line each with what to do; empty when the guard works.
std::vector<std::string> Problems(const GuardFacts& facts);

// The same, of one program and of the table alone; nullopt when it works.
std::optional<std::string> ProgramProblem(const GuardFacts& facts, absl::string_view program);
std::optional<std::string> TableProblem(const GuardFacts& facts);

// "BROKEN: ..." for each.
std::string RenderProblems(const std::vector<std::string>& problems, const Style& style);

// "kubernetes", "netfilter", ... of npg_source bits.
nlohmann::ordered_json SourcesJson(uint32_t sources);

// "127.0.0.1", "::1": as in core::AddressText(), without the brackets.
std::string AddressValue(const std::array<uint8_t, 16>& address);

// "containerd[812]"; with the pid and name that the kernel noted when the
// socket was bound where /proc did not say; "uid 0" where nothing is known.
std::string OwnerText(const core::Listener& listener, const npg_listener* classified);
nlohmann::ordered_json OwnerJson(const core::Listener& listener, const npg_listener* classified);

// What else is known of the owner: "uid 0, /usr/bin/containerd, containerd.service".
std::string OwnerDetails(const core::Listener& listener);

// A blank line and a table of the conflicts' owners with their details, each once;
// empty where no more is known of them.
std::string RenderOwners(const GuardFacts& facts, const std::vector<core::Conflict>& conflicts,
                         const Style& style);

// Adds unit, pod_uid, container_id and container_runtime, null where unknown.
void AddWorkload(const core::Workload& workload, nlohmann::ordered_json& json);

// What status and scan say alike of a conflict; `classified` may be null.
nlohmann::ordered_json ConflictJson(const core::Conflict& conflict, const npg_listener* classified);

// What the guard has kept of each NodePort.
core::PortHistories Histories(const GuardFacts& facts);

// True when connects to the listener go to the Service, for its owner only holds
// the port: what the program decides by.
bool IsIgnored(const GuardFacts& facts, const npg_listener* classified);

// Which flag decided about the owner of this name, and how: "guarded:
// --ignore-process does not name containerd (kube-proxy, ovnkube)".
std::string PolicyRule(const GuardFacts& facts, absl::string_view comm);

// The entry for the listener; null when there is none.
const npg_listener* Classified(const GuardFacts& facts, const core::Listener& listener);

// The entry for the port; null when it is no NodePort.
const npg_nodeport* FindNodePort(const GuardFacts& facts, const core::PortKey& key);

// "33589/tcp" of what stands in a map.
core::PortKey ToPortKey(const npg_port_key& key);

// The wall-clock time of a CLOCK_BOOTTIME instant; nullopt for 0, never.
std::optional<absl::Time> WallTime(const GuardFacts& facts, uint64_t boot_ns);

// "0x1000/0x1000".
std::string MarkText(const npg_config& config);

// The guard's parts: what each is and how it does.
std::string RenderGuard(const GuardFacts& facts, const Style& style);
nlohmann::ordered_json GuardJson(const GuardFacts& facts);

}  // namespace npg::cli

#endif  // NODEPORT_GUARD_CLI_GUARD_TEXT_H_
