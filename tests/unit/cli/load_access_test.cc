// SPDX-License-Identifier: Apache-2.0
#include "cli/load_access.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "cli/args/options.h"
#include "cli/exit_code.h"
#include "kubernetes/cluster_access.h"
#include "testing/status_asserts.h"
#include "testing/testdata.h"

namespace npg::cli::load_access_test {
namespace {

using kubernetes::ClusterAccess;
using ::testing::HasSubstr;
using ::testing::StartsWith;

std::optional<std::string> Nothing(const std::string& /*name*/) { return std::nullopt; }

std::optional<std::string> OfAPod(const std::string& name) {
  if (name == "KUBERNETES_SERVICE_HOST") return "10.96.0.1";
  if (name == "KUBERNETES_SERVICE_PORT") return "443";
  return std::nullopt;
}

// A root folder with a service account and a kubeconfig.
class LoadAccessTest : public ::testing::Test {
 protected:
  LoadAccessTest() {
    const std::string account = folder_ / "var/run/secrets/kubernetes.io/serviceaccount";
    std::filesystem::create_directories(account);
    testing::WriteFile(account + "/token", "of-the-pod");
    testing::WriteFile(account + "/ca.crt", "-----BEGIN CERTIFICATE-----\n");
    testing::WriteFile(kubeconfig(),
                       "current-context: a\n"
                       "contexts: [{name: a, context: {cluster: c, user: u}},\n"
                       "           {name: b, context: {cluster: d, user: u}}]\n"
                       "clusters: [{name: c, cluster: {server: https://c}},\n"
                       "           {name: d, cluster: {server: https://d}}]\n"
                       "users: [{name: u, user: {token: of-the-file}}]\n");
  }

  std::string root() const { return folder_.path(); }
  std::string kubeconfig() const { return folder_ / "kubeconfig"; }

  const testing::TempFolder folder_;
};

TEST_F(LoadAccessTest, TheServiceAccountOfThePod) {
  NPG_ASSERT_OK_AND_ASSIGN(const ClusterAccess access, LoadAccess({}, OfAPod, root()));
  EXPECT_EQ(access.server, "https://10.96.0.1:443");
  NPG_ASSERT_OK_AND_ASSIGN(const std::string token, ReadToken(access));
  EXPECT_EQ(token, "of-the-pod");
}

TEST_F(LoadAccessTest, AKubeconfigOverridesTheServiceAccount) {
  SourceOptions options;
  options.kubeconfig = kubeconfig();
  NPG_ASSERT_OK_AND_ASSIGN(ClusterAccess access, LoadAccess(options, OfAPod, root()));
  EXPECT_EQ(access.server, "https://c");
  EXPECT_EQ(access.token, "of-the-file");
  options.kube_context = "b";
  NPG_ASSERT_OK_AND_ASSIGN(access, LoadAccess(options, OfAPod, root()));
  EXPECT_EQ(access.server, "https://d");
}

TEST_F(LoadAccessTest, TheFilesOfKubeconfigComeAfterTheFlag) {
  const std::string other = root() + "/other";
  testing::WriteFile(other, "clusters: [{name: d, cluster: {server: https://e}}]\n");
  const auto environment = [&](const std::string& name) {
    return name == "KUBECONFIG" ? std::optional<std::string>(other + ":" + kubeconfig())
                                : OfAPod(name);
  };
  NPG_ASSERT_OK_AND_ASSIGN(ClusterAccess access, LoadAccess({}, environment, root()));
  EXPECT_EQ(access.server, "https://c");
  SourceOptions options;
  options.kube_context = "b";
  NPG_ASSERT_OK_AND_ASSIGN(access, LoadAccess(options, environment, root()));
  EXPECT_EQ(access.server, "https://e");
  options.kubeconfig = kubeconfig();
  NPG_ASSERT_OK_AND_ASSIGN(access, LoadAccess(options, environment, root()));
  EXPECT_EQ(access.server, "https://d");
}

TEST_F(LoadAccessTest, ANamedServerOverridesBoth) {
  SourceOptions options;
  options.kube_api_server = "https://192.0.2.1:6443";
  NPG_ASSERT_OK_AND_ASSIGN(ClusterAccess access, LoadAccess(options, OfAPod, root()));
  EXPECT_EQ(access.server, "https://192.0.2.1:6443");
  NPG_ASSERT_OK_AND_ASSIGN(access, LoadAccess(options, Nothing, root()));
  EXPECT_EQ(access.server, "https://192.0.2.1:6443") << "this needs no variables";
  options.kubeconfig = kubeconfig();
  NPG_ASSERT_OK_AND_ASSIGN(access, LoadAccess(options, OfAPod, root()));
  EXPECT_EQ(access.server, "https://192.0.2.1:6443");
  EXPECT_EQ(access.token, "of-the-file");
}

TEST_F(LoadAccessTest, WithoutCredentialsNamesBothWays) {
  const absl::Status status = LoadAccess({}, Nothing, root()).status();
  EXPECT_TRUE(IsUsageError(status)) << status;
  EXPECT_THAT(std::string(status.message()),
              StartsWith("--source kubernetes: needs --kubeconfig FILE, or a pod with a service "
                         "account"));
}

TEST_F(LoadAccessTest, AWayThatFailsIsNoUsageError) {
  SourceOptions options;
  options.kubeconfig = root() + "/none";
  const absl::Status missing = LoadAccess(options, OfAPod, root()).status();
  EXPECT_EQ(ExitCode(missing), kExitRuntimeError) << missing;
  EXPECT_THAT(std::string(missing.message()), HasSubstr("none: No such file or directory"));
  const absl::Status no_token = LoadAccess({}, OfAPod, root() + "/none").status();
  EXPECT_EQ(ExitCode(no_token), kExitRuntimeError) << no_token;
  EXPECT_THAT(std::string(no_token.message()), HasSubstr("automountServiceAccountToken"));
}

}  // namespace
}  // namespace npg::cli::load_access_test
