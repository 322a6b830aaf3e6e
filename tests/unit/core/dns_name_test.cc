// SPDX-License-Identifier: Apache-2.0
#include "core/dns_name.h"

#include <gtest/gtest.h>

#include <string>

namespace npg::core::dns_name_test {
namespace {

TEST(DnsName, Labels) {
  for (const std::string text : {"a", "0", "my-svc", "a--b", "kube-system"}) {
    EXPECT_TRUE(IsDnsLabel(text)) << text;
  }
  EXPECT_TRUE(IsDnsLabel(std::string(63, 'a')));
  EXPECT_FALSE(IsDnsLabel(std::string(64, 'a')));
  for (const std::string text :
       {"", "-", "-a", "a-", "A", "aB", "a_b", "a.b", "a/b", "a b", "\xc3\xa9"}) {
    EXPECT_FALSE(IsDnsLabel(text)) << text;
  }
}

TEST(DnsName, Hosts) {
  for (const std::string text : {"a", "API.example.org", "node_1", "10.0.0.1", "a-", "a."}) {
    EXPECT_TRUE(IsHostName(text)) << text;
  }
  EXPECT_TRUE(IsHostName(std::string(253, 'a')));
  EXPECT_FALSE(IsHostName(std::string(254, 'a')));
  for (const std::string text : {"", "-a", ".a", "_a", "a b", "a:1", "a/b", "[::1]"}) {
    EXPECT_FALSE(IsHostName(text)) << text;
  }
}

TEST(DnsName, Text) {
  EXPECT_TRUE(IsNameText("-_.aZ9", 6));
  EXPECT_FALSE(IsNameText("-_.aZ9", 5));
  EXPECT_FALSE(IsNameText("", 5));
  EXPECT_FALSE(IsNameText("a/b", 5));
}

}  // namespace
}  // namespace npg::core::dns_name_test
