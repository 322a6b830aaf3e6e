// SPDX-License-Identifier: Apache-2.0
// Many short connections: the sets of flows have room for a high rate, and what ends leaves them.
#include <gtest/gtest.h>
#include <linux/netlink.h>
#include <poll.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "base/errno_status.h"
#include "base/netlink_socket.h"
#include "base/unique_fd.h"
#include "dataplane/nft/nft_batch.h"
#include "dataplane/nft/nft_elements.h"
#include "dataplane/nft/nft_install.h"
#include "dataplane/nft/nft_rules.h"
#include "dataplane/nft/nft_table.h"
#include "integration/dataplane/nft_fixture.h"
#include "testing/client.h"
#include "testing/connection_burst.h"
#include "testing/status_asserts.h"
#include "testing/transport.h"
#include "testing/wait_until.h"

namespace npg::dataplane::nft_burst_test {
namespace {

using testing::Transport;

class NftBurstTest : public NftTest {};

TEST_F(NftBurstTest, NoneOfManyConnectionsIsLostOrHijacked) {
  // Sets of 65,536 elements would be full long before the first of them expire.
  constexpr size_t kTuples = 120'000;
  testing::ConnectionBurst burst;
  burst.threads = {{31601, 34601}, {31602, 34602}, {31603, 34603}, {31604, 34604}};
  burst.mark = kMark;
  burst.each = kTuples / burst.threads.size();
  NPG_ASSERT_OK(testing::PrepareBurst(burst));
  NPG_ASSERT_OK_AND_ASSIGN(const auto table, NftTable::Install({}));
  NPG_ASSERT_OK_AND_ASSIGN(const auto result, testing::RunBurst(burst));
  EXPECT_EQ(result.failed, 0U) << result.failure;
  EXPECT_EQ(result.hijacked, 0U);
  EXPECT_EQ(result.connections, kTuples);
  EXPECT_GE(result.tuples, 100'000U);

  // The rules do hijack: connections without the mark.
  burst.mark = 0;
  burst.each = 1;
  NPG_ASSERT_OK_AND_ASSIGN(const auto unmarked, testing::RunBurst(burst));
  EXPECT_EQ(unmarked.hijacked, burst.threads.size()) << unmarked.failure;
}

// Sets that are so small that they are full at once if only one element in each round stayed.
class NftAgeingTest : public NftTest {
 protected:
  static constexpr uint32_t kSize = 16;
  static constexpr uint16_t kFirstClient = 30200;  // as many client ports follow

  void SetUp() override {
    ASSERT_NO_FATAL_FAILURE(NftTest::SetUp());
    NftSettings settings = Unprotected();
    settings.set_size = kSize;
    NPG_ASSERT_OK_AND_ASSIGN(table_, InstallNftTable(settings));
    NPG_ASSERT_OK_AND_ASSIGN(listener_, Listening("127.0.0.1", kPort, Transport::kTcp));
  }

  absl::StatusOr<Pair> Open(uint16_t client_port) {
    testing::Dial dial{"127.0.0.1", kPort};
    dial.mark = kMark;
    dial.source = "127.0.0.1";
    dial.source_port = client_port;
    return Connected(dial, listener_.get());
  }

  // A connection in which the server sends the first FIN. The RST leaves no TIME_WAIT, so that the
  // next one can have the same tuple.
  absl::Status OpenAndClose(uint16_t client_port) {
    auto pair = Open(client_port);
    if (!pair.ok()) return pair.status();
    if (shutdown(pair->server.get(), SHUT_WR) != 0) return base::ErrnoStatus(errno, "shutdown");
    char byte = 0;
    if (recv(pair->client.get(), &byte, 1, 0) != 0) return base::ErrnoStatus(errno, "receive");
    Reset(pair->client);
    return absl::OkStatus();
  }

  // Connects all client ports at once without the mark; each SYN is repeated after a second.
  absl::Status ConnectAllUnmarked() {
    const auto server = testing::MakeAddress("127.0.0.1", kPort);
    if (!server.ok()) return server.status();
    std::vector<base::UniqueFd> clients;
    for (uint16_t i = 0; i < kSize; ++i) {
      const auto source =
          testing::MakeAddress("127.0.0.1", static_cast<uint16_t>(kFirstClient + i));
      if (!source.ok()) return source.status();
      base::UniqueFd client(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
      if (!client) return base::ErrnoStatus(errno, "socket");
      if (bind(client.get(), source->get(), source->size) != 0) {
        return base::ErrnoStatus(errno, "bind");
      }
      if (connect(client.get(), server->get(), server->size) != 0 && errno != EINPROGRESS) {
        return base::ErrnoStatus(errno, "connect");
      }
      clients.push_back(std::move(client));
    }
    constexpr int kPatienceMs = 20'000;
    for (base::UniqueFd& client : clients) {
      pollfd connected{client.get(), POLLOUT, 0};
      if (poll(&connected, 1, kPatienceMs) != 1) return absl::DeadlineExceededError("connect");
      if ((connected.revents & (POLLERR | POLLHUP)) != 0) return absl::UnknownError("connect");
      const base::UniqueFd server_end(accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
      if (!server_end) return base::ErrnoStatus(errno, "accept");
      Reset(client);
    }
    return absl::OkStatus();
  }

  // Whether the set has room for as many elements as it may hold; removes them again.
  static bool HasAllRoom(absl::string_view set) {
    auto socket = base::NetlinkSocket::Open(NETLINK_NETFILTER);
    NPG_EXPECT_OK(socket);
    if (!socket.ok()) return false;
    std::vector<NftElement> elements;
    std::vector<std::string> keys;
    for (uint32_t i = 0; i < kSize; ++i) {
      keys.emplace_back(16, static_cast<char>(i + 1));  // as long as a tuple of IPv4
      elements.push_back({keys.back(), 1'000'000, 1'000'000});
    }
    NftBatch batch(*socket);
    AddElements(batch, set, elements);
    DeleteElements(batch, set, keys);
    const auto commit = batch.Commit();
    NPG_EXPECT_OK(commit);
    if (!commit.ok()) return false;
    const absl::Status status = commit->ToStatus();
    EXPECT_TRUE(status.ok() || absl::IsResourceExhausted(status)) << status;
    return status.ok();
  }

  std::unique_ptr<NftTable> table_;
  base::UniqueFd listener_;
};

// Kernels before 6.5 count what a rule has deleted as an element for ever.
TEST_F(NftAgeingTest, SetsAreEmptyAfterManyTimesTheirSize) {
  constexpr int kRounds = 20;
  for (int round = 0; round < kRounds; ++round) {
    for (uint16_t i = 0; i < kSize; ++i) {
      NPG_ASSERT_OK(OpenAndClose(static_cast<uint16_t>(kFirstClient + i)));
    }
  }
  EXPECT_GT(EntryCount("tcp4"), 0U);
  // Connects that are not exempt, on the tuples of recent exempt ones.
  NPG_ASSERT_OK(ConnectAllUnmarked());
  // The kernel frees expired elements within a second or so.
  for (const std::string set : {"tcp4", "half4"}) {
    SCOPED_TRACE(set);
    EXPECT_TRUE(testing::WaitUntil(testing::kPatience, [&] { return EntryCount(set) == 0; }));
    EXPECT_TRUE(testing::WaitUntil(testing::kPatience, [&] { return HasAllRoom(set); }));
  }
  // As many connections as a set holds, and their FINs, are entered.
  std::vector<Pair> pairs;
  for (uint16_t i = 0; i < kSize; ++i) {
    NPG_ASSERT_OK_AND_ASSIGN(Pair pair, Open(static_cast<uint16_t>(kFirstClient + kSize + i)));
    pairs.push_back(std::move(pair));
  }
  const auto all_are_entered = [&] {
    for (const Pair& pair : pairs) {
      // A packet enters its connection if the SYN could not.
      NPG_EXPECT_OK(Send(pair.client.get(), pair.server.get()));
    }
    return EntryCount("tcp4") == kSize;
  };
  EXPECT_TRUE(testing::WaitUntil(testing::kPatience, all_are_entered));
  for (const Pair& pair : pairs) ASSERT_EQ(shutdown(pair.server.get(), SHUT_WR), 0);
  EXPECT_EQ(EntryCount("half4"), kSize);
}

}  // namespace
}  // namespace npg::dataplane::nft_burst_test
