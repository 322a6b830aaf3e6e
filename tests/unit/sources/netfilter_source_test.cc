// SPDX-License-Identifier: Apache-2.0
#include "sources/netfilter_source.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/netlink.h>

#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "abi/names.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "base/event_loop.h"
#include "base/netlink_monitor.h"
#include "core/coverage.h"
#include "core/port.h"
#include "node/node_port_traces.h"
#include "rules/node_rules.h"
#include "rules/rule_changes.h"
#include "sources/netfilter_reader.h"
#include "sources/source.h"
#include "testing/status_asserts.h"
#include "testing/testdata.h"

namespace npg::sources::netfilter_source_test {
namespace {

using testing::Tcp;
using testing::Udp;

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Pair;

using RulesRead = rules::NodeRules::Reading;

constexpr absl::Duration kMustCome = absl::Seconds(20);
constexpr absl::Duration kMustNotCome = absl::Milliseconds(300);

RulesRead Rules(core::PortSnapshot ports) {
  RulesRead rules;
  rules.evaluation.taken = std::move(ports);
  rules.kube_proxy = true;
  return rules;
}

RulesRead Failed(core::PortSnapshot ports) {
  RulesRead rules = Rules(std::move(ports));
  rules.failed = {absl::InternalError("no luck")};
  return rules;
}

// The rules of a test, which several threads use.
class FakeRules {
 public:
  void Set(absl::StatusOr<RulesRead> rules) {
    const std::lock_guard lock(mutex_);
    rules_ = std::move(rules);
  }
  void SetIpVs(absl::StatusOr<core::PortSnapshot> ports) {
    const std::lock_guard lock(mutex_);
    ip_vs_ = std::move(ports);
  }
  absl::StatusOr<core::PortSnapshot> ip_vs() {
    const std::lock_guard lock(mutex_);
    return ip_vs_;
  }
  // Readings of legacy tables do not return until Release().
  void BlockLegacy() { blocked_ = true; }
  void Release() {
    {
      const std::lock_guard lock(mutex_);
      blocked_ = false;
    }
    released_.notify_all();
  }
  // Each reading spends processor time.
  void Burn(absl::Duration cpu) {
    const std::lock_guard lock(mutex_);
    burn_ = cpu;
  }

  absl::StatusOr<RulesRead> Read(const rules::RuleChanges& changes, int tries) {
    std::unique_lock lock(mutex_);
    calls_.push_back(changes);
    tries_ = tries;
    if (changes.legacy) released_.wait(lock, [this] { return !blocked_; });
    const absl::Time until = absl::Now() + burn_;
    while (absl::Now() < until) continue;
    return rules_;
  }

  std::vector<rules::RuleChanges> calls() {
    const std::lock_guard lock(mutex_);
    return calls_;
  }
  size_t count() { return calls().size(); }
  int tries() {
    const std::lock_guard lock(mutex_);
    return tries_;
  }

 private:
  std::mutex mutex_;
  std::condition_variable released_;
  absl::StatusOr<RulesRead> rules_ = RulesRead();
  absl::StatusOr<core::PortSnapshot> ip_vs_ = core::PortSnapshot();
  std::atomic<bool> blocked_ = false;
  absl::Duration burn_;
  std::vector<rules::RuleChanges> calls_;
  int tries_ = 0;
};

class NetfilterSourceTest : public ::testing::Test {
 protected:
  void SetUp() override {
    absl::StatusOr<std::unique_ptr<base::EventLoop>> loop = base::EventLoop::Create();
    NPG_ASSERT_OK(loop);
    loop_ = *std::move(loop);
  }

