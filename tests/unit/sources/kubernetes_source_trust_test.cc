// SPDX-License-Identifier: Apache-2.0
//
// Source kubernetes: which servers it trusts, and which credentials it uses.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <filesystem>
#include <memory>
#include <set>
#include <string>

#include "abi/names.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "sources/kubernetes/kubernetes_source.h"
#include "testing/api_fault.h"
#include "testing/api_server.h"
#include "testing/api_status.h"
#include "testing/api_tls.h"
#include "testing/status_asserts.h"
#include "testing/testdata.h"
#include "unit/sources/kubernetes_source_fixture.h"

namespace npg::sources::kubernetes_source_trust_test {
namespace {

using testing::TempFolder;
using testing::WriteFile;

using ::npg::testing::ApiAnswer;
using ::npg::testing::FaultAnswer;
using ::npg::testing::ServerCertificate;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

class KubernetesTrustTest : public KubernetesSourceFixture {
 protected:
  TempFolder folder_;
};
INSTANTIATE_TEST_SUITE_P(Over, KubernetesTrustTest, ::testing::Bool(), HttpName);

TEST_P(KubernetesTrustTest, SendsNothingToAnUntrustedServer) {
  for (const ServerCertificate certificate :
       {ServerCertificate::kOtherCa, ServerCertificate::kWrongName, ServerCertificate::kExpired}) {
    SCOPED_TRACE(static_cast<int>(certificate));
    server_->UseCertificate(certificate);
    last_.reset();
    reports_.clear();
    const size_t requests = server_->traffic().requests.size();
    Follow();
    ASSERT_TRUE(RunUntilCounted(abi::SourceError::kTls, 3));
    EXPECT_EQ(server_->traffic().requests.size(), requests) << "no request, so no token";
    EXPECT_EQ(reports_.size(), 1U) << reports_.back();
    EXPECT_FALSE(last_);
    server_->UseCertificate(ServerCertificate::kGood);
    EXPECT_TRUE(RunUntilKnown(30001));
  }
}

TEST_P(KubernetesTrustTest, VerifiesTheConfiguredServerName) {
  server_->UseCertificate(ServerCertificate::kWrongName);
  access_.tls_server_name = "other.example";
  Follow();
  ASSERT_TRUE(RunUntilKnown(30001));
  EXPECT_TRUE(NoErrors());
  access_.tls_server_name = "third.example";
  Follow();
  EXPECT_TRUE(RunUntilCounted(abi::SourceError::kTls));
}

TEST_P(KubernetesTrustTest, VerifiesAServerNameThatIsAnAddress) {
  for (const char* name : {"127.0.0.1", "::1", "0:0:0:0:0:0:0:1", "localhost"}) {
    SCOPED_TRACE(name);
    access_.tls_server_name = name;
    last_.reset();
    Follow();
    ASSERT_TRUE(RunUntilKnown(30001)) << source_->State().last_error;
    EXPECT_TRUE(NoErrors());
  }
  access_.tls_server_name = "::2";
  Follow();
  EXPECT_TRUE(RunUntilCounted(abi::SourceError::kTls));
}

TEST_P(KubernetesTrustTest, UsesAClientCertificate) {
  access_.token.clear();
  server_->AcceptTokens({});
  const auto follow = [this] {
    last_.reset();
    Follow();
    EXPECT_TRUE(RunUntilKnown(30001)) << source_->State().last_error;
    EXPECT_TRUE(NoErrors());
  };
  access_.client_certificate.data = server_->client_certificate_pem();
  access_.client_key.data = server_->client_key_pem();
  follow();
  WriteFile(folder_ / "client.crt", server_->client_certificate_pem());
  WriteFile(folder_ / "client.key", server_->client_key_pem());
  access_.client_certificate = {.file = folder_ / "client.crt", .data = ""};
  access_.client_key = {.file = folder_ / "client.key", .data = ""};
  follow();
  for (const auto& request : server_->traffic().requests) {
    EXPECT_THAT(request.authorization, IsEmpty());
  }
  // A rotation: half of the pair is missing, then all of it, then the new pair exists.
  WriteFile(folder_ / "client.key", "");
  server_->KillConnections();
  ASSERT_TRUE(RunUntilCounted(abi::SourceError::kTls));
  std::filesystem::remove(folder_ / "client.crt");
  ASSERT_TRUE(RunUntilCounted(abi::SourceError::kTls, Errors(abi::SourceError::kTls) + 2));
  WriteFile(folder_ / "client.crt", server_->client_certificate_pem());
  WriteFile(folder_ / "client.key", server_->client_key_pem());
  Put("second", 30002);
  EXPECT_TRUE(RunUntilKnown(30002));
}

TEST_P(KubernetesTrustTest, ReadsTheCaForEveryConnection) {
  NPG_ASSERT_OK_AND_ASSIGN(const auto other, ApiServer::Start());
  access_.ca = {.file = folder_ / "ca.crt", .data = ""};
  Follow();
  ASSERT_TRUE(RunUntilCounted(abi::SourceError::kTls, 2));
  EXPECT_THAT(source_->State().last_error, HasSubstr(folder_ / "ca.crt"));
  WriteFile(folder_ / "ca.crt", other->ca_pem());
  ASSERT_TRUE(RunUntilCounted(abi::SourceError::kTls, Errors(abi::SourceError::kTls) + 2));
  EXPECT_THAT(server_->traffic().requests, IsEmpty());
  WriteFile(folder_ / "ca.crt", server_->ca_pem());
  ASSERT_TRUE(RunUntilKnown(30001));

  WriteFile(folder_ / "ca.crt", other->ca_pem());
  const uint64_t before = Errors(abi::SourceError::kTls);
  server_->KillConnections();
  ASSERT_TRUE(RunUntilCounted(abi::SourceError::kTls, before + 2));
  EXPECT_TRUE(Knows(30001));
  WriteFile(folder_ / "ca.crt", server_->ca_pem());
  Put("second", 30002);
  EXPECT_TRUE(RunUntilKnown(30002));
}

TEST_P(KubernetesTrustTest, ReadsTheTokenForEveryRequest) {
  access_.token_file = folder_ / "token";
  WriteFile(access_.token_file, "one\n");
  server_->AcceptTokens({"one", "two"});
  Follow();
  ASSERT_TRUE(RunUntilSynced());
  EXPECT_EQ(server_->traffic().requests.back().authorization, "Bearer one");
  WriteFile(access_.token_file, "two\n");
  server_->AcceptTokens({"two"});
  server_->CloseWatches();
  ASSERT_TRUE(RunUntil([&] { return server_->traffic().requests.size() >= 2; }));
  EXPECT_EQ(server_->traffic().requests.back().authorization, "Bearer two");
  ASSERT_TRUE(RunUntilSynced());
  EXPECT_EQ(server_->traffic().connections, 1U);
  EXPECT_TRUE(NoErrors());
}

TEST_P(KubernetesTrustTest, ARefusalAfterARotationIsNoError) {
  Follow();
  ASSERT_TRUE(RunUntilSynced());
  server_->Inject({.answer = FaultAnswer(401)});
  server_->CloseWatches();
  ASSERT_TRUE(RunUntil([&] { return server_->traffic().requests.size() >= 3; }));
  ASSERT_TRUE(RunUntilSynced());
  EXPECT_TRUE(NoErrors());
  EXPECT_EQ(ReportedErrors(), 0U);
}

TEST_P(KubernetesTrustTest, RepeatedRefusalsAreAnErrorUntilTheTokenIsReplaced) {
  access_.token_file = folder_ / "token";
  WriteFile(access_.token_file, "one");
  server_->AcceptTokens({"one"});
  Follow();
  ASSERT_TRUE(RunUntilSynced());
  server_->AcceptTokens({"two"});
  server_->CloseWatches();
  ASSERT_TRUE(RunUntilCounted(abi::SourceError::kUnauthorized, 3));
  EXPECT_TRUE(Knows(30001));
  EXPECT_EQ(ReportedErrors(), 1U);
  EXPECT_THAT(std::string(reports_.back().message()),
              AllOf(HasSubstr("401"), Not(HasSubstr("one")), HasSubstr("expired")));
  WriteFile(access_.token_file, "two");
  Put("second", 30002);
  EXPECT_TRUE(RunUntilKnown(30002));
}

TEST_P(KubernetesTrustTest, WaitsForTheTokenFile) {
  access_.token_file = folder_ / "token";
  Follow();
  ASSERT_TRUE(RunUntilCounted(abi::SourceError::kUnauthorized, 3));
  ASSERT_EQ(reports_.size(), 1U);
  EXPECT_THAT(std::string(reports_[0].message()),
              AllOf(HasSubstr("token file " + access_.token_file + ": No such file"),
                    HasSubstr("put the token there"), Not(HasSubstr("expired"))));
  EXPECT_EQ(server_->traffic().connections, 0U) << "no request without credentials";
  WriteFile(access_.token_file, server_->token());
  EXPECT_TRUE(RunUntilKnown(30001));
}

TEST_P(KubernetesTrustTest, NamesTheMissingRbacRule) {
  server_->Forbid("system:serviceaccount:x:y");
  Follow();
  ASSERT_TRUE(RunUntilCounted(abi::SourceError::kForbidden));
  EXPECT_THAT(source_->State().last_error,
              AllOf(HasSubstr("system:serviceaccount:x:y"),
                    HasSubstr("resources [\"services\"], verbs [\"list\", \"watch\"]")));
  server_->Forbid("");
  EXPECT_TRUE(RunUntilKnown(30001));
}

// A redirect would send the token to a server that is not configured.
TEST_P(KubernetesTrustTest, FollowsNoRedirect) {
  if (GetParam()) server_ = *ApiServer::Start({.http2 = false});
  access_.server = server_->url();
  access_.ca.data = server_->ca_pem();
  NPG_ASSERT_OK_AND_ASSIGN(const auto other, ApiServer::Start());
  ApiAnswer redirect{.code = 302, .body = "elsewhere"};
  // The test server has no other way to set a header.
  redirect.content_type = absl::StrCat("text/plain\r\nLocation: ", other->url(), "/stolen");
  server_->Inject({.count = -1, .answer = redirect});
  Follow();
  ASSERT_TRUE(RunUntilCounted(abi::SourceError::kHttp, 3));
  EXPECT_THAT(source_->State().last_error, HasSubstr("HTTP status 302"));
  EXPECT_EQ(other->traffic().connections, 0U);
}

}  // namespace
}  // namespace npg::sources::kubernetes_source_trust_test
