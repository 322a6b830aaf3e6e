// SPDX-License-Identifier: Apache-2.0
#include "kubernetes/in_cluster.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <map>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "kubernetes/cluster_access.h"
#include "testing/status_asserts.h"
#include "testing/testdata.h"

namespace npg::kubernetes::in_cluster_test {
namespace {

using testing::TempFolder;
using testing::WriteFile;

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

constexpr const char* kFolder = "var/run/secrets/kubernetes.io/serviceaccount";
constexpr const char* kCertificate =
    "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";

// The files and variables of a pod, for tests to remove or change.
class Pod {
 public:
  Pod() {
    std::filesystem::create_directories(root_ / kFolder);
    WriteFile(token(), "s3cr3t\n");
    WriteFile(ca(), kCertificate);
  }

  std::map<std::string, std::string> variables = {{"KUBERNETES_SERVICE_HOST", "10.96.0.1"},
                                                  {"KUBERNETES_SERVICE_PORT", "443"}};

  std::string folder() const { return root_ / kFolder; }
  std::string token() const { return folder() + "/token"; }
  std::string ca() const { return folder() + "/ca.crt"; }
  std::string root() const {
    const std::string folder = root_ / "";
    return folder.substr(0, folder.size() - 1);  // it goes before a slash
  }

  Environment environment() const {
    return [this](const std::string& name) -> std::optional<std::string> {
      const auto found = variables.find(name);
      return found == variables.end() ? std::nullopt : std::optional<std::string>(found->second);
    };
  }
  bool IsInCluster() const { return InCluster(environment(), root()); }
  absl::StatusOr<ClusterAccess> Load() const { return LoadInCluster(environment(), root()); }
  std::string Refused() const {
    const absl::StatusOr<ClusterAccess> access = Load();
    if (access.ok()) return "(accepted)";
    std::string message(access.status().message());
    EXPECT_THAT(message, AllOf(Not(HasSubstr("s3cr3t")), Not(HasSubstr("\n"))));
    return message;
  }

