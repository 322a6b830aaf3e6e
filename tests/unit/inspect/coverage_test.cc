// SPDX-License-Identifier: Apache-2.0
#include "inspect/coverage.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <utility>

#include "abi/entries.h"
#include "abi/names.h"
#include "core/coverage.h"
#include "inspect/guard_facts.h"
#include "inspect/status.h"
#include "node/node_port_traces.h"
#include "unit/inspect/facts.h"

namespace npg::inspect::coverage_test {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

NodePortCoverage OfNetfilter(core::Coverage coverage, const node::NodePortTraces& traces = {}) {
  return JudgeCoverage({{abi::Source::kNetfilter, coverage}}, /*failed=*/false, traces);
}

TEST(CoverageTest, NamesWhatImplementsNodePortsInstead) {
  EXPECT_THAT(OfNetfilter(core::Coverage::kAll).notes, IsEmpty());
  EXPECT_THAT(OfNetfilter(core::Coverage::kNone).notes,
              ElementsAre(AllOf(HasSubstr("source netfilter sees no NodePorts"),
                                HasSubstr("no rules of kube-proxy"), HasSubstr("--kubeconfig"))));
  EXPECT_THAT(OfNetfilter(core::Coverage::kNone, {.ovn = true}).notes,
              ElementsAre(HasSubstr("this node has OVN-Kubernetes")));
  EXPECT_THAT(OfNetfilter(core::Coverage::kNone, {.cilium = true}).notes,
              ElementsAre(HasSubstr("this node has Cilium")));
  EXPECT_THAT(OfNetfilter(core::Coverage::kPart, {.ovn = true, .cilium = true}).notes,
              ElementsAre(AllOf(HasSubstr("do not have those of OVN-Kubernetes"),
                                Not(HasSubstr("Cilium")))));
  EXPECT_THAT(OfNetfilter(core::Coverage::kPart).notes,
              ElementsAre(HasSubstr("some rules could not be read")));
}

TEST(CoverageTest, TheApiServerSuffices) {
  const NodePortCoverage both = JudgeCoverage({{abi::Source::kNetfilter, core::Coverage::kNone},
                                               {abi::Source::kKubernetes, core::Coverage::kAll}},
                                              /*failed=*/false, {.ovn = true});
  EXPECT_EQ(both.coverage, core::Coverage::kAll);
  EXPECT_THAT(both.notes, IsEmpty());
}

TEST(CoverageTest, StatusSaysWhatAGuardDoesNotSee) {
  GuardFacts facts = MakeFacts();
  AddSource(facts, abi::Source::kNetfilter).coverage = core::Coverage::kNone;
  EXPECT_EQ(JudgeCoverage(facts).coverage, core::Coverage::kNone);
  EXPECT_THAT(MakeStatus(facts).notes, ElementsAre(HasSubstr("sees no NodePorts")));
  AddSource(facts, abi::Source::kKubernetes);
  EXPECT_THAT(MakeStatus(facts).notes, IsEmpty());
  facts.sources.back().second.connected = false;
  EXPECT_EQ(JudgeCoverage(facts).coverage, core::Coverage::kNone);
  facts.controller = 0;
  EXPECT_THAT(JudgeCoverage(facts).notes, IsEmpty());
}

TEST(CoverageTest, AReadingOfWhichAPartFailedCoversAPart) {
  GuardFacts facts = MakeFacts();
  abi::SourceState& netfilter = AddSource(facts, abi::Source::kNetfilter);
  netfilter.connected = false;
  EXPECT_EQ(JudgeCoverage(facts).coverage, core::Coverage::kNone);
  netfilter.coverage = core::Coverage::kPart;
  EXPECT_EQ(JudgeCoverage(facts).coverage, core::Coverage::kPart);
  EXPECT_THAT(JudgeCoverage(facts).notes, ElementsAre(HasSubstr("some rules could not be read")));
  AddSource(facts, abi::Source::kKubernetes);
  EXPECT_THAT(JudgeCoverage(facts).notes, IsEmpty());
}

}  // namespace
}  // namespace npg::inspect::coverage_test
