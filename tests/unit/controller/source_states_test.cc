// SPDX-License-Identifier: Apache-2.0
#include <cstdint>
#include <string>

#include "abi/guard_abi_text.h"
#include "absl/time/time.h"
#include "controller/source_states.h"
#include "gtest/gtest.h"
#include "guard_abi.h"
#include "sources/source.h"

namespace npg::controller::source_states_test {
namespace {

using abi::FieldText;

TEST(SourceStateToAbi, EveryFieldHasItsPlace) {
  sources::SourceState state;
  state.connected = true;
  state.since = absl::FromUnixSeconds(100) + absl::Milliseconds(999);
  state.last_event = absl::FromUnixSeconds(200);
  state.last_reading = absl::FromUnixSeconds(300);
  state.services = 1;
  state.ports = 2;
  state.health_check_ports = 3;
  state.skipped = 4;
  for (size_t i = 0; i < state.errors.size(); ++i) state.errors.at(i) = 10 + i;
  state.resource_version = "81234567";
  state.last_error = "cut";
  state.detail = "https://10.96.0.1:443, watch";
  const npg_source_state abi = ToAbi(state);
  EXPECT_EQ(abi.connected, 1U);
  EXPECT_EQ(abi.since, 100U);
  EXPECT_EQ(abi.last_event, 200U);
  EXPECT_EQ(abi.last_reading, 300U);
  EXPECT_EQ(abi.services, 1U);
  EXPECT_EQ(abi.ports, 2U);
  EXPECT_EQ(abi.health_check_ports, 3U);
  EXPECT_EQ(abi.skipped, 4U);
  EXPECT_EQ(abi.errors[NPG_SOURCE_ERROR_CONNECT], 10U);
  EXPECT_EQ(abi.errors[NPG_SOURCE_ERROR_READ], 10U + NPG_SOURCE_ERROR_READ);
  EXPECT_EQ(FieldText(abi.resource_version), "81234567");
  EXPECT_EQ(FieldText(abi.last_error), "cut");
  EXPECT_EQ(FieldText(abi.detail), "https://10.96.0.1:443, watch");
}

TEST(SourceStateToAbi, NeverIsZero) {
  EXPECT_TRUE(ToAbi({}) == npg_source_state{});
  sources::SourceState state;
  state.since = absl::InfinitePast();
  state.last_event = absl::FromUnixSeconds(-5);
  EXPECT_EQ(ToAbi(state).since, 0U);
  EXPECT_EQ(ToAbi(state).last_event, 0U);
}

TEST(SourceStateToAbi, WhatIsTooLongIsCutAndEnded) {
  sources::SourceState state;
  state.ports = SIZE_MAX;
  state.resource_version = std::string(1000, 'v');
  state.last_error = std::string(1000, 'e');
  state.detail = std::string(1000, 'd');
  const npg_source_state abi = ToAbi(state);
  EXPECT_EQ(abi.ports, UINT32_MAX);
  EXPECT_EQ(FieldText(abi.resource_version), std::string(NPG_RESOURCE_VERSION_LEN - 1, 'v'));
  EXPECT_EQ(FieldText(abi.last_error), std::string(NPG_ERROR_LEN - 1, 'e'));
  EXPECT_EQ(FieldText(abi.detail), std::string(NPG_DETAIL_LEN - 1, 'd'));
}

}  // namespace
}  // namespace npg::controller::source_states_test
