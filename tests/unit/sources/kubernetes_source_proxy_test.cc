// SPDX-License-Identifier: Apache-2.0
//
// Source kubernetes, with proxy variables in the environment.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>

#include "abi/names.h"
#include "sources/kubernetes/kubernetes_source.h"
#include "unit/sources/kubernetes_source_fixture.h"

namespace npg::sources::kubernetes_source_proxy_test {
namespace {

using ::testing::HasSubstr;

// Refuses connections.
constexpr char kNoProxyThere[] = "http://127.0.0.1:1";

// Without a variable that leaves the server out.
class KubernetesProxyTest : public KubernetesSourceFixture {
 protected:
  void SetUp() override {
    for (const char* name : {"HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"}) {
      setenv(name, kNoProxyThere, 1);
    }
    KubernetesSourceFixture::SetUp();
  }

  void TearDown() override {
    KubernetesSourceFixture::TearDown();
    // The server has a thread.
    source_.reset();
    server_.reset();
    for (const char* name : {"HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy", "NO_PROXY"}) {
      unsetenv(name);
    }
  }
};
INSTANTIATE_TEST_SUITE_P(Over, KubernetesProxyTest, ::testing::Bool(), HttpName);

class KubernetesNoProxyTest : public KubernetesProxyTest {
 protected:
  void SetUp() override {
    setenv("NO_PROXY", "*", 1);
    KubernetesProxyTest::SetUp();
  }
};
INSTANTIATE_TEST_SUITE_P(Over, KubernetesNoProxyTest, ::testing::Bool(), HttpName);

TEST_P(KubernetesProxyTest, ALoopbackServerIsReachedDirectly) {
  Follow();
  EXPECT_TRUE(RunUntilKnown(30001)) << source_->State().last_error;
  EXPECT_TRUE(NoErrors());
}

TEST_P(KubernetesProxyTest, AnotherServerIsReachedByTheProxy) {
  access_.server = "https://192.0.2.1:6443";
  Follow();
  EXPECT_TRUE(RunUntilCounted(abi::SourceError::kConnect, 2));
  EXPECT_THAT(source_->State().last_error, HasSubstr("127.0.0.1 port 1"));
}

TEST_P(KubernetesNoProxyTest, TheProxyOfTheKubeconfigIsUsedAllTheSame) {
  access_.proxy_url = kNoProxyThere;
  Follow();
  EXPECT_TRUE(RunUntilCounted(abi::SourceError::kConnect, 2));
  EXPECT_EQ(server_->traffic().connections, 0U);
}

}  // namespace
}  // namespace npg::sources::kubernetes_source_proxy_test