 private:
  TempFolder root_;
};

TEST(InClusterTest, TakesServerTokenAndCa) {
  const Pod pod;
  EXPECT_TRUE(pod.IsInCluster());
  NPG_ASSERT_OK_AND_ASSIGN(const ClusterAccess access, pod.Load());
  EXPECT_EQ(access.server, "https://10.96.0.1:443");
  EXPECT_EQ(access.token_file, pod.token());
  EXPECT_EQ(access.token, "") << "the file is read for each request";
  EXPECT_EQ(access.ca.file, pod.ca());
  EXPECT_EQ(access.ca.data, "");
  EXPECT_TRUE(access.client_certificate.empty());
  EXPECT_TRUE(access.client_key.empty());
  EXPECT_EQ(access.tls_server_name, "");
  EXPECT_EQ(access.proxy_url, "");
  EXPECT_EQ(access.origin, "service account in " + pod.folder());
  NPG_ASSERT_OK_AND_ASSIGN(const std::string token, ReadToken(access));
  EXPECT_EQ(token, "s3cr3t");
}

TEST(InClusterTest, TheServerMayHaveANameOrAnIpv6Address) {
  Pod pod;
  const std::map<std::string, std::string> servers = {
      {"fd00:10::1", "https://[fd00:10::1]:443"},
      {"::1", "https://[::1]:443"},
      {"kubernetes.default.svc", "https://kubernetes.default.svc:443"}};
  for (const auto& [host, server] : servers) {
    pod.variables["KUBERNETES_SERVICE_HOST"] = host;
    NPG_ASSERT_OK_AND_ASSIGN(const ClusterAccess access, pod.Load());
    EXPECT_EQ(access.server, server);
  }
}

TEST(InClusterTest, NamesAMissingVariable) {
  for (const char* name : {"KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT"}) {
    Pod pod;
    pod.variables[name] = "";
    EXPECT_FALSE(pod.IsInCluster());
    EXPECT_THAT(pod.Refused(), AllOf(StartsWith(std::string(name) + " is not set"),
                                     HasSubstr("--kube-api-server")));
    pod.variables.erase(name);
    EXPECT_FALSE(pod.IsInCluster());
    EXPECT_THAT(pod.Refused(), StartsWith(std::string(name) + " is not set"));
    EXPECT_EQ(pod.Load().status().code(), absl::StatusCode::kFailedPrecondition);
  }
}

TEST(InClusterTest, NamesAnInvalidVariable) {
  for (const char* host :
       {"[fd00::1]", "a/b", "a b", "u@h", "h?x", "h\nX: y", "10.0.0.1:443", "-h"}) {
    Pod pod;
    pod.variables["KUBERNETES_SERVICE_HOST"] = host;
    EXPECT_THAT(pod.Refused(), StartsWith("KUBERNETES_SERVICE_HOST: ")) << host;
  }
  for (const char* port : {"0", "65536", "tcp://10.96.0.1:443", "443 ", "-1", "443/path"}) {
    Pod pod;
    pod.variables["KUBERNETES_SERVICE_PORT"] = port;
    EXPECT_THAT(pod.Refused(), StartsWith("KUBERNETES_SERVICE_PORT: ")) << port;
  }
}

TEST(InClusterTest, NamesTheFieldOfThePodIfTheTokenIsMissing) {
  const Pod pod;
  std::filesystem::remove(pod.token());
  EXPECT_FALSE(pod.IsInCluster());
  EXPECT_EQ(pod.Refused(),
            "service account: token file " + pod.token() +
                ": No such file or directory; set automountServiceAccountToken: true in the pod "
                "(one with hostNetwork needs it, too), or name a kubeconfig with --kubeconfig");
  EXPECT_EQ(pod.Load().status().code(), absl::StatusCode::kNotFound);
  std::filesystem::remove_all(pod.folder());
  EXPECT_FALSE(pod.IsInCluster());
  EXPECT_THAT(pod.Refused(), HasSubstr("automountServiceAccountToken"));
}

TEST(InClusterTest, NamesAnInvalidTokenFile) {
  const Pod pod;
  WriteFile(pod.token(), "");
  EXPECT_TRUE(pod.IsInCluster()) << "the file exists, so its error is reported";
  EXPECT_EQ(pod.Refused(),
            "service account: token file " + pod.token() + ": is empty; write the token there");
  WriteFile(pod.token(), "s3cr3t\nX: y\n");
  EXPECT_THAT(pod.Refused(), HasSubstr(pod.token() + ": has a blank, a control character"));
  std::filesystem::remove(pod.token());
  std::filesystem::create_directory(pod.token());
  EXPECT_FALSE(pod.IsInCluster());
  EXPECT_THAT(pod.Refused(), HasSubstr(pod.token() + ": is a directory"));
}

TEST(InClusterTest, AMissingOrInvalidCaIsAnError) {
  const Pod pod;
  for (const char* content : {"", "s3cr3t", "-----BEGIN PRIVATE KEY-----\ns3cr3t\n"}) {
    WriteFile(pod.ca(), content);
    EXPECT_THAT(pod.Refused(), StartsWith("service account: CA file " + pod.ca() +
                                          ": holds no certificate in PEM; "));
  }
  WriteFile(pod.ca(), std::string(size_t{5} << 20, 'x'));
  EXPECT_THAT(pod.Refused(), HasSubstr(pod.ca() + ": is larger than 1024 KiB"));
  std::filesystem::remove(pod.ca());
  EXPECT_THAT(pod.Refused(), AllOf(HasSubstr(pod.ca() + ": No such file or directory; "),
                                   HasSubstr("kube-root-ca.crt")));
}

TEST(InClusterTest, LoadServiceAccountNeedsNoVariable) {
  const Pod pod;
  NPG_ASSERT_OK_AND_ASSIGN(const ClusterAccess account, LoadServiceAccount(pod.root()));
  EXPECT_EQ(account.server, "");
  NPG_ASSERT_OK_AND_ASSIGN(const ClusterAccess access,
                           WithServer(account, "https://192.0.2.1:6443"));
  EXPECT_EQ(access.server, "https://192.0.2.1:6443");
  EXPECT_EQ(access.token_file, pod.token());
}

TEST(InClusterTest, ReportsFalseOutsideOfACluster) {
  EXPECT_FALSE(InCluster([](const std::string&) { return std::nullopt; }, ""));
}

}  // namespace
}  // namespace npg::kubernetes::in_cluster_test
