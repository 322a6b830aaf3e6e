// SPDX-License-Identifier: Apache-2.0
#include "inspect/text.h"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "abi/entries.h"
#include "abi/names.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/string_view.h"
#include "base/text.h"
#include "core/listener.h"
#include "core/mark.h"
#include "core/owner_policy.h"
#include "core/service_name.h"
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

OwnerName NameOf(const core::Listener& listener) {
  if (listener.owner.pid != 0) return {listener.owner.pid, listener.owner.comm};
  if (listener.binder && listener.binder->pid != 0) {
    return {listener.binder->pid, listener.binder->comm};
  }
  return {0, "", listener.owner.no_process};
}

uint32_t UidOf(const core::Listener& listener) {
  return listener.binder ? listener.binder->uid : listener.uid;
}

std::string OwnerText(const OwnerName& owner, uint32_t uid) {
  if (owner.kernel) return "the kernel";
  return owner.pid == 0 ? absl::StrCat("uid ", uid) : core::ProcessText(owner.comm, owner.pid);
}

std::string CiliumText() {
  return "Cilium's socket load balancer is on this node and rewrites connects to NodePorts in the "
         "socket, before any packet that the guard could exempt (doctor, cilium-socket-lb)";
}

std::string NotLookedUpText() {
  return "is bound to a device, where the kernel's lookup for TCP does not see it: connects go to "
         "the Service, with a guard, too";
}

std::string NoProcessText(size_t count) {
  return absl::StrCat(base::Count(count, "listener"), count == 1 ? " is" : " are",
                      " open in no process: held by the kernel itself (lockd, the callback service "
                      "of an NFS client), on the way from one process to another, or just closed");
}

std::string UnknownOwnersText(size_t count, const node::OwnerGaps& gaps) {
  const auto unreadable = static_cast<uint64_t>(gaps.unreadable_processes);
  // Security modules and user namespaces hide processes from root, too.
  return absl::StrCat("no process was found for ", base::Count(count, "listener"), ": ",
                      unreadable > 0
                          ? absl::StrCat(base::Count(unreadable, "process"),
                                         " could not be read; root can read those of other users")
                          : "it may run in a pid namespace that cannot be seen from here");
}

std::string OwnerText(const core::Listener& listener) {
  return OwnerText(NameOf(listener), UidOf(listener));
}

