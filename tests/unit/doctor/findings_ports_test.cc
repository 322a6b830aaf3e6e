// SPDX-License-Identifier: Apache-2.0
// The findings about ports that the kernel assigns, reserved ports and bind protection.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cerrno>
#include <cstdint>
#include <string>
#include <vector>

#include "abi/names.h"
#include "absl/status/status.h"
#include "core/port_ranges.h"
#include "doctor/facts.h"
#include "doctor/finding.h"
#include "doctor/findings.h"

namespace npg::doctor::findings_ports_test {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

// A node without a guard and without an overlap.
Facts NodeWithout() {
  Facts facts;
  facts.ports.local = core::PortRange{32768, 60999};
  facts.ports.allocated = {30080};
  return facts;
}

// With a guard; containerd has a port from the kernel.
Facts NodeWithOverlap(abi::ReservePorts reserve = abi::ReservePorts::kOff,
                      abi::ReserveState state = abi::ReserveState::kOff) {
  Facts facts = NodeWithout();
  facts.ports.allocated = {30080, 33589};
  facts.ports.assigned = {40001};
  facts.guard.state = GuardFacts::State::kLoaded;
  facts.guard.protection.reserve = reserve;
  facts.guard.protection.reserve_state = state;
  facts.guard.nodeports = 2;
  return facts;
}

std::vector<uint16_t> EverySecond(int first, int count) {
  std::vector<uint16_t> ports;
  for (int i = 0; i < count; ++i) ports.push_back(static_cast<uint16_t>(first + 2 * i));
  return ports;
}

// The only finding of its kind.
Finding The(const Facts& facts, FindingId id) {
  std::vector<Finding> found;
  for (const Finding& finding : JudgePortRanges(facts)) {
    EXPECT_FALSE(finding.prevents) << finding.what;
    if (finding.id == id) found.push_back(finding);
  }
  EXPECT_EQ(found.size(), 1U) << KindOf(id).name;
  return found.empty() ? Finding{id, Severity::kFail, "", ""} : found.front();
}

void ExpectOk(const Facts& facts, FindingId id) {
  const Finding finding = The(facts, id);
  EXPECT_EQ(finding.severity, Severity::kOk) << finding.what;
  EXPECT_THAT(finding.what, Not(IsEmpty()));
  EXPECT_THAT(finding.fix, IsEmpty());
}

TEST(PortFindingsTest, ANodeWithoutAnOverlapHasNone) {
  for (const FindingId id : {FindingId::kPortRangeAllocated, FindingId::kPortRangeUsual,
                             FindingId::kReservedPorts, FindingId::kBindProtection}) {
    ExpectOk(NodeWithout(), id);
  }
}

TEST(PortFindingsTest, AllocatedPortsThatTheKernelAssigns) {
  Facts facts = NodeWithOverlap();
  facts.ports.reserved = core::PortRanges{{8080, 8080}, {33590, 33590}};
  const Finding finding = The(facts, FindingId::kPortRangeAllocated);
  EXPECT_EQ(finding.severity, Severity::kWarn);
  EXPECT_THAT(finding.what,
              AllOf(HasSubstr("1 NodePort is among the 28231 ports that the kernel hands out "
                              "(net.ipv4.ip_local_port_range 32768-60999)"),
                    HasSubstr("the TCP listener with an assigned port"), HasSubstr("0.0142%"),
                    HasSubstr("costs 1 of the 28231 ports"), HasSubstr(": 33589")));
  EXPECT_THAT(finding.fix,
              AllOf(HasSubstr("sysctl -w net.ipv4.ip_local_reserved_ports=8080,33589-33590,"),
                    HasSubstr("bound afterwards")));
  facts.ports.reserved->push_back({33000, 34000});
  ExpectOk(facts, FindingId::kPortRangeAllocated);
}

// `run --reserve-ports allocated` reserves them, too.
TEST(PortFindingsTest, HealthCheckPortsAreAmongThem) {
  Facts facts = NodeWithout();
  facts.ports.health_checks = {33600};
  const Finding finding = The(facts, FindingId::kPortRangeAllocated);
  EXPECT_EQ(finding.severity, Severity::kWarn);
  EXPECT_THAT(finding.what, HasSubstr(": 33600"));
}

TEST(PortFindingsTest, WithoutTheSysctlsNothingIsJudgedButBinds) {
  Facts facts = NodeWithOverlap();
  facts.ports.reserved = absl::PermissionDeniedError("ip_local_reserved_ports");
  const std::vector<Finding> findings = JudgePortRanges(facts);
  ASSERT_EQ(findings.size(), 1U);
  EXPECT_EQ(findings[0].id, FindingId::kBindProtection);
}

// A line with hundreds of ports is not readable.
TEST(PortFindingsTest, ManyPortsAreLeftToTheGuard) {
  Facts facts = NodeWithOverlap();
  facts.ports.allocated = EverySecond(40000, 1000);
  const std::string fix = The(facts, FindingId::kPortRangeAllocated).fix;
  EXPECT_THAT(fix, AllOf(HasSubstr("nodeport-guard run --reserve-ports allocated"),
                         Not(HasSubstr("sysctl")), Not(HasSubstr("40002"))));
  EXPECT_LT(fix.size(), 300U);
}

TEST(PortFindingsTest, TooManyPortsNeedAnotherRange) {
  Facts facts = NodeWithOverlap();
  facts.ports.local = core::PortRange{20000, 29999};
  facts.ports.reserved = core::PortRanges{{29998, 29999}};
  facts.ports.allocated.clear();
  for (uint16_t port = 20000; port < 25903; ++port) facts.ports.allocated.push_back(port);
  // A host port of a daemon (of the CNI plugin portmap) is none that the kernel hands out.
  facts.ports.allocated.push_back(53);
  const Finding moved = The(facts, FindingId::kPortRangeAllocated);
  EXPECT_THAT(moved.fix, AllOf(HasSubstr("sysctl -w net.ipv4.ip_local_port_range='25903 29999',"),
                               HasSubstr("--service-node-port-range")));
  EXPECT_LT(moved.fix.size(), 700U);
  EXPECT_THAT(moved.what, HasSubstr("costs 5903 of the 9998 ports"));

  // Too little is left beside them.
  for (uint16_t port = 25903; port < 26500; ++port) facts.ports.allocated.push_back(port);
  EXPECT_THAT(The(facts, FindingId::kPortRangeAllocated).fix,
              AllOf(HasSubstr("--service-node-port-range"), Not(HasSubstr("sysctl"))));
}

TEST(PortFindingsTest, TheUsualRange) {
  Facts facts = NodeWithout();
  facts.ports.local = core::PortRange{1024, 65535};
  facts.ports.assigned = {30001};
  const Finding finding = The(facts, FindingId::kPortRangeUsual);
  EXPECT_EQ(finding.severity, Severity::kWarn);
  EXPECT_THAT(finding.what, AllOf(HasSubstr("hands out 2768 ports of 30000-32767"),
                                  HasSubstr("costs as many of 64512 ports"), HasSubstr("0.0361%")));
  EXPECT_THAT(finding.fix, HasSubstr("ip_local_reserved_ports=30000-32767,"));
  facts.ports.reserved = core::PortRanges{{30000, 32767}};
  ExpectOk(facts, FindingId::kPortRangeUsual);
}

TEST(PortFindingsTest, AGuardThatReservesEndsTheOverlap) {
  Facts facts = NodeWithOverlap(abi::ReservePorts::kAllocated, abi::ReserveState::kOk);
  facts.guard.protection.reserved_ports = 1;
  ExpectOk(facts, FindingId::kPortRangeAllocated);
  ExpectOk(facts, FindingId::kReservedPorts);
  EXPECT_THAT(The(facts, FindingId::kReservedPorts).what,
              AllOf(HasSubstr("reserves 1 port "), HasSubstr("MASQUERADE"), HasSubstr("139276"),
                    HasSubstr("bound before keep")));
  // A later Service can get the number of a listener all the same.
  facts.ports.local = core::PortRange{1024, 65535};
  EXPECT_EQ(The(facts, FindingId::kPortRangeUsual).severity, Severity::kNote);
  // What is written in the pins of a guard that is not loaded here does not count.
  facts.guard.state = GuardFacts::State::kUnreadable;
  EXPECT_EQ(The(facts, FindingId::kPortRangeAllocated).severity, Severity::kWarn);
  EXPECT_EQ(The(facts, FindingId::kReservedPorts).severity, Severity::kNote);
}

TEST(PortFindingsTest, ReservingIsOffWhileThereIsAnOverlap) {
  const Finding finding = The(NodeWithOverlap(), FindingId::kReservedPorts);
  EXPECT_EQ(finding.severity, Severity::kNote);
  EXPECT_THAT(finding.what, AllOf(HasSubstr("off"), HasSubstr("MASQUERADE")));
  EXPECT_THAT(finding.fix, HasSubstr("nodeport-guard run --reserve-ports allocated"));
}

TEST(PortFindingsTest, PortsThatCannotBeReserved) {
  Facts facts = NodeWithOverlap(abi::ReservePorts::kAllocated, abi::ReserveState::kFailed);
  facts.guard.protection.error = "open: Read-only file system";
  facts.ports.allocated = EverySecond(40000, 1000);
  const Finding failed = The(facts, FindingId::kReservedPorts);
  EXPECT_EQ(failed.severity, Severity::kWarn);
  EXPECT_THAT(failed.what, HasSubstr("Read-only file system"));
  EXPECT_THAT(failed.fix, HasSubstr("deploy/components/reserve-ports"));
  // The flag is set already.
  EXPECT_THAT(The(facts, FindingId::kPortRangeAllocated).fix,
              AllOf(HasSubstr("see reserved-ports"), Not(HasSubstr("run --reserve-ports"))));

  facts.guard.protection.reserve_state = abi::ReserveState::kTooFew;
  const Finding few = The(facts, FindingId::kReservedPorts);
  EXPECT_EQ(few.severity, Severity::kWarn);
  EXPECT_THAT(few.what, HasSubstr("too few ports would be left"));
  EXPECT_THAT(few.fix, HasSubstr("ip_local_port_range"));
}

Facts NodeWithBindProtection(abi::BindProtection bind, int error) {
  Facts facts = NodeWithOverlap();
  facts.guard.protection.bind = bind;
  facts.guard.protection.refusal_errno = error;
  facts.guard.refusable = 1;
  return facts;
}

TEST(PortFindingsTest, BindProtection) {
  const Facts deny = NodeWithBindProtection(abi::BindProtection::kDeny, EADDRINUSE);
  ExpectOk(deny, FindingId::kBindProtection);
  EXPECT_THAT(
      The(deny, FindingId::kBindProtection).what,
      AllOf(HasSubstr("deny: "), HasSubstr("covers 1 of 2 NodePorts"), HasSubstr("EADDRINUSE")));
  const Facts warn = NodeWithBindProtection(abi::BindProtection::kWarn, 0);
  ExpectOk(warn, FindingId::kBindProtection);
  EXPECT_THAT(The(warn, FindingId::kBindProtection).what,
              AllOf(HasSubstr("warn: "), Not(HasSubstr("fails with"))));
}

TEST(PortFindingsTest, AnOldKernelRefusesWithEperm) {
  const Finding finding =
      The(NodeWithBindProtection(abi::BindProtection::kDeny, EPERM), FindingId::kBindProtection);
  EXPECT_EQ(finding.severity, Severity::kNote);
  EXPECT_THAT(finding.what, HasSubstr("EPERM instead of EADDRINUSE"));
  EXPECT_THAT(finding.fix, HasSubstr("6.1"));
}

TEST(PortFindingsTest, RulesAloneMakeNothingRefusable) {
  Facts facts = NodeWithBindProtection(abi::BindProtection::kWarn, 0);
  facts.guard.refusable = 0;
  facts.guard.only_rules = true;
  const Finding finding = The(facts, FindingId::kBindProtection);
  EXPECT_EQ(finding.severity, Severity::kNote);
  EXPECT_THAT(finding.what, HasSubstr("netfilter"));
  EXPECT_THAT(finding.fix, HasSubstr("--source kubernetes"));
  // Another source knows which are shared: none has to be refusable.
  facts.guard.only_rules = false;
  ExpectOk(facts, FindingId::kBindProtection);
  facts.guard.only_rules = true;
  facts.guard.nodeports = 0;
  ExpectOk(facts, FindingId::kBindProtection);
}

}  // namespace
}  // namespace npg::doctor::findings_ports_test
