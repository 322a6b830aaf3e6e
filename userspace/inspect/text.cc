// SPDX-License-Identifier: Apache-2.0
#include "inspect/text.h"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "abi/entries.h"
#include "abi/names.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/string_view.h"
#include "base/text.h"
#include "core/listener.h"
#include "core/mark.h"
#include "core/workload.h"
#include "dataplane/bpf/pin_paths.h"
#include "dataplane/nft/nft_table.h"
#include "inspect/guard_facts.h"
#include "inspect/guard_parts.h"

namespace npg::inspect {

std::string AddressValue(const std::array<uint8_t, 16>& address) {
  std::string text = core::AddressText(address);
  if (text.front() == '[') text = text.substr(1, text.size() - 2);
  return text;
}

OwnerName NameOf(const core::Listener& listener, const abi::Listener* noted) {
  if (listener.owner.pid != 0) return {listener.owner.pid, listener.owner.comm};
  if (noted != nullptr && noted->pid != 0) return {static_cast<pid_t>(noted->pid), noted->comm};
  return {};
}

std::string OwnerText(const OwnerName& owner, uint32_t uid) {
  return owner.pid == 0 ? absl::StrCat("uid ", uid) : core::ProcessText(owner.comm, owner.pid);
}

std::string OwnerText(const core::Listener& listener, const abi::Listener* noted) {
  return OwnerText(NameOf(listener, noted), listener.uid);
}

std::string OwnerDetails(const core::Listener& listener) {
  const core::Owner& owner = listener.owner;
  std::vector<std::string> parts = {absl::StrCat("uid ", listener.uid)};
  if (!owner.executable.empty()) parts.push_back(owner.executable);
  if (!owner.workload.empty()) {
    parts.push_back(core::ToString(owner.workload));
  } else if (!owner.cgroup.empty()) {
    parts.push_back(absl::StrCat("cgroup ", owner.cgroup));
  }
  if (owner.holders.size() > 1) {
    parts.push_back(absl::StrCat("shared by ", owner.holders.size(), " processes"));
  }
  return absl::StrJoin(parts, ", ");
}

std::string PinsText(const GuardFacts& facts) { return dataplane::PinPaths(facts.bpffs).Root(); }

std::string NftTableName() { return absl::StrCat("inet ", dataplane::kNftTableName); }

std::string MarkText(const abi::Config& config) {
  return absl::StrCat(core::HexText(config.mark), "/", core::HexText(config.mark_mask));
}

std::string NodePortsText(const NodePortCounts& counts) {
  std::vector<std::string> parts;
  for (size_t i = 0; i < counts.by_source.size(); ++i) {
    if (counts.by_source[i] == 0) continue;
    parts.push_back(absl::StrCat(abi::kSources[i].name, " ", counts.by_source[i]));
  }
  return absl::StrCat(counts.total, " known", parts.empty() ? "" : ": ",
                      absl::StrJoin(parts, ", "));
}

std::string WhyNotConnected(const abi::SourceState& state) {
  return state.last_error.empty() ? "it has not answered yet" : state.last_error;
}

std::string ErrorsText(const abi::SourceState& state) {
  std::vector<std::string> kinds;
  for (const auto& row : abi::kSourceErrors) {
    const uint64_t count = state.errors[row.value];
    if (count > 0) kinds.push_back(absl::StrCat(row.name, " ", count));
  }
  return absl::StrJoin(kinds, ", ");
}

std::string NamesText(const std::vector<std::string>& names) {
  return names.empty() ? "none" : absl::StrJoin(names, ", ");
}

std::string PolicyRule(const GuardFacts& facts, absl::string_view comm) {
  const bool only = facts.config.default_verdict == abi::OwnerVerdict::kIgnored;
  const abi::OwnerVerdict special =
      only ? abi::OwnerVerdict::kGuarded : abi::OwnerVerdict::kIgnored;
  const std::vector<std::string> names = PolicyNames(facts, special);
  const bool named = std::find(names.begin(), names.end(), comm) != names.end();
  const abi::OwnerVerdict verdict = named ? special : facts.config.default_verdict;
  const std::string who = comm.empty() ? "an unknown owner" : std::string(comm);
  return absl::StrCat(abi::Name(verdict), ": ", only ? "--only-process" : "--ignore-process",
                      named ? " names " : " does not name ", who,
                      named ? "" : absl::StrCat(" (", NamesText(names), ")"));
}

}  // namespace npg::inspect
