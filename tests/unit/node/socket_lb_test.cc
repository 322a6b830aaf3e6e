// SPDX-License-Identifier: Apache-2.0
#include "node/socket_lb.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

namespace npg::node::socket_lb_test {
namespace {

TEST(SocketLbTest, KnowsProgramsByTheirNames) {
  EXPECT_EQ(SocketLbOf("cil_sock4_conne"), "Cilium");
  EXPECT_EQ(SocketLbOf("sock6_connect"), "Cilium");
  EXPECT_EQ(SocketLbOf("calico_connect_"), "Calico");
  EXPECT_EQ(SocketLbOf("npg_connect4"), "");
  EXPECT_EQ(SocketLbOf(""), "");
}

TEST(SocketLbTest, FindsCiliumsByItsPins) {
  std::string pattern = ::testing::TempDir() + "npg-socket-lb-XXXXXX";
  ASSERT_NE(mkdtemp(pattern.data()), nullptr);
  const std::filesystem::path bpffs = pattern;
  EXPECT_FALSE(HasCiliumSocketLb(bpffs.string(), ""));
  std::filesystem::create_directories(bpffs / "cilium/socketlb/links/cgroup");
  EXPECT_FALSE(HasCiliumSocketLb(bpffs.string(), "")) << "Cilium runs without it";
  std::ofstream(bpffs / "cilium/socketlb/links/cgroup/cil_sock4_connect") << "";
  EXPECT_TRUE(HasCiliumSocketLb(bpffs.string(), ""));
  EXPECT_TRUE(HasCiliumSocketLb(bpffs.string(), "/nonexistent"));
  std::filesystem::remove_all(bpffs);
}

}  // namespace
}  // namespace npg::node::socket_lb_test
