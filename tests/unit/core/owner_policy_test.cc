// SPDX-License-Identifier: Apache-2.0
#include "core/owner_policy.h"

#include <gtest/gtest.h>

namespace npg::core::owner_policy_test {
namespace {

TEST(OwnerPolicyTest, WithoutNamesAllProcessesAreGuarded) {
  EXPECT_FALSE(OwnerPolicy{}.IgnoresByDefault());
  EXPECT_FALSE(OwnerPolicy{}.Ignores("kube-proxy"));
  EXPECT_FALSE(OwnerPolicy{}.Ignores(""));
}

TEST(OwnerPolicyTest, IgnoresNamedProcesses) {
  const OwnerPolicy policy{{"kube-proxy", "ovnkube"}, {}};
  EXPECT_FALSE(policy.IgnoresByDefault());
  EXPECT_TRUE(policy.Ignores("kube-proxy"));
  EXPECT_TRUE(policy.Ignores("ovnkube"));
  for (const char* name : {"", "kube", "kube-proxy2", "Kube-proxy", "ovnkube "}) {
    EXPECT_FALSE(policy.Ignores(name)) << name;
  }
}

TEST(OwnerPolicyTest, GuardsOnlyNamedProcesses) {
  const OwnerPolicy policy{{}, {"containerd", "crio"}};
  EXPECT_TRUE(policy.IgnoresByDefault());
  EXPECT_FALSE(policy.Ignores("containerd"));
  EXPECT_FALSE(policy.Ignores("crio"));
  // Processes with an unknown name are not guarded either.
  for (const char* name : {"", "containerd-shim", "cri"}) EXPECT_TRUE(policy.Ignores(name)) << name;
}

TEST(OwnerPolicyTest, ANameInBothListsIsIgnored) {
  const OwnerPolicy policy{{"crio"}, {"containerd", "crio"}};
  EXPECT_TRUE(policy.Ignores("crio"));
  EXPECT_FALSE(policy.Ignores("containerd"));
}

}  // namespace
}  // namespace npg::core::owner_policy_test
