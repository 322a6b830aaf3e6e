// SPDX-License-Identifier: Apache-2.0
#include <linux/bpf.h>

#include <algorithm>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/btree_map.h"
#include "absl/container/btree_set.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/string_view.h"
#include "core/port_ranges.h"
#include "doctor/facts.h"
#include "doctor/finding.h"
#include "doctor/findings.h"
#include "inspect/port_advice.h"
#include "node/cgroup_programs.h"
#include "node/socket_lb.h"

namespace npg::doctor {
namespace {

Finding JudgeNetns(const Facts& facts) {
  if (facts.guard.same_netns == false) {
    return {FindingId::kNetworkNamespace, Severity::kWarn,
            "a guard is loaded for another network namespace than this one: what follows is not "
            "about the one that is guarded",
            "nsenter --net=/proc/1/ns/net nodeport-guard doctor; in a pod, hostNetwork: true"};
  }
  if (facts.guard.same_netns == true) {
    return {FindingId::kNetworkNamespace, Severity::kOk,
            "this is the network namespace that is guarded", ""};
  }
  if (facts.netns_of_init == false) {
    return {FindingId::kNetworkNamespace, Severity::kWarn,
            "this is another network namespace than that of pid 1: perhaps not the node's",
            "nsenter --net=/proc/1/ns/net nodeport-guard doctor; in a pod, hostNetwork: true"};
  }
  if (!facts.netns_of_init.has_value()) {
    return {
        FindingId::kNetworkNamespace, Severity::kNote,
        "whether this is the node's network namespace cannot be seen (/proc/1/ns/net is not "
        "readable)",
        "as root with CAP_SYS_PTRACE, readlink /proc/1/ns/net /proc/self/ns/net prints the same "
        "name twice on the node"};
  }
  return {FindingId::kNetworkNamespace, Severity::kOk, "this is the network namespace of pid 1",
          ""};
}

// As the kernel does it: the nearest cgroup above that has programs decides.
const node::AttachedPrograms* BlockedFromAbove(
    const std::vector<const node::AttachedPrograms*>& above) {
  if (above.empty()) return nullptr;
  const node::AttachedPrograms* nearest = above.back();
  constexpr uint32_t kLetsOthers = BPF_F_ALLOW_MULTI | BPF_F_ALLOW_OVERRIDE;
  return (nearest->flags & kLetsOthers) != 0 ? nullptr : nearest;
}

std::string ProgramText(const node::AttachedPrograms::Program& program) {
  return program.name.empty() ? absl::StrCat("program id ", program.id)
                              : absl::StrCat(program.name, " (id ", program.id, ")");
}

// How to have NodePorts handled elsewhere; empty where no setting does it. No command is in it:
// such a setting changes the data plane of every node of the cluster.
absl::string_view SwitchOf(absl::string_view product) {
  if (product == "Cilium") {
    return "Or have kube-proxy handle NodePorts: kubeProxyReplacement and socketLB of Cilium's "
           "configuration decide that, for the whole cluster; plan it as a migration, with "
           "kube-proxy running before Cilium stops (Cilium's documentation, \"Kubernetes Without "
           "kube-proxy\")";
  }
  if (product == "Calico") {
    return "Or switch Calico's off: bpfConnectTimeLoadBalancing of its FelixConfiguration, which "
           "is a setting of the whole cluster";
  }
  return "";
}

std::string FlagsText(uint32_t flags) {
  if ((flags & BPF_F_ALLOW_MULTI) != 0) return "multi";
  return (flags & BPF_F_ALLOW_OVERRIDE) != 0 ? "override" : "exclusive";
}

Finding Blocked(const node::AttachedPrograms& attached) {
  const node::AttachedPrograms::Program& program = attached.programs.front();
  const std::string where = absl::StrCat(attached.cgroup, " ", attached.hook);
  const std::string pin = absl::StrCat("/sys/fs/bpf/program-", program.id);
  return {FindingId::kCgroupAttachBlocked, Severity::kFail,
          absl::StrCat(ProgramText(program), " at ", attached.hook, " of ", attached.cgroup,
                       " is attached as the only one (without BPF_F_ALLOW_MULTI)"),
          absl::StrCat("have its owner attach it with BPF_F_ALLOW_MULTI; until then: bpftool prog "
                       "pin id ",
                       program.id, " ", pin, " && bpftool cgroup detach ", where, " pinned ", pin,
                       " && bpftool cgroup attach ", where, " pinned ", pin, " multi"),
          true};
}

void JudgeBlocked(const node::CgroupPrograms& programs, std::vector<Finding>& findings) {
  absl::btree_map<std::string, std::vector<const node::AttachedPrograms*>> above;
  bool blocked = false;
  for (const node::AttachedPrograms& attached : programs.attached) {
    if (attached.relation == node::CgroupRelation::kAbove)
      above[attached.hook].push_back(&attached);
    const bool same = attached.relation == node::CgroupRelation::kSame &&
                      (attached.flags & BPF_F_ALLOW_MULTI) == 0;
    if (!same) continue;
    findings.push_back(Blocked(attached));
    blocked = true;
  }
  for (const auto& [hook, chain] : above) {
    const node::AttachedPrograms* by = BlockedFromAbove(chain);
    if (by == nullptr) continue;
    findings.push_back(Blocked(*by));
    blocked = true;
  }
  if (!blocked) {
    findings.push_back({FindingId::kCgroupAttachBlocked, Severity::kOk,
                        "no program on the same hooks keeps others away", ""});
  }
}

// The kernel refuses with EPERM to attach to a hook of a cgroup in another mode than what is
// there (__cgroup_bpf_attach(); links are ALLOW_MULTI, kernel commit af6eea57437a). Cgroups
// below and above are not concerned: a program below may be exclusive.
void JudgeExclusive(const node::CgroupPrograms& programs, std::vector<Finding>& findings) {
  absl::btree_map<std::string, std::vector<std::string>> occupied;  // cgroup to hooks
  for (const node::AttachedPrograms& attached : programs.attached) {
    if (std::any_of(attached.programs.begin(), attached.programs.end(),
                    [](const node::AttachedPrograms::Program& program) { return program.ours; })) {
      occupied[attached.cgroup].push_back(attached.hook);
    }
  }
  if (occupied.empty()) {
    findings.push_back({FindingId::kCgroupExclusiveRefused, Severity::kOk,
                        "the guard is not attached, so no other program is refused because of it; "
                        "once it is attached, programs without BPF_F_ALLOW_MULTI are refused on "
                        "its hooks of its cgroup",
                        ""});
    return;
  }
  std::vector<std::string> places;
  places.reserve(occupied.size());
  for (const auto& [cgroup, hooks] : occupied) {
    places.push_back(absl::StrCat(absl::StrJoin(hooks, ", "), " of ", cgroup));
  }
  findings.push_back(
      {FindingId::kCgroupExclusiveRefused, Severity::kNote,
       absl::StrCat("the guard's programs are attached at ", absl::StrJoin(places, "; "),
                    ": an agent that attaches a program there without BPF_F_ALLOW_MULTI (bpftool "
                    "cgroup attach without \"multi\", older socket load balancers) is refused with "
                    "EPERM, Operation not permitted"),
       "have that agent attach with BPF_F_ALLOW_MULTI (bpftool cgroup attach ... multi); where it "
       "cannot: nodeport-guard unload, or guard another cgroup than the one it attaches to "
       "(--cgroup)"});
}

// `cilium`: its programs are known otherwise. Their names need CAP_SYS_ADMIN.
void JudgeForeign(const node::CgroupPrograms& programs, bool cilium, const PortFacts& ports,
                  std::vector<Finding>& findings) {
  absl::btree_set<std::string> foreign, overridden, lb_names, lb_fixes;
  std::vector<std::string> lbs;
  for (const node::AttachedPrograms& attached : programs.attached) {
    for (const node::AttachedPrograms::Program& program : attached.programs) {
      if (program.ours) continue;
      const std::string text = absl::StrCat(ProgramText(program), " at ", attached.hook, " of ",
                                            attached.cgroup, ", ", FlagsText(attached.flags));
      if (const absl::string_view lb = node::SocketLbOf(program.name); !lb.empty()) {
        lbs.push_back(text);
        lb_names.insert(std::string(lb));
        if (!SwitchOf(lb).empty()) lb_fixes.insert(std::string(SwitchOf(lb)));
      } else {
        foreign.insert(text);
      }
      if (attached.relation == node::CgroupRelation::kAbove &&
          FlagsText(attached.flags) == "override") {
        overridden.insert(text);
      }
    }
  }
  if (!overridden.empty()) {
    findings.push_back({FindingId::kCgroupForeignProgram, Severity::kWarn,
                        absl::StrCat("will not run for the guarded cgroup once the guard is "
                                     "attached below them: ",
                                     absl::StrJoin(overridden, "; ")),
                        "guard the whole node (leave out --cgroup), or have their owner attach "
                        "them with BPF_F_ALLOW_MULTI (bpftool cgroup attach ... multi)"});
  } else if (!foreign.empty()) {
    findings.push_back(
        {FindingId::kCgroupForeignProgram, Severity::kNote,
         absl::StrCat("run beside the guard's programs: ", absl::StrJoin(foreign, "; "),
                      ". None of them can detach the guard's links"),
         "nothing, unless connects end up elsewhere: bpftool cgroup tree shows whose "
         "they are"});
  } else {
    findings.push_back({FindingId::kCgroupForeignProgram, Severity::kOk,
                        "no programs of others are on the same hooks", ""});
  }
  if (cilium && !lb_names.contains("Cilium")) {
    lbs.emplace_back("Cilium's connect programs, by their pins");
    lb_names.insert("Cilium");
    lb_fixes.insert(std::string(SwitchOf("Cilium")));
  }
  if (lbs.empty()) {
    findings.push_back({FindingId::kCiliumSocketLb, Severity::kOk,
                        "no socket load balancer of Cilium, Calico, LoxiLB or Kmesh is attached",
                        ""});
    return;
  }
  std::string fix =
      absl::StrCat("keep listeners off NodePorts (the cluster's --service-node-port-range): ",
                   inspect::ReserveFix(ports.reserved, {core::kUsualNodePorts}));
  for (const std::string& more : lb_fixes) absl::StrAppend(&fix, ". ", more);
  findings.push_back(
      {FindingId::kCiliumSocketLb, Severity::kWarn,
       absl::StrCat("the socket load balancer of ", absl::StrJoin(lb_names, " and of "),
                    ", known by its programs, answers NodePorts itself, and the guard "
                    "does not cover what it takes: ",
                    absl::StrJoin(lbs, "; ")),
       fix});
}

}  // namespace

std::vector<Finding> JudgeMounts(const Facts& facts) {
  std::vector<Finding> findings;
  const MountFacts& mounts = facts.mounts;
  if (!mounts.cgroup.ok()) {
    findings.push_back({FindingId::kCgroup2, Severity::kFail,
                        std::string(mounts.cgroup.status().message()),
                        "mkdir -p /run/cgroup2 && mount -t cgroup2 none /run/cgroup2, then "
                        "nodeport-guard run --cgroup /run/cgroup2; in a pod, a hostPath volume of "
                        "/sys/fs/cgroup",
                        true});
  } else {
    findings.push_back({FindingId::kCgroup2, Severity::kOk,
                        absl::StrCat(*mounts.cgroup, " is on a cgroup2 file system"), ""});
    if (!mounts.root_in_sight) {
      findings.push_back(
          {FindingId::kCgroupNamespace, Severity::kWarn,
           absl::StrCat(*mounts.cgroup,
                        " is not the root of the node's cgroups: this is a cgroup namespace"),
           "nsenter --target 1 --cgroup -- sh -c 'mkdir -p /run/cgroup2 && mount -t cgroup2 none "
           "/run/cgroup2' (needs the host's pid namespace), then nodeport-guard run --cgroup "
           "/run/cgroup2; in a pod, a hostPath volume of /sys/fs/cgroup"});
    } else if (!mounts.whole) {
      findings.push_back(
          {FindingId::kCgroupNamespace, Severity::kNote,
           absl::StrCat("only processes below ", *mounts.cgroup, " are guarded, as --cgroup says"),
           "leave out --cgroup to guard the whole node"});
    } else {
      findings.push_back(
          {FindingId::kCgroupNamespace, Severity::kOk, "it is the root of the node's cgroups", ""});
    }
  }
  if (mounts.bpffs_status.ok()) {
    findings.push_back({FindingId::kBpffs, Severity::kOk,
                        absl::StrCat(mounts.bpffs, " is a bpf file system"), ""});
  } else {
    findings.push_back(
        {FindingId::kBpffs, Severity::kFail, std::string(mounts.bpffs_status.message()),
         absl::StrCat("mkdir -p ", mounts.bpffs, " && mount -t bpf bpf ", mounts.bpffs,
                      ", and keep it: echo 'bpf ", mounts.bpffs,
                      " bpf mode=0700 0 0' >> /etc/fstab; in a pod, a hostPath volume with "
                      "mountPropagation: HostToContainer"),
         true});
  }
  findings.push_back(JudgeNetns(facts));
  return findings;
}

std::vector<Finding> JudgePrograms(const Facts& facts) {
  std::vector<Finding> findings;
  if (!facts.programs.ok()) return findings;  // reported as not-seen
  JudgeBlocked(*facts.programs, findings);
  JudgeExclusive(*facts.programs, findings);
  JudgeForeign(*facts.programs, facts.cilium_socket_lb, facts.ports, findings);
  return findings;
}

}  // namespace npg::doctor
