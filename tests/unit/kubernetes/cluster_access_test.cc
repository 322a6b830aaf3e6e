// SPDX-License-Identifier: Apache-2.0
#include "kubernetes/cluster_access.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "kubernetes/server_url.h"
#include "testing/status_asserts.h"
#include "testing/testdata.h"

namespace npg::kubernetes::cluster_access_test {
namespace {

using testing::TempFolder;
using testing::WriteFile;

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

constexpr const char* kSecret = "s3cr3t";

ClusterAccess WithTokenFile(const std::string& path) {
  ClusterAccess access;
  access.token_file = path;
  access.origin = "kubeconfig /k, context c";
  return access;
}

std::string Refused(const ClusterAccess& access) {
  const absl::StatusOr<std::string> token = ReadToken(access);
  if (token.ok()) return "(accepted) " + *token;
  std::string message(token.status().message());
  EXPECT_THAT(message, AllOf(Not(HasSubstr(kSecret)), Not(HasSubstr("\n"))));
  return message;
}

std::string WrongUrl(const std::string& url) {
  const absl::StatusOr<std::string> server = CheckServerUrl(url);
  if (server.ok()) return "(accepted) " + *server;
  EXPECT_EQ(server.status().code(), absl::StatusCode::kInvalidArgument);
  std::string message(server.status().message());
  EXPECT_THAT(message, AllOf(Not(HasSubstr(kSecret)), Not(HasSubstr("\n"))));
  return message;
}

TEST(PemTest, IsEmptyWithNeitherFileNorData) {
  EXPECT_TRUE(Pem{}.empty());
  EXPECT_FALSE((Pem{"/ca.crt", ""}).empty());
  EXPECT_FALSE((Pem{"", "-----BEGIN"}).empty());
}

TEST(ReadTokenTest, NoTokenIsNoError) {
  NPG_ASSERT_OK_AND_ASSIGN(const std::string token, ReadToken({}));
  EXPECT_EQ(token, "");
}

TEST(ReadTokenTest, TakesTheFileOverTheInlineTokenAndReadsItAnew) {
  const TempFolder folder;
  ClusterAccess access = WithTokenFile(folder / "token");
  access.token = "inline";
  WriteFile(access.token_file, "first\n");
  NPG_ASSERT_OK_AND_ASSIGN(std::string token, ReadToken(access));
  EXPECT_EQ(token, "first");
  WriteFile(access.token_file, "second");
  NPG_ASSERT_OK_AND_ASSIGN(token, ReadToken(access));
  EXPECT_EQ(token, "second");
  access.token_file.clear();
  NPG_ASSERT_OK_AND_ASSIGN(token, ReadToken(access));
  EXPECT_EQ(token, "inline");
}

TEST(ReadTokenTest, AMissingFileIsAnErrorEvenBesideAnInlineToken) {
  ClusterAccess access = WithTokenFile("/nowhere/token");
  access.token = kSecret;
  EXPECT_EQ(ReadToken(access).status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(Refused(access),
            "token file /nowhere/token: No such file or directory; put the token there, or name "
            "another file (kubeconfig /k, context c)");
}

TEST(ReadTokenTest, TrimsWhiteSpaceAroundTheToken) {
  const TempFolder folder;
  const ClusterAccess access = WithTokenFile(folder / "token");
  for (const char* text :
       {"a.b-c_d~e+f/g==", "a.b-c_d~e+f/g==\n", "a.b-c_d~e+f/g==\r\n", " \ta.b-c_d~e+f/g==\n\n"}) {
    WriteFile(access.token_file, text);
    NPG_ASSERT_OK_AND_ASSIGN(const std::string token, ReadToken(access));
    EXPECT_EQ(token, "a.b-c_d~e+f/g==");
  }
}

TEST(ReadTokenTest, RefusesCharactersThatAHeaderCannotHold) {
  const TempFolder folder;
  const ClusterAccess file = WithTokenFile(folder / "token");
  const std::vector<std::string> bad = {"s3cr3t\nX-Injected: 1",
                                        "s3cr3t\r\n\r\nGET / HTTP/1.1",
                                        "s3cr3t s3cr3t",
                                        "s3cr3t\ts3cr3t",
                                        std::string("s3cr3t\0s3cr3t", 13),
                                        "s3cr3t\x7fs3cr3t",
                                        "s3cr3t\xffs3cr3t",
                                        "s3cr3t\xc3\xa9s3cr3t",
                                        "\xEF\xBB\xBFs3cr3t"};
  for (const std::string& text : bad) {
    WriteFile(file.token_file, text);
    EXPECT_EQ(Refused(file),
              "token file " + file.token_file +
                  ": has a blank, a control character or one that is not ASCII within the token; "
                  "write the token alone, on one line");
    ClusterAccess inline_token;
    inline_token.token = text;
    inline_token.origin = "kubeconfig /k, context c";
    EXPECT_THAT(Refused(inline_token), StartsWith("kubeconfig /k, context c: token: has a blank"));
  }
}

TEST(ReadTokenTest, RefusesEmptyHugeAndOddFiles) {
  const TempFolder folder;
  const ClusterAccess access = WithTokenFile(folder / "token");
  for (const char* text : {"", "\n", " \r\n\t"}) {
    WriteFile(access.token_file, text);
    EXPECT_EQ(Refused(access),
              "token file " + access.token_file + ": is empty; write the token there");
  }
  WriteFile(access.token_file, std::string(kMaxTokenBytes, 'x'));
  NPG_EXPECT_OK(ReadToken(access));
  WriteFile(access.token_file, std::string(kMaxTokenBytes + 1, 'x'));
  EXPECT_THAT(Refused(access), HasSubstr("is larger than 64 KiB; no token is that long"));
  WriteFile(access.token_file, std::string(size_t{5} << 20, 'x'));
  EXPECT_THAT(Refused(access), HasSubstr("is larger than 64 KiB"));
  EXPECT_THAT(Refused(WithTokenFile(folder.path())), HasSubstr("is a directory; put the token"));
}

TEST(CheckServerUrlTest, NormalisesValidUrls) {
  const struct {
    const char* url;
    const char* server;
  } kCases[] = {
      {"https://10.96.0.1:443", "https://10.96.0.1:443"},
      {"https://10.96.0.1:443/", "https://10.96.0.1:443"},
      {"https://k8s.example.com", "https://k8s.example.com"},
      {"HTTPS://k8s.example.com//", "https://k8s.example.com"},
      {"https://rancher.example/k8s/clusters/c-m-1/", "https://rancher.example/k8s/clusters/c-m-1"},
      {"https://[fd00::1]:6443", "https://[fd00::1]:6443"},
      {"https://[::1]", "https://[::1]"},
      {"https://localhost:1", "https://localhost:1"},
      {"https://localhost:65535", "https://localhost:65535"},
  };
  for (const auto& test : kCases) {
    NPG_ASSERT_OK_AND_ASSIGN(const std::string server, CheckServerUrl(test.url));
    EXPECT_EQ(server, test.server);
  }
}

TEST(CheckServerUrlTest, RefusesInvalidUrlsWithAReason) {
  const struct {
    const char* url;
    const char* why;
  } kCases[] = {
      {"", "is empty; write https://HOST:PORT"},
      {"http://10.96.0.1",
       "\"http://10.96.0.1\" is not https: the token would be sent in the clear"},
      {"HTTP://10.96.0.1", "is not https"},
      {"10.96.0.1:443", "does not begin with https://; write https://HOST:PORT"},
      {"https:/10.96.0.1", "does not begin with https://"},
      {"unix:///run/api.sock", "does not begin with https://"},
      {"ftp://10.96.0.1", "does not begin with https://"},
      {"https://", "names no host"},
      {"https:///path", "names no host"},
      {"https://:443", "names no host"},
      {"https://h:", "has no valid port: \"\" is not a port number"},
      {"https://h:0", "port 0 is outside 1-65535"},
      {"https://h:65536", "port 65536 is outside 1-65535"},
      {"https://h:99999999999999999999", "has no valid port"},
      {"https://h:-1", "has no valid port"},
      {"https://h:44x", "has no valid port"},
      {"https://fd00::1", "has an IPv6 address without brackets; write https://[ADDRESS]:PORT"},
      {"https://fd00::1:6443", "has an IPv6 address without brackets"},
      {"https://[fd00::1", "has no IPv6 address between its brackets"},
      {"https://[]:443", "has no IPv6 address between its brackets"},
      {"https://[10.0.0.1]:443", "has no IPv6 address between its brackets"},
      {"https://[fe80::1%25eth0]:443", "has no IPv6 address between its brackets"},
      {"https://[fd00::1]443", "goes on behind its bracket without a port"},
      {"https://-h", "has a host that is neither a name nor an address"},
      {"https://a,b", "has a host that is neither a name nor an address"},
      {"https://user:s3cr3t@h", "the URL has a user name in it"},
      {"https://s3cr3t@h/path", "the URL has a user name in it"},
      {"http://user:s3cr3t@h", "the URL is not https"},
      {"https://h/?token=s3cr3t", "the URL has a query or a fragment"},
      {"https://h?token=s3cr3t", "the URL has a query or a fragment"},
      {"https://h/#s3cr3t", "the URL has a query or a fragment"},
      {"https://h/a b", "has a blank, a control character"},
      {"https://h\r\nX: y", "has a blank, a control character"},
      {"https://h\\@evil", "has a blank, a control character"},
      {"https://b\xc3\xbc"
       "cher",
       "has a blank, a control character"},
  };
  for (const auto& test : kCases) EXPECT_THAT(WrongUrl(test.url), HasSubstr(test.why)) << test.url;
  EXPECT_THAT(WrongUrl(std::string("https://h\0x", 11)), HasSubstr("has a blank"));
  EXPECT_THAT(WrongUrl("https://" + std::string(254, 'h')), HasSubstr("has a host that is"));
  EXPECT_THAT(WrongUrl("https://h/" + std::string(size_t{5} << 20, 'x')), HasSubstr("is longer"));
}

TEST(CheckProxyUrlTest, AcceptsTheUrlsOfKubectlAndQuotesNone) {
  for (const char* url : {"http://proxy:3128", "https://u:p@proxy", "SOCKS5://[::1]:1080/",
                          "http://u:p@ss@proxy:1"}) {
    NPG_EXPECT_OK(CheckProxyUrl(url)) << url;
  }
  for (const char* url : {"", "s3cr3t", "proxy:3128", "ftp://s3cr3t@proxy", "http://",
                          "http://u:s3cr3t@", "http://u:s3cr3t@proxy:0", "http://u:s3cr3t@pro xy",
                          "http:///s3cr3t", "http://u:s3cr3t\n@proxy"}) {
    const absl::Status status = CheckProxyUrl(url);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << url;
    EXPECT_THAT(std::string(status.message()), Not(HasSubstr(kSecret)));
  }
}

TEST(CheckHostNameTest, TakesNamesAndAddresses) {
  for (const char* name : {"kubernetes.default.svc", "10.0.0.1", "fd00::1", "a_b-c"}) {
    NPG_EXPECT_OK(CheckHostName(name)) << name;
  }
  for (const char* name : {"", "a:443", "[fd00::1]", "a b", "a\nb", "*.example", "https://h"}) {
    EXPECT_FALSE(CheckHostName(name).ok()) << name;
  }
}

TEST(WithServerTest, ReplacesTheServerAndTheTlsServerName) {
  ClusterAccess access;
  access.server = "https://10.96.0.1:443";
  access.tls_server_name = "kubernetes";
  access.token = "t";
  access.ca.file = "/ca";
  NPG_ASSERT_OK_AND_ASSIGN(const ClusterAccess other,
                           WithServer(access, "https://192.0.2.1:6443/"));
  EXPECT_EQ(other.server, "https://192.0.2.1:6443");
  EXPECT_EQ(other.tls_server_name, "");
  EXPECT_EQ(other.token, "t");
  EXPECT_EQ(other.ca.file, "/ca");
  EXPECT_EQ(WithServer(access, "http://192.0.2.1").status().code(),
            absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace npg::kubernetes::cluster_access_test
