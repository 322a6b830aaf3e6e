// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_TESTS_INTEGRATION_DATAPLANE_NFT_FIXTURE_H_
#define NODEPORT_GUARD_TESTS_INTEGRATION_DATAPLANE_NFT_FIXTURE_H_

#include <gtest/gtest.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/unique_fd.h"
#include "core/flow.h"
#include "dataplane/nft/nft_install.h"
#include "dataplane/nft/nft_snapshot.h"
#include "dataplane/nft/nft_table.h"
#include "testing/client.h"
#include "testing/net_namespace.h"

namespace npg::dataplane {

// Both ends of a connection, in this process.
struct Pair {
  base::UniqueFd client;
  base::UniqueFd server;
  core::Flow flow;
};

// The nft table in the test's own network namespace, without the connect program: a
// marked client is a socket that sets SO_MARK itself.
class NftTest : public ::testing::Test {
 protected:
  static constexpr uint32_t kMark = 0x1000;
  static constexpr uint16_t kPort = 31589;
  static constexpr uint16_t kOtherPort = 31590;

  void SetUp() override;
  void TearDown() override;

  // True on kernels that have NFT_TABLE_F_PERSIST (6.9).
  static bool KernelProtects();

  // Settings without an owner, so that other processes and the test can change the entries.
  static NftSettings Unprotected();

  static NftTableState State();
  // With the blocks of the settings, or else with either of those that an installation chooses.
  static bool Intact(NftSettings settings, bool owned);

  // The time until the entries of both directions expire; zero without an entry.
  struct Expiry {
    absl::Duration as_sent, reversed;
  };
  static Expiry FlowExpiry(const core::Flow& flow);
  // The same in the sets of half-closed connections.
  static Expiry HalfClosedExpiry(const core::Flow& flow);
  static size_t EntryCount(const std::string& set);

  // Sets the time until the entries of both directions of a flow expire, as if they had been
  // refreshed at another time. Adds them where they are missing: an earlier build had both of TCP.
  // The table must not be owned.
  static absl::Status SetFlowExpiry(const core::Flow& flow, absl::Duration expires);

  // A listening TCP socket on `address`, or a bound UDP one.
  static absl::StatusOr<base::UniqueFd> Listening(const std::string& address, uint16_t port,
                                                  testing::Transport transport);

  // Connects from `dial` to `listener` (made by Listening()).
  static absl::StatusOr<Pair> Connected(const testing::Dial& dial, int listener);

  // Sends a few bytes and receives them at the other end.
  static absl::Status Send(int from, int to);

  // The entries of conntrack whose first packet had this source port.
  static std::string Tracked(uint16_t source_port);

  // Closes the socket with a RST to the other end.
  static void Reset(base::UniqueFd& fd);

 private:
  std::optional<testing::NetNamespace> home_;
  std::optional<testing::NetNamespace> own_;
};

}  // namespace npg::dataplane

#endif  // NODEPORT_GUARD_TESTS_INTEGRATION_DATAPLANE_NFT_FIXTURE_H_
