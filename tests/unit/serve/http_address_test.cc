// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/port_ranges.h"
#include "serve/http_address.h"
#include "testing/status_asserts.h"

namespace npg::serve::http_address_test {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

TEST(HttpAddressTest, ParsesItsOwnOutput) {
  for (const std::string text : {"127.0.0.1:9829", "0.0.0.0:1", "[::1]:65535", "[::]:80",
                                 "[fe80::1]:9829", "10.0.0.5:9829"}) {
    NPG_ASSERT_OK_AND_ASSIGN(const HttpAddress address, ParseHttpAddress(text));
    EXPECT_EQ(ToString(address), text);
  }
}

TEST(HttpAddressTest, TakesBracketsAroundEither) {
  NPG_ASSERT_OK_AND_ASSIGN(const HttpAddress address, ParseHttpAddress("[10.0.0.5]:9829"));
  EXPECT_EQ(ToString(address), "10.0.0.5:9829");
}

TEST(HttpAddressTest, RefusesInvalidAddresses) {
  struct Case {
    const char* text;
    const char* why;
  };
  for (const Case& refused : {Case{"", "has no port"},
                              {"9829", "has no port"},
                              {"127.0.0.1", "has no port"},
                              {":9829", "names no address"},
                              {"[]:9829", "names no address"},
                              {"localhost:9829", "host names are not looked up"},
                              {"node-1.example:9829", "host names are not looked up"},
                              {"127.1:9829", "host names are not looked up"},
                              {"0x7f000001:9829", "host names are not looked up"},
                              {" 127.0.0.1:9829", "host names are not looked up"},
                              {"::1:9829", "without brackets"},
                              {"[::1]", "has no port"},
                              {"[::1]9829", "has no port"},
                              {"[127.1]:9829", "no IP address"},
                              {"[127.0.0.1:9829", "has no port"},
                              {"[127.0.0.1]:", "no port from 1 to 65535"},
                              {"[fe80::1%eth0]:9829", "no IP address"},
                              {"127.0.0.1:0", "port 0"},
                              {"127.0.0.1:", "no port from 1 to 65535"},
                              {"127.0.0.1:65536", "no port from 1 to 65535"},
                              {"127.0.0.1:+80", "no port from 1 to 65535"},
                              {"127.0.0.1:80 ", "no port from 1 to 65535"},
                              {"127.0.0.1:00080000", "no port from 1 to 65535"},
                              {"127.0.0.1:http", "no port from 1 to 65535"},
                              {"http://127.0.0.1:80", "host names are not looked up"}}) {
    const absl::StatusOr<HttpAddress> address = ParseHttpAddress(refused.text);
    ASSERT_FALSE(address.ok()) << refused.text;
    EXPECT_THAT(std::string(address.status().message()), HasSubstr(refused.why)) << refused.text;
  }
}

TEST(HttpAddressTest, KnowsLoopback) {
  for (const char* text : {"127.0.0.1:1", "127.9.9.9:1", "[::1]:1", "[::ffff:127.0.0.1]:1"}) {
    EXPECT_TRUE(IsLoopback(*ParseHttpAddress(text))) << text;
  }
  for (const char* text : {"0.0.0.0:1", "[::]:1", "10.127.0.1:1", "[::ffff:10.0.0.1]:1"}) {
    EXPECT_FALSE(IsLoopback(*ParseHttpAddress(text))) << text;
  }
}

TEST(HttpAddressTest, WarnsOfReachableAddressesAndContestedPorts) {
  const auto warnings = [](const char* text, const std::optional<core::PortRange>& local,
                           const core::PortRanges& reserved = {}) {
    return AddressWarnings(*ParseHttpAddress(text), local, reserved);
  };
  constexpr core::PortRange kLocal = {32768, 60999};
  EXPECT_THAT(warnings("127.0.0.1:9829", kLocal), IsEmpty());
  EXPECT_THAT(warnings("127.0.0.1:29999", kLocal), IsEmpty());
  EXPECT_THAT(warnings("127.0.0.1:61000", kLocal), IsEmpty());
  EXPECT_THAT(warnings("127.0.0.1:30000", kLocal),
              ElementsAre(HasSubstr("port 30000 is in 30000-32767, from which Services")));
  EXPECT_THAT(warnings("[::1]:60999", kLocal),
              ElementsAre(HasSubstr("60999 is in 32768-60999, which the kernel gives")));
  EXPECT_THAT(warnings("0.0.0.0:9829", kLocal),
              ElementsAre(HasSubstr("0.0.0.0:9829: every client that can reach it can list")));
  EXPECT_THAT(
      warnings("0.0.0.0:32000", core::PortRange{1024, 65535}),
      ElementsAre(HasSubstr("every client"), HasSubstr("30000-32767"), HasSubstr("1024-65535")));
  EXPECT_THAT(warnings("127.0.0.1:40000", std::nullopt), IsEmpty());
}

TEST(HttpAddressTest, AReservedPortMayStillBeANodePort) {
  const auto warnings = [](uint16_t port) {
    HttpAddress address = *ParseHttpAddress("127.0.0.1:1");
    address.port = port;
    return AddressWarnings(address, core::PortRange{1024, 65535}, {{9829, 9829}, {32000, 33000}});
  };
  EXPECT_THAT(warnings(9829), IsEmpty());
  EXPECT_THAT(warnings(33000), IsEmpty());
  EXPECT_THAT(warnings(9830), ElementsAre(HasSubstr("1024-65535")));
  EXPECT_THAT(warnings(32000), ElementsAre(HasSubstr("30000-32767")));
}

}  // namespace
}  // namespace npg::serve::http_address_test
