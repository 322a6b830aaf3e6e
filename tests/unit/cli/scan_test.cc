// SPDX-License-Identifier: Apache-2.0
#include "cli/scan_report.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "abi/names.h"
#include "absl/time/time.h"
#include "cli/table.h"
#include "core/coverage.h"
#include "core/listener.h"
#include "core/port.h"
#include "inspect/scan.h"
#include "unit/inspect/facts.h"

namespace npg::cli::scan_test {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

inspect::ScanFacts MakeScanFacts() {
  inspect::ScanFacts facts;
  facts.ports[{33589, core::Protocol::kTcp}] = {abi::Bit(abi::Source::kNetfilter), "default/web"};
  facts.ports[{30080, core::Protocol::kTcp}] = {abi::Bit(abi::Source::kNetfilter), ""};
  facts.sources = {{"netfilter", 2}};
  facts.listeners = 11;
  facts.candidates = {inspect::MakeListener("127.0.0.1", 33589, "containerd", 812)};
  return facts;
}

core::OwnerRules Ignoring(const std::string& name) {
  core::OwnerRules rules;
  rules.policy.ignored = {name};
  return rules;
}

core::OwnerRules AnyUser() {
  core::OwnerRules rules;
  rules.policy.any_uid = true;
  return rules;
}

core::OwnerRules Only(const std::string& name) {
  core::OwnerRules rules;
  rules.policy.only = {name};
  return rules;
}

TEST(ScanTest, NamesConflictsAndARemedy) {
  const inspect::ScanFacts facts = MakeScanFacts();
  const inspect::ScanReport report = inspect::MakeScanReport(facts, Ignoring("kube-proxy"));
  EXPECT_THAT(report.conflicts, SizeIs(1));
  EXPECT_EQ(RenderScan(report, {}),
            "Conflicts: 1 listener has the port of a NodePort\n"
            "  PORT       SERVICE      SOURCES    LISTENER   OWNER\n"
            "  33589/tcp  default/web  netfilter  127.0.0.1  containerd[812]\n"
            "\n"
            "  OWNER\n"
            "  containerd[812]  uid 0, /usr/bin/containerd, containerd.service\n"
            "\n"
            "2 NodePorts (netfilter 2) and 11 listeners looked at.\n"
            "This node's own connects to these listeners can end up in the Service;\n"
            "'nodeport-guard run' prevents that.\n");
}

TEST(ScanTest, WithoutConflictsReportsHowMuchWasScanned) {
  inspect::ScanFacts facts = MakeScanFacts();
  facts.candidates.clear();
  EXPECT_EQ(RenderScan(inspect::MakeScanReport(facts, {}), {}),
            "No conflicts: 2 NodePorts (netfilter 2) and 11 listeners looked at.\n");
}

TEST(ScanTest, WithoutNodePortsInSightItCannotTell) {
  inspect::ScanFacts facts = MakeScanFacts();
  facts.candidates.clear();
  facts.coverage = {core::Coverage::kNone, {"source netfilter sees no NodePorts"}};
  EXPECT_EQ(RenderScan(inspect::MakeScanReport(facts, {}), {}),
            "Cannot tell whether there are conflicts, no source sees this node's NodePorts: "
            "2 NodePorts (netfilter 2) and 11 listeners looked at.\n"
            "\nNote: source netfilter sees no NodePorts\n");
  EXPECT_EQ(inspect::ScanJson(inspect::MakeScanReport(facts, {}))["coverage"], "none");
  facts.coverage = {core::Coverage::kPart, {}};
  EXPECT_THAT(RenderScan(inspect::MakeScanReport(facts, {}), {}),
              HasSubstr("none in the part of the NodePorts that was seen"));
  EXPECT_EQ(inspect::ScanJson(inspect::MakeScanReport(facts, {}))["coverage"], "part");
}

TEST(ScanTest, ConflictsInSightAreReportedWithWhatIsNotInSight) {
  inspect::ScanFacts facts = MakeScanFacts();
  facts.coverage = {core::Coverage::kPart, {"source netfilter sees a part of the NodePorts"}};
  EXPECT_THAT(RenderScan(inspect::MakeScanReport(facts, {}), {}),
              ::testing::AllOf(HasSubstr("Conflicts: 1 listener has"),
                               HasSubstr("Note: source netfilter sees a part")));
}

TEST(ScanTest, NamesListenersOfTheKernel) {
  inspect::ScanFacts facts = MakeScanFacts();
  facts.candidates[0].owner = {};
  facts.candidates[0].owner.no_process = true;
  facts.candidates[0].binder = std::nullopt;
  const std::string text = RenderScan(inspect::MakeScanReport(facts, {}), {});
  EXPECT_THAT(text, HasSubstr("127.0.0.1  the kernel\n"));
  EXPECT_THAT(text, HasSubstr("Note: 1 listener is open in no process: held by the kernel itself"));
  EXPECT_THAT(text, ::testing::Not(HasSubstr("no process was found")));
  const nlohmann::ordered_json json = inspect::ScanJson(inspect::MakeScanReport(facts, {}));
  EXPECT_EQ(json["conflicts"][0]["owner"]["kernel"], true);
  EXPECT_TRUE(json["conflicts"][0]["owner"]["pid"].is_null());
}

TEST(ScanTest, SocketsThatShareAnAddressAreOneLine) {
  inspect::ScanFacts facts = MakeScanFacts();
  const core::Listener listener = facts.candidates[0];
  facts.candidates.assign(64, listener);
  facts.candidates.push_back(inspect::MakeListener("127.0.0.1", 33589, "other", 99));
  facts.candidates.push_back(listener);
  const inspect::ScanReport report = inspect::MakeScanReport(facts, {});
  EXPECT_EQ(inspect::ScanJson(report)["conflicts"].size(), 66U);
  const std::string text = RenderScan(report, {});
  EXPECT_THAT(text, HasSubstr("Conflicts: 66 listeners have"));
  EXPECT_THAT(text, HasSubstr("  127.0.0.1 (65 sockets)  containerd[812]\n"));
  EXPECT_THAT(text, HasSubstr("  127.0.0.1               other[99]\n"));
  EXPECT_EQ(text.find("(65 sockets)"), text.rfind("(65 sockets)"));
}

// The lookup of the connect programs has no device.
TEST(ScanTest, PromisesNothingForAListenerThatTheGuardDoesNotSee) {
  inspect::ScanFacts facts = MakeScanFacts();
  facts.candidates[0].ifindex = 1;
  std::string text = RenderScan(inspect::MakeScanReport(facts, {}), {});
  EXPECT_THAT(text, HasSubstr("'nodeport-guard run' does not prevent that: see the notes.\n"));
  EXPECT_THAT(text, HasSubstr("Note: 33589/tcp 127.0.0.1 is bound to a device"));

  facts.candidates.push_back(inspect::MakeListener("127.0.0.1", 30080, "agent", 7));
  text = RenderScan(inspect::MakeScanReport(facts, {}), {});
  EXPECT_THAT(text, HasSubstr("'nodeport-guard run' prevents that, but not for 33589/tcp "
                              "127.0.0.1.\n"));
}

TEST(ScanTest, PromisesNothingBesideCiliumsSocketLoadBalancer) {
  inspect::ScanFacts facts = MakeScanFacts();
  facts.cilium_socket_lb = true;
  const std::string text = RenderScan(inspect::MakeScanReport(facts, {}), {});
  EXPECT_THAT(text, HasSubstr("'nodeport-guard run' does not prevent that: see the notes.\n"));
  EXPECT_THAT(text, HasSubstr("Note: Cilium's socket load balancer"));
}

TEST(ScanTest, NamesFlagsWithoutWhichTheGuardDoesNothing) {
  inspect::ScanFacts facts = MakeScanFacts();
  facts.candidates[0].binder->uid = 1000;
  EXPECT_THAT(RenderScan(inspect::MakeScanReport(facts, AnyUser()), {}),
              HasSubstr("'nodeport-guard run' with the same flags prevents that.\n"));
  facts = MakeScanFacts();
  facts.by_default = Ignoring("containerd");
  EXPECT_THAT(RenderScan(inspect::MakeScanReport(facts, {}), {}),
              HasSubstr("'nodeport-guard run' with the same flags prevents that.\n"));
  facts = MakeScanFacts();
  facts.ports[{33589, core::Protocol::kTcp}].sources = abi::Bit(abi::Source::kKubernetes);
  EXPECT_THAT(RenderScan(inspect::MakeScanReport(facts, {}), {}),
              HasSubstr("'nodeport-guard run' with the same flags prevents that.\n"));
  facts = MakeScanFacts();
  facts.candidates[0].address = inspect::Address("192.0.2.1");
  facts.own.insert(facts.candidates[0].address);
  EXPECT_THAT(RenderScan(inspect::MakeScanReport(facts, {}), {}),
              HasSubstr("'nodeport-guard run' with the same flags prevents that.\n"));
}

TEST(ScanTest, MentionsALoadedGuard) {
  inspect::ScanFacts facts = MakeScanFacts();
  facts.guarded = true;
  EXPECT_THAT(RenderScan(inspect::MakeScanReport(facts, {}), {}),
              HasSubstr("A guard is loaded: see 'nodeport-guard status'.\n"));
}

TEST(ScanTest, IgnoredProcessesAreNoConflict) {
  inspect::ScanFacts facts = MakeScanFacts();
  facts.candidates = {inspect::MakeListener("0.0.0.0", 30080, "kube-proxy", 7)};
  const inspect::ScanReport report = inspect::MakeScanReport(facts, Ignoring("kube-proxy"));
  EXPECT_THAT(report.conflicts, IsEmpty());
  EXPECT_THAT(report.ignored, SizeIs(1));
  EXPECT_THAT(RenderScan(report, {}),
              HasSubstr("Ignored, by --ignore-process or --only-process:\n"));
  EXPECT_THAT(inspect::MakeScanReport(facts, {}).conflicts, SizeIs(1));
}

TEST(ScanTest, OnlyNamedProcessesAreConflicts) {
  inspect::ScanFacts facts = MakeScanFacts();
  facts.candidates.push_back(inspect::MakeListener("127.0.0.1", 30080, "agent", 7));
  const inspect::ScanReport report = inspect::MakeScanReport(facts, Only("containerd"));
  ASSERT_THAT(report.conflicts, SizeIs(1));
  EXPECT_EQ(report.conflicts[0].key.port, 33589);
  ASSERT_THAT(report.ignored, SizeIs(1));
  EXPECT_EQ(report.ignored[0].key.port, 30080);
}

// An unknown owner may be one of the named processes.
TEST(ScanTest, AnUnknownOwnerIsNotIgnored) {
  inspect::ScanFacts facts = MakeScanFacts();
  facts.candidates[0].owner = {};
  facts.candidates[0].binder = std::nullopt;
  EXPECT_THAT(inspect::MakeScanReport(facts, Only("containerd")).conflicts, SizeIs(1));
}

TEST(ScanTest, NamesUntrustedListenersAndTheFlagForEach) {
  inspect::ScanFacts facts = MakeScanFacts();
  facts.candidates[0].binder->uid = 1000;
  const inspect::ScanReport report = inspect::MakeScanReport(facts, {});
  EXPECT_THAT(report.conflicts, IsEmpty());
  EXPECT_THAT(report.untrusted, SizeIs(1));
  EXPECT_THAT(RenderScan(report, {}),
              HasSubstr("To guard 33589/tcp, run with --guard-uid +1000 or --guard-cgroup "
                        "/system.slice/containerd.service.\n"));
  const nlohmann::ordered_json json = inspect::ScanJson(report);
  EXPECT_TRUE(json["conflicts"].empty());
  EXPECT_EQ(json["untrusted"][0]["verdict"], "untrusted");
  EXPECT_EQ(json["untrusted"][0]["owner"]["uid"], 1000);
}

// Without a guard there is no record of the bind: the socket's own user counts.
TEST(ScanTest, JudgesASocketWithoutARecordByItsUser) {
  inspect::ScanFacts facts = MakeScanFacts();
  facts.candidates[0].binder = std::nullopt;
  EXPECT_THAT(inspect::MakeScanReport(facts, {}).conflicts, SizeIs(1));
  facts.candidates[0].uid = 65534;
  EXPECT_THAT(inspect::MakeScanReport(facts, {}).untrusted, SizeIs(1));
}

TEST(ScanTest, ReportsTheCountersOfALoadedGuard) {
  inspect::ScanFacts facts = MakeScanFacts();
  facts.guarded = true;
  facts.now = absl::FromUnixSeconds(inspect::kNow);
  facts.histories[{33589, core::Protocol::kTcp}] = {facts.now - absl::Hours(72), 42, 0,
                                                    facts.now - absl::Minutes(2)};
  const inspect::ScanReport report = inspect::MakeScanReport(facts, {});
  EXPECT_THAT(RenderScan(report, {}), HasSubstr("containerd[812]        42  2m ago  3d ago\n"));
  const nlohmann::ordered_json json = inspect::ScanJson(report)["conflicts"][0];
  EXPECT_EQ(json["exempted"], 42);
  EXPECT_EQ(json["last"], "2026-11-02T11:58:00Z");
  EXPECT_EQ(json["since"], "2026-10-30T12:00:00Z");
  EXPECT_EQ(json["verdict"], "guarded");
}

TEST(ScanTest, ReportsWhatItCouldNotRead) {
  inspect::ScanFacts facts = MakeScanFacts();
  facts.candidates[0].owner = {};
  facts.candidates[0].binder = std::nullopt;
  facts.candidates[0].uid = 1000;
  facts.gaps.unreadable_processes = 40;
  facts.skipped = {"item 3: port 70000 is outside 1-65535"};
  facts.failed_sources = {"source file: open ports.yaml: No such file or directory"};
  const std::string text = RenderScan(inspect::MakeScanReport(facts, AnyUser()), {});
  EXPECT_THAT(text, HasSubstr("  uid 1000\n"));
  EXPECT_THAT(text, HasSubstr("Note: not read: source file: open ports.yaml: No such file or "
                              "directory\n"));
  EXPECT_THAT(text, HasSubstr("Note: skipped: item 3: port 70000 is outside 1-65535\n"));
  EXPECT_THAT(text,
              HasSubstr("Note: no process was found for 1 listener: 40 processes could not be "
                        "read; root can read those of other users\n"));
}

TEST(ScanTest, JsonHasTheSame) {
  const inspect::ScanFacts facts = MakeScanFacts();
  const nlohmann::ordered_json json = inspect::ScanJson(inspect::MakeScanReport(facts, {}));
  EXPECT_EQ(json["conflicts"][0]["port"], 33589);
  EXPECT_EQ(json["conflicts"][0]["sources"][0], "netfilter");
  EXPECT_EQ(json["conflicts"][0]["owner"]["comm"], "containerd");
  EXPECT_EQ(json["nodeports"]["total"], 2);
  EXPECT_EQ(json["nodeports"]["netfilter"], 2);
  EXPECT_EQ(json["listeners"], 11);
  EXPECT_EQ(json["guarded"], false);
  EXPECT_EQ(json["coverage"], "all");
}

}  // namespace
}  // namespace npg::cli::scan_test
