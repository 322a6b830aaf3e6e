// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cerrno>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "abi/entries.h"
#include "abi/names.h"
#include "absl/status/status.h"
#include "absl/strings/str_split.h"
#include "cli/status_report.h"
#include "core/coverage.h"
#include "core/listener.h"
#include "core/port.h"
#include "core/port_overlap.h"
#include "inspect/guard_facts.h"
#include "inspect/json.h"
#include "inspect/status.h"
#include "inspect/text.h"
#include "unit/inspect/facts.h"

namespace npg::cli::status_test {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::StartsWith;

std::string Render(const inspect::GuardFacts& facts) {
  return RenderStatus(inspect::MakeStatus(facts), {});
}

TEST(StatusTest, ConflictsComeFirst) {
  const inspect::GuardFacts facts = inspect::MakeFacts();
  EXPECT_THAT(
      Render(facts),
      StartsWith("Conflicts: 1 listener has the port of a NodePort\n"
                 "  PORT       SERVICE      LISTENER   OWNER            EXEMPTED  LAST    SINCE\n"
                 "  33589/tcp  default/web  127.0.0.1  containerd[812]        42  2m ago  3d ago\n"
                 "\n"
                 "  OWNER\n"
                 "  containerd[812]  uid 0, /usr/bin/containerd, containerd.service\n"
                 "\nGuard\n"));
}

// An owner has one line of details, and one for each queue in which connections wait.
TEST(StatusTest, ShowsTheQueuesInWhichConnectionsWait) {
  inspect::GuardFacts facts = inspect::MakeFacts();
  facts.listeners[0].accept_queue = 1;
  facts.listeners[0].accept_limit = 128;
  inspect::AddNodePort(facts, 33590, "default/other");
  facts.listeners.push_back(inspect::MakeListener("127.0.0.1", 33590, "containerd", 812));
  facts.listeners[1].accept_queue = 3;
  facts.listeners[1].accept_limit = 4096;
  EXPECT_THAT(
      Render(facts),
      HasSubstr("\n  OWNER\n"
                "  containerd[812]  uid 0, /usr/bin/containerd, containerd.service\n"
                "  containerd[812]  33589/tcp 127.0.0.1: 1 connection waits to be accepted\n"
                "                   (backlog 128)\n"
                "  containerd[812]  33590/tcp 127.0.0.1: 3 connections wait to be accepted\n"
                "                   (backlog 4096)\n"
                "\nGuard\n"));
}

TEST(StatusTest, NamesThePodOfAnOwner) {
  inspect::GuardFacts facts = inspect::MakeFacts();
  core::Owner& owner = facts.listeners[0].owner;
  owner.workload = {"", "0d5f3a1c-7b2e-4c8d-9e6f-112233445566", std::string(64, 'a'), "cri-o"};
  owner.holders = {812, 813};
  EXPECT_THAT(Render(facts),
              HasSubstr("  containerd[812]  uid 0, /usr/bin/containerd, pod\n"
                        "                   0d5f3a1c-7b2e-4c8d-9e6f-112233445566 cri-o container\n"
                        "                   aaaaaaaaaaaa, shared by 2 processes\n"));
  const nlohmann::ordered_json json =
      inspect::StatusJson(inspect::MakeStatus(facts))["conflicts"][0]["owner"];
  EXPECT_EQ(json["unit"], nullptr);
  EXPECT_EQ(json["pod_uid"], "0d5f3a1c-7b2e-4c8d-9e6f-112233445566");
  EXPECT_EQ(json["container_id"], std::string(64, 'a'));
  EXPECT_EQ(json["container_runtime"], "cri-o");
  EXPECT_EQ(json["holders"].size(), 2U);
}

TEST(StatusTest, ReportsThePolicyAndTheScope) {
  inspect::GuardFacts facts = inspect::MakeFacts();
  EXPECT_THAT(Render(facts), HasSubstr("  scope       loopback: "));
  EXPECT_THAT(
      Render(facts),
      HasSubstr("  listeners   of uid 0 (--guard-uid), not the ports held by kube-proxy, ovnkube\n"
                "              (--ignore-process)\n"));
  facts.config.scope = abi::Scope::kLocal;
  facts.own = {inspect::Address("10.0.0.5"), inspect::Address("2001:db8::5")};
  facts.config.default_verdict = abi::OwnerVerdict::kIgnored;
  facts.policy = {inspect::MakePolicy("containerd", abi::OwnerVerdict::kGuarded)};
  EXPECT_THAT(Render(facts), HasSubstr("; 2\n              addresses besides loopback\n"));
  EXPECT_THAT(Render(facts), HasSubstr("  listeners   of uid 0 (--guard-uid), only those of "
                                       "containerd (--only-process)\n"));
  const nlohmann::ordered_json json = inspect::StatusJson(inspect::MakeStatus(facts))["guard"];
  EXPECT_EQ(json["scope"], "local");
  EXPECT_EQ(json["own_addresses"], (nlohmann::ordered_json{"10.0.0.5", "2001:db8::5"}));
  EXPECT_EQ(json["only_process"], nlohmann::ordered_json{"containerd"});
  EXPECT_TRUE(json["ignore_process"].empty());
  EXPECT_EQ(json["guard_uid"], nlohmann::ordered_json{0});
  facts.config.any_uid = true;
  EXPECT_EQ(inspect::StatusJson(inspect::MakeStatus(facts))["guard"]["guard_uid"], "any");
}

TEST(StatusTest, NamesAddressesThatAreLeftOut) {
  inspect::GuardFacts facts = inspect::MakeFacts();
  facts.config.scope = abi::Scope::kLocal;
  facts.own = {inspect::Address("10.0.0.5")};
  EXPECT_THAT(Render(facts), Not(HasSubstr("left out")));
  facts.left_out = {{inspect::Address("192.0.2.77"), "lo", core::AddressRole::kLoopback}};
  EXPECT_THAT(Render(facts), HasSubstr("left out: 192.0.2.77 on lo"));
  nlohmann::ordered_json json = inspect::StatusJson(inspect::MakeStatus(facts))["guard"];
  EXPECT_EQ(json["left_out_addresses_total"], 1);
  EXPECT_EQ(
      json["left_out_addresses"][0],
      (nlohmann::ordered_json{
          {"address", "192.0.2.77"}, {"interface", "lo"}, {"reason", "the interface is lo"}}));
  // As kube-proxy's mode ipvs has them.
  facts.left_out.assign(
      10000, {inspect::Address("10.96.0.1"), "kube-ipvs0", core::AddressRole::kServiceInterface});
  EXPECT_LT(Render(facts).size(), 4000U);
  json = inspect::StatusJson(inspect::MakeStatus(facts))["guard"];
  EXPECT_EQ(json["left_out_addresses_total"], 10000);
  EXPECT_EQ(json["left_out_addresses"].size(), 100U);
}

TEST(StatusTest, ReportsConflictsOnOwnAddressesInScope) {
  inspect::GuardFacts facts = inspect::MakeFacts();
  facts.listeners = {inspect::MakeListener("10.0.0.5", 33589, "envoy", 3)};
  facts.own = {inspect::Address("10.0.0.5")};
  EXPECT_EQ(inspect::MakeStatus(facts).conflicts.size(), 1U);
}

// An owner that no policy names gets the default verdict, as in the program.
TEST(StatusTest, UsesTheDefaultVerdictForOtherNames) {
  inspect::GuardFacts facts = inspect::MakeFacts();
  EXPECT_EQ(inspect::MakeStatus(facts).conflicts[0].owner_verdict, core::OwnerVerdict::kGuarded);
  facts.config.default_verdict = abi::OwnerVerdict::kIgnored;
  EXPECT_EQ(inspect::MakeStatus(facts).conflicts[0].owner_verdict, core::OwnerVerdict::kIgnored);
}

TEST(StatusTest, ReportsEachPartOfTheGuard) {
  const std::string text = Render(inspect::MakeFacts());
  for (const char* part :
       {"  controller  running, pid 4711\n",
        "  mode        enforce: ", "  programs    4 of 4 attached to /sys/fs/cgroup\n",
        "  nft table   inet nodeport_guard: in place, 168 packets exempted, 2 flows",
        "  IPVS        bypass off\n", "  mark        0x1000/0x1000\n",
        "  NodePorts   1 known: netfilter 1\n", "  pins        /sys/fs/bpf/nodeport-guard\n",
        "  version     0.1.0, controller started 2026-11-02T11:00:00Z\n"}) {
    EXPECT_THAT(text, HasSubstr(part));
  }
  for (const char* counter : {"exempted", "foreign_netns", "no_listener", "ignored_owner",
                              "observed", "mark_failed", "events_suppressed", "events_lost",
                              "rules_restored", "untrusted_owner", "standing_aside"}) {
    EXPECT_THAT(text, HasSubstr(std::string("\n  ") + counter + " "));
  }
  EXPECT_THAT(text, Not(HasSubstr("BROKEN")));
}

TEST(StatusTest, Fits80Columns) {
  inspect::GuardFacts facts = inspect::MakeFacts();
  facts.nft = dataplane::NftTableState{true, 0, 168'000'000, 20'000, 10'000, 65'536};
  facts.controller = 0;
  facts.kube_proxy_nftables = true;
  abi::SourceState& api =
      inspect::AddSource(facts, abi::Source::kKubernetes, "https://api.example:6443");
  api.health_check_ports = api.skipped = 12345;
  api.resource_version = "18446744073709551615";
  for (auto& errors : api.errors) errors = 1'000'000;
  for (const std::string& line : std::vector<std::string>(absl::StrSplit(Render(facts), '\n'))) {
    EXPECT_LE(line.size(), 80U) << line;
  }
}

TEST(StatusTest, SaysWhichCommandsNameRulesThatCannotBeEvaluated) {
  inspect::GuardFacts facts = inspect::MakeFacts();
  abi::SourceState& rules = inspect::AddSource(facts, abi::Source::kNetfilter);
  rules.services = 0;
  rules.skipped = 2;
  EXPECT_THAT(Render(facts),
              HasSubstr(" 3 ports; 2 rules cannot be evaluated (scan and doctor name them)\n"));
  rules.skipped = 1;
  EXPECT_THAT(Render(facts),
              HasSubstr(" 3 ports; 1 rule cannot be evaluated (scan and doctor name it)\n"));
}

TEST(StatusTest, WithoutConflictsReportsWhatWasChecked) {
  inspect::GuardFacts facts = inspect::MakeFacts();
  facts.listeners.clear();
  EXPECT_THAT(Render(facts),
              StartsWith("No conflicts: no process of this node listens on a NodePort (1 known), "
                         "as far as loopback reaches.\n"));
}

TEST(StatusTest, ListenersElsewhereAreNoConflict) {
  inspect::GuardFacts facts = inspect::MakeFacts();
  facts.listeners = {inspect::MakeListener("10.0.0.5", 33589, "envoy", 3),
                     inspect::MakeListener("127.0.0.1", 33590, "kubelet", 4),
                     inspect::MakeListener("127.0.0.1", 33589, "coredns", 5, core::Protocol::kUdp)};
  EXPECT_THAT(inspect::MakeStatus(facts).conflicts, IsEmpty());
}

TEST(StatusTest, MarksAnIgnoredOwner) {
  inspect::GuardFacts facts = inspect::MakeFacts();
  facts.listeners = {inspect::MakeListener("0.0.0.0", 33589, "kube-proxy", 77)};
  inspect::BoundBy(facts.listeners[0], "kube-proxy", 77);
  EXPECT_THAT(Render(facts), HasSubstr("0.0.0.0   kube-proxy[77]   ignored  2m ago"));
}

TEST(StatusTest, MarksAnUntrustedOwnerAndNamesTheFlag) {
  inspect::GuardFacts facts = inspect::MakeFacts();
  inspect::BoundBy(facts.listeners[0], "agent", 812, 1000);
  EXPECT_THAT(Render(facts), HasSubstr("127.0.0.1  containerd[812]  untrusted  2m ago"));
  EXPECT_THAT(inspect::MakeStatus(facts).notes,
              ElementsAre("33589/tcp: containerd[812], uid 1000, is not trusted, so connects go to "
                          "the Service; to guard it, run with --guard-uid +1000 or --guard-cgroup "
                          "/system.slice/containerd.service"));
}

TEST(StatusTest, NamesAnInvisibleOwnerFromItsRecord) {
  inspect::GuardFacts facts = inspect::MakeFacts();
  facts.listeners[0].owner = {};
  inspect::BoundBy(facts.listeners[0], "containerd", 99);
  EXPECT_THAT(Render(facts), HasSubstr("  containerd[99]  "));
  facts.listeners[0].binder->pid = 0;
  facts.gaps.unreadable_processes = 12;
  EXPECT_THAT(Render(facts), HasSubstr("  uid 0  "));
  EXPECT_THAT(Render(facts), HasSubstr("Note: no process was found for 1 listener: 12 processes "
                                       "could not be read; root can read those of other "
                                       "users\n"));
}

TEST(StatusTest, NamesAListenerOfTheKernel) {
  inspect::GuardFacts facts = inspect::MakeFacts();
  facts.listeners[0].owner = {};
  facts.listeners[0].owner.no_process = true;
  facts.listeners[0].binder->pid = 0;
  EXPECT_THAT(Render(facts), HasSubstr("  the kernel  "));
  EXPECT_THAT(Render(facts), HasSubstr("Note: 1 listener is open in no process: held by the "
                                       "kernel itself"));
}

TEST(StatusTest, SocketsThatShareAnAddressAreOneLine) {
  inspect::GuardFacts facts = inspect::MakeFacts();
  const core::Listener listener = facts.listeners[0];
  facts.listeners.assign(64, listener);
  const std::string text = Render(facts);
  EXPECT_THAT(text, HasSubstr("  127.0.0.1 (64 sockets)  containerd[812]  "));
  EXPECT_EQ(text.find("33589/tcp"), text.rfind("33589/tcp"));
}

TEST(StatusTest, CannotTellWithoutASourceOfNodePorts) {
  inspect::GuardFacts facts = inspect::MakeFacts();
  facts.listeners.clear();
  inspect::AddSource(facts, abi::Source::kNetfilter).coverage = core::Coverage::kNone;
  EXPECT_THAT(Render(facts), HasSubstr("Cannot tell whether there are conflicts"));
  EXPECT_THAT(Render(facts), Not(HasSubstr("No conflicts")));
}

// As at a start before its kubeconfig is there: the guard knows no port of that source.
TEST(StatusTest, CannotTellWhileASourceIsNotConnected) {
  inspect::GuardFacts facts = inspect::MakeFacts();
  facts.listeners.clear();
  inspect::AddSource(facts, abi::Source::kKubernetes).connected = false;
  EXPECT_THAT(Render(facts), StartsWith("Cannot tell whether there are conflicts: 1 NodePort is "
                                        "known, and there can be more (see the notes).\n"));
  EXPECT_THAT(Render(facts), HasSubstr("source kubernetes is not connected"));
}

TEST(StatusTest, WorksWithoutController) {
  inspect::GuardFacts facts = inspect::MakeFacts();
  facts.controller = 0;
  EXPECT_THAT(Render(facts),
              HasSubstr("  controller  not running: the guard uses the last known NodePorts\n"));
  EXPECT_THAT(inspect::MakeStatus(facts).problems, IsEmpty());
  facts.controller = -1;
  EXPECT_THAT(Render(facts), HasSubstr("running, in a pid namespace out of sight"));
}

TEST(StatusTest, ObserveModeShowsWhatWouldBeExempted) {
  inspect::GuardFacts facts = inspect::MakeFacts();
  facts.config.mode = abi::Mode::kObserve;
  EXPECT_THAT(Render(facts), HasSubstr("OBSERVED"));
  EXPECT_THAT(Render(facts), HasSubstr("containerd[812]         7  2m ago"));
  EXPECT_THAT(Render(facts), HasSubstr("observe: "));
}

TEST(StatusTest, ProblemsComeFirst) {
  inspect::GuardFacts facts = inspect::MakeFacts();
  facts.controller = 0;
  facts.nft = dataplane::NftTableState{};
  facts.links.pop_back();
  facts.links[0].link.cgroup_id = 0;
  EXPECT_THAT(Render(facts),
              StartsWith("BROKEN: program npg_connect4 is not attached, its link is dead; repair "
                         "it with 'nodeport-guard run'\n"
                         "BROKEN: program npg_bind6 is not attached, its pin is gone; repair "
                         "it with 'nodeport-guard run'\n"
                         "BROKEN: nft table inet nodeport_guard is missing, so nothing is "
                         "exempted; repair it with 'nodeport-guard run'\n"
                         "Conflicts: "));
  EXPECT_THAT(Render(facts), HasSubstr("programs    2 of 4 attached to /sys/fs/cgroup\n"));
  facts.controller = 4711;
  EXPECT_THAT(inspect::Problems(facts)[0],
              HasSubstr("if it stays like that, restart the controller"));
}

TEST(StatusTest, ATableThatCannotBeReadIsAProblem) {
  inspect::GuardFacts facts = inspect::MakeFacts();
  facts.nft = absl::PermissionDeniedError("read nft table: Operation not permitted");
  EXPECT_THAT(inspect::Problems(facts),
              ElementsAre(HasSubstr("cannot be read: read nft table: Operation not permitted")));
}

TEST(StatusTest, ReportsAGuardOfAPartOfTheNode) {
  inspect::GuardFacts facts = inspect::MakeFacts();
  EXPECT_THAT(Render(facts), Not(HasSubstr("only processes")));
  for (inspect::LinkFact& fact : facts.links)
    fact = {{fact.link.name, 1, 2, 77}, "/sys/fs/cgroup/part"};
  EXPECT_THAT(Render(facts), HasSubstr("4 of 4 attached to /sys/fs/cgroup/part; connects of"));
}

TEST(StatusTest, ProgramsOnDifferentCgroupsAreAProblem) {
  inspect::GuardFacts facts = inspect::MakeFacts();
  facts.links[1].cgroup = "/sys/fs/cgroup/other";
  EXPECT_THAT(inspect::Problems(facts),
              ElementsAre(HasSubstr("/sys/fs/cgroup, /sys/fs/cgroup/other")));
}

TEST(StatusTest, IgnoresListenersOfAnotherNamespace) {
  inspect::GuardFacts facts = inspect::MakeFacts();
  facts.same_netns = false;
  facts.nft = dataplane::NftTableState{};
  const inspect::Status report = inspect::MakeStatus(facts);
  EXPECT_THAT(report.conflicts, IsEmpty());
  EXPECT_THAT(report.problems, ElementsAre(HasSubstr("another network namespace")));
  EXPECT_THAT(Render(facts), HasSubstr("Conflicts: not visible from here.\n"));
  EXPECT_THAT(Render(facts), HasSubstr("inet nodeport_guard: not visible from here\n"));
}

TEST(StatusTest, AProcessNameCannotCommandTheTerminal) {
  inspect::GuardFacts facts = inspect::MakeFacts();
  facts.listeners[0].owner.comm = "\x1b[2Jx";
  EXPECT_THAT(Render(facts), HasSubstr("\\x1b[2Jx[812]"));
}

TEST(StatusTest, ReportsTheStateOfTheSources) {
  inspect::GuardFacts facts = inspect::MakeFacts();
  EXPECT_THAT(Render(facts), Not(HasSubstr("\nSources")));  // pins of an older build
  abi::SourceState& api =
      inspect::AddSource(facts, abi::Source::kKubernetes, "https://10.96.0.1:443, watch");
  api.services = 9980;
  api.ports = 10002;
  api.health_check_ports = 1;
  api.skipped = 2;
  api.errors[abi::SourceError::kConnect] = 3;
  api.errors[abi::SourceError::kExpired] = 1;
  api.resource_version = "81234567";
  inspect::AddSource(facts, abi::Source::kFile, "/etc/nodeports.yaml");
  EXPECT_THAT(Render(facts),
              HasSubstr("\n\nSources\n"
                        "  kubernetes  connected for 1h\n"
                        "              last received 2s ago, resourceVersion 81234567\n"
                        "              10002 ports of 9980 Services; 1 health check port; 2 "
                        "skipped\n"
                        "              https://10.96.0.1:443, watch\n"
                        "              errors: connect 3, expired 1\n"
                        "  file        connected for 1h\n"
                        "              last received 2s ago\n"
                        "              3 ports of 2 Services\n"
                        "              /etc/nodeports.yaml\n"
                        "\nCounters"));
  EXPECT_THAT(Render(facts), Not(HasSubstr("Note:")));
}

TEST(StatusTest, ADisconnectedSourceIsNoProblemOfTheGuard) {
  inspect::GuardFacts facts = inspect::MakeFacts();
  abi::SourceState& api = inspect::AddSource(facts, abi::Source::kKubernetes);
  api.connected = false;
  api.since = absl::FromUnixSeconds(inspect::kNow - 300);
  api.last_error = "connect to 10.96.0.1:443: Connection refused";
  EXPECT_THAT(inspect::MakeStatus(facts).problems, IsEmpty());
  EXPECT_THAT(Render(facts), HasSubstr("  kubernetes  not connected for 5m: connect to "
                                       "10.96.0.1:443: Connection refused\n"));
  EXPECT_THAT(Render(facts),
              HasSubstr("\nNote: source kubernetes is not connected since 2026-11-02T11:55:00Z "
                        "(connect to 10.96.0.1:443: Connection refused); its last known ports "
                        "stay guarded\n"));
  EXPECT_EQ(inspect::StatusJson(inspect::MakeStatus(facts))["healthy"], true);
}

TEST(StatusTest, ASourceWithoutAReadingYet) {
  inspect::GuardFacts facts = inspect::MakeFacts();
  abi::SourceState state;
  state.since = absl::FromUnixSeconds(inspect::kNow - 3);
  facts.sources.emplace_back(abi::Source::kKubernetes, state);
  EXPECT_THAT(Render(facts), HasSubstr("  kubernetes  not connected for 3s: it has not answered "
                                       "yet\n"
                                       "              nothing received yet\n"
                                       "              0 ports\n"));
}

TEST(StatusTest, WithoutAControllerReportsTheLastStateOfTheSources) {
  inspect::GuardFacts facts = inspect::MakeFacts();
  facts.controller = 0;
  inspect::AddSource(facts, abi::Source::kNetfilter);
  abi::SourceState& file = inspect::AddSource(facts, abi::Source::kFile);
  file.connected = false;
  file.last_error = "ports file /x: No such file or directory";
  EXPECT_THAT(Render(facts), HasSubstr("\nSources, as they were when the last controller ended\n"
                                       "  netfilter  was connected\n"));
  EXPECT_THAT(Render(facts),
              HasSubstr("  file       was not connected: ports file /x: No such file"));
  EXPECT_THAT(Render(facts), Not(HasSubstr("Note:")));
}

TEST(StatusTest, AServerCannotCommandTheTerminal) {
  inspect::GuardFacts facts = inspect::MakeFacts();
  abi::SourceState& api = inspect::AddSource(facts, abi::Source::kKubernetes, "\x1b[2J");
  api.connected = false;
  api.last_error = "\x1b[31m\xff";
  const std::string text = Render(facts);
  EXPECT_EQ(text.find('\x1b'), std::string::npos);
  EXPECT_EQ(text.find('\xff'), std::string::npos);
  EXPECT_THAT(inspect::StatusJson(inspect::MakeStatus(facts)).dump(), Not(HasSubstr("\xff")));
}

TEST(StatusTest, JsonOfTheSources) {
  inspect::GuardFacts facts = inspect::MakeFacts();
  EXPECT_EQ(inspect::StatusJson(inspect::MakeStatus(facts))["sources"],
            nlohmann::ordered_json::array());
  abi::SourceState& api =
      inspect::AddSource(facts, abi::Source::kKubernetes, "https://10.96.0.1:443, watch");
  api.errors[abi::SourceError::kThrottled] = 7;
  api.skipped = 1;
  abi::SourceState& file = inspect::AddSource(facts, abi::Source::kFile);
  file.connected = false;
  file.last_event = file.last_reading = absl::UnixEpoch();
  file.last_error = "is empty";
  const nlohmann::ordered_json sources = inspect::StatusJson(inspect::MakeStatus(facts))["sources"];
  ASSERT_EQ(sources.size(), 2U);
  EXPECT_EQ(sources[0]["source"], "kubernetes");
  EXPECT_EQ(sources[0]["connected"], true);
  EXPECT_EQ(sources[0]["since"], "2026-11-02T11:00:00Z");
  EXPECT_EQ(sources[0]["last_event"], "2026-11-02T11:59:58Z");
  EXPECT_EQ(sources[0]["ports"], 3);
  EXPECT_EQ(sources[0]["services"], 2);
  EXPECT_EQ(sources[0]["skipped"], 1);
  EXPECT_EQ(sources[0]["errors"].size(), abi::kSourceErrors.size());
  EXPECT_EQ(sources[0]["errors"]["throttled"], 7);
  EXPECT_EQ(sources[0]["errors"]["read"], 0);
  EXPECT_EQ(sources[0]["last_error"], nullptr);
  EXPECT_EQ(sources[0]["coverage"], "all");
  EXPECT_EQ(sources[1]["coverage"], "none") << "never read";
  EXPECT_EQ(sources[0]["detail"], "https://10.96.0.1:443, watch");
  EXPECT_EQ(sources[1]["connected"], false);
  EXPECT_EQ(sources[1]["last_event"], nullptr);
  EXPECT_EQ(sources[1]["last_reading"], nullptr);
  EXPECT_EQ(sources[1]["last_error"], "is empty");
  EXPECT_EQ(sources[1]["resource_version"], nullptr);
}

TEST(StatusTest, ReportsWhatKubeProxysNftablesModeHijacks) {
  inspect::GuardFacts facts = inspect::MakeFacts();
  EXPECT_THAT(Render(facts), Not(HasSubstr("nftables mode")));
  EXPECT_EQ(inspect::StatusJson(inspect::MakeStatus(facts))["guard"]["kube_proxy"], nullptr);

  facts.kube_proxy_nftables = true;
  EXPECT_THAT(Render(facts), HasSubstr("  kube-proxy  nftables mode: loopback is not hijacked"));
  EXPECT_THAT(Render(facts), HasSubstr("'run --scope local'"));
  nlohmann::ordered_json json =
      inspect::StatusJson(inspect::MakeStatus(facts))["guard"]["kube_proxy"];
  EXPECT_EQ(json["mode"], "nftables");
  EXPECT_EQ(json["hijacks_loopback"], false);
  EXPECT_EQ(json["node_addresses_guarded"], false);

  facts.config.scope = abi::Scope::kLocal;
  EXPECT_THAT(Render(facts), Not(HasSubstr("'run --scope local'")));
  json = inspect::StatusJson(inspect::MakeStatus(facts))["guard"]["kube_proxy"];
  EXPECT_EQ(json["node_addresses_guarded"], true);

  // These are not the rules of the guard's namespace.
  facts.same_netns = false;
  EXPECT_EQ(inspect::StatusJson(inspect::MakeStatus(facts))["guard"]["kube_proxy"], nullptr);
}

TEST(StatusTest, JsonHasTheSame) {
  inspect::GuardFacts facts = inspect::MakeFacts();
  inspect::AddNodePort(facts, 30053, "",
                       abi::Bit(abi::Source::kFile) | abi::Bit(abi::Source::kNetfilter),
                       core::Protocol::kUdp);
  facts.listeners.push_back(inspect::MakeListener("::", 30053, "coredns", 9, core::Protocol::kUdp));
  facts.nft->ipvs_bypass = true;
  EXPECT_THAT(Render(facts), HasSubstr("\n  IPVS        bypass on: "));
  const nlohmann::ordered_json json = inspect::StatusJson(inspect::MakeStatus(facts));
  EXPECT_EQ(json["healthy"], true);
  EXPECT_THAT(json["problems"], IsEmpty());
  ASSERT_EQ(json["conflicts"].size(), 2U);
  const nlohmann::ordered_json& udp = json["conflicts"][0];
  EXPECT_EQ(udp["port"], 30053);
  EXPECT_EQ(udp["protocol"], "udp");
  EXPECT_EQ(udp["service"], nullptr);
  EXPECT_EQ(udp["sources"], nlohmann::ordered_json({"netfilter", "file"}));
  EXPECT_EQ(udp["listener"], "::");
  EXPECT_EQ(udp["last"], nullptr);
  const nlohmann::ordered_json& tcp = json["conflicts"][1];
  EXPECT_EQ(tcp["service"], "default/web");
  EXPECT_EQ(tcp["listener"], "127.0.0.1");
  EXPECT_EQ(tcp["owner"]["pid"], 812);
  EXPECT_EQ(tcp["owner"]["comm"], "containerd");
  EXPECT_EQ(tcp["verdict"], "guarded");
  EXPECT_EQ(tcp["exempted"], 42);
  EXPECT_EQ(tcp["observed"], 7);
  EXPECT_EQ(tcp["last"], "2026-11-02T11:58:00Z");
  EXPECT_EQ(tcp["since"], "2026-10-30T12:00:00Z");
  EXPECT_EQ(json["guard"]["controller"]["pid"], 4711);
  EXPECT_EQ(json["guard"]["mode"], "enforce");
  EXPECT_EQ(json["guard"]["mark"], "0x1000");
  EXPECT_EQ(json["guard"]["programs"].size(), 4U);
  EXPECT_EQ(json["guard"]["programs"][0]["attached"], true);
  EXPECT_EQ(json["guard"]["nft_table"]["present"], true);
  EXPECT_EQ(json["guard"]["nft_table"]["ipvs_dodge"], true);
  EXPECT_EQ(json["guard"]["nft_table"]["flows_max"], 65536);
  EXPECT_EQ(json["guard"]["nodeports"]["total"], 2);
  EXPECT_EQ(json["guard"]["nodeports"]["file"], 1);
  EXPECT_EQ(json["guard"]["nodeports"]["kubernetes"], 0);
  EXPECT_EQ(json["counters"]["exempted"], 42);
  EXPECT_EQ(json["counters"].size(), abi::kCounters.size());
  EXPECT_EQ(json["maps"].size(), 5U);
  EXPECT_EQ(json["maps"]["nodeports"]["entries"], 2);
  EXPECT_EQ(json["maps"]["nodeports"]["max_entries"], abi::kMaxNodePorts);
}

TEST(StatusTest, JsonHasTheSizesOfTheMaps) {
  inspect::GuardFacts facts = inspect::MakeFacts();
  facts.earlier_sockets = 1;
  facts.own = {inspect::Address("10.0.0.5"), inspect::Address("10.0.0.6"),
               inspect::Address("2001:db8::5")};
  facts.policy = {inspect::MakePolicy("postgres", abi::OwnerVerdict::kIgnored)};
  ASSERT_FALSE(facts.stats.empty());
  const nlohmann::ordered_json maps = inspect::StatusJson(inspect::MakeStatus(facts))["maps"];
  EXPECT_EQ(maps["earlier_sockets"]["entries"], 1);
  EXPECT_EQ(maps["earlier_sockets"]["max_entries"], abi::kMaxEarlierSockets);
  EXPECT_EQ(maps["local_addresses"]["entries"], 3);
  EXPECT_EQ(maps["local_addresses"]["max_entries"], abi::kMaxLocalAddresses);
  EXPECT_EQ(maps["owner_policy"]["entries"], 1);
  EXPECT_EQ(maps["owner_policy"]["max_entries"], abi::kMaxPolicies);
  EXPECT_EQ(maps["port_stats"]["entries"], facts.stats.size());
  EXPECT_EQ(maps["port_stats"]["max_entries"], abi::kMaxPortStats);
}

TEST(StatusTest, JsonOfABrokenGuard) {
  inspect::GuardFacts facts = inspect::MakeFacts();
  facts.links.clear();
  facts.nft = dataplane::NftTableState{};
  const nlohmann::ordered_json json = inspect::StatusJson(inspect::MakeStatus(facts));
  EXPECT_EQ(json["healthy"], false);
  EXPECT_EQ(json["problems"].size(), 5U);
  EXPECT_EQ(json["guard"]["programs"][3]["attached"], false);
  EXPECT_EQ(json["guard"]["nft_table"]["present"], false);
}

TEST(StatusTest, ShowsWhatKeepsOthersOffNodePorts) {
  inspect::GuardFacts facts = inspect::MakeFacts();
  for (const char* row : {"\n  port range ", "\n  reserved ", "\n  binds "}) {
    EXPECT_THAT(Render(facts), Not(HasSubstr(row))) << "it is off";
  }
  facts.overlap = core::JudgeOverlap({{32768, 60999}, {}, {33589}, {}});
  facts.protection.reserve = abi::ReservePorts::kAllocated;
  facts.protection.reserve_state = abi::ReserveState::kOk;
  facts.protection.reserved_ports = 1;
  facts.protection.bind = abi::BindProtection::kDeny;
  facts.protection.refusal_errno = EADDRINUSE;
  facts.counters[abi::Counter::kBindRefused] = 3;
  const std::string text = Render(facts);
  EXPECT_THAT(text, HasSubstr("  port range  1 of the 28232 ports of 32768-60999 that the kernel"));
  EXPECT_THAT(text, HasSubstr("  reserved    allocated: 1 port reserved by the guard"));
  EXPECT_THAT(text, HasSubstr("  binds       deny: a bind of an allocated NodePort fails "
                              "(EADDRINUSE); 0"));
  EXPECT_THAT(text, HasSubstr("3 refused"));
}

}  // namespace
}  // namespace npg::cli::status_test
