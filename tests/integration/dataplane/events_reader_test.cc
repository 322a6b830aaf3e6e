// SPDX-License-Identifier: Apache-2.0
// Readers of the ring buffer of connects.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdint>
#include <memory>
#include <numeric>
#include <vector>

#include "abi/entries.h"
#include "base/unique_fd.h"
#include "core/port.h"
#include "dataplane/bpf/bpf_guard.h"
#include "dataplane/bpf/events_reader.h"
#include "guard_abi.h"
#include "integration/dataplane/dataplane_fixture.h"
#include "testing/status_asserts.h"

namespace npg::dataplane::events_reader_test {
namespace {

using ::testing::IsEmpty;

TEST_F(DataplaneTest, EachReaderReceivesAllEvents) {
  NPG_ASSERT_OK_AND_ASSIGN(const std::unique_ptr<BpfGuard> guard, Guard());
  const base::UniqueFd listener = Listen(kPort);
  NPG_ASSERT_OK_AND_ASSIGN(const auto first, EventsReader::Open(pins_));
  NPG_ASSERT_OK_AND_ASSIGN(const auto second, EventsReader::Open(pins_));
  for (int i = 0; i < 3; ++i) Connect(kPort);
  uint64_t lost = 0;
  for (EventsReader* reader : {first.get(), second.get()}) {
    const std::vector<abi::Event> events = reader->Drain(&lost);
    ASSERT_EQ(events.size(), 3);
    EXPECT_EQ(events[0].port, (core::PortKey{kPort, core::Protocol::kUdp}));
    EXPECT_EQ(events[0].pid, static_cast<uint32_t>(getpid()));
    EXPECT_THAT(reader->Drain(&lost), IsEmpty());
  }
  EXPECT_EQ(lost, 0);
}

TEST_F(DataplaneTest, ASlowReaderCountsLostEvents) {
  constexpr uint16_t kFirst = 20000;
  constexpr int kPorts = 600;
  std::vector<uint16_t> ports(kPorts);
  std::iota(ports.begin(), ports.end(), kFirst);
  NPG_ASSERT_OK_AND_ASSIGN(const std::unique_ptr<BpfGuard> guard, Guard(ports));
  std::vector<base::UniqueFd> listeners;
  for (const uint16_t port : ports) {
    listeners.push_back(Listen(port));
    ASSERT_TRUE(listeners.back());
  }
  NPG_ASSERT_OK_AND_ASSIGN(const auto slow, EventsReader::Open(pins_));
  NPG_ASSERT_OK_AND_ASSIGN(const auto quick, EventsReader::Open(pins_));
  uint64_t read = 0;
  uint64_t lost_by_quick = 0;
  for (int round = 0; round < NPG_EVENTS_PER_SECOND; ++round) {
    for (const uint16_t port : ports) Connect(port);
    read += quick->Drain(&lost_by_quick).size();
  }
  EXPECT_EQ(lost_by_quick, 0);
  ASSERT_GE(read, uint64_t{NPG_EVENTS_BYTES} / sizeof(npg_event)) << "the buffer never filled";
  uint64_t lost = 0;
  EXPECT_THAT(slow->Drain(&lost), IsEmpty());
  EXPECT_EQ(lost, read);
}

}  // namespace
}  // namespace npg::dataplane::events_reader_test
