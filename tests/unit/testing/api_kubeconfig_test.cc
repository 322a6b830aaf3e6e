// SPDX-License-Identifier: Apache-2.0
#include "testing/api_kubeconfig.h"

#include <gtest/gtest.h>
#include <yaml-cpp/yaml.h>

#include <filesystem>
#include <fstream>
#include <memory>
#include <sstream>
#include <string>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "testing/api_server.h"
#include "testing/status_asserts.h"

namespace npg::testing::api_kubeconfig_test {
namespace {

class ApiKubeconfigTest : public ::testing::Test {
 protected:
  void SetUp() override {
    NPG_ASSERT_OK_AND_ASSIGN(server_, ApiServer::Start());
    folder_ = ::testing::TempDir() + absl::StrCat("npg-kubeconfig-", server_->port());
    std::filesystem::create_directory(folder_);
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  std::string Read(const std::string& name) const {
    std::ostringstream text;
    text << std::ifstream(folder_ + "/" + name).rdbuf();
    return text.str();
  }
  YAML::Node Write(const KubeconfigOptions& options) const {
    NPG_EXPECT_OK(WriteKubeconfig(*server_, folder_ + "/config", options));
    return YAML::Load(Read("config"));
  }

  std::unique_ptr<ApiServer> server_;
  std::string folder_;
};

TEST_F(ApiKubeconfigTest, Embedded) {
  const YAML::Node config = Write({.user = KubeconfigUser::kClientCertificate});
  const YAML::Node cluster = config["clusters"][0]["cluster"];
  const YAML::Node user = config["users"][0]["user"];
  EXPECT_EQ(config["current-context"].as<std::string>(), "test");
  EXPECT_EQ(cluster["server"].as<std::string>(), server_->url());
  std::string pem;
  EXPECT_TRUE(absl::Base64Unescape(cluster["certificate-authority-data"].as<std::string>(), &pem));
  EXPECT_EQ(pem, server_->ca_pem());
  EXPECT_TRUE(absl::Base64Unescape(user["client-key-data"].as<std::string>(), &pem));
  EXPECT_EQ(pem, server_->client_key_pem());
}

TEST_F(ApiKubeconfigTest, Files) {
  YAML::Node config = Write({.user = KubeconfigUser::kClientCertificate, .embed = false});
  const YAML::Node user = config["users"][0]["user"];
  EXPECT_EQ(Read(config["clusters"][0]["cluster"]["certificate-authority"].as<std::string>()),
            server_->ca_pem());
  EXPECT_EQ(Read(user["client-certificate"].as<std::string>()), server_->client_certificate_pem());

  config = Write({.user = KubeconfigUser::kTokenFile});
  EXPECT_EQ(config["users"][0]["user"]["tokenFile"].as<std::string>(), folder_ + "/config.token");
  EXPECT_EQ(Read("config.token"), "test-token\n");
}

TEST_F(ApiKubeconfigTest, Others) {
  YAML::Node config = Write({.server = "https://api:6443",
                             .skip_tls_verify = true,
                             .tls_server_name = "kubernetes.default.svc"});
  YAML::Node cluster = config["clusters"][0]["cluster"];
  EXPECT_EQ(cluster["server"].as<std::string>(), "https://api:6443");
  EXPECT_TRUE(cluster["insecure-skip-tls-verify"].as<bool>());
  EXPECT_EQ(cluster["tls-server-name"].as<std::string>(), "kubernetes.default.svc");
  EXPECT_EQ(config["users"][0]["user"]["token"].as<std::string>(), "test-token");
  config = Write({.user = KubeconfigUser::kNobody});
  EXPECT_EQ(config["users"][0]["user"].size(), 0U);
  EXPECT_FALSE(WriteKubeconfig(*server_, folder_ + "/none/config").ok());

  NPG_ASSERT_OK(WriteServiceAccount(*server_, folder_));
  EXPECT_EQ(Read("token"), "test-token");
  EXPECT_EQ(Read("ca.crt"), server_->ca_pem());
  EXPECT_EQ(Read("namespace"), "kube-system");
}

}  // namespace
}  // namespace npg::testing::api_kubeconfig_test
