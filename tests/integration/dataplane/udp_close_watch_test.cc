// SPDX-License-Identifier: Apache-2.0
#include "node/udp_close_watch.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>

#include <algorithm>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/container/btree_set.h"
#include "base/event_loop.h"
#include "base/unique_fd.h"
#include "integration/dataplane/nft_fixture.h"
#include "testing/run_loop.h"
#include "testing/status_asserts.h"
#include "testing/transport.h"

namespace npg::node::udp_close_watch_test {
namespace {

using ::testing::Each;
using ::testing::UnorderedElementsAre;

class UdpCloseWatchTest : public dataplane::NftTest {
 protected:
  void SetUp() override {
    ASSERT_NO_FATAL_FAILURE(NftTest::SetUp());
    NPG_ASSERT_OK_AND_ASSIGN(loop_, base::EventLoop::Create());
    NPG_ASSERT_OK_AND_ASSIGN(watch_, UdpCloseWatch::Start(*loop_, [this](uint16_t port) {
                               reports_.push_back(port);
                               if (AllReported()) loop_->Stop();
                             }));
  }

  static void BindAndClose(uint16_t port, const std::string& address = "127.0.0.1") {
    const auto fd = Listening(address, port, testing::Transport::kUdp);
    NPG_EXPECT_OK(fd);
  }

  // The ports that are reported until all of `awaited` have been, since the last call.
  std::vector<uint16_t> ReportsUntil(const std::vector<uint16_t>& awaited) {
    reports_.clear();
    awaited_ = awaited;
    NPG_EXPECT_OK(testing::RunLoop(*loop_)) << "a port was not reported";
    return reports_;
  }

  UdpCloseWatch& watch() { return *watch_; }

 private:
  bool AllReported() const {
    return std::all_of(awaited_.begin(), awaited_.end(), [this](uint16_t port) {
      return std::find(reports_.begin(), reports_.end(), port) != reports_.end();
    });
  }

  std::unique_ptr<base::EventLoop> loop_;
  std::unique_ptr<UdpCloseWatch> watch_;
  std::vector<uint16_t> awaited_;
  std::vector<uint16_t> reports_;
};

TEST_F(UdpCloseWatchTest, ReportsEveryBoundSocketWithoutALimit) {
  {
    const base::UniqueFd never_bound(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    ASSERT_TRUE(never_bound);
  }
  BindAndClose(kPort);
  BindAndClose(kOtherPort, "::1");
  EXPECT_THAT(ReportsUntil({kPort, kOtherPort}), UnorderedElementsAre(kPort, kOtherPort));
}

// The kernel reports closes from a work queue: those of an earlier step may come late, so the tests
// below expect ports, not numbers of reports.
TEST_F(UdpCloseWatchTest, LimitsReportsToTheGivenPorts) {
  const auto close_many = [](uint16_t port) {
    for (int i = 0; i < 20; ++i) {
      BindAndClose(port);
      BindAndClose(port, "::1");
    }
  };
  watch().Limit({kPort});
  close_many(kOtherPort);
  for (const char* address : {"127.0.0.1", "::1"}) {
    BindAndClose(kPort, address);
    EXPECT_THAT(ReportsUntil({kPort}), Each(kPort)) << address;
  }
  // The other way round.
  watch().Limit({kOtherPort});
  close_many(kPort);
  BindAndClose(kOtherPort);
  EXPECT_THAT(ReportsUntil({kOtherPort}), Each(kOtherPort));

  watch().Limit({kPort, kOtherPort});
  BindAndClose(kPort);
  BindAndClose(kOtherPort);
  ReportsUntil({kPort, kOtherPort});
}

TEST_F(UdpCloseWatchTest, LimitsToManyPorts) {
  constexpr uint16_t kFirst = 20000;
  constexpr uint16_t kLast = kFirst + UdpCloseWatch::kMaxPorts - 1;
  absl::btree_set<uint16_t> ports;
  for (uint16_t port = kFirst; port <= kLast; ++port) ports.insert(port);
  watch().Limit(ports);
  const std::vector<uint16_t> watched = {kFirst,       kFirst + 1,   kFirst + 199, kFirst + 200,
                                         kFirst + 201, kFirst + 399, kFirst + 400, kLast};
  for (const uint16_t other : {uint16_t{kFirst - 1}, uint16_t{kLast + 1}, kPort}) {
    BindAndClose(other);
  }
  for (const uint16_t port : watched) BindAndClose(port);
  EXPECT_THAT(ReportsUntil(watched),
              Each(::testing::AllOf(::testing::Ge(kFirst), ::testing::Le(kLast))));

  // Too many for a filter: none is lost.
  ports.insert(uint16_t{kLast + 1});
  watch().Limit(ports);
  BindAndClose(kFirst);
  BindAndClose(kPort);
  ReportsUntil({kFirst, kPort});
}

}  // namespace
}  // namespace npg::node::udp_close_watch_test
