// SPDX-License-Identifier: Apache-2.0
// Every finding, for a node with the fault and for one without.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/bpf.h>
#include <linux/capability.h>
#include <sys/types.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "core/port_ranges.h"
#include "doctor/facts.h"
#include "doctor/finding.h"
#include "doctor/findings.h"
#include "inspect/trial.h"
#include "node/cgroup_programs.h"
#include "node/mark_use.h"
#include "node/rules_reader.h"
#include "node/untracked_obstacles.h"

namespace npg::doctor::findings_test {
namespace {

using inspect::Trial;
using node::AttachedPrograms;
using node::CgroupPrograms;
using node::CgroupRelation;
using node::MarkUse;
using node::RulesSeen;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::SizeIs;

constexpr uint64_t kAllCapabilities = (uint64_t{1} << 41) - 1;

uint64_t But(const std::vector<int>& capabilities) {
  uint64_t bits = kAllCapabilities;
  for (const int capability : capabilities) bits &= ~(uint64_t{1} << capability);
  return bits;
}

// A node with kube-proxy in iptables mode and a guard that works.
Facts GoodNode() {
  Facts facts;
  facts.version = "1.0.0";
  facts.abi_version = 2;
  facts.capabilities = kAllCapabilities;
  facts.kernel.release = "6.12.0";
  facts.kernel.programs.what = "load the guard's programs and maps";
  facts.kernel.nf_tables.what = "make a table";
  facts.kernel.nft_owner.what = "own a table";
  facts.kernel.ring_buffer.what = "create a ring buffer";
  facts.kernel.cgroup_link.what = "make a link";
  facts.kernel.sock_diag.what = "list sockets";
  facts.kernel.helpers = {{"call bpf_setsockopt", 0, ""}, {"call bpf_sk_lookup_tcp", 0, ""}};
  facts.mounts.cgroup = "/sys/fs/cgroup";
  facts.mounts.bpffs = "/sys/fs/bpf";
  facts.netns_of_init = true;
  facts.rules.iptables_nft = true;
  facts.rules.loopback_too = true;
  facts.route_localnet = true;
  facts.ports.local = core::PortRange{32768, 60999};
  facts.ports.reserved = core::PortRanges{};
  facts.ports.allocated = {30080};
  facts.guard.state = GuardFacts::State::kLoaded;
  facts.guard.abi_version = 2;
  facts.guard.version = "1.0.0";
  facts.guard.controller = 812;
  facts.guard.same_netns = true;
  return facts;
}

std::vector<Finding> Of(const Facts& facts, FindingId id) {
  std::vector<Finding> found;
  for (const Finding& finding : Judge(facts)) {
    if (finding.id == id) found.push_back(finding);
  }
  return found;
}

// The only finding of its kind.
Finding The(const Facts& facts, FindingId id) {
  const std::vector<Finding> found = Of(facts, id);
  EXPECT_EQ(found.size(), 1) << KindOf(id).name;
  return found.empty() ? Finding{id, Severity::kOk, "", ""} : found.front();
}

#define EXPECT_FINDING(finding, level, stops, words, remedy) \
  do {                                                       \
    const Finding& found_ = (finding);                       \
    EXPECT_EQ(found_.severity, level) << found_.what;        \
    EXPECT_EQ(found_.prevents, stops) << found_.what;        \
    EXPECT_THAT(found_.what, HasSubstr(words));              \
    EXPECT_THAT(found_.fix, HasSubstr(remedy));              \
  } while (false)

TEST(DoctorTest, AHealthyNodeHasNoFindings) {
  const std::vector<Finding> findings = Judge(GoodNode());
  EXPECT_FALSE(Prevented(findings));
  for (const FindingKind& kind : kFindingKinds) {
    const Finding finding = The(GoodNode(), kind.id);
    EXPECT_EQ(finding.severity, Severity::kOk) << kind.name << ": " << finding.what;
    EXPECT_THAT(finding.what, Not(IsEmpty())) << kind.name;
    EXPECT_THAT(finding.fix, IsEmpty()) << kind.name;
  }
}

TEST(DoctorTest, RulesInTheWayOfUntrackedPacketsAreNamedWithTheRuleToAdd) {
  using Kind = node::UntrackedObstacle::Kind;
  Facts facts = GoodNode();
  facts.guard.state = GuardFacts::State::kNone;
  facts.obstacles = std::vector<node::UntrackedObstacle>{
      {Kind::kTracks, "nft table inet vrf, chain out", "sets a conntrack zone (handle 3)",
       "nft insert rule inet vrf out oif lo return"},
      {Kind::kDrops, "iptables-nft table ip filter, chain INPUT",
       "accepts by connection state and drops untracked packets of lo (its policy)",
       "iptables -I INPUT -i lo -j ACCEPT"}};
  EXPECT_FINDING(The(facts, FindingId::kRulesTrackAgain), Severity::kWarn, false,
                 "nft table inet vrf, chain out sets a conntrack zone",
                 "nft insert rule inet vrf out oif lo return");
  EXPECT_FINDING(The(facts, FindingId::kRulesDropUntracked), Severity::kWarn, false,
                 "iptables-nft table ip filter, chain INPUT accepts by connection state",
                 "iptables -I INPUT -i lo -j ACCEPT");
  facts.obstacles->at(1).certain = false;
  EXPECT_FINDING(The(facts, FindingId::kRulesTrackAgain), Severity::kWarn, false, "", "");
  EXPECT_FINDING(The(facts, FindingId::kRulesDropUntracked), Severity::kNote, false,
                 "iptables-nft table ip filter, chain INPUT", "iptables -I INPUT -i lo -j ACCEPT");
  facts.obstacles = absl::PermissionDeniedError("list the nftables chains");
  EXPECT_THAT(Of(facts, FindingId::kRulesTrackAgain), IsEmpty());
  EXPECT_FINDING(The(facts, FindingId::kNotSeen), Severity::kNote, false,
                 "list the nftables chains", "sudo");
}

TEST(DoctorTest, AGuardThatStandsAsideFails) {
  Facts facts = GoodNode();
  facts.guard.standing_aside = "the guard stands aside for TCP over IPv4: drops";
  EXPECT_FINDING(The(facts, FindingId::kStandingAside), Severity::kFail, false, "TCP over IPv4",
                 "rules-drop-untracked");
}

TEST(DoctorTest, AMissingKernelFeaturePrevents) {
  struct Case {
    FindingId id;
    Trial KernelFacts::*trial;
    const char* fix;
  };
  for (const Case& each :
       {Case{FindingId::kKernelPrograms, &KernelFacts::programs, "CONFIG_CGROUP_BPF=y"},
        Case{FindingId::kKernelRingBuffer, &KernelFacts::ring_buffer, "kernel >= 5.10"},
        Case{FindingId::kKernelCgroupLink, &KernelFacts::cgroup_link, "kernel >= 5.10"},
        Case{FindingId::kKernelNfTables, &KernelFacts::nf_tables, "modprobe nf_tables"},
        Case{FindingId::kKernelSockDiag, &KernelFacts::sock_diag, "modprobe inet_diag"}}) {
    Facts facts = GoodNode();
    (facts.kernel.*each.trial).error = ENOSYS;
    EXPECT_FINDING(The(facts, each.id), Severity::kFail, true, "does not have it", each.fix);
    EXPECT_TRUE(Prevented(Judge(facts)));
    // With all capabilities, a refusal has another reason.
    (facts.kernel.*each.trial).error = EPERM;
    EXPECT_FINDING(The(facts, each.id), Severity::kFail, true, "not permitted", "seccomp");
  }
}

TEST(DoctorTest, AMissingHelperIsNamed) {
  Facts facts = GoodNode();
  facts.kernel.helpers[1].error = ENOSYS;
  EXPECT_FINDING(The(facts, FindingId::kKernelHelper), Severity::kFail, true, "bpf_sk_lookup_tcp",
                 "this is 6.12.0");
}

TEST(DoctorTest, AnUnownedTableIsOnlyANote) {
  Facts facts = GoodNode();
  EXPECT_THAT(The(facts, FindingId::kKernelNftOwner).what, HasSubstr("--nft-owner=off"));
  facts.kernel.nft_owner.error = ENOSYS;
  EXPECT_FINDING(The(facts, FindingId::kKernelNftOwner), Severity::kNote, false, "restores it",
                 "6.9");
}

TEST(DoctorTest, MissingCapabilitiesAreNamed) {
  constexpr int kPerfmon = 38, kBpf = 39;
  Facts facts = GoodNode();
  facts.capabilities = But({CAP_NET_ADMIN});
  facts.kernel.nf_tables.error = EPERM;
  facts.kernel.programs.error = EPERM;
  EXPECT_FINDING(The(facts, FindingId::kCapabilities), Severity::kFail, true, "CAP_NET_ADMIN",
                 "securityContext.capabilities.add");
  // A refusal for lack of capabilities gives no finding on the kernel.
  EXPECT_EQ(The(facts, FindingId::kKernelNfTables).severity, Severity::kNote);
  EXPECT_EQ(The(facts, FindingId::kKernelPrograms).severity, Severity::kNote);

  facts = GoodNode();
  facts.capabilities = But({kBpf, kPerfmon, CAP_SYS_ADMIN});
  facts.kernel.programs.error = EPERM;
  EXPECT_FINDING(The(facts, FindingId::kCapabilities), Severity::kFail, true,
                 "CAP_BPF, CAP_PERFMON", "");
  // It is not reported as missing if the programs load without it.
  facts.capabilities = But({kPerfmon, CAP_SYS_ADMIN});
  facts.kernel.programs.error = 0;
  EXPECT_EQ(The(facts, FindingId::kCapabilities).severity, Severity::kOk);
  // CAP_SYS_ADMIN stands for both.
  facts.capabilities = But({kBpf, kPerfmon});
  EXPECT_EQ(The(facts, FindingId::kCapabilities).severity, Severity::kOk);

  facts.capabilities = But({CAP_SYS_PTRACE});
  EXPECT_FINDING(The(facts, FindingId::kCapabilities), Severity::kNote, false, "CAP_SYS_PTRACE",
                 "AmbientCapabilities");
  facts.capabilities = But({CAP_NET_RAW});
  EXPECT_EQ(The(facts, FindingId::kCapabilities).severity, Severity::kOk);
  facts.legacy_tables = true;
  EXPECT_FINDING(The(facts, FindingId::kCapabilities), Severity::kNote, false, "CAP_NET_RAW",
                 "NET_RAW");
}

// A pod's usual capabilities and limit.
TEST(DoctorTest, OldKernelsCountBpfAgainstALimit) {
  Facts facts = GoodNode();
  facts.capabilities = But({CAP_SYS_RESOURCE});
  facts.kernel.release = "5.10.0-28-amd64";
  facts.kernel.memlock_limited = true;
  EXPECT_EQ(The(facts, FindingId::kCapabilities).severity, Severity::kOk) << "nothing was refused";
  facts.kernel.programs.error = EPERM;
  EXPECT_FINDING(The(facts, FindingId::kCapabilities), Severity::kFail, true,
                 "lacks CAP_SYS_RESOURCE: before Linux 5.11 (this is 5.10.0-28-amd64)",
                 "capabilities.add: [SYS_RESOURCE]; in a systemd unit, LimitMEMLOCK=infinity");
  EXPECT_EQ(The(facts, FindingId::kKernelPrograms).severity, Severity::kNote);

  // The same for each BPF feature that was refused.
  Facts helper = facts;
  helper.kernel.programs.error = 0;
  helper.kernel.helpers[1].error = EPERM;
  EXPECT_EQ(The(helper, FindingId::kCapabilities).severity, Severity::kFail);
  EXPECT_EQ(The(helper, FindingId::kKernelHelper).severity, Severity::kNote);

  // It is listed with the others.
  Facts more = facts;
  more.capabilities = But({CAP_SYS_RESOURCE, CAP_NET_ADMIN});
  EXPECT_FINDING(The(more, FindingId::kCapabilities), Severity::kFail, true,
                 "lacks CAP_NET_ADMIN and CAP_SYS_RESOURCE: before", "SYS_RESOURCE]");

  // On a newer kernel, without a limit, or with the capability to raise it, the reason differs.
  Facts other = facts;
  other.kernel.memlock_limited = false;
  const auto is_refused_otherwise = [&other](const std::string& what) {
    EXPECT_EQ(The(other, FindingId::kCapabilities).severity, Severity::kOk) << what;
    EXPECT_FINDING(The(other, FindingId::kKernelPrograms), Severity::kFail, true, "cannot load",
                   "seccomp");
  };
  is_refused_otherwise("no limit");
  other = facts;
  other.capabilities = kAllCapabilities;
  is_refused_otherwise("all capabilities");
  other = facts;
  other.kernel.programs.error = EACCES;
  is_refused_otherwise("what the verifier says");
  for (const char* release : {"5.11.0", "5.15.0-generic", "6.1.0", "10.0", "", "x", "5", "5.x"}) {
    other = facts;
    other.kernel.release = release;
    is_refused_otherwise(release);
  }
  for (const char* release : {"4.19.1", "5.4-rc1", "5.10"}) {
    other = facts;
    other.kernel.release = release;
    EXPECT_EQ(The(other, FindingId::kCapabilities).severity, Severity::kFail) << release;
  }
}

TEST(DoctorTest, Mounts) {
  Facts facts = GoodNode();
  facts.mounts.cgroup = absl::FailedPreconditionError("no cgroup2 file system is mounted");
  EXPECT_FINDING(The(facts, FindingId::kCgroup2), Severity::kFail, true, "no cgroup2",
                 "mount -t cgroup2");
  EXPECT_THAT(Of(facts, FindingId::kCgroupNamespace), IsEmpty());

  facts = GoodNode();
  facts.mounts.root_in_sight = facts.mounts.whole = false;
  EXPECT_FINDING(The(facts, FindingId::kCgroupNamespace), Severity::kWarn, false,
                 "cgroup namespace", "mount -t cgroup2 none");
  facts.mounts.root_in_sight = true;
  EXPECT_FINDING(The(facts, FindingId::kCgroupNamespace), Severity::kNote, false, "below",
                 "leave out --cgroup");

  facts.mounts.bpffs_status = absl::FailedPreconditionError("--bpffs /x: is not there");
  facts.mounts.bpffs = "/x";
  EXPECT_FINDING(The(facts, FindingId::kBpffs), Severity::kFail, true, "is not there",
                 "mount -t bpf bpf /x");
}

TEST(DoctorTest, NetworkNamespace) {
  Facts facts = GoodNode();
  facts.guard.same_netns = false;
  EXPECT_FINDING(The(facts, FindingId::kNetworkNamespace), Severity::kWarn, false,
                 "another network namespace", "nsenter --net=/proc/1/ns/net");
  facts.guard.same_netns = std::nullopt;
  facts.netns_of_init = false;
  EXPECT_FINDING(The(facts, FindingId::kNetworkNamespace), Severity::kWarn, false, "pid 1",
                 "nsenter --net=/proc/1/ns/net");
  facts.netns_of_init = std::nullopt;
  EXPECT_FINDING(The(facts, FindingId::kNetworkNamespace), Severity::kNote, false, "cannot be seen",
                 "CAP_SYS_PTRACE, readlink /proc/1/ns/net /proc/self/ns/net");
}

AttachedPrograms OneProgram(const std::string& cgroup, CgroupRelation relation, uint32_t flags,
                            const std::string& name) {
  return {cgroup, relation, "connect4", flags, {{7, name, false}}};
}

TEST(DoctorTest, ProgramsThatBlockAttaching) {
  struct Case {
    std::vector<AttachedPrograms> attached;
    bool blocked;
  };
  const AttachedPrograms multi_above =
      OneProgram("/c", CgroupRelation::kAbove, BPF_F_ALLOW_MULTI, "a");
  const AttachedPrograms alone_above = OneProgram("/c", CgroupRelation::kAbove, 0, "a");
  const AttachedPrograms alone_root = OneProgram("/", CgroupRelation::kAbove, 0, "a");
  for (const Case& each : {
           Case{{OneProgram("/c/d", CgroupRelation::kSame, 0, "a")}, true},
           Case{{OneProgram("/c/d", CgroupRelation::kSame, BPF_F_ALLOW_OVERRIDE, "a")}, true},
           Case{{OneProgram("/c/d", CgroupRelation::kSame, BPF_F_ALLOW_MULTI, "a")}, false},
           Case{{alone_above}, true},
           Case{{multi_above}, false},
           Case{{OneProgram("/c", CgroupRelation::kAbove, BPF_F_ALLOW_OVERRIDE, "a")}, false},
           // The nearest cgroup decides.
           Case{{alone_root, multi_above}, false},
           Case{{OneProgram("/c/d/e", CgroupRelation::kBelow, 0, "a")}, false},
       }) {
    Facts facts = GoodNode();
    facts.programs = CgroupPrograms{each.attached, 0};
    const Finding finding = The(facts, FindingId::kCgroupAttachBlocked);
    EXPECT_EQ(finding.severity, each.blocked ? Severity::kFail : Severity::kOk);
    EXPECT_EQ(finding.prevents, each.blocked);
    if (each.blocked) {
      EXPECT_THAT(finding.fix, AllOf(HasSubstr("bpftool cgroup detach"), HasSubstr("multi")));
    }
  }
}

TEST(DoctorTest, NamesTheHooksThatTheGuardKeepsExclusiveProgramsFrom) {
  Facts facts = GoodNode();
  const FindingId id = FindingId::kCgroupExclusiveRefused;
  facts.programs = CgroupPrograms{
      {OneProgram("/c", CgroupRelation::kSame, BPF_F_ALLOW_MULTI, "npg_connect4")}, 0};
  EXPECT_EQ(The(facts, id).severity, Severity::kOk) << "not of this guard";
  EXPECT_THAT(The(facts, id).what, HasSubstr("once it is attached"));

  facts.programs->attached[0].programs[0].ours = true;
  facts.programs->attached.push_back(facts.programs->attached[0]);
  facts.programs->attached[1].hook = "bind4";
  EXPECT_FINDING(The(facts, id), Severity::kNote, false,
                 "at connect4, bind4 of /c:", "nodeport-guard unload");
  EXPECT_THAT(The(facts, id).what, AllOf(HasSubstr("EPERM"), HasSubstr("BPF_F_ALLOW_MULTI")));
  EXPECT_THAT(The(facts, id).fix, AllOf(HasSubstr("multi"), HasSubstr("--cgroup")));
  EXPECT_FALSE(Prevented(Judge(facts)));
  // Where the guard is in a cgroup below, that one is named.
  facts.programs->attached[0].relation = facts.programs->attached[1].relation =
      CgroupRelation::kBelow;
  facts.programs->attached[0].cgroup = facts.programs->attached[1].cgroup = "/c/d";
  EXPECT_THAT(The(facts, id).what, HasSubstr("of /c/d:"));
}

TEST(DoctorTest, SocketLoadBalancersAreNamed) {
  struct Case {
    const char* program;  // as the kernel cuts it
    const char* name;     // null: none
  };
  for (const Case& each : {Case{"cil_sock4_conne", "Cilium"}, Case{"sock4_connect", "Cilium"},
                           Case{"calico_connect_", "Calico"}, Case{"cali_ctlb_v4", "Calico"},
                           Case{"llb_sock4_conn", "LoxiLB"}, Case{"llb_connect_v4_", "LoxiLB"},
                           Case{"kmesh_connect4", "Kmesh"}, Case{"cgroup_connect4", "Kmesh"},
                           Case{"spy", nullptr}, Case{"", nullptr}}) {
    SCOPED_TRACE(each.program);
    Facts facts = GoodNode();
    facts.programs = CgroupPrograms{
        {OneProgram("/c", CgroupRelation::kSame, BPF_F_ALLOW_MULTI, each.program)}, 0};
    const Finding lb = The(facts, FindingId::kCiliumSocketLb);
    const Finding foreign = The(facts, FindingId::kCgroupForeignProgram);
    if (each.name == nullptr) {
      EXPECT_EQ(lb.severity, Severity::kOk);
      EXPECT_EQ(foreign.severity, Severity::kNote);
      continue;
    }
    EXPECT_EQ(foreign.severity, Severity::kOk);
    EXPECT_FINDING(lb, Severity::kWarn, false,
                   absl::StrCat("the socket load balancer of ", each.name, ", known by"),
                   "ip_local_reserved_ports=30000-32767");
    EXPECT_THAT(lb.what, HasSubstr(absl::StrCat(each.program, " (id 7) at connect4 of /c")));
    // Only the switch of what is there, and no command for what changes the whole cluster.
    EXPECT_THAT(lb.fix, Not(::testing::AnyOf(HasSubstr("helm"), HasSubstr("kubectl"))));
    EXPECT_EQ(lb.fix.find("kubeProxyReplacement") != std::string::npos,
              each.name == std::string("Cilium"));
    EXPECT_EQ(lb.fix.find("bpfConnectTimeLoadBalancing") != std::string::npos,
              each.name == std::string("Calico"));
  }
  Facts facts = GoodNode();
  facts.programs = CgroupPrograms{
      {OneProgram("/c", CgroupRelation::kSame, BPF_F_ALLOW_MULTI, "calico_connect_"),
       OneProgram("/c", CgroupRelation::kBelow, BPF_F_ALLOW_MULTI, "kmesh_connect4")},
      0};
  EXPECT_THAT(The(facts, FindingId::kCiliumSocketLb).what, HasSubstr("of Calico and of Kmesh,"));
}

TEST(DoctorTest, ForeignPrograms) {
  Facts facts = GoodNode();
  facts.programs =
      CgroupPrograms{{OneProgram("/c", CgroupRelation::kSame, BPF_F_ALLOW_MULTI, "spy")}, 0};
  EXPECT_FINDING(The(facts, FindingId::kCgroupForeignProgram), Severity::kNote, false,
                 "spy (id 7) at connect4 of /c, multi", "bpftool cgroup tree");
  facts.programs->attached[0].programs[0].ours = true;
  EXPECT_EQ(The(facts, FindingId::kCgroupForeignProgram).severity, Severity::kOk);

  facts.programs =
      CgroupPrograms{{OneProgram("/c", CgroupRelation::kAbove, BPF_F_ALLOW_OVERRIDE, "spy")}, 0};
  EXPECT_FINDING(The(facts, FindingId::kCgroupForeignProgram), Severity::kWarn, false,
                 "will not run", "BPF_F_ALLOW_MULTI");

  facts.programs = CgroupPrograms{
      {OneProgram("/c", CgroupRelation::kSame, BPF_F_ALLOW_MULTI, "cil_sock4_conne")}, 0};
  EXPECT_FINDING(The(facts, FindingId::kCiliumSocketLb), Severity::kWarn, false, "cil_sock4",
                 "ip_local_reserved_ports=30000-32767");
  EXPECT_EQ(The(facts, FindingId::kCgroupForeignProgram).severity, Severity::kOk);
  // Ports that are reserved stay reserved.
  facts.ports.reserved = core::PortRanges{{8080, 8080}, {32000, 33000}};
  EXPECT_THAT(The(facts, FindingId::kCiliumSocketLb).fix,
              HasSubstr("sysctl -w net.ipv4.ip_local_reserved_ports=8080,30000-33000,"));
  facts.ports.reserved = absl::PermissionDeniedError("ip_local_reserved_ports");
  EXPECT_THAT(The(facts, FindingId::kCiliumSocketLb).fix,
              AllOf(HasSubstr("add 30000-32767 to net.ipv4.ip_local_reserved_ports"),
                    Not(HasSubstr("sysctl -w")), HasSubstr("kubeProxyReplacement")));
}

TEST(DoctorTest, EachMarkCollisionIsNamedWithAFreeBit) {
  Facts facts = GoodNode();
  facts.rules.marks = {
      {"ip rule", "100: fwmark 0x1000/0x1000 lookup 7", MarkUse::Kind::kMatch, 0x1000, 0x1000},
      {"nft table inet vpn", "chain c handle 2: meta mark set 0x1000", MarkUse::Kind::kSet, 0x1000},
      {"iptables-nft table nat", "-j MARK --set-xmark 0x800/0x800", MarkUse::Kind::kSet, 0x800,
       0x800}};
  const std::vector<Finding> found = Of(facts, FindingId::kMarkCollision);
  ASSERT_EQ(found.size(), 2);
  EXPECT_FINDING(found[0], Severity::kWarn, false, "ip rule: 100: fwmark 0x1000/0x1000",
                 "--mark 0x400 --mark-mask 0x400");
  EXPECT_FINDING(found[1], Severity::kWarn, false, "nft table inet vpn", "--mark 0x400");
  facts.mark = {0x400, 0x400};
  EXPECT_EQ(The(facts, FindingId::kMarkCollision).severity, Severity::kOk);
}

TEST(DoctorTest, MarksLookedUpInASetAreANote) {
  Facts facts = GoodNode();
  facts.rules.marks = {{"nft table ip x", "chain c handle 2: meta mark among several values",
                        MarkUse::Kind::kLookup}};
  EXPECT_FINDING(The(facts, FindingId::kMarkCollision), Severity::kNote, false, "nft table ip x",
                 "nft -a list ruleset");
}

TEST(DoctorTest, BesideCiliumsSocketLoadBalancerRunIsNoFix) {
  Facts facts = GoodNode();
  facts.guard = GuardFacts{};
  facts.ports.listeners = {"33589/tcp 127.0.0.1 containerd[812]"};
  facts.programs =
      CgroupPrograms{{OneProgram("/c", CgroupRelation::kSame, BPF_F_ALLOW_MULTI, "spy")}, 0};
  EXPECT_EQ(The(facts, FindingId::kListenerConflict).fix, "nodeport-guard run");
  facts.programs->attached[0].programs[0].name = "cil_sock4_conne";
  EXPECT_FINDING(The(facts, FindingId::kListenerConflict), Severity::kWarn, false,
                 "containerd[812]", "cilium-socket-lb");
}

// As in a container, which may not read the names of programs.
TEST(DoctorTest, CiliumsSocketLoadBalancerIsKnownByItsPins) {
  Facts facts = GoodNode();
  facts.ports.listeners = {"33589/tcp 127.0.0.1 containerd[812]"};
  facts.cilium_socket_lb = true;
  EXPECT_FINDING(The(facts, FindingId::kCiliumSocketLb), Severity::kWarn, false,
                 "the socket load balancer of Cilium", "kubeProxyReplacement");
  EXPECT_FINDING(The(facts, FindingId::kListenerConflict), Severity::kNote, false,
                 "containerd[812]", "cilium-socket-lb");
}

TEST(DoctorTest, ForListenersThatNoGuardSeesRunIsNoFix) {
  Facts facts = GoodNode();
  facts.guard = GuardFacts{};
  facts.ports.listeners = {"53/tcp 127.0.0.53 systemd-resolve[7] (bound to a device)",
                           "33589/tcp 127.0.0.1 containerd[812]"};
  facts.ports.not_looked_up = 1;
  EXPECT_EQ(The(facts, FindingId::kListenerConflict).fix, "nodeport-guard run");
  facts.ports.listeners.pop_back();
  EXPECT_FINDING(The(facts, FindingId::kListenerConflict), Severity::kWarn, false,
                 "systemd-resolve[7]", "no guard sees");
  EXPECT_THAT(The(facts, FindingId::kListenerConflict).fix, Not(HasSubstr("nodeport-guard run")));
}

TEST(DoctorTest, SocketsThatShareAnAddressAreNamedOnce) {
  Facts facts = GoodNode();
  facts.ports.listeners.assign(64, "30080/tcp 0.0.0.0 envoy[9]");
  facts.ports.listeners.emplace_back("30081/tcp 0.0.0.0 envoy[9]");
  EXPECT_THAT(The(facts, FindingId::kListenerConflict).what,
              AllOf(HasSubstr("65 listeners have"),
                    HasSubstr(": 30080/tcp 0.0.0.0 envoy[9] (64 times), 30081/tcp 0.0.0.0 "
                              "envoy[9]")));
}

TEST(DoctorTest, Listeners) {
  Facts facts = GoodNode();
  facts.ports.listeners = {"33589/tcp 127.0.0.1 containerd[812]"};
  EXPECT_FINDING(The(facts, FindingId::kListenerConflict), Severity::kNote, false,
                 "containerd[812]", "status");
  facts.guard.state = GuardFacts::State::kNone;
  EXPECT_FINDING(The(facts, FindingId::kListenerConflict), Severity::kWarn, false,
                 "containerd[812]", "nodeport-guard run");

  facts.ports.exposed_listeners = {"33589/tcp 0.0.0.0 agent[7]"};
  EXPECT_FINDING(The(facts, FindingId::kNodeAddressesUnguarded), Severity::kWarn, false, "agent[7]",
                 "--scope local");
  facts.local_scope = true;
  EXPECT_EQ(The(facts, FindingId::kNodeAddressesUnguarded).severity, Severity::kOk);
  facts.left_out_addresses = "192.0.2.77 on lo (the interface is lo)";
  EXPECT_FINDING(The(facts, FindingId::kNodeAddressesUnguarded), Severity::kNote, false,
                 "192.0.2.77 on lo", "--local-address +ADDRESS");
  // With scope loopback, what local would leave out does not matter.
  facts.local_scope = false;
  EXPECT_EQ(The(facts, FindingId::kNodeAddressesUnguarded).severity, Severity::kWarn);
  facts.local_scope = true;

  EXPECT_EQ(The(facts, FindingId::kListenerUntrusted).severity, Severity::kOk);
  facts.ports.untrusted = {"33589/tcp 127.0.0.1 agent[7] (--guard-uid +1000)"};
  EXPECT_FINDING(The(facts, FindingId::kListenerUntrusted), Severity::kNote, false,
                 "1 listener go to the Service", "flag in parentheses");

  facts.guard.state = GuardFacts::State::kLoaded;
  facts.ports.not_accepting = {
      "33589/tcp 127.0.0.1 holder[7], 12 connections wait to be accepted (backlog 128) "
      "(run with --ignore-process +holder)"};
  // One look cannot tell a busy server from a process that never accepts.
  EXPECT_FINDING(The(facts, FindingId::kListenerNotAccepting), Severity::kNote, false,
                 "wait to be accepted by 1 listener on a NodePort: 33589/tcp 127.0.0.1 holder[7]",
                 "flags of nodeport-guard run");
  facts.guard.state = GuardFacts::State::kNone;

  facts.ports.kube_proxy = {"33589/tcp 127.0.0.1 kube-proxy[9]"};
  EXPECT_FINDING(The(facts, FindingId::kKubeProxyListens), Severity::kNote, false, "kube-proxy[9]",
                 "--ignore-process");
}

TEST(DoctorTest, KubeProxyModes) {
  Facts facts = GoodNode();
  facts.rules = RulesSeen{};
  facts.route_localnet = false;
  EXPECT_FINDING(The(facts, FindingId::kKubeProxyMode), Severity::kNote, false,
                 "no rules of kube-proxy", "--kubeconfig");
  facts.rules.nftables = true;
  EXPECT_FINDING(The(facts, FindingId::kKubeProxyMode), Severity::kNote, false,
                 "the guard has nothing to do", "--scope local");
  EXPECT_EQ(The(facts, FindingId::kKubeProxyLeftovers).severity, Severity::kOk);
  facts.rules.iptables_legacy = true;
  EXPECT_FINDING(The(facts, FindingId::kKubeProxyLeftovers), Severity::kWarn, false,
                 "iptables (legacy), nftables", "kube-proxy --cleanup");
  facts.rules = RulesSeen{};
  facts.rules.ipvs = true;
  EXPECT_FINDING(The(facts, FindingId::kKubeProxyMode), Severity::kOk, false, "ipvs", "");
}

TEST(DoctorTest, KubeProxyOnLocalhost) {
  Facts facts = GoodNode();
  facts.route_localnet = false;
  EXPECT_FINDING(The(facts, FindingId::kKubeProxyLocalhost), Severity::kNote, false, "time out",
                 "--iptables-localhost-nodeports=false");
  facts.rules.loopback_too = false;
  EXPECT_FINDING(The(facts, FindingId::kKubeProxyLocalhost), Severity::kNote, false,
                 "without endpoints", "");
  facts.rules = RulesSeen{};
  EXPECT_EQ(The(facts, FindingId::kKubeProxyLocalhost).severity, Severity::kOk);
  facts.route_localnet = true;
  EXPECT_FINDING(The(facts, FindingId::kKubeProxyLocalhost), Severity::kNote, false,
                 "route_localnet is 1", "route_localnet=0");
}

TEST(DoctorTest, RulesThatCannotBeEvaluated) {
  Facts facts = GoodNode();
  EXPECT_EQ(The(facts, FindingId::kRules).severity, Severity::kOk);
  facts.evaluated.unknown = {"nft table ip nat, chain OUTPUT, handle 5: match u32", "another"};
  facts.evaluated.broad = {
      "nft table ip nat, chain OUTPUT, handle 6: redirects 65535 ports of tcp"};
  const std::vector<Finding> findings = Of(facts, FindingId::kRules);
  ASSERT_THAT(findings, SizeIs(3)) << "a line each";
  EXPECT_FINDING(findings[0], Severity::kWarn, false, "handle 5: match u32", "--nodeports-file");
  EXPECT_FINDING(findings[2], Severity::kNote, false, "ports of tcp, which are not guarded", "");
  facts.evaluated = {{}, {}, 0, /*all=*/false};
  EXPECT_FINDING(The(facts, FindingId::kRules), Severity::kOk, false, "the rules that were read",
                 "");
}

TEST(DoctorTest, Sources) {
  Facts facts = GoodNode();
  facts.ports.skipped = {"file: item 3: port 70000"};
  EXPECT_FINDING(The(facts, FindingId::kSource), Severity::kNote, false, "70000", "scan");
  facts.ports.source_errors = {"source kubernetes: refused"};
  EXPECT_FINDING(The(facts, FindingId::kSource), Severity::kWarn, false, "refused", "scan");
  facts = GoodNode();
  facts.ports.unseen = {"source netfilter sees no NodePorts"};
  EXPECT_FINDING(The(facts, FindingId::kSource), Severity::kWarn, false,
                 "conflicts can be missing here: source netfilter sees no NodePorts",
                 "--kubeconfig");
}

TEST(DoctorTest, TheGuard) {
  Facts facts = GoodNode();
  facts.guard = GuardFacts{};
  EXPECT_FINDING(The(facts, FindingId::kGuard), Severity::kNote, false, "no guard is loaded",
                 "nodeport-guard run");
  EXPECT_THAT(Of(facts, FindingId::kController), IsEmpty());

  facts = GoodNode();
  facts.guard.problems = {"program npg_connect4 is not attached"};
  EXPECT_FINDING(The(facts, FindingId::kGuardProblem), Severity::kFail, false, "npg_connect4",
                 "restart nodeport-guard");
  EXPECT_FALSE(Prevented(Judge(facts))) << "starting the guard again guards the node";

  facts = GoodNode();
  facts.guard.controller = 0;
  EXPECT_FINDING(The(facts, FindingId::kController), Severity::kWarn, false, "no controller",
                 "systemctl enable --now");

  facts = GoodNode();
  facts.guard.version = "0.9.0";
  EXPECT_FINDING(The(facts, FindingId::kGuardVersion), Severity::kNote, false, "0.9.0", "restart");
  facts.guard.state = GuardFacts::State::kUnreadable;
  facts.guard.error = "the pins have ABI version 1";
  facts.guard.abi_version = 1;
  EXPECT_FINDING(The(facts, FindingId::kGuardVersion), Severity::kWarn, false, "layout 1",
                 "restart");
  EXPECT_THAT(The(facts, FindingId::kNotSeen).what, HasSubstr("ABI version 1"));
}

TEST(DoctorTest, ReportsWhatCouldNotBeRead) {
  Facts facts = GoodNode();
  facts.rules.unseen = {"nftables rules: not permitted"};
  facts.programs = absl::PermissionDeniedError("ask for the programs");
  const Finding finding = The(facts, FindingId::kNotSeen);
  EXPECT_FINDING(finding, Severity::kNote, false, "nftables rules: not permitted", "sudo");
  EXPECT_THAT(finding.what, HasSubstr("ask for the programs"));
  EXPECT_THAT(Of(facts, FindingId::kCgroupAttachBlocked), IsEmpty());
}

}  // namespace
}  // namespace npg::doctor::findings_test
