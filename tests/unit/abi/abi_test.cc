// SPDX-License-Identifier: Apache-2.0

#include <netinet/in.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <set>
#include <string>

#include "abi/guard_abi_text.h"
#include "absl/strings/ascii.h"
#include "absl/strings/string_view.h"
#include "gtest/gtest.h"
#include "guard_abi.h"

// (The layout itself is asserted where guard_abi_text.cc is compiled.)

namespace npg::abi::abi_test {
namespace {

// A name is a label of metrics and a key in JSON; a meaning is a clause.
void ExpectNameAndMeaning(absl::string_view name, absl::string_view meaning,
                          std::set<std::string>& names) {
  EXPECT_NE(name, "unknown");
  EXPECT_EQ(name.find_first_not_of("abcdefghijklmnopqrstuvwxyz_0123456789"),
            absl::string_view::npos)
      << name;
  EXPECT_TRUE(names.emplace(name).second) << name << " is used twice";
  EXPECT_GE(meaning.size(), 10U) << name;
  EXPECT_FALSE(absl::ascii_isupper(static_cast<unsigned char>(meaning.front())) &&
               absl::ascii_islower(static_cast<unsigned char>(meaning[1])))
      << meaning;
  EXPECT_NE(meaning.back(), '.') << meaning;
}

TEST(AbiText, EveryCounterHasANameOfItsOwn) {
  std::set<std::string> names;
  for (int i = 0; i < NPG_COUNTER_MAX; ++i) {
    const auto counter = static_cast<npg_counter>(i);
    ExpectNameAndMeaning(CounterName(counter), CounterMeaning(counter), names);
  }
  EXPECT_EQ(CounterName(NPG_COUNTER_MAX), "unknown");
}

// Scripts and dashboards read these.
TEST(AbiText, CounterNamesAreAContract) {
  EXPECT_EQ(CounterName(NPG_COUNTER_EXEMPTED), "exempted");
  EXPECT_EQ(CounterName(NPG_COUNTER_FOREIGN_NETNS), "foreign_netns");
  EXPECT_EQ(CounterName(NPG_COUNTER_NO_LISTENER), "no_listener");
  EXPECT_EQ(CounterName(NPG_COUNTER_IGNORED_OWNER), "ignored_owner");
  EXPECT_EQ(CounterName(NPG_COUNTER_OBSERVED), "observed");
  EXPECT_EQ(CounterName(NPG_COUNTER_MARK_FAILED), "mark_failed");
  EXPECT_EQ(CounterName(NPG_COUNTER_EVENTS_SUPPRESSED), "events_suppressed");
  EXPECT_EQ(CounterName(NPG_COUNTER_EVENTS_LOST), "events_lost");
  EXPECT_EQ(CounterName(NPG_COUNTER_RULES_RESTORED), "rules_restored");
}

TEST(AbiText, SourcesOwnersAndModes) {
  std::set<std::string> names;
  for (const uint32_t source : {NPG_SOURCE_KUBERNETES, NPG_SOURCE_NETFILTER, NPG_SOURCE_FILE}) {
    ExpectNameAndMeaning(SourceName(source), SourceMeaning(source), names);
  }
  for (const uint32_t verdict : {NPG_OWNER_GUARDED, NPG_OWNER_IGNORED}) {
    ExpectNameAndMeaning(OwnerVerdictName(verdict), OwnerVerdictMeaning(verdict), names);
  }
  for (const uint32_t mode : {NPG_MODE_ENFORCE, NPG_MODE_OBSERVE}) {
    ExpectNameAndMeaning(ModeName(mode), ModeMeaning(mode), names);
  }
}

TEST(AbiText, EverySourceErrorHasANameOfItsOwn) {
  std::set<std::string> names;
  for (int i = 0; i < NPG_SOURCE_ERROR_MAX; ++i) {
    const auto error = static_cast<npg_source_error>(i);
    ExpectNameAndMeaning(SourceErrorName(error), SourceErrorMeaning(error), names);
  }
  EXPECT_EQ(SourceErrorName(NPG_SOURCE_ERROR_MAX), "unknown");
}

TEST(AbiText, SourceErrorNamesAreAContract) {
  const std::array<const char*, NPG_SOURCE_ERROR_MAX> names = {
      "connect", "tls",  "unauthorized", "forbidden", "throttled", "expired",
      "server",  "http", "decode",       "stalled",   "cut",       "read"};
  for (size_t i = 0; i < names.size(); ++i) {
    EXPECT_EQ(SourceErrorName(static_cast<npg_source_error>(i)), names.at(i));
  }
}

TEST(AbiText, SourcesText) {
  EXPECT_EQ(SourcesText(0), "");
  EXPECT_EQ(SourcesText(NPG_SOURCE_KUBERNETES), "kubernetes");
  EXPECT_EQ(SourcesText(NPG_SOURCE_FILE | NPG_SOURCE_KUBERNETES), "kubernetes,file");
  EXPECT_EQ(SourcesText(7), "kubernetes,netfilter,file");
}

// A newer build may have written what this one does not know.
TEST(AbiText, ValuesOfANewerBuildAreUnknown) {
  EXPECT_EQ(SourceName(0), "unknown");
  EXPECT_EQ(SourceName(3), "unknown");
  EXPECT_EQ(OwnerVerdictName(2), "unknown");
  EXPECT_EQ(OwnerVerdictName(UINT32_MAX), "unknown");
  EXPECT_EQ(ModeName(2), "unknown");
  EXPECT_EQ(SourcesText(NPG_SOURCE_FILE | 0x80000000), "file,unknown");
}

TEST(AbiText, FieldsEndAtTheirFirstNulOrAtTheirEnd) {
  npg_listener listener{};
  EXPECT_EQ(FieldText(listener.comm), "");
  std::memcpy(listener.comm, "containerd\0junk", 15);
  EXPECT_EQ(FieldText(listener.comm), "containerd");
  std::memset(listener.comm, 'x', sizeof(listener.comm));
  EXPECT_EQ(FieldText(listener.comm), std::string(NPG_COMM_LEN, 'x'));
}

template <typename T>
class AbiEquality : public ::testing::Test {};

using Structs = ::testing::Types<npg_port_key, npg_nodeport, npg_listener_key, npg_listener,
                                 npg_policy_key, npg_policy, npg_port_stats, npg_event, npg_config,
                                 npg_source_key, npg_source_state>;
TYPED_TEST_SUITE(AbiEquality, Structs);

// Every byte counts, as it does to the kernel.
TYPED_TEST(AbiEquality, SeesEveryByte) {
  const TypeParam zero{};
  EXPECT_TRUE(zero == TypeParam{});
  for (size_t i = 0; i < sizeof(TypeParam); ++i) {
    std::array<uint8_t, sizeof(TypeParam)> bytes{};
    bytes.at(i) = 1;
    TypeParam other{};
    std::memcpy(&other, bytes.data(), bytes.size());
    EXPECT_FALSE(zero == other) << "byte " << i;
  }
}

// "63 characters / 63 characters" and the NUL: the longest Service fits.
TEST(Abi, LongestServiceNameFits) { EXPECT_EQ(NPG_SERVICE_LEN, 63 + 1 + 63 + 1); }

}  // namespace
}  // namespace npg::abi::abi_test
