// SPDX-License-Identifier: Apache-2.0
#include "serve/http_message.h"

#include <gtest/gtest.h>

namespace npg::serve::http_message_test {
namespace {

TEST(HttpMessageTest, TextIsALine) {
  const HttpResponse response = TextResponse(404, "nothing here");
  EXPECT_EQ(response.status, 404);
  EXPECT_EQ(response.body, "nothing here\n");
}

TEST(HttpMessageTest, TrustsAddressesAndLocalhost) {
  for (const char* host : {"", "localhost", "LocalHost:9829", "127.0.0.1", "127.0.0.1:9829",
                           "10.0.0.5", "[::1]", "[::1]:9829"}) {
    EXPECT_TRUE(IsTrustedHost(host)) << host;
  }
  for (const char* host :
       {"attacker.example", "attacker.example:9829", "localhost.attacker.example",
        "127.0.0.1.nip.io", "127.0.0.1 ", "1", "[attacker.example]", "[::1"}) {
    EXPECT_FALSE(IsTrustedHost(host)) << host;
  }
}

}  // namespace
}  // namespace npg::serve::http_message_test