  void Create(const NetfilterSource::Options& options = {}) {
    NetfilterEdges edges;
    edges.read = [this](const rules::RuleChanges& changes, int tries) {
      return rules_.Read(changes, tries);
    };
    edges.read_ip_vs = [this] { return rules_.ip_vs(); };
    edges.read_traces = [this] { return traces_; };
    edges.stop = [this] { rules_.Release(); };
    // Without a group, so that it needs no privileges: the test calls the handler itself.
    edges.listen = [this](base::EventLoop& loop, base::NetlinkMonitor::Handler handler) {
      handler_ = handler;
      ++listens_;
      return base::NetlinkMonitor::Start(loop, NETLINK_NETFILTER, {}, 0, std::move(handler));
    };
    source_ = std::make_unique<NetfilterSource>(std::move(edges), options);
  }
  absl::StatusOr<Reading> ReadOnce() {
    Create();
    return source_->Read();
  }
  void Follow(const NetfilterSource::Options& options = {}) {
    if (!source_) Create(options);
    NPG_ASSERT_OK(source_->Follow(*loop_, [this](const absl::StatusOr<Reading>& reading) {
      ++reports_;
      last_ = reading;
    }));
  }
  void Change() {
    handler_.lost();
    handler_.settled(absl::OkStatus());
  }

  // Runs the loop until `condition` is true, or `limit` has passed; returns the condition.
  bool RunUntil(const std::function<bool()>& condition, absl::Duration limit = kMustCome) {
    const absl::Time end = absl::Now() + limit;
    while (!condition() && absl::Now() < end) {
      loop_->After(absl::Milliseconds(1), [this] { loop_->Stop(); });
      NPG_EXPECT_OK(loop_->Run());
    }
    return condition();
  }
  bool Reports(const core::PortSnapshot& ports) {
    return RunUntil([&] { return reports_ > 0 && last_.ok() && last_->ports == ports; });
  }

