// SPDX-License-Identifier: Apache-2.0
#include "core/flow.h"

#include <gtest/gtest.h>
#include <netinet/in.h>

namespace npg::core::flow_test {
namespace {

TEST(Flow, AsText) {
  Flow flow;
  flow.protocol = IPPROTO_UDP;
  flow.client_address = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 127, 0, 0, 1};
  flow.server_address = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1};
  flow.client_port = 40000;
  flow.server_port = 30080;
  EXPECT_EQ(ToString(flow), "127.0.0.1:40000 -> [::1]:30080/udp");
}

}  // namespace
}  // namespace npg::core::flow_test
