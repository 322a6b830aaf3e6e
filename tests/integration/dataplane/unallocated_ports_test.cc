// SPDX-License-Identifier: Apache-2.0
// The bitmap that spares the programs a lookup in nodeports never hides a NodePort.
#include <gtest/gtest.h>
#include <netinet/in.h>

#include <cstdint>
#include <memory>
#include <optional>

#include "absl/status/statusor.h"
#include "base/unique_fd.h"
#include "core/desired_state.h"
#include "core/port.h"
#include "dataplane/bpf/bpf_guard.h"
#include "dataplane/bpf/pinned_map.h"
#include "guard_abi.h"
#include "integration/dataplane/dataplane_fixture.h"
#include "testing/status_asserts.h"

namespace npg::dataplane::unallocated_ports_test {
namespace {

class UnallocatedPortsTest : public DataplaneTest {
 protected:
  // True when the programs do not look for the port in nodeports.
  bool Unallocated(uint16_t port) const {
    const absl::StatusOr<base::UniqueFd> map = OpenPin(pins_.Map("unallocated"));
    EXPECT_TRUE(map.ok()) << map.status();
    if (!map.ok()) return false;
    const auto word = LookupElement<uint32_t, uint64_t>(map->get(), "unallocated", port / 64U);
    EXPECT_TRUE(word.ok() && word->has_value());
    return word.ok() && (word->value_or(0) >> (port % 64U) & 1U) != 0;
  }

  // Whether a connect to the port, on which a socket listens, is exempted.
  bool Exempts(uint16_t port) const {
    const base::UniqueFd listener = Listen(port);
    EXPECT_TRUE(listener);
    const absl::StatusOr<uint64_t> before = Exempted();
    Connect(port);
    const absl::StatusOr<uint64_t> after = Exempted();
    EXPECT_TRUE(before.ok() && after.ok());
    return before.ok() && after.ok() && *after == *before + 1;
  }
};

TEST_F(UnallocatedPortsTest, FollowsTheEntries) {
  NPG_ASSERT_OK_AND_ASSIGN(const std::unique_ptr<BpfGuard> guard, Guard({kPort}));
  EXPECT_FALSE(Unallocated(kPort));
  EXPECT_TRUE(Unallocated(kPort + 1));
  EXPECT_TRUE(Unallocated(0));
  EXPECT_TRUE(Unallocated(65535));
  EXPECT_TRUE(Exempts(kPort));
  EXPECT_FALSE(Exempts(kPort + 1));

  NPG_ASSERT_OK(guard->ApplyNodePorts(Ports({kPort + 1})));
  EXPECT_TRUE(Exempts(kPort + 1));
  core::Difference gone;
  gone.remove = {{kPort, core::Protocol::kUdp}};
  NPG_ASSERT_OK(guard->ApplyNodePorts(gone));
  EXPECT_TRUE(Unallocated(kPort));
  EXPECT_FALSE(Exempts(kPort));
  EXPECT_TRUE(Exempts(kPort + 1));
  NPG_ASSERT_OK(guard->ApplyNodePorts(Ports({kPort})));
  EXPECT_TRUE(Exempts(kPort));
}

TEST_F(UnallocatedPortsTest, KeepsAPortThatTheOtherProtocolHas) {
  NPG_ASSERT_OK_AND_ASSIGN(const std::unique_ptr<BpfGuard> guard, Guard({kPort}));
  core::Difference tcp = Ports({kPort});
  tcp.put.front().first.protocol = core::Protocol::kTcp;
  NPG_ASSERT_OK(guard->ApplyNodePorts(tcp));
  core::Difference gone;
  gone.remove = {{kPort, core::Protocol::kTcp}};
  NPG_ASSERT_OK(guard->ApplyNodePorts(gone));
  EXPECT_FALSE(Unallocated(kPort));
  EXPECT_TRUE(Exempts(kPort));
  gone.remove = {{kPort, core::Protocol::kUdp}};
  NPG_ASSERT_OK(guard->ApplyNodePorts(gone));
  EXPECT_TRUE(Unallocated(kPort));
}

// Of a controller that does not know the bitmap, and left the programs of this one in place.
TEST_F(UnallocatedPortsTest, AStartFindsTheEntriesOfAnEarlierVersion) {
  NPG_ASSERT_OK(Guard({kPort}).status());
  NPG_ASSERT_OK_AND_ASSIGN(const base::UniqueFd nodeports, OpenPin(pins_.Map("nodeports")));
  npg_nodeport value{};
  value.sources = NPG_SOURCE_FILE;
  NPG_ASSERT_OK(
      PutElement(nodeports.get(), "nodeports", npg_port_key{kPort + 1, IPPROTO_UDP, 0}, value));
  EXPECT_TRUE(Unallocated(kPort + 1));
  EXPECT_FALSE(Exempts(kPort + 1));

  NPG_ASSERT_OK_AND_ASSIGN(const std::unique_ptr<BpfGuard> guard, Guard({kPort}));
  EXPECT_FALSE(Unallocated(kPort + 1));
  EXPECT_TRUE(Exempts(kPort + 1));
  EXPECT_TRUE(Exempts(kPort));
}

}  // namespace
}  // namespace npg::dataplane::unallocated_ports_test