  FakeRules rules_;  // outlives the source's thread
  node::NodePortTraces traces_;
  base::NetlinkMonitor::Handler handler_;
  int listens_ = 0;
  std::unique_ptr<base::EventLoop> loop_;
  std::unique_ptr<NetfilterSource> source_;
  int reports_ = 0;
  absl::StatusOr<Reading> last_;
};

TEST_F(NetfilterSourceTest, ReadsOnce) {
  RulesRead rules = Rules({{Tcp(30001), "ns/web"}, {Udp(53), "nft table ip a, chain b"}});
  rules.evaluation.unknown = {"a rule with match u32"};
  rules.evaluation.broad = {"a rule that redirects everything"};
  rules.skipped = {"a line"};
  rules_.Set(rules);
  rules_.SetIpVs(core::PortSnapshot{{Tcp(30001), "IPVS"}, {Tcp(30002), "IPVS"}});
  const absl::StatusOr<Reading> reading = ReadOnce();
  NPG_ASSERT_OK(reading);
  EXPECT_EQ(source_->name(), "netfilter");
  EXPECT_EQ(source_->id(), abi::Source::kNetfilter);
  EXPECT_THAT(reading->ports, ElementsAre(Pair(Udp(53), "nft table ip a, chain b"),
                                          Pair(Tcp(30001), "ns/web"), Pair(Tcp(30002), "IPVS")));
  EXPECT_THAT(reading->skipped,
              ElementsAre("a rule with match u32", "a rule that redirects everything", "a line"));
  EXPECT_EQ(reading->coverage, core::Coverage::kPart);
  EXPECT_TRUE(source_->State().connected);
  EXPECT_EQ(source_->State().ports, 3U);
  EXPECT_GT(rules_.tries(), 1);
}

TEST_F(NetfilterSourceTest, CoversNodePortsWhereKubeProxyIs) {
  const auto coverage = [this](const RulesRead& rules) {
    rules_.Set(rules);
    const absl::StatusOr<Reading> reading = ReadOnce();
    NPG_EXPECT_OK(reading);
    return reading.ok() ? reading->coverage : core::Coverage::kNone;
  };
  const RulesRead seen = Rules({});
  EXPECT_EQ(coverage(seen), core::Coverage::kAll) << "there may be no NodePort";
  RulesRead host_ports = Rules({{Tcp(4), "nft table ip nat, chain CNI-HOSTPORT-DNAT"}});
  host_ports.kube_proxy = false;
  EXPECT_EQ(coverage(host_ports), core::Coverage::kNone);

  RulesRead part = seen;
  part.unread = true;
  EXPECT_EQ(coverage(part), core::Coverage::kPart);
  part = seen;
  part.evaluation.unknown = {"match u32"};
  EXPECT_EQ(coverage(part), core::Coverage::kPart);

  traces_.cilium = true;
  EXPECT_EQ(coverage(seen), core::Coverage::kAll) << "kube-proxy runs beside Cilium";
  traces_ = {.ovn = true};
  EXPECT_EQ(coverage(seen), core::Coverage::kPart);
  EXPECT_EQ(coverage(RulesRead()), core::Coverage::kNone);
  traces_ = {.ipvs = true};
  EXPECT_EQ(coverage(seen), core::Coverage::kAll);
  EXPECT_EQ(coverage(RulesRead()), core::Coverage::kAll);
  for (const absl::Status& status :
       {absl::InternalError("broken"), absl::NotFoundError("the kernel has no IPVS")}) {
    rules_.SetIpVs(status);
    EXPECT_EQ(coverage(seen), core::Coverage::kPart);
  }
  traces_ = {};
  EXPECT_EQ(coverage(seen), core::Coverage::kAll) << "it needs none";
}

TEST_F(NetfilterSourceTest, NamesIpVsThatCannotBeRead) {
  rules_.SetIpVs(absl::InternalError("broken"));
  const absl::StatusOr<Reading> reading = ReadOnce();
  NPG_ASSERT_OK(reading);
  EXPECT_THAT(reading->skipped, ElementsAre("the services of IPVS cannot be read: broken"));
}

TEST_F(NetfilterSourceTest, AFailureHasThePortsOfTheOtherParts) {
  rules_.Set(Failed({{Tcp(1), "ns/a"}}));
  EXPECT_EQ(ReadOnce().status().message(), "no luck");
  EXPECT_THAT(source_->PartialPorts(), ElementsAre(Pair(Tcp(1), "ns/a")));
  EXPECT_FALSE(source_->State().connected);
  EXPECT_EQ(source_->State().coverage, core::Coverage::kPart);
  rules_.Set(Rules({{Tcp(1), "ns/a"}}));
  NPG_EXPECT_OK(source_->Read());
  EXPECT_THAT(source_->PartialPorts(), IsEmpty());
  EXPECT_TRUE(source_->State().connected);
}

TEST_F(NetfilterSourceTest, AFailureWithoutAnythingElseIsNoPart) {
  RulesRead rules = Failed({});
  rules.kube_proxy = false;
  rules_.Set(rules);
  EXPECT_FALSE(ReadOnce().ok());
  EXPECT_THAT(source_->PartialPorts(), IsEmpty());
  EXPECT_NE(source_->State().coverage, core::Coverage::kPart);
  rules_.Set(absl::InternalError("nothing"));
  EXPECT_EQ(source_->Read().status().message(), "nothing");
}

TEST_F(NetfilterSourceTest, AFailureKeepsThePortsThatWereKnown) {
  rules_.Set(Rules({{Tcp(1), "ns/a"}, {Tcp(2), "ns/b"}}));
  NPG_EXPECT_OK(ReadOnce());
  rules_.Set(Failed({{Tcp(1), "ns/a"}, {Tcp(3), "ns/c"}}));
  EXPECT_FALSE(source_->Read().ok());
  EXPECT_THAT(source_->PartialPorts(),
              ElementsAre(Pair(Tcp(1), "ns/a"), Pair(Tcp(2), "ns/b"), Pair(Tcp(3), "ns/c")));
  rules_.Set(absl::InternalError("nothing"));
  EXPECT_FALSE(source_->Read().ok());
  EXPECT_EQ(source_->PartialPorts().size(), 3U);
  // The next reading is the first that lacks them.
  rules_.Set(Rules({{Tcp(1), "ns/a"}}));
  NPG_ASSERT_OK_AND_ASSIGN(Reading reading, source_->Read());
  EXPECT_EQ(reading.ports.size(), 3U);
  NPG_ASSERT_OK_AND_ASSIGN(reading, source_->Read());
  EXPECT_THAT(reading.ports, ElementsAre(Pair(Tcp(1), "ns/a")));
}

TEST_F(NetfilterSourceTest, AReadBeyondItsLimitHasThePortsOfNfTables) {
  rules_.Set(Rules({{Tcp(1), "ns/a"}}));
  rules_.BlockLegacy();
  Create({.read_limit = absl::Milliseconds(100)});
  const absl::Status status = source_->Read().status();
  EXPECT_EQ(status.code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_THAT(std::string(status.message()), HasSubstr("not read within 100ms"));
  EXPECT_THAT(source_->PartialPorts(), ElementsAre(Pair(Tcp(1), "ns/a")));
  EXPECT_FALSE(source_->State().connected);
  EXPECT_EQ(source_->State().coverage, core::Coverage::kPart);
  // The reading goes on; Follow() reports it.
  Follow();
  rules_.Release();
  EXPECT_TRUE(Reports({{Tcp(1), "ns/a"}}));
}

TEST_F(NetfilterSourceTest, TheDestructorEndsAReading) {
  rules_.BlockLegacy();
  Create({.read_limit = absl::Milliseconds(10)});
  EXPECT_FALSE(source_->Read().ok());
  source_.reset();  // or this would not return
}

TEST_F(NetfilterSourceTest, FollowReportsWhatReadHasNotReturned) {
  rules_.Set(Rules({{Tcp(1), "ns/a"}}));
  NPG_EXPECT_OK(ReadOnce());
  const size_t before = rules_.count();
  Follow();
  // It reads both parts again.
  ASSERT_TRUE(RunUntil([&] { return rules_.count() >= before + 2; }));
  EXPECT_FALSE(RunUntil([&] { return reports_ > 0; }, kMustNotCome));
  rules_.Set(Rules({{Tcp(1), "ns/a"}, {Tcp(2), "ns/b"}}));
  Change();
  EXPECT_TRUE(Reports({{Tcp(1), "ns/a"}, {Tcp(2), "ns/b"}}));
  EXPECT_EQ(rules_.tries(), 1) << "a notification names what changed meanwhile";
}

TEST_F(NetfilterSourceTest, RemovesAPortWhenTwoReadingsLackIt) {
  const core::PortSnapshot both = {{Tcp(1), "ns/a"}, {Tcp(2), "ns/b"}};
  rules_.Set(Rules(both));
  Follow();
  ASSERT_TRUE(Reports(both));
  // The rules are back when it looks again.
  rules_.Set(Rules({{Tcp(1), "ns/a"}}));
  const size_t before = rules_.count();
  Change();
  ASSERT_TRUE(RunUntil([&] { return rules_.count() > before; }));
  rules_.Set(Rules(both));
  ASSERT_TRUE(RunUntil([&] { return rules_.count() > before + 1; }));
  EXPECT_FALSE(RunUntil([&] { return last_->ports != both; }, kMustNotCome));

  rules_.Set(Rules({{Tcp(2), "ns/b"}}));
  Change();
  EXPECT_TRUE(Reports({{Tcp(2), "ns/b"}}));
  EXPECT_TRUE(rules_.calls().back().empty()) << "nothing changed since";
}

TEST_F(NetfilterSourceTest, AReadingDuringAChangeRemovesNoPort) {
  const core::PortSnapshot one = {{Tcp(1), "ns/a"}};
  rules_.Set(Rules(one));
  Follow();
  ASSERT_TRUE(Reports(one));
  RulesRead torn = Rules({});
  torn.torn = true;
  rules_.Set(torn);
  const size_t before = rules_.count();
  Change();
  ASSERT_TRUE(RunUntil([&] { return rules_.count() > before + 3; }));
  EXPECT_EQ(last_->ports, one);
  rules_.Set(Rules({}));
  EXPECT_TRUE(Reports({}));
}

TEST_F(NetfilterSourceTest, AppliesAChangeSoon) {
  Follow();
  ASSERT_TRUE(Reports({}));
  rules_.Set(Rules({{Tcp(1), "ns/a"}}));
  const absl::Time changed = absl::Now();
  Change();
  ASSERT_TRUE(Reports({{Tcp(1), "ns/a"}}));
  EXPECT_GE(absl::Now() - changed, absl::Milliseconds(20)) << "the changes of a transaction";
}

TEST_F(NetfilterSourceTest, AUsedUpBudgetDelaysReadings) {
  rules_.Burn(absl::Milliseconds(100));
  Follow({.budget = {.share = 0.0001, .burst = absl::Milliseconds(20)},
          .max_gap = absl::Seconds(2),
          .poll = absl::Hours(1)});
  ASSERT_TRUE(Reports({}));
  EXPECT_EQ(listens_, 1);
  const size_t before = rules_.count();
  rules_.Set(Rules({{Tcp(1), "ns/a"}}));
  const absl::Time changed = absl::Now();
  Change();
  EXPECT_FALSE(RunUntil([&] { return rules_.count() > before; }, kMustNotCome));
  // Notifications were missed meanwhile.
  ASSERT_TRUE(Reports({{Tcp(1), "ns/a"}}));
  EXPECT_GE(absl::Now() - changed, absl::Milliseconds(1900));
  EXPECT_EQ(listens_, 2);
  EXPECT_TRUE(rules_.calls().back().all);
}

TEST_F(NetfilterSourceTest, PollsWhatSendsNoNotifications) {
  Follow({.poll = absl::Milliseconds(100)});
  ASSERT_TRUE(Reports({}));
  rules_.SetIpVs(core::PortSnapshot{{Tcp(30002), "IPVS"}});
  EXPECT_TRUE(Reports({{Tcp(30002), "IPVS"}}));
  const rules::RuleChanges poll = rules_.calls().back();
  EXPECT_TRUE(poll.legacy);
  EXPECT_TRUE(poll.ip_sets);
  EXPECT_FALSE(poll.all);
}

// A command that hangs does not run all the time.
TEST_F(NetfilterSourceTest, TriesAFailedLegacyPartAgainAfterAPause) {
  rules_.Set(Failed({}));
  rules_.BlockLegacy();
  Follow({.poll = absl::Milliseconds(50)});
  // A reading that takes half a second.
  EXPECT_FALSE(RunUntil([&] { return reports_ > 0; }, absl::Milliseconds(500)));
  rules_.Release();
  ASSERT_TRUE(RunUntil([&] { return reports_ > 0; }));
  const size_t before = rules_.count();
  ASSERT_TRUE(RunUntil([&] { return rules_.count() > before + 2; }));
  EXPECT_FALSE(rules_.calls()[before].legacy);
  ASSERT_TRUE(RunUntil([&] { return rules_.calls().back().legacy; }));
}

TEST_F(NetfilterSourceTest, ReportsAnErrorOnceAndRecovers) {
  rules_.Set(Failed({{Tcp(1), "ns/a"}}));
  Follow({.poll = absl::Milliseconds(30)});
  ASSERT_TRUE(RunUntil([&] { return reports_ == 1; }));
  EXPECT_FALSE(last_.ok());
  const size_t before = rules_.count();
  ASSERT_TRUE(RunUntil([&] { return rules_.count() > before + 3; }));
  EXPECT_EQ(reports_, 1);
  // Again, because the ports have changed.
  rules_.Set(Failed({{Tcp(1), "ns/a"}, {Tcp(2), "ns/b"}}));
  ASSERT_TRUE(RunUntil([&] { return reports_ == 2; }));
  EXPECT_EQ(source_->PartialPorts().size(), 2U);
  rules_.Set(Rules({{Tcp(1), "ns/a"}, {Tcp(2), "ns/b"}}));
  EXPECT_TRUE(Reports({{Tcp(1), "ns/a"}, {Tcp(2), "ns/b"}}));
  EXPECT_THAT(source_->PartialPorts(), IsEmpty());
}

}  // namespace
}  // namespace npg::sources::netfilter_source_test
