// SPDX-License-Identifier: Apache-2.0
#include "core/desired_state.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <map>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "core/port.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "guard_abi.h"

namespace npg::core::desired_state_test {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::Pair;

constexpr uint32_t kAll = NPG_SOURCE_KUBERNETES | NPG_SOURCE_NETFILTER | NPG_SOURCE_FILE;
constexpr PortKey kWeb = {.port = 30080, .protocol = Protocol::kTcp};
constexpr PortKey kDns = {.port = 30053, .protocol = Protocol::kUdp};
constexpr PortKey kDnsTcp = {.port = 30053, .protocol = Protocol::kTcp};

TEST(DesiredState, NothingAtFirst) { EXPECT_THAT(DesiredState().Entries(), IsEmpty()); }

TEST(DesiredState, OneSource) {
  DesiredState state;
  state.Set(NPG_SOURCE_FILE, {{kWeb, "shop/web"}, {kDns, ""}});
  EXPECT_THAT(state.Entries(), ElementsAre(Pair(kDns, PortEntry{NPG_SOURCE_FILE, ""}),
                                           Pair(kWeb, PortEntry{NPG_SOURCE_FILE, "shop/web"})));
}

TEST(DesiredState, AddRemovesNothing) {
  DesiredState state;
  state.Adopt({{kWeb, PortEntry{NPG_SOURCE_NETFILTER, "shop/web"}}}, NPG_SOURCE_NETFILTER);
  state.Add(NPG_SOURCE_NETFILTER, {{kDns, ""}});
  EXPECT_THAT(state.Entries(),
              ElementsAre(Pair(kDns, PortEntry{NPG_SOURCE_NETFILTER, ""}),
                          Pair(kWeb, PortEntry{NPG_SOURCE_NETFILTER, "shop/web"})));
  EXPECT_EQ(state.Pending().put.size(), 1U);
  EXPECT_THAT(state.Pending().remove, IsEmpty());
  state.Set(NPG_SOURCE_NETFILTER, {{kDns, ""}});
  EXPECT_THAT(state.Entries(), ElementsAre(Pair(kDns, PortEntry{NPG_SOURCE_NETFILTER, ""})));
}

TEST(DesiredState, UpdateLooksAtTheNamedPortsOnly) {
  DesiredState state;
  state.Set(NPG_SOURCE_FILE, {{kWeb, "shop/web"}, {kDns, "a/udp"}});
  state.MarkApplied();
  state.Update(NPG_SOURCE_FILE, {{kWeb, "shop/other"}, {kDnsTcp, "a/tcp"}}, {kWeb, kDns, kDnsTcp});
  EXPECT_THAT(state.Entries(), ElementsAre(Pair(kDnsTcp, PortEntry{NPG_SOURCE_FILE, "a/tcp"}),
                                           Pair(kWeb, PortEntry{NPG_SOURCE_FILE, "shop/other"})));
  EXPECT_EQ(state.Pending().put.size(), 2U);
  EXPECT_THAT(state.Pending().remove, ElementsAre(kDns));
  state.MarkApplied();
  state.Update(NPG_SOURCE_FILE, {}, {kDnsTcp});
  EXPECT_THAT(state.Entries(), ElementsAre(Pair(kWeb, PortEntry{NPG_SOURCE_FILE, "shop/other"})));
  EXPECT_THAT(state.Pending().put, IsEmpty());
  // A complete comparison finds what was not named.
  state.Set(NPG_SOURCE_FILE, {});
  EXPECT_THAT(state.Entries(), IsEmpty());
}

TEST(DesiredState, ProtocolsAreDifferentPorts) {
  DesiredState state;
  state.Set(NPG_SOURCE_FILE, {{kDnsTcp, "a/tcp"}, {kDns, "a/udp"}});
  EXPECT_THAT(state.Entries(), ElementsAre(Pair(kDnsTcp, PortEntry{NPG_SOURCE_FILE, "a/tcp"}),
                                           Pair(kDns, PortEntry{NPG_SOURCE_FILE, "a/udp"})));
}

TEST(DesiredState, UnionOfTheSources) {
  DesiredState state;
  state.Set(NPG_SOURCE_NETFILTER, {{kWeb, ""}, {kDns, ""}});
  state.Set(NPG_SOURCE_KUBERNETES, {{kWeb, "shop/web"}});
  EXPECT_THAT(
      state.Entries(),
      ElementsAre(Pair(kDns, PortEntry{NPG_SOURCE_NETFILTER, ""}),
                  Pair(kWeb, PortEntry{NPG_SOURCE_KUBERNETES | NPG_SOURCE_NETFILTER, "shop/web"})));
}

TEST(DesiredState, TheServiceOfTheLowestSourceWins) {
  DesiredState state;
  state.Set(NPG_SOURCE_FILE, {{kWeb, "from/file"}});
  state.Set(NPG_SOURCE_NETFILTER, {{kWeb, "from/netfilter"}});
  EXPECT_EQ(state.Entries().at(kWeb).service, "from/netfilter");
  state.Set(NPG_SOURCE_KUBERNETES, {{kWeb, ""}});  // names the port, but no Service
  EXPECT_EQ(state.Entries().at(kWeb), (PortEntry{kAll, "from/netfilter"}));
  state.Set(NPG_SOURCE_KUBERNETES, {{kWeb, "from/kubernetes"}});
  EXPECT_EQ(state.Entries().at(kWeb), (PortEntry{kAll, "from/kubernetes"}));
}

TEST(DesiredState, ASnapshotReplacesTheLastOneOfItsSource) {
  DesiredState state;
  state.Set(NPG_SOURCE_FILE, {{kWeb, "shop/web"}});
  state.Set(NPG_SOURCE_NETFILTER, {{kDns, ""}});
  state.Set(NPG_SOURCE_FILE, {{kDnsTcp, "a/b"}});
  EXPECT_THAT(state.Entries(), ElementsAre(Pair(kDnsTcp, PortEntry{NPG_SOURCE_FILE, "a/b"}),
                                           Pair(kDns, PortEntry{NPG_SOURCE_NETFILTER, ""})));
  state.Set(NPG_SOURCE_FILE, {});
  EXPECT_THAT(state.Entries(), ElementsAre(Pair(kDns, PortEntry{NPG_SOURCE_NETFILTER, ""})));
}

TEST(DesiredState, APortFreedByOneSourceStaysWhileAnotherHasIt) {
  DesiredState state;
  state.Set(NPG_SOURCE_KUBERNETES, {{kWeb, "shop/web"}});
  state.Set(NPG_SOURCE_NETFILTER, {{kWeb, ""}});
  state.Set(NPG_SOURCE_KUBERNETES, {});
  EXPECT_THAT(state.Entries(), ElementsAre(Pair(kWeb, PortEntry{NPG_SOURCE_NETFILTER, ""})));
}

TEST(Adopt, KeepsEntriesOfAnEarlierRunUntilTheSourceReports) {
  DesiredState state;
  const PortEntries before = {{kWeb, {NPG_SOURCE_KUBERNETES, "shop/web"}},
                              {kDns, {NPG_SOURCE_NETFILTER, ""}}};
  state.Adopt(before, kAll);
  EXPECT_EQ(state.Entries(), before);
  state.Set(NPG_SOURCE_NETFILTER, {{kDnsTcp, ""}});
  EXPECT_THAT(state.Entries(),
              ElementsAre(Pair(kDnsTcp, PortEntry{NPG_SOURCE_NETFILTER, ""}),
                          Pair(kWeb, PortEntry{NPG_SOURCE_KUBERNETES, "shop/web"})));
}

TEST(Adopt, DropsSourcesThatThisRunDoesNotHave) {
  DesiredState state;
  state.Adopt({{kWeb, {NPG_SOURCE_KUBERNETES, "shop/web"}},
               {kDns, {NPG_SOURCE_NETFILTER | NPG_SOURCE_KUBERNETES, "kube-system/dns"}}},
              NPG_SOURCE_NETFILTER | NPG_SOURCE_FILE);
  EXPECT_THAT(state.Entries(),
              ElementsAre(Pair(kDns, PortEntry{NPG_SOURCE_NETFILTER, "kube-system/dns"})));
}

TEST(Adopt, RemovesAnEntryWhenTheLastOfItsSourcesDropsIt) {
  DesiredState state;
  state.Adopt({{kWeb, {kAll, "shop/web"}}}, kAll);
  state.Set(NPG_SOURCE_KUBERNETES, {});
  state.Set(NPG_SOURCE_FILE, {});
  EXPECT_EQ(state.Entries().at(kWeb).sources, uint32_t{NPG_SOURCE_NETFILTER});
  state.Set(NPG_SOURCE_NETFILTER, {});
  EXPECT_THAT(state.Entries(), IsEmpty());
}

TEST(Adopt, DropsUnknownSourceBits) {
  DesiredState state;
  state.Adopt({{kWeb, {0x80000000, "a/b"}}, {kDns, {0, "c/d"}}}, kAll);
  EXPECT_THAT(state.Entries(), IsEmpty());
  EXPECT_THAT(state.Pending().remove, ElementsAre(kDns, kWeb));
  DesiredState highest;
  highest.Adopt({{kWeb, {0x80000000, "a/b"}}}, 0x80000000);  // the highest bit ends the loop
  EXPECT_EQ(highest.Entries().at(kWeb).sources, 0x80000000);
}

TEST(Pending, IsEmptyAtFirstAndWithoutAChange) {
  DesiredState state;
  EXPECT_TRUE(state.Pending().empty());
  state.Set(NPG_SOURCE_FILE, {});
  EXPECT_TRUE(state.Pending().empty());
  state.Set(NPG_SOURCE_FILE, {{kWeb, "shop/web"}, {kDns, ""}});
  state.MarkApplied();
  state.Set(NPG_SOURCE_FILE, {{kWeb, "shop/web"}, {kDns, ""}});
  EXPECT_TRUE(state.Pending().empty());
}

TEST(Pending, NewChangedAndGone) {
  DesiredState state;
  state.Set(NPG_SOURCE_FILE, {{kWeb, "shop/web"}, {kDns, "kube-system/dns"}});
  state.MarkApplied();
  state.Set(NPG_SOURCE_FILE, {{kWeb, "shop/new"}, {kDnsTcp, ""}});
  const Difference difference = state.Pending();
  EXPECT_FALSE(difference.empty());
  EXPECT_THAT(difference.put, ElementsAre(Pair(kDnsTcp, PortEntry{NPG_SOURCE_FILE, ""}),
                                          Pair(kWeb, PortEntry{NPG_SOURCE_FILE, "shop/new"})));
  EXPECT_THAT(difference.remove, ElementsAre(kDns));
}

TEST(Pending, ContainsAPortWhoseSourcesChanged) {
  DesiredState state;
  state.Set(NPG_SOURCE_NETFILTER, {{kWeb, "a/b"}});
  state.MarkApplied();
  state.Set(NPG_SOURCE_FILE, {{kWeb, "a/b"}});
  EXPECT_THAT(state.Pending().put,
              ElementsAre(Pair(kWeb, PortEntry{NPG_SOURCE_NETFILTER | NPG_SOURCE_FILE, "a/b"})));
}

TEST(Pending, OmitsAServiceNameThatDoesNotWin) {
  DesiredState state;
  state.Set(NPG_SOURCE_KUBERNETES, {{kWeb, "shop/web"}});
  state.Set(NPG_SOURCE_FILE, {{kWeb, "old/name"}});
  state.MarkApplied();
  state.Set(NPG_SOURCE_FILE, {{kWeb, "new/name"}});
  EXPECT_TRUE(state.Pending().empty());
  state.Set(NPG_SOURCE_KUBERNETES, {});
  EXPECT_THAT(state.Pending().put, ElementsAre(Pair(kWeb, PortEntry{NPG_SOURCE_FILE, "new/name"})));
}

TEST(Pending, StaysUntilItIsApplied) {
  DesiredState state;
  state.Set(NPG_SOURCE_FILE, {{kWeb, "shop/web"}});
  EXPECT_EQ(state.Pending().put.size(), 1U);  // and the write fails
  state.Set(NPG_SOURCE_FILE, {{kWeb, "shop/web"}, {kDns, ""}});
  EXPECT_EQ(state.Pending().put.size(), 2U);
  state.Set(NPG_SOURCE_FILE, {{kDns, ""}});
  EXPECT_THAT(state.Pending().put, ElementsAre(Pair(kDns, PortEntry{NPG_SOURCE_FILE, ""})));
  // The failed write may have added it to the map.
  EXPECT_THAT(state.Pending().remove, ElementsAre(kWeb));
  state.MarkApplied();
  EXPECT_TRUE(state.Pending().empty());
}

TEST(Pending, OmitsEntriesThatAreInTheMap) {
  DesiredState state;
  state.Adopt({{kWeb, {NPG_SOURCE_FILE, "shop/web"}}}, kAll);
  EXPECT_TRUE(state.Pending().empty());
  state.Set(NPG_SOURCE_FILE, {{kWeb, "shop/web"}});
  EXPECT_TRUE(state.Pending().empty());
}

TEST(Pending, OfAnEarlierRunOnlyEntriesOfUnusedSources) {
  DesiredState state;
  state.Adopt({{kWeb, {NPG_SOURCE_KUBERNETES, "shop/web"}},
               {kDnsTcp, {NPG_SOURCE_NETFILTER, ""}},
               {kDns, {kAll, "kube-system/dns"}}},
              NPG_SOURCE_NETFILTER);
  EXPECT_THAT(state.Pending().put,
              ElementsAre(Pair(kDns, PortEntry{NPG_SOURCE_NETFILTER, "kube-system/dns"})));
  EXPECT_THAT(state.Pending().remove, ElementsAre(kWeb));
}

// Of two equal names the newer text is kept, so that the older one can be freed.
TEST(DesiredState, KeepsOneTextOfAName) {
  DesiredState state;
  state.Adopt({{kWeb, {NPG_SOURCE_FILE, "shop/web"}}}, kAll);
  const PortSnapshot read = {{kWeb, "shop/web"}};
  state.Set(NPG_SOURCE_FILE, read);
  EXPECT_TRUE(state.Entries().at(kWeb).service.Shares(read.at(kWeb)));
}

// --- Properties, over random histories ---

class RandomHistory : public ::testing::TestWithParam<uint32_t> {
 protected:
  // Few ports, so that sources often name the same.
  PortSnapshot Snapshot() {
    PortSnapshot snapshot;
    const size_t size = Below(8);
    for (size_t i = 0; i < size; ++i) {
      const PortKey key = {.port = static_cast<uint16_t>(30000 + Below(6)),
                           .protocol = Below(2) == 0 ? Protocol::kTcp : Protocol::kUdp};
      snapshot[key] = Below(3) == 0 ? "" : absl::StrCat("ns/service", Below(4));
    }
    return snapshot;
  }
  uint32_t Source() { return uint32_t{1} << Below(3); }
  size_t Below(size_t limit) {
    return std::uniform_int_distribution<size_t>(0, limit - 1)(random_);
  }
  std::mt19937& random() { return random_; }