std::string OwnerDetails(const core::Listener& listener) {
  const core::Owner& owner = listener.owner;
  std::vector<std::string> parts = {absl::StrCat("uid ", UidOf(listener))};
  if (owner.no_process) parts.emplace_back("open in no process");
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

std::string SkippedText(abi::Source source, const abi::SourceState& state) {
  if (state.skipped == 0) return "";
  if (source != abi::Source::kNetfilter) return absl::StrCat(state.skipped, " skipped");
  return absl::StrCat(base::Count(state.skipped, "rule"),
                      " cannot be evaluated (scan and doctor name ",
                      state.skipped == 1 ? "it)" : "them)");
}

std::string TakerText(absl::string_view service) {
  if (service.empty()) return "the Service that has the NodePort";
  // Rules are named by table and chain: no Service has a blank in its name.
  const bool rules = !core::IsServiceName(service) && absl::StrContains(service, ' ');
  return absl::StrCat(rules ? "the rules of " : "", service);
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

namespace {

bool In(const std::vector<std::string>& names, const std::string& name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

std::string WhyTrusted(const core::OwnerRules& rules, const core::Binder& binder) {
  const std::vector<uint32_t>& uids = rules.policy.uids;
  if (rules.policy.any_uid) return "--guard-uid any";
  if (std::find(uids.begin(), uids.end(), binder.uid) != uids.end()) {
    return absl::StrCat("--guard-uid names ", binder.uid);
  }
  return "--guard-cgroup selects its cgroup";
}

std::string UidsText(const core::OwnerPolicy& policy) {
  if (policy.any_uid) return "any";
  return policy.uids.empty() ? "none" : absl::StrJoin(policy.uids, ", ");
}

}  // namespace

std::string PolicyRule(const core::OwnerRules& rules, const core::Listener& listener) {
  const core::OwnerVerdict verdict = rules.Judge(listener);
  if (verdict == core::OwnerVerdict::kNoListener) return "no listener: it asked for no port";
  if (!listener.binder) return "untrusted: the guard has no record of who bound it";
  const core::Binder& binder = *listener.binder;
  if (verdict == core::OwnerVerdict::kUntrusted && binder.asked_port != 0 &&
      binder.asked_port != listener.key.port) {
    return absl::StrCat("untrusted: its last bind() asked for port ", binder.asked_port,
                        ", so the guard does not know who made it listen on this one");
  }
  if (verdict == core::OwnerVerdict::kUntrusted) {
    return absl::StrCat("untrusted: neither --guard-uid (", UidsText(rules.policy),
                        ") nor --guard-cgroup names uid ", binder.uid);
  }
  const core::OwnerPolicy& policy = rules.policy;
  const std::string who = binder.comm.empty() ? "an unknown owner" : binder.comm;
  if (verdict == core::OwnerVerdict::kIgnored) {
    const bool holder = In(policy.ignored, binder.comm) && binder.asked_port == listener.key.port;
    return holder ? absl::StrCat("ignored: --ignore-process names ", who)
                  : absl::StrCat("ignored: --only-process does not name ", who, " (",
                                 NamesText(policy.only), ")");
  }
  std::string name = absl::StrCat("--ignore-process does not name ", who);
  if (In(policy.ignored, binder.comm)) {
    name = absl::StrCat("--ignore-process names ", who, ", but it asked for any port");
  } else if (!policy.only.empty()) {
    name = absl::StrCat("--only-process names ", who);
  }
  return absl::StrCat("guarded: ", WhyTrusted(rules, binder), ", ", name);
}

std::string PolicyText(const core::OwnerRules& rules) {
  const core::OwnerPolicy& policy = rules.policy;
  std::string text = policy.any_uid ? "of every user (--guard-uid any)"
                                    : absl::StrCat("of uid ", UidsText(policy), " (--guard-uid)");
  if (!rules.served_cgroups.empty()) {
    absl::StrAppend(&text, " or in ", base::Count(rules.served_cgroups.size(), "cgroup"),
                    " (--guard-cgroup)");
  }
  if (!policy.only.empty()) {
    absl::StrAppend(&text, ", only those of ", NamesText(policy.only), " (--only-process)");
  }
  if (!policy.ignored.empty()) {
    absl::StrAppend(&text, ", not the ports held by ", NamesText(policy.ignored),
                    " (--ignore-process)");
  }
  return text;
}

bool HasRecord(const core::Listener& listener) {
  const std::optional<core::Binder>& binder = listener.binder;
  const bool noted = binder && (binder->asked_port == 0 || binder->asked_port == listener.key.port);
  return noted || UidOf(listener) != 0;
}

std::string UntrustedText(const core::Listener& listener) {
  const OwnerName owner = NameOf(listener);
  if (!HasRecord(listener)) {
    return absl::StrCat("the guard has no record of the bind() of ", OwnerText(listener));
  }
  return owner.pid == 0 ? absl::StrCat("its listener's uid ", UidOf(listener), " is not trusted")
                        : absl::StrCat(core::ProcessText(owner.comm, owner.pid), ", uid ",
                                       UidOf(listener), ", is not trusted");
}

std::string FlagsThatTrust(const core::Listener& listener) {
  const std::string uid = absl::StrCat("--guard-uid +", UidOf(listener));
  const core::Owner& owner = listener.owner;
  // The path of a container has ids that change when it restarts.
  const bool lasts =
      !owner.cgroup.empty() && owner.cgroup != "/" && owner.workload.container_id.empty();
  return lasts ? absl::StrCat(uid, " or --guard-cgroup ", owner.cgroup) : uid;
}

std::string RemedyOfUntrusted(const core::Listener& listener) {
  if (!HasRecord(listener)) return "restart its process, so that it binds the port again";
  return absl::StrCat("to guard it, run with ", FlagsThatTrust(listener));
}

}  // namespace npg::inspect
