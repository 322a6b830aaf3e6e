// SPDX-License-Identifier: Apache-2.0
#include <linux/capability.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cstdint>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/string_view.h"
#include "doctor/facts.h"
#include "doctor/finding.h"
#include "doctor/findings.h"
#include "inspect/trial.h"

namespace npg::doctor {
namespace {

constexpr int kCapPerfmon = 38;  // since Linux 5.8
constexpr int kCapBpf = 39;

bool Has(const Facts& facts, int capability) { return (facts.capabilities >> capability & 1) != 0; }

// CAP_SYS_ADMIN was all of them, and still is.
bool HasBpf(const Facts& facts) { return Has(facts, kCapBpf) || Has(facts, CAP_SYS_ADMIN); }
bool HasPerfmon(const Facts& facts) { return Has(facts, kCapPerfmon) || Has(facts, CAP_SYS_ADMIN); }

bool IsRefusal(int error) { return error == EPERM || error == EACCES; }

// Before Linux 5.11, which counts it against the memory cgroup. False for a
// release that cannot be read.
bool CountsBpfAgainstMemlock(absl::string_view release) {
  int major = 0, minor = 0;
  const char* end = release.data() + release.size();
  const auto [dot, error] = std::from_chars(release.data(), end, major);
  if (error != std::errc() || dot == end || *dot != '.') return false;
  if (std::from_chars(dot + 1, end, minor).ec != std::errc()) return false;
  return std::pair(major, minor) < std::pair(5, 11);
}

bool ForWantOfMemlock(const Facts& facts, const inspect::Trial& trial) {
  return trial.error == EPERM && facts.kernel.memlock_limited && !Has(facts, CAP_SYS_RESOURCE) &&
         CountsBpfAgainstMemlock(facts.kernel.release);
}

bool ForWantOfMemlock(const Facts& facts) {
  const KernelFacts& kernel = facts.kernel;
  return ForWantOfMemlock(facts, kernel.programs) || ForWantOfMemlock(facts, kernel.ring_buffer) ||
         ForWantOfMemlock(facts, kernel.cgroup_link) ||
         std::any_of(kernel.helpers.begin(), kernel.helpers.end(),
                     [&](const inspect::Trial& trial) { return ForWantOfMemlock(facts, trial); });
}

// Trials that were refused for want of a capability say nothing of the kernel;
// the capability is a finding of its own.
bool ForWantOfCapability(const Facts& facts, const inspect::Trial& trial, bool bpf) {
  if (!IsRefusal(trial.error)) return false;
  if (bpf && ForWantOfMemlock(facts, trial)) return true;
  return !Has(facts, CAP_NET_ADMIN) || (bpf && (!HasBpf(facts) || !HasPerfmon(facts)));
}

std::string ErrorText(const inspect::Trial& trial) {
  const std::string error = trial.error == ENOSYS ? std::string("this kernel does not have it")
                                                  : std::generic_category().message(trial.error);
  return absl::StrCat("cannot ", trial.what, ": ", error, trial.detail.empty() ? "" : " (",
                      trial.detail, trial.detail.empty() ? "" : ")");
}

constexpr const char* kRefusedFix =
    "this is refused in spite of the capabilities: look for a seccomp profile, a user namespace or "
    "kernel lockdown (cat /sys/kernel/security/lockdown), and run it in the host's user namespace "
    "with the seccomp profile Unconfined";

Finding JudgeTrial(const Facts& facts, FindingId id, const inspect::Trial& trial,
                   const std::string& fix) {
  if (trial.error == 0) return {id, Severity::kOk, absl::StrCat("can ", trial.what), ""};
  if (ForWantOfCapability(facts, trial,
                          id != FindingId::kKernelNfTables && id != FindingId::kKernelSockDiag)) {
    return {id, Severity::kNote,
            absl::StrCat("could not be tried without the capabilities: ", trial.what), ""};
  }
  return {id, Severity::kFail, ErrorText(trial), IsRefusal(trial.error) ? kRefusedFix : fix, true};
}

Finding JudgeHelpers(const Facts& facts) {
  std::vector<std::string> missing;
  const inspect::Trial* refused = nullptr;
  for (const inspect::Trial& trial : facts.kernel.helpers) {
    if (trial.error == ENOSYS) missing.push_back(ErrorText(trial));
    if (trial.error != 0 && trial.error != ENOSYS) refused = &trial;
  }
  if (!missing.empty()) {
    return {FindingId::kKernelHelper, Severity::kFail, absl::StrJoin(missing, "; "),
            absl::StrCat("boot a kernel >= 5.10 with CONFIG_BPF_SYSCALL=y and CONFIG_CGROUP_BPF=y; "
                         "this is ",
                         facts.kernel.release),
            true};
  }
  if (refused != nullptr) return JudgeTrial(facts, FindingId::kKernelHelper, *refused, "");
  return {FindingId::kKernelHelper, Severity::kOk, "has all helpers that the programs call", ""};
}

Finding JudgeOwner(const Facts& facts) {
  const inspect::Trial& trial = facts.kernel.nft_owner;
  if (trial.error == 0) {
    return {FindingId::kKernelNftOwner, Severity::kOk,
            absl::StrCat("can ", trial.what,
                         "; a saved rule set that contains the guard's table is refused then, "
                         "unless the guard runs with --nft-owner=off"),
            ""};
  }
  if (IsRefusal(trial.error)) {
    return {FindingId::kKernelNftOwner, Severity::kNote,
            absl::StrCat("could not be tried: ", trial.what), ""};
  }
  return {FindingId::kKernelNftOwner, Severity::kNote,
          absl::StrCat("this kernel (", facts.kernel.release,
                       ") lets others remove the guard's table; the controller restores it"),
          "systemctl enable --now nodeport-guard, or boot a kernel >= 6.9"};
}

Finding JudgeCapabilities(const Facts& facts) {
  std::vector<std::string> missing;
  if (!HasBpf(facts)) missing.emplace_back("CAP_BPF");
  if (!Has(facts, CAP_NET_ADMIN)) missing.emplace_back("CAP_NET_ADMIN");
  // Not every kernel asks for it: what counts is that the programs load.
  if (!HasPerfmon(facts) && facts.kernel.programs.error != 0) missing.emplace_back("CAP_PERFMON");
  const bool memlock = ForWantOfMemlock(facts);
  const std::string memory =
      memlock ? absl::StrCat("CAP_SYS_RESOURCE: before Linux 5.11 (this is ", facts.kernel.release,
                             ") BPF programs and maps count against RLIMIT_MEMLOCK, and raising "
                             "that takes it")
              : "";
  if (!missing.empty()) {
    return {
        FindingId::kCapabilities, Severity::kFail,
        absl::StrCat("this process lacks ", absl::StrJoin(missing, ", "), memlock ? " and " : "",
                     memory),
        absl::StrCat(
            "sudo nodeport-guard doctor; in a pod, securityContext.capabilities.add: [BPF, "
            "PERFMON, NET_ADMIN, SYS_PTRACE, DAC_READ_SEARCH",
            memlock ? ", SYS_RESOURCE" : "",
            "]; in a systemd unit, AmbientCapabilities= and CapabilityBoundingSet= with the same "
            "names",
            memlock ? ", or LimitMEMLOCK=infinity instead of the last" : ""),
        true};
  }
  if (memlock) {
    return {FindingId::kCapabilities, Severity::kFail, absl::StrCat("this process lacks ", memory),
            "in a pod, securityContext.capabilities.add: [SYS_RESOURCE]; in a systemd unit, "
            "LimitMEMLOCK=infinity",
            true};
  }
  std::vector<std::string> wanted;
  if (!Has(facts, CAP_SYS_PTRACE)) wanted.emplace_back("CAP_SYS_PTRACE");
  if (!Has(facts, CAP_DAC_READ_SEARCH)) wanted.emplace_back("CAP_DAC_READ_SEARCH");
  if (!wanted.empty()) {
    return {FindingId::kCapabilities, Severity::kNote,
            absl::StrCat("has what the guard needs, but without ", absl::StrJoin(wanted, " and "),
                         " the owners of other users' sockets have no names"),
            "add them where the guard is started: securityContext.capabilities.add, or "
            "AmbientCapabilities= and CapabilityBoundingSet= of the systemd unit"};
  }
  if (facts.legacy_tables && !Has(facts, CAP_NET_RAW)) {
    return {FindingId::kCapabilities, Severity::kNote,
            "has what the guard needs, but reading the iptables-legacy rules of this node takes "
            "CAP_NET_RAW",
            "add NET_RAW where the guard is started"};
  }
  return {FindingId::kCapabilities, Severity::kOk, "this process has all that is needed", ""};
}

}  // namespace

std::vector<Finding> JudgeKernel(const Facts& facts) {
  const KernelFacts& kernel = facts.kernel;
  const std::string newer = absl::StrCat(
      "boot a kernel >= 5.10 with CONFIG_BPF_SYSCALL=y and CONFIG_CGROUP_BPF=y; this is ",
      kernel.release);
  return {
      JudgeTrial(facts, FindingId::kKernelPrograms, kernel.programs,
                 absl::StrCat(newer,
                              "; nodeport-guard run --log-level debug shows the verifier's "
                              "reason")),
      JudgeHelpers(facts),
      JudgeTrial(facts, FindingId::kKernelRingBuffer, kernel.ring_buffer, newer),
      JudgeTrial(facts, FindingId::kKernelCgroupLink, kernel.cgroup_link, newer),
      JudgeTrial(facts, FindingId::kKernelNfTables, kernel.nf_tables,
                 "modprobe nf_tables && modprobe nft_ct, and keep it: printf "
                 "'nf_tables\\nnft_ct\\n' > /etc/modules-load.d/nodeport-guard.conf; else boot a "
                 "kernel with CONFIG_NF_TABLES, CONFIG_NF_TABLES_INET and CONFIG_NFT_CT"),
      JudgeOwner(facts),
      JudgeTrial(
          facts, FindingId::kKernelSockDiag, kernel.sock_diag,
          "modprobe inet_diag && modprobe tcp_diag && modprobe udp_diag, and keep it: printf "
          "'inet_diag\\ntcp_diag\\nudp_diag\\n' > /etc/modules-load.d/nodeport-guard.conf; "
          "else boot a kernel with CONFIG_INET_DIAG and CONFIG_INET_UDP_DIAG"),
      JudgeCapabilities(facts),
  };
}

}  // namespace npg::doctor