 private:
  std::mt19937 random_{GetParam()};
};

// The last snapshots of the sources, joined in the simplest way: port by port.
PortEntries Union(const std::map<uint32_t, PortSnapshot>& last) {
  PortEntries entries;
  for (uint32_t port = 30000; port < 30006; ++port) {
    for (const Protocol protocol : {Protocol::kTcp, Protocol::kUdp}) {
      const PortKey key = {.port = static_cast<uint16_t>(port), .protocol = protocol};
      PortEntry entry;
      for (const auto& [bit, snapshot] : last) {  // lowest bit first
        const auto it = snapshot.find(key);
        if (it == snapshot.end()) continue;
        entry.sources |= bit;
        if (entry.service.empty()) entry.service = it->second;
      }
      if (entry.sources != 0) entries[key] = entry;
    }
  }
  return entries;
}

void Apply(const Difference& difference, PortEntries& map) {
  for (const PortKey& key : difference.remove) map.erase(key);
  for (const auto& [key, entry] : difference.put) map[key] = entry;
}

TEST_P(RandomHistory, EntriesAreTheUnionOfTheLastSnapshots) {
  DesiredState state;
  std::map<uint32_t, PortSnapshot> last;
  for (int step = 0; step < 200; ++step) {
    const uint32_t source = Source();
    last[source] = Snapshot();
    state.Set(source, last[source]);
    ASSERT_EQ(state.Entries(), Union(last)) << "step " << step;
  }
}

// The end state depends on the last snapshot of each source only, not on missed or
// repeated ones.
TEST_P(RandomHistory, MissedAndRepeatedSnapshotsDoNotMatter) {
  DesiredState all;
  std::map<uint32_t, PortSnapshot> last;
  for (int step = 0; step < 50; ++step) {
    const uint32_t source = Source();
    last[source] = Snapshot();
    all.Set(source, last[source]);
  }
  DesiredState late;
  for (auto it = last.rbegin(); it != last.rend(); ++it) {
    late.Set(it->first, it->second);
    late.Set(it->first, it->second);
  }
  EXPECT_EQ(late.Entries(), all.Entries());
}

// Writes happen at any time and fail at any point. After a successful one the map equals
// the last snapshots, and nothing is pending.
TEST_P(RandomHistory, AfterASuccessTheMapIsTheUnion) {
  DesiredState state;
  std::map<uint32_t, PortSnapshot> last;
  PortEntries map;
  for (int step = 0; step < 500; ++step) {
    const uint32_t source = Source();
    last[source] = Snapshot();
    state.Set(source, last[source]);
    if (Below(3) == 0) continue;  // not tried this time
    Difference difference = state.Pending();
    if (Below(3) == 0) {  // a part is written, then the write fails
      std::shuffle(difference.put.begin(), difference.put.end(), random());
      difference.put.resize(Below(difference.put.size() + 1));
      difference.remove.resize(Below(difference.remove.size() + 1));
      Apply(difference, map);
      continue;
    }
    Apply(difference, map);
    state.MarkApplied();
    ASSERT_EQ(map, Union(last)) << "step " << step;
    ASSERT_TRUE(state.Pending().empty());
  }
}

// While all writes succeed, exactly the entries that differ are pending.
TEST_P(RandomHistory, OnlyDifferencesArePending) {
  DesiredState state;
  for (int step = 0; step < 200; ++step) {
    const PortEntries before = state.Entries();
    state.Set(Source(), Snapshot());
    const Difference difference = state.Pending();
    state.MarkApplied();
    for (const auto& [key, entry] : difference.put) {
      const auto it = before.find(key);
      EXPECT_TRUE(it == before.end() || it->second != entry) << ToString(key);
    }
    for (const PortKey& key : difference.remove) {
      EXPECT_TRUE(before.contains(key)) << ToString(key);
      EXPECT_FALSE(state.Entries().contains(key)) << ToString(key);
    }
    PortEntries map = before;
    Apply(difference, map);
    ASSERT_EQ(map, state.Entries()) << "step " << step;
  }
}

// After a restart the new run adopts the entries of the old one, and ends at the union of
// the snapshots once every source has reported.
TEST_P(RandomHistory, ARestartEndsAtTheUnion) {
  DesiredState before;
  for (int step = 0; step < 10; ++step) before.Set(Source(), Snapshot());
  DesiredState after;
  after.Adopt(before.Entries(), kAll);
  EXPECT_EQ(after.Entries(), before.Entries());

  std::map<uint32_t, PortSnapshot> last;
  for (const uint32_t source : {NPG_SOURCE_FILE, NPG_SOURCE_KUBERNETES, NPG_SOURCE_NETFILTER}) {
    last[source] = Snapshot();
    after.Set(source, last[source]);
    for (const auto& [key, service] : last[source]) {
      EXPECT_NE(after.Entries().at(key).sources & source, 0U) << ToString(key);
    }
  }
  EXPECT_EQ(after.Entries(), Union(last));
  PortEntries map = before.Entries();
  Apply(after.Pending(), map);
  EXPECT_EQ(map, after.Entries());
}

INSTANTIATE_TEST_SUITE_P(Seeds, RandomHistory, ::testing::Range(uint32_t{1}, uint32_t{9}));

}  // namespace
}  // namespace npg::core::desired_state_test
