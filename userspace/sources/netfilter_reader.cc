// SPDX-License-Identifier: Apache-2.0
#include "sources/netfilter_reader.h"

#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "base/capabilities.h"
#include "base/errno_status.h"
#include "base/event_loop.h"
#include "base/small_file.h"
#include "base/subprocess.h"
#include "core/coverage.h"
#include "core/port.h"
#include "node/nft_queries.h"
#include "node/node_port_traces.h"
#include "node/save_commands.h"
#include "sources/iptables_save.h"
#include "sources/merge.h"
#include "sources/nft_maps.h"
#include "sources/rule_parts.h"
#include "sources/source.h"

namespace npg::sources {
namespace {

std::string Unreadable(absl::string_view what, absl::string_view command) {
  return absl::StrCat(what, " cannot be read: there is no ", command,
                      "; install the package iptables");
}

bool IsIp4(RulePart part) {
  return part == RulePart::kIp4Nat || part == RulePart::kIp4Filter || part == RulePart::kIp4Legacy;
}

absl::string_view Prefix(RulePart part) { return IsIp4(part) ? "iptables" : "ip6tables"; }

// The names of the ip_tables tables of this network namespace; none when the
// kernel has no ip_tables (loaded).
absl::StatusOr<std::vector<std::string>> LegacyTables(const std::string& path) {
  constexpr size_t kMaxNames = size_t{64} << 10;
  const absl::StatusOr<std::string> names = base::ReadSmallFile(path, kMaxNames);
  if (absl::IsNotFound(names.status())) return std::vector<std::string>();
  if (!names.ok()) return base::Annotate(names.status(), "read");
  return absl::StrSplit(*names, '\n', absl::SkipEmpty());
}

// True when `ports` has not all of `before`.
bool Lacks(const core::PortSnapshot& ports, const core::PortSnapshot& before) {
  return std::any_of(before.begin(), before.end(),
                     [&](const auto& entry) { return !ports.contains(entry.first); });
}

// The output of `command` as a reading; it printed `table`, or all tables when that is
// empty.
absl::StatusOr<Reading> ReadOutput(const absl::StatusOr<std::string>& output,
                                   absl::string_view command, absl::string_view table) {
  if (!output.ok()) {
    // The legacy programs print "you must be root" when one capability is missing: they open
    // a raw socket.
    const std::string lacked =
        absl::StrContains(command, "-legacy-") ? base::LackedCapabilities({CAP_NET_RAW}) : "";
    if (lacked.empty()) return output.status();
    return absl::PermissionDeniedError(
        absl::StrCat(output.status().message(), "; this process lacks ", lacked, ": add that"));
  }
  absl::StatusOr<SavedRules> saved = ParseIptablesSave(*output);
  if (!saved.ok()) return base::Annotate(saved.status(), command);
  if ((table == "nat" && !saved->has_nat) || (table == "filter" && !saved->has_filter)) {
    // The table is not one of iptables, or was just removed.
    return absl::UnavailableError(absl::StrCat(command, " did not print the table"));
  }
  for (std::string& line : saved->reading.skipped) line = absl::StrCat(command, ": ", line);
  return std::move(saved->reading);
}

}  // namespace

NetfilterEdges NetfilterEdges::OfThisNamespace() {
  return {.read_maps = ReadKubeProxyMaps,
          .has_chain = node::HasChain,
          .command_folders = node::CommandFolders(),
          .proc_net = "/proc/thread-self/net",
          .limits = {}};
}

void NetfilterReader::Start(base::EventLoop& loop, RulePartSet parts,
                            std::function<void(Outcome)> done) {
  loop_ = &loop;
  waiting_ = parts;
  done_ = std::move(done);
  // Searched each time: the package may be installed while this runs.
  commands_ = {node::FindSaveCommands("iptables", edges_.command_folders),
               node::FindSaveCommands("ip6tables", edges_.command_folders)};
  ReadOn();
}

void NetfilterReader::ReadOn() {
  for (size_t i = 0; i < kRuleParts; ++i) {
    if (!waiting_.test(i)) continue;
    waiting_.reset(i);
    if (Read(static_cast<RulePart>(i))) return;
  }
  // `done` may start the next reading.
  const std::function<void(Outcome)> done = std::move(done_);
  done(Combine());
}

bool NetfilterReader::Read(RulePart part) {
  switch (part) {
    case RulePart::kMaps:
      Store(part, edges_.read_maps());
      return false;
    case RulePart::kIp4Nat:
    case RulePart::kIp4Filter:
    case RulePart::kIp6Nat:
    case RulePart::kIp6Filter:
      return ReadNftTable(part);
    case RulePart::kIp4Legacy:
    case RulePart::kIp6Legacy:
      return ReadLegacy(part);
  }
  return false;
}

bool NetfilterReader::ReadNftTable(RulePart part) {
  const bool nat = part == RulePart::kIp4Nat || part == RulePart::kIp6Nat;
  const absl::string_view table = nat ? "nat" : "filter";
  const std::vector<absl::string_view> chains =
      nat ? std::vector<absl::string_view>{kKubeNodePorts, kCniHostPorts}
          : std::vector<absl::string_view>{kKubeExternalServices};
  absl::string_view found;
  for (const absl::string_view chain : chains) {
    const absl::StatusOr<bool> has =
        edges_.has_chain(IsIp4(part) ? AF_INET : AF_INET6, table, chain);
    if (!has.ok()) {
      Store(part, has.status());
      return false;
    }
    if (*has) found = chain;
  }
  if (found.empty()) {
    Store(part, NothingSeen());
    return false;
  }
  const std::string& command = commands_[IsIp4(part) ? 0 : 1].nft;
  if (command.empty()) {
    NoCommand(part, absl::StrCat(Prefix(part), "-nft-save"),
              absl::StrCat("the rules of ", found, " in nf_tables"));
    return false;
  }
  return Run(part, {command, "-t", std::string(table)}, table);
}

bool NetfilterReader::ReadLegacy(RulePart part) {
  const std::string names =
      absl::StrCat(edges_.proc_net, IsIp4(part) ? "/ip_tables_names" : "/ip6_tables_names");
  const absl::StatusOr<std::vector<std::string>> tables = LegacyTables(names);
  if (!tables.ok()) {
    Store(part, tables.status());
    return false;
  }
  const bool relevant = std::any_of(tables->begin(), tables->end(), [](const std::string& name) {
    return name == "nat" || name == "filter";
  });
  if (!relevant) {
    Store(part, NothingSeen());
    return false;
  }
  const std::string& command = commands_[IsIp4(part) ? 0 : 1].legacy;
  if (command.empty()) {
    NoCommand(part, absl::StrCat(Prefix(part), "-legacy-save"),
              absl::StrCat("the legacy tables ", absl::StrJoin(*tables, ", ")));
    return false;
  }
  return Run(part, {command}, "");
}

bool NetfilterReader::Run(RulePart part, const std::vector<std::string>& argv,
                          absl::string_view table) {
  const std::string line = absl::StrJoin(argv, " ");
  absl::StatusOr<std::unique_ptr<base::Subprocess>> process = base::Subprocess::Start(
      *loop_, argv, edges_.limits,
      [this, part, line, table = std::string(table)](const absl::StatusOr<std::string>& output) {
        process_.reset();
        Store(part, ReadOutput(output, line, table));
        ReadOn();
      });
  if (!process.ok()) {
    Store(part, process.status());
    return false;
  }
  process_ = *std::move(process);
  return true;
}

// Without the command the rules are not read. That is reported, but is no error, because
// the node may not use iptables; it is one if ports are known from these rules, because
// those may still be taken.
void NetfilterReader::NoCommand(RulePart part, absl::string_view command, absl::string_view what) {
  const std::string line = Unreadable(what, command);
  if (!parts_[Index(part)].reading.ports.empty()) {
    Store(part, absl::NotFoundError(line));
  } else if (commands_[0] == node::SaveCommands{} && commands_[1] == node::SaveCommands{}) {
    Store(part, Reading{{}, {}, core::Coverage::kPart});  // Combine() reports it once for all parts
  } else {
    Store(part, Reading{{}, {line}, core::Coverage::kPart});
  }
}

void NetfilterReader::Store(RulePart part, absl::StatusOr<Reading> reading) {
  Part& state = parts_[Index(part)];
  state.status = reading.status();
  if (!reading.ok()) return;
  state.before = std::exchange(state.reading, *std::move(reading)).ports;
}

core::PortSnapshot NetfilterReader::PortsSoFar() const {
  core::PortSnapshot ports;
  for (const Part& part : parts_) Merge(ports, part.reading.ports);
  return ports;
}

core::Coverage NetfilterReader::CombineCoverage() const {
  bool seen = false;
  bool unread = false;
  for (const Part& part : parts_) {
    seen |= part.reading.coverage == core::Coverage::kAll;
    unread |= part.reading.coverage == core::Coverage::kPart;
  }
  if (!seen) return core::Coverage::kNone;
  // Rules of kube-proxy may be left from before these took over.
  const node::NodePortTraces others = edges_.read_traces();
  return unread || others.ipvs || others.ovn ? core::Coverage::kPart : core::Coverage::kAll;
}

NetfilterReader::Outcome NetfilterReader::Combine() const {
  Outcome outcome;
  Reading all;
  absl::Status status;
  for (size_t i = 0; i < kRuleParts; ++i) {
    const Part& part = parts_[i];
    if (!part.status.ok()) {
      outcome.failed.set(i);
      status.Update(part.status);
    }
    Merge(all.ports, part.reading.ports);
    all.skipped.insert(all.skipped.end(), part.reading.skipped.begin(), part.reading.skipped.end());
    if (part.status.ok() && Lacks(part.reading.ports, part.before)) outcome.unsettled.set(i);
  }
  for (const Part& part : parts_) Merge(all.ports, part.before);
  all.coverage = CombineCoverage();
  if (commands_[0] == node::SaveCommands{} && commands_[1] == node::SaveCommands{}) {
    all.skipped.push_back(Unreadable("the rules of iptables", "iptables-save"));
  }
  if (status.ok()) {
    outcome.reading = std::move(all);
  } else {
    outcome.reading = std::move(status);
    outcome.partial = std::move(all.ports);
    outcome.in_part = !outcome.partial.empty() || all.coverage != core::Coverage::kNone;
  }
  return outcome;
}

}  // namespace npg::sources
