// SPDX-License-Identifier: Apache-2.0
#include "dataplane/nft/nft_flows.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "core/datagram_targets.h"
#include "core/flow.h"
#include "dataplane/nft/nft_elements.h"
#include "dataplane/nft/nft_rules.h"

namespace npg::dataplane::nft_flows_test {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

const NftSetSpec& Set(absl::string_view name) {
  return *std::find_if(kNftSets.begin(), kNftSets.end(),
                       [&](const NftSetSpec& set) { return set.name == name; });
}

constexpr std::array<uint8_t, 16> kMapped{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 0, 0, 5};
constexpr std::array<uint8_t, 16> kIpv6{0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 5};

core::DatagramTargets Targets() {
  core::DatagramTargets targets;
  targets.addresses.emplace(kMapped, 0x8335);
  targets.addresses.emplace(kIpv6, 0x8336);
  targets.loopback4.insert(0x8337);
  return targets;
}

// Keys in hexadecimal, sorted.
std::vector<std::string> Added(absl::string_view set, const std::vector<NftElement>& present = {}) {
  std::vector<std::string> keys;
  for (const NftElement& element : CompareTargets(Set(set), present, Targets()).add) {
    EXPECT_EQ(element.timeout_ms, 0U) << "elements stay until the controller removes them";
    keys.push_back(absl::BytesToHexString(element.key));
  }
  std::sort(keys.begin(), keys.end());
  return keys;
}

// In the form that the rules load: network order, each part padded to 32 bits.
TEST(CompareTargetsTest, KeysOfEachSet) {
  EXPECT_THAT(Added("targets4"), ElementsAre("0a00000583350000"));
  EXPECT_THAT(Added("targets6"), ElementsAre("20010db800000000000000000000000583360000"));
  EXPECT_THAT(Added("targets_any4"), ElementsAre("8337"));
  EXPECT_THAT(Added("target_ports"), ElementsAre("8335", "8336", "8337"));
}

TEST(AddTargetsTest, ReadsWhatCompareTargetsAdds) {
  core::DatagramTargets targets;
  for (const NftSetSpec& set : kNftSets) {
    if (!set.dynamic()) AddTargets(set, CompareTargets(set, {}, Targets()).add, targets);
  }
  EXPECT_EQ(targets, Targets());
}

TEST(AddTargetsTest, PassesOverKeysThatAreTooShort) {
  core::DatagramTargets targets;
  AddTargets(Set("targets4"), {{absl::HexStringToBytes("0a000005"), 0, 0}}, targets);
  AddTargets(Set("targets_any4"), {{"", 0, 0}}, targets);
  EXPECT_TRUE(targets.empty());
}

TEST(CompareTargetsTest, OnlyTheDifference) {
  const std::string there = absl::HexStringToBytes("8335");
  const std::string stale = absl::HexStringToBytes("0035");
  const std::vector<NftElement> present = {{there, 0, 0}, {stale, 0, 0}};
  EXPECT_THAT(Added("target_ports", present), ElementsAre("8336", "8337"));
  EXPECT_THAT(CompareTargets(Set("target_ports"), present, Targets()).remove, ElementsAre(stale));
  const NftSetChange all = CompareTargets(Set("target_ports"), present, {});
  EXPECT_THAT(all.add, IsEmpty());
  EXPECT_THAT(all.remove, ElementsAre(there, stale));
}

core::Flow TcpFlow() {
  core::Flow flow;
  flow.protocol = IPPROTO_TCP;
  flow.client_address = flow.server_address = kMapped;
  flow.client_port = 40000;
  flow.server_port = 30000;
  return flow;
}

NftElement Element(const std::string& key, absl::Duration expires) {
  return {key, static_cast<uint64_t>(absl::ToInt64Milliseconds(kTcpTimeout)),
          static_cast<uint64_t>(absl::ToInt64Milliseconds(expires))};
}

TEST(CompareFlowsTest, EntersTheRepliesOnly) {
  const NftSetChange change = CompareFlows(Set("tcp4"), 10, {}, {TcpFlow()}, {});
  ASSERT_EQ(change.add.size(), 1U);
  EXPECT_EQ(change.add[0].key, FlowKeys(TcpFlow())[1]);
  EXPECT_THAT(change.remove, IsEmpty());
}

TEST(CompareFlowsTest, KeepsBothDirectionsOfAnEarlierBuildWhileTheConnectionLives) {
  const auto [sent, reply] = FlowKeys(TcpFlow());
  const std::vector<NftElement> both = {Element(sent, absl::Hours(1)),
                                        Element(reply, absl::Hours(1))};
  NftSetChange change = CompareFlows(Set("tcp4"), 10, both, {TcpFlow()}, {});
  EXPECT_THAT(change.add, IsEmpty());
  EXPECT_THAT(change.remove, IsEmpty());
  change = CompareFlows(Set("tcp4"), 10, both, {}, {});
  EXPECT_THAT(change.remove, ElementsAre(sent, reply));
}

TEST(CompareFlowsTest, KeepsWhatExpiresSoonAndWhatIsYoung) {
  const std::string reply = FlowKeys(TcpFlow())[1];
  for (const absl::Duration expires :
       {kClosedTimeout, kForgottenTimeout, kTcpTimeout - kYoung / 2}) {
    EXPECT_THAT(CompareFlows(Set("tcp4"), 10, {Element(reply, expires)}, {}, {}).remove, IsEmpty())
        << expires;
  }
}

TEST(CompareFlowsTest, CountsWhatDoesNotFit) {
  const NftSetChange change = CompareFlows(
      Set("tcp4"), 1, {Element(std::string(16, 'x'), kClosedTimeout)}, {TcpFlow()}, {});
  EXPECT_EQ(change.no_room, 1U);
  EXPECT_THAT(change.add, IsEmpty());
}

}  // namespace
}  // namespace npg::dataplane::nft_flows_test
