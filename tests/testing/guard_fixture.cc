// SPDX-License-Identifier: Apache-2.0
#include "testing/guard_fixture.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <functional>
#include <ostream>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/errno_status.h"
#include "guard_abi.h"
#include "testing/client.h"
#include "testing/command.h"
#include "testing/guard_process.h"
#include "testing/kube_proxy_rules.h"
#include "testing/status_asserts.h"
#include "testing/syn_retry.h"
#include "testing/test_node.h"
#include "testing/wait_until.h"

namespace npg::testing {
namespace {

std::vector<RuleShape> Shapes(const std::vector<bool>& drop_invalid) {
  std::vector<RuleShape> shapes;
  for (const IptablesVariant variant : {IptablesVariant::kNft, IptablesVariant::kLegacy}) {
    for (const bool endpoint : {true, false}) {
      for (const bool drop : drop_invalid) shapes.push_back({variant, endpoint, drop});
    }
  }
  return shapes;
}

std::string NameOf(const RuleShape& shape) {
  return absl::StrCat(shape.variant == IptablesVariant::kNft ? "nft" : "legacy",
                      shape.endpoint ? "_endpoint" : "_no_endpoint",
                      shape.drop_invalid ? "_drop_invalid" : "");
}

std::vector<std::string> RunArguments(const TestNode& node,
                                      const std::vector<std::string>& arguments) {
  std::vector<std::string> all = {"--source", "file", "--nodeports-file",
                                  node.File("nodeports.json")};
  all.insert(all.end(), arguments.begin(), arguments.end());
  return all;
}

}  // namespace

std::vector<RuleShape> RuleShapes() { return Shapes({false}); }
std::vector<RuleShape> RuleShapesWithDropInvalid() { return Shapes({false, true}); }

std::string RuleShapeName(const ::testing::TestParamInfo<RuleShape>& info) {
  return NameOf(info.param);
}

void PrintTo(const RuleShape& shape, std::ostream* out) { *out << NameOf(shape); }

void GuardTest::SetUp() {
  NPG_ASSERT_OK_AND_ASSIGN(node_, TestNode::Create());
  NPG_ASSERT_OK(RetrySynSoon(node_->cgroup().path()));
  rules_.emplace(GetParam().variant, TestNode::kPod, TestNode::kPodPort);
  if (GetParam().drop_invalid) rules_->DropInvalid();
}

bool GuardTest::GuardKnows(const std::vector<NodePort>& nodeports) const {
  for (const NodePort& nodeport : nodeports) {
    const auto entry = maps().NodePort(nodeport.port, nodeport.transport);
    if (!entry.ok() || !entry->has_value()) return false;
  }
  return std::all_of(allocated_.begin(), allocated_.end(), [&](const NodePort& old) {
    const bool kept = std::any_of(nodeports.begin(), nodeports.end(), [&old](const NodePort& now) {
      return now.port == old.port && now.transport == old.transport;
    });
    const auto entry = maps().NodePort(old.port, old.transport);
    return kept || (entry.ok() && !entry->has_value());
  });
}

absl::Status GuardTest::Allocate(const std::vector<NodePort>& nodeports) {
  NPG_RETURN_IF_ERROR(rules_->Apply(nodeports));
  NPG_RETURN_IF_ERROR(WriteNodePortsFile(node_->File("nodeports.json"), nodeports));
  if (guard_ && !WaitUntil(kPatience, [&] { return GuardKnows(nodeports); })) {
    return absl::DeadlineExceededError(
        absl::StrCat("the guard did not follow its file: ", guard_->Log()));
  }
  allocated_ = nodeports;
  // iptables-restore looks its port numbers up with getaddrinfo(), which, to
  // sort the addresses it finds, connects UDP sockets to these very ports. That
  // is not what a test wants to count.
  if (guard_) {
    if (const auto now = maps().ReadCounters(); now.ok()) counted_ = *now;
  }
  return absl::OkStatus();
}

absl::StatusOr<GuardProcess> GuardTest::NewGuard(const std::vector<std::string>& arguments) {
  return GuardProcess::Start(*node_, RunArguments(*node_, arguments));
}

absl::Status GuardTest::StartGuard(const std::vector<std::string>& arguments) {
  guard_.reset();
  return Keep(NewGuard(arguments));
}

absl::Status GuardTest::StartNetfilterGuard(const std::vector<std::string>& arguments) {
  guard_.reset();
  std::vector<std::string> all = {"--source", "netfilter"};
  all.insert(all.end(), arguments.begin(), arguments.end());
  return Keep(GuardProcess::Start(*node_, all));
}

absl::Status GuardTest::Keep(absl::StatusOr<GuardProcess> started) {
  if (!started.ok()) return started.status();
  guard_.emplace(*std::move(started));
  return absl::OkStatus();
}

absl::Status GuardTest::Unload() {
  if (guard_) NPG_RETURN_IF_ERROR(guard_->Stop());
  guard_.reset();
  NPG_RETURN_IF_ERROR(RunCommand(GuardCommand(*node_, {"unload"})).status());
  counted_ = Counters{};
  return absl::OkStatus();
}

bool GuardTest::DatagramsAreLeftAlone(uint16_t port) {
  return WaitUntil(kPatience, [port] {
    for (const char* name : {"target_ports", "targets_any4", "targets4", "targets6"}) {
      const auto set = RunCommand({"nft", "list", "set", "inet", "nodeport_guard", name});
      if (!set.ok() || absl::StrContains(*set, absl::StrCat(port))) return false;
    }
    return true;
  });
}

uint64_t GuardTest::Counted(npg_counter counter) {
  const auto now = maps().ReadCounters();
  EXPECT_PRED_FORMAT1(IsOk, now);
  if (!now.ok()) return 0;
  return now->at(counter) - std::exchange(counted_.at(counter), now->at(counter));
}

void GuardTest::ExpectHijackedThenRescued(const std::vector<WayToAsk>& ways) {
  std::vector<std::function<std::string()>> asks;
  for (const WayToAsk& way : ways) asks.push_back(way.ask);
  const std::vector<std::string> answers = AskAll(asks);
  for (size_t i = 0; i < ways.size(); ++i) {
    EXPECT_EQ(answers[i], Hijacked()) << ways[i].name << ", no guard";
  }
  NPG_ASSERT_OK(StartGuard());
  for (const WayToAsk& way : ways) {
    EXPECT_EQ(way.ask(), kHost) << way.name;
    EXPECT_GE(Counted(NPG_COUNTER_EXEMPTED), 1U) << way.name;
    EXPECT_EQ(Counted(NPG_COUNTER_NO_LISTENER), 0U) << way.name;
  }
}

}  // namespace npg::testing
