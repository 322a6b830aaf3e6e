// SPDX-License-Identifier: Apache-2.0
#include "kubernetes/kubeconfig.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "kubernetes/cluster_access.h"
#include "testing/byte_step.h"
#include "testing/status_asserts.h"
#include "testing/testdata.h"

namespace npg::kubernetes::kubeconfig_test {
namespace {

using testing::TempFolder;
using testing::WriteFile;

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

// Part of every value that may be secret; must be in no message.
constexpr const char* kSecret = "s3cr3t";
constexpr const char* kCertificate = "-----BEGIN CERTIFICATE-----\ns3cr3t\n";
constexpr const char* kKey = "-----BEGIN EC PRIVATE KEY-----\ns3cr3t\n";

class KubeconfigTest : public ::testing::Test {
 protected:
  std::string path() const { return folder_ / "config"; }

  absl::StatusOr<ClusterAccess> Load(const std::string& text, const std::string& context = "") {
    WriteFile(path(), text);
    return LoadKubeconfig(path(), context);
  }

  // Expects a refusal, and returns its message without the name of the file.
  std::string Refused(const std::string& text, const std::string& context = "") {
    const absl::StatusOr<ClusterAccess> access = Load(text, context);
    if (access.ok()) return "(accepted)";
    EXPECT_EQ(access.status().code(), absl::StatusCode::kInvalidArgument) << access.status();
    std::string message(access.status().message());
    EXPECT_THAT(
        message,
        AllOf(Not(HasSubstr(kSecret)), Not(HasSubstr(absl::Base64Escape(kCertificate).substr(40))),
              Not(HasSubstr(absl::Base64Escape(kKey).substr(40))), Not(HasSubstr("\n"))));
    const std::string prefix = absl::StrCat("kubeconfig ", path(), ": ");
    EXPECT_THAT(message, StartsWith(prefix));
    return message.substr(prefix.size());
  }

  const TempFolder folder_;
};

// A kubeconfig with one context, of this cluster and this user (flow mappings).
std::string Config(const std::string& cluster, const std::string& user) {
  return absl::StrCat(
      "apiVersion: v1\nkind: Config\ncurrent-context: one\npreferences: {}\n"
      "contexts:\n- name: one\n  context: {cluster: home, user: admin, namespace: x}\n"
      "clusters:\n- name: home\n  cluster: ",
      cluster, "\nusers:\n- name: admin\n  user: ", user, "\n");
}

constexpr const char* kHome = "{server: 'https://192.0.2.1:6443'}";

std::string WithCluster(const std::string& cluster) { return Config(cluster, "{token: s3cr3t}"); }
std::string WithUser(const std::string& user) { return Config(kHome, user); }

TEST_F(KubeconfigTest, TakesTheCurrentContext) {
  NPG_ASSERT_OK_AND_ASSIGN(
      const ClusterAccess access,
      Load(Config("{server: 'https://192.0.2.1:6443/', tls-server-name: kubernetes, "
                  "proxy-url: 'http://u:p@proxy:3128', certificate-authority: /etc/ca.crt, "
                  "insecure-skip-tls-verify: false, extensions: [{name: x}]}",
                  "{token: s3cr3t, client-certificate: /c.pem, client-key: /k.pem}")));
  EXPECT_EQ(access.server, "https://192.0.2.1:6443");
  EXPECT_EQ(access.tls_server_name, "kubernetes");
  EXPECT_EQ(access.proxy_url, "http://u:p@proxy:3128");
  EXPECT_EQ(access.ca.file, "/etc/ca.crt");
  EXPECT_EQ(access.ca.data, "");
  EXPECT_EQ(access.token, "s3cr3t");
  EXPECT_EQ(access.token_file, "");
  EXPECT_EQ(access.client_certificate.file, "/c.pem");
  EXPECT_EQ(access.client_key.file, "/k.pem");
  EXPECT_EQ(access.origin, absl::StrCat("kubeconfig ", path(), ", context one"));
}

TEST_F(KubeconfigTest, AcceptsAKubeconfigOfKubeadm) {
  const std::string ca = absl::Base64Escape(kCertificate);
  const std::string key = absl::Base64Escape(kKey);
  NPG_ASSERT_OK_AND_ASSIGN(
      const ClusterAccess access,
      Load(absl::StrCat("apiVersion: v1\nclusters:\n- cluster:\n    certificate-authority-data: ",
                        ca, "\n    server: https://192.0.2.1:6443\n  name: kubernetes\n",
                        "contexts:\n- context:\n    cluster: kubernetes\n"
                        "    user: kubernetes-admin\n  name: kubernetes-admin@kubernetes\n"
                        "current-context: kubernetes-admin@kubernetes\nkind: Config\n"
                        "preferences: {}\nusers:\n- name: kubernetes-admin\n  user:\n"
                        "    client-certificate-data: ",
                        ca, "\n    client-key-data: ", key, "\n")));
  EXPECT_EQ(access.ca.data, kCertificate);
  EXPECT_EQ(access.client_certificate.data, kCertificate);
  EXPECT_EQ(access.client_key.data, kKey);
  EXPECT_EQ(access.client_key.file, "");
  EXPECT_EQ(access.token, "");
}

TEST_F(KubeconfigTest, TakesJson) {
  const std::string json =
      "{\n\t\"kind\": \"Config\", \"current-context\": \"a\\/b\",\n"
      "\t\"contexts\": [{\"name\": \"a/b\", \"context\": {\"cluster\": \"c\", \"user\": \"u\"}}],\n"
      "\t\"clusters\": [{\"name\": \"c\", \"cluster\": {\"server\": \"https:\\/\\/h\"}}],\n"
      "\t\"users\": [{\"name\": \"u\", \"user\": {\"token\": \"s3cr3t\"}}]}";
  for (const std::string& text : {json, "\n" + json + "\n"}) {
    NPG_ASSERT_OK_AND_ASSIGN(const ClusterAccess access, Load(text));
    EXPECT_EQ(access.server, "https://h");
    EXPECT_EQ(access.token, "s3cr3t");
  }
  EXPECT_THAT(Refused(json.substr(0, json.size() - 2)), StartsWith("line "));
}

TEST_F(KubeconfigTest, ANamedContextOverridesTheCurrentOne) {
  const std::string text =
      "current-context: a\n"
      "contexts:\n- {name: a, context: {cluster: c, user: u}}\n"
      "- {name: b, context: {cluster: d, user: v}}\n"
      "clusters: [{name: c, cluster: {server: https://c}}, {name: d, cluster: {server: "
      "https://d}}]\n"
      "users: [{name: u, user: {exec: {command: aws}}}, {name: v, user: {token: s3cr3t}}]\n";
  NPG_ASSERT_OK_AND_ASSIGN(const ClusterAccess access, Load(text, "b"));
  EXPECT_EQ(access.server, "https://d");
  EXPECT_EQ(access.token, "s3cr3t");
  EXPECT_THAT(Refused(text), StartsWith("user \"u\": exec plugins are not run"));
  EXPECT_EQ(Refused(text, "z"),
            "has no context \"z\"; choose with --kube-context (it has \"a\", \"b\")");
}

TEST_F(KubeconfigTest, ListsTheContextsIfNoneIsCurrent) {
  EXPECT_EQ(Refused("contexts: [{name: a, context: {cluster: c}}]\n"),
            "has no current-context; choose with --kube-context (it has \"a\")");
  EXPECT_EQ(Refused("current-context: ''\n"),
            "has no current-context; choose with --kube-context (it has none)");
  EXPECT_EQ(Refused("current-context: gone\n"),
            "has no context \"gone\"; choose with --kube-context (it has none)");
  std::string many = "contexts:\n";
  for (int i = 1000; i < 2000; ++i) absl::StrAppend(&many, "- {name: c", i, ", context: {}}\n");
  EXPECT_THAT(Refused(many), AllOf(HasSubstr("\"c1000\", "), HasSubstr("\"c1009\", and 990 more")));
}

TEST_F(KubeconfigTest, AContextMustNameAnExistingClusterAndUser) {
  const std::string start = "current-context: a\ncontexts: [{name: a, context: ";
  EXPECT_EQ(Refused(start + "{}}]\n"), "context \"a\": names no cluster; add cluster: NAME");
  EXPECT_EQ(Refused(start + "null}]\n"), "context \"a\": names no cluster; add cluster: NAME");
  EXPECT_EQ(Refused(start + "{cluster: c}}]\n"),
            "context \"a\": there is no cluster \"c\"; it has none");
  const std::string clusters = "clusters: [{name: c, cluster: {server: https://c}}]\n";
  EXPECT_EQ(Refused(start + "{cluster: c, user: u}}]\nusers: [{name: w}]\n" + clusters),
            "context \"a\": there is no user \"u\"; it has \"w\"");
}

TEST_F(KubeconfigTest, AUserWithoutCredentialsIsAnonymous) {
  for (const char* user : {"{}", "null", "{token: ''}", "{exec: null, username: ''}"}) {
    NPG_ASSERT_OK_AND_ASSIGN(const ClusterAccess access, Load(WithUser(user)));
    EXPECT_EQ(access.token + access.token_file, "") << user;
    EXPECT_TRUE(access.client_certificate.empty()) << user;
  }
  NPG_EXPECT_OK(
      Load("current-context: a\ncontexts: [{name: a, context: {cluster: c}}]\n"
           "clusters: [{name: c, cluster: {server: https://c}}]\n"));
}

TEST_F(KubeconfigTest, RelativePathsStartAtItsFolder) {
  NPG_ASSERT_OK_AND_ASSIGN(
      const ClusterAccess access,
      Load(Config("{server: https://h, certificate-authority: pki/ca.crt}",
                  "{tokenFile: ./token, client-certificate: ../c.pem, client-key: /abs/k.pem}")));
  EXPECT_EQ(access.ca.file, folder_ / "pki/ca.crt");
  EXPECT_EQ(access.token_file, folder_ / "token");
  EXPECT_EQ(access.client_certificate.file, folder_.path().parent_path() / "c.pem");
  EXPECT_EQ(access.client_key.file, "/abs/k.pem");
}

TEST_F(KubeconfigTest, AcceptsAPathRelativeToTheWorkingFolder) {
  WriteFile(path(), WithUser("{tokenFile: token}"));
  const std::filesystem::path before = std::filesystem::current_path();
  std::filesystem::current_path(folder_.path());
  const absl::StatusOr<ClusterAccess> access = LoadKubeconfig("config", "");
  std::filesystem::current_path(before);
  NPG_ASSERT_OK(access);
  EXPECT_EQ(access->token_file, folder_ / "token") << "valid in any working folder";
}

TEST_F(KubeconfigTest, DataOverridesFilesAndATokenFileOverridesAToken) {
  const std::string data = absl::Base64Escape(kCertificate);
  NPG_ASSERT_OK_AND_ASSIGN(
      const ClusterAccess access,
      Load(Config(absl::StrCat("{server: https://h, certificate-authority: ca, ",
                               "certificate-authority-data: ", data, "}"),
                  absl::StrCat("{client-certificate: c, client-certificate-data: ", data,
                               ", client-key: k, token: inline, tokenFile: token}"))));
  EXPECT_EQ(access.ca.file, "");
  EXPECT_EQ(access.ca.data, kCertificate);
  EXPECT_EQ(access.client_certificate.file, "");
  EXPECT_EQ(access.client_certificate.data, kCertificate);
  EXPECT_EQ(access.client_key.file, folder_ / "k");
  WriteFile(folder_ / "token", "of-the-file");
  NPG_ASSERT_OK_AND_ASSIGN(const std::string token, ReadToken(access));
  EXPECT_EQ(token, "of-the-file");
}

TEST_F(KubeconfigTest, RefusesUnsupportedFieldsOfUsers) {
  const struct {
    const char* user;
    const char* message;
  } kCases[] = {
      {"{exec: {apiVersion: client.authentication.k8s.io/v1, command: s3cr3t}}",
       "exec plugins are not run; give the user a tokenFile, a token, or"},
      {"{auth-provider: {name: gcp, config: {access-token: s3cr3t}}}",
       "auth-provider is not supported"},
      {"{username: s3cr3t, password: s3cr3t}", "username and password are not supported"},
      {"{password: s3cr3t}", "password and username are not supported"},
      {"{token: s3cr3t, as: s3cr3t}", "as (impersonation) is not supported"},
      {"{token: s3cr3t, as-uid: s3cr3t}", "as-uid (impersonation) is not supported"},
      {"{token: s3cr3t, as-groups: [s3cr3t]}", "as-groups (impersonation) is not supported"},
      {"{token: s3cr3t, as-user-extra: {a: [s3cr3t]}}", "as-user-extra (impersonation)"},
      {"{client-certificate: s3cr3t}", "has a client-certificate without a client-key"},
      {"{client-key: s3cr3t}", "has a client-key without a client-certificate"},
      {"{client-key: k, client-certificate-data: 's3cr3t!'}",
       "client-certificate-data is not base64"},
      {"{client-certificate: c, client-key-data: 's3cr3t='}", "client-key-data is not base64"},
      {"{client-certificate: c, client-key-data: czNjcjN0}",
       "client-key-data holds no PRIVATE KEY in PEM"},
      {"{token: \"s3cr3t\\nX-Injected: s3cr3t\"}", "token has a control character in it"},
      {"{token: \"s3cr3t\\0s3cr3t\"}", "token has a control character in it"},
      {"{token: s3cr3t s3cr3t}", "token has a blank, a control character or"},
      {"{token: \"s3cr3t\\u00e9\"}", "token has a blank, a control character or"},
      {"{token: 12345}", "token is a number, not text; put it in quotes"},
      {"{token: true}", "token is true or false, not text; put it in quotes"},
      {"{token: [s3cr3t]}", "token is a list, not text"},
      {"{tokenFile: {s3cr3t: s3cr3t}}", "tokenFile is a mapping, not text"},
      {"{tokenFile: \"s3cr3t\\0\"}", "tokenFile has a control character in it"},
      {"{token: s3cr3t, token: s3cr3t}", "has a key twice; remove one of them"},
      {"s3cr3t", "is text, not a mapping"},
      {"[s3cr3t]", "is a list, not a mapping"},
  };
  for (const auto& test : kCases) {
    EXPECT_THAT(Refused(WithUser(test.user)),
                StartsWith(absl::StrCat("user \"admin\": ", test.message)))
        << test.user;
  }
}

TEST_F(KubeconfigTest, RefusesInvalidFieldsOfClusters) {
  const struct {
    const char* cluster;
    const char* message;
  } kCases[] = {
      {"{server: https://h, insecure-skip-tls-verify: true}",
       "insecure-skip-tls-verify is not supported, TLS is always verified"},
      {"{server: https://h, insecure-skip-tls-verify: 'true'}",
       "insecure-skip-tls-verify is text, not true or false"},
      {"{}", "server is empty; write https://HOST:PORT"},
      {"{server: 'http://h'}", "server \"http://h\" is not https"},
      {"{server: 'https://u:s3cr3t@h'}", "server the URL has a user name in it"},
      {"{server: 'h:6443'}", "server \"h:6443\" does not begin with https://"},
      {"{server: 6443}", "server is a number, not text"},
      {"{server: https://h, tls-server-name: 'a b'}", "tls-server-name \"a b\" is neither a host"},
      {"{server: https://h, proxy-url: 'ftp://u:s3cr3t@p'}", "proxy-url is not a URL of http"},
      {"{server: https://h, proxy-url: 'http://u:s3cr3t@'}", "proxy-url has no valid host"},
      {"{server: https://h, certificate-authority-data: '***'}",
       "certificate-authority-data is not base64"},
      {"{server: https://h, certificate-authority-data: aGVsbG8=}",
       "certificate-authority-data holds no CERTIFICATE in PEM"},
      {"3", "is a number, not a mapping"},
  };
  for (const auto& test : kCases) {
    EXPECT_THAT(Refused(WithCluster(test.cluster)),
                StartsWith(absl::StrCat("cluster \"home\": ", test.message)))
        << test.cluster;
  }
}

TEST_F(KubeconfigTest, DataMayBeFoldedOverLines) {
  const std::string data = absl::Base64Escape(kCertificate);
  NPG_ASSERT_OK_AND_ASSIGN(
      const ClusterAccess access,
      Load(WithCluster(absl::StrCat("\n    server: https://h\n    certificate-authority-data: |\n",
                                    "      ", data.substr(0, 20), "\n      ", data.substr(20)))));
  EXPECT_EQ(access.ca.data, kCertificate);
}

TEST_F(KubeconfigTest, RefusesWrongTypes) {
  const struct {
    const char* text;
    const char* message;
  } kCases[] = {
      {"", "is empty; name a kubeconfig"},
      {"# nothing\n", "is empty; name a kubeconfig"},
      {"s3cr3t", "is text, not a mapping"},
      {"- s3cr3t\n", "is a list, not a mapping"},
      {"[]", "is a list, not a mapping"},
      {"3", "is a number, not a mapping"},
      {"a: b\n---\nc: s3cr3t\n", "holds more than one YAML document"},
      {"kind: Pod\n", "kind is not Config; name a kubeconfig"},
      {"kind: 3\n", "kind is a number, not text"},
      {"apiVersion: s3cr3t\n", "apiVersion is not v1"},
      {"contexts: 3\n", "contexts is a number, not a list"},
      {"contexts: {a: s3cr3t}\n", "contexts is a mapping, not a list"},
      {"contexts: [s3cr3t]\n", "contexts: item 1: is text, not a mapping"},
      {"contexts: [null]\n", "contexts: item 1: has no name"},
      {"contexts: [{context: {}}]\n", "contexts: item 1: has no name"},
      {"contexts: [{name: 3}]\n", "contexts: item 1: name is a number, not text"},
      {"contexts: [{name: [s3cr3t]}]\n", "contexts: item 1: name is a list, not text"},
      {"contexts: [{name: a}, {name: b}, {name: a}]\n",
       "contexts: item 3: has the name \"a\" of an earlier one"},
      {"contexts: [{name: a, context: s3cr3t}]\n", "context \"a\": is text, not a mapping"},
      {"current-context: [s3cr3t]\n", "current-context is a list, not text"},
      {"current-context: a\ncurrent-context: s3cr3t\n", "has a key twice"},
      {"clusters: 3\ncurrent-context: a\ncontexts: [{name: a, context: {cluster: c}}]\n",
       "clusters is a number, not a list"},
      {"users: s3cr3t\ncurrent-context: a\ncontexts: [{name: a, context: {cluster: c}}]\n"
       "clusters: [{name: c}]\n",
       "users is text, not a list"},
      {"users: [{name: u}, {name: u}]\ncurrent-context: a\n"
       "contexts: [{name: a, context: {cluster: c}}]\nclusters: [{name: c}]\n",
       "users: item 2: has the name \"u\" of an earlier one"},
      {"clusters: [{name: c}, {name: c}]\ncurrent-context: a\n"
       "contexts: [{name: a, context: {cluster: c}}]\n",
       "clusters: item 2: has the name \"c\" of an earlier one"},
  };
  for (const auto& test : kCases)
    EXPECT_THAT(Refused(test.text), StartsWith(test.message)) << test.text;
}

TEST_F(KubeconfigTest, RefusesInvalidYamlWithoutQuotingIt) {
  for (const char* text :
       {"token: *s3cr3t\n", "token: &s3cr3t [*s3cr3t]\n", "token: \"\\s3cr3t\"\n",
        "token: \"s3cr3t\n", "a: {token: s3cr3t\n", "%YAML s3cr3t\n---\na: b\n", "a: b: s3cr3t\n",
        "\ttoken: s3cr3t\n", "%TAG s3cr3t\n", "a: !<s3cr3t\n", "? [s3cr3t]\n: s3cr3t\n",
        "a: @s3cr3t\n", "a: `s3cr3t`\n"}) {
    EXPECT_THAT(Refused(text), Not(StartsWith("(accepted)"))) << text;
  }
  EXPECT_EQ(Refused("token: *s3cr3t\n"), "line 1: aliases are not supported");
  EXPECT_THAT(Refused("kind: \xff\xfes3cr3t\n"), StartsWith("is not UTF-8"));
  EXPECT_THAT(Refused("{\"kind\": \"\xc3\x28\"}"), StartsWith("is not UTF-8"));
}

TEST_F(KubeconfigTest, RefusesAliasesDeepNestingAndHugeFiles) {
  std::string bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n";
  for (int i = 1; i < 30; ++i) {
    absl::StrAppend(&bomb, "a", i, ": &a", i, " [*a", i - 1, ", *a", i - 1, ", *a", i - 1, "]\n");
  }
  EXPECT_EQ(Refused(bomb), "line 2: aliases are not supported");
  EXPECT_THAT(Refused("a: " + std::string(100000, '[')), Not(StartsWith("(accepted)")));
  EXPECT_THAT(Refused(std::string(100000, '{')), Not(StartsWith("(accepted)")));
  EXPECT_THAT(Refused("contexts: " + std::string(1200, '[') + std::string(1200, ']')),
              Not(StartsWith("(accepted)")));
  WriteFile(path(), WithUser("{token: s3cr3t}") + "#" + std::string(size_t{5} << 20, 'x'));
  EXPECT_EQ(LoadKubeconfig(path(), "").status(),
            absl::ResourceExhaustedError(
                absl::StrCat("kubeconfig ", path(),
                             ": is larger than 1024 KiB; name a kubeconfig with --kubeconfig")));
}

TEST_F(KubeconfigTest, EveryPrefixIsRefusedOrValid) {
  const std::string text = Config("\n    server: https://192.0.2.1:6443",
                                  "\n    token: s3cr3t-that-is-long\n    as: somebody");
  for (size_t length = 0; length < text.size(); ++length) {
    const absl::StatusOr<ClusterAccess> access = Load(text.substr(0, length));
    if (access.ok()) {
      EXPECT_THAT(access->server, StartsWith("https://1")) << length;
    } else {
      EXPECT_FALSE(absl::StrContains(access.status().message(), kSecret)) << access.status();
    }
  }
}

TEST_F(KubeconfigTest, ErrorsOfCorruptFilesContainNoSecrets) {
  const std::string text = Config(kHome, absl::StrCat("{token: s3cr3t, client-certificate: c, "
                                                      "client-key-data: ",
                                                      absl::Base64Escape(kKey), "}"));
  for (size_t at = 0; at < text.size(); at += testing::kByteStep) {
    for (const char c : {'\n', '"', '*', '{'}) {
      std::string changed = text;
      changed[at] = c;
      const absl::StatusOr<ClusterAccess> access = Load(changed);
      EXPECT_FALSE(absl::StrContains(access.status().message(), kSecret)) << access.status();
      EXPECT_FALSE(absl::StrContains(access.status().message(), "\n")) << access.status();
    }
  }
}

TEST_F(KubeconfigTest, NamesAFileThatCannotBeRead) {
  EXPECT_EQ(LoadKubeconfig("/nowhere/config", "").status(),
            absl::NotFoundError("kubeconfig /nowhere/config: No such file or directory; name a "
                                "kubeconfig with --kubeconfig"));
  const std::string folder = folder_.path();
  EXPECT_EQ(LoadKubeconfig(folder, "").status(),
            absl::InvalidArgumentError(absl::StrCat(
                "kubeconfig ", folder, ": is a directory; name a kubeconfig with --kubeconfig")));
}

TEST_F(KubeconfigTest, NamesAreEscapedInMessages) {
  EXPECT_THAT(Refused("contexts: [{name: \"\\u202e\"}]\n"), HasSubstr("\"\\xe2\\x80\\xae\""));
  EXPECT_THAT(Refused("contexts: [{name: \"a\\eb\"}]\n"),
              StartsWith("contexts: item 1: name has a control character in it"));
}

class KubeconfigListTest : public ::testing::Test {
 protected:
  void Write(const std::string& name, const std::string& text) { WriteFile(folder_ / name, text); }
  // "a:b": the files of these names, with their folder.
  absl::StatusOr<ClusterAccess> Load(const std::string& names, const std::string& context = "") {
    const std::string between = absl::StrCat(":", prefix());
    return LoadKubeconfigs(absl::StrCat(prefix(), absl::StrReplaceAll(names, {{":", between}})),
                           context);
  }
  // The message, with the names of files as above.
  std::string Failed(const std::string& names, const std::string& context = "") {
    const std::string message(Load(names, context).status().message());
    return absl::StrReplaceAll(message, {{prefix(), ""}});
  }
  std::string prefix() const { return folder_ / ""; }

  const TempFolder folder_;
};

TEST_F(KubeconfigListTest, TheFirstFileThatHasANameCounts) {
  Write("a",
        "contexts: [{name: one, context: {cluster: home, user: admin}}]\n"
        "users: [{name: admin, user: {tokenFile: token}}]\n");
  std::filesystem::create_directories(folder_ / "below");
  Write("below/b",
        "current-context: one\n"
        "contexts: [{name: one, context: {cluster: away, user: other}},\n"
        "           {name: two, context: {cluster: home, user: other}}]\n"
        "clusters: [{name: home, cluster: {server: https://b, certificate-authority: ca}}]\n"
        "users: [{name: admin, user: {token: s3cr3t}}, {name: other, user: {token: of-b}}]\n");
  Write("c",
        "current-context: two\n"
        "clusters: [{name: home, cluster: {server: https://c, tls-server-name: c}},\n"
        "           {name: away, cluster: {server: https://away}}]\n");
  NPG_ASSERT_OK_AND_ASSIGN(ClusterAccess access, Load("a:below/b:c"));
  EXPECT_EQ(access.server, "https://b");
  EXPECT_EQ(access.tls_server_name, "") << "the section is not merged";
  EXPECT_EQ(access.ca.file, folder_ / "below/ca") << "relative to its own file";
  EXPECT_EQ(access.token_file, folder_ / "token");
  EXPECT_EQ(access.token, "");
  EXPECT_EQ(access.origin, absl::StrCat("kubeconfig ", folder_ / "a", ":", folder_ / "below/b", ":",
                                        folder_ / "c", ", context one"));
  NPG_ASSERT_OK_AND_ASSIGN(access, Load("a:below/b:c", "two"));
  EXPECT_EQ(access.token, "of-b");
  NPG_ASSERT_OK_AND_ASSIGN(access, Load("c:below/b:a"));
  EXPECT_EQ(access.server, "https://c");
  EXPECT_EQ(access.token, "of-b") << "context two";
}

TEST_F(KubeconfigListTest, LeavesOutMissingFilesAndRepeatedNames) {
  Write("a", WithUser("{token: t}"));
  NPG_ASSERT_OK_AND_ASSIGN(const ClusterAccess access, Load("none:a:a"));
  EXPECT_EQ(access.token, "t");
  EXPECT_EQ(access.origin, absl::StrCat("kubeconfig ", folder_ / "a", ", context one"));
  EXPECT_TRUE(absl::IsNotFound(Load("none:nothing").status())) << Load("none:nothing").status();
  EXPECT_TRUE(absl::IsNotFound(LoadKubeconfigs("::", "").status()));
}

TEST_F(KubeconfigListTest, ErrorsNameTheirFile) {
  Write("good", WithUser("{token: t}"));
  Write("bad", "{");
  EXPECT_THAT(Failed("good:bad"), StartsWith("kubeconfig bad: "));
  Write("list", "[1]");
  EXPECT_THAT(Failed("list:good"), StartsWith("kubeconfig list: "));
  Write("user", "users: [{name: admin, user: {username: x}}]");
  EXPECT_THAT(Failed("user:good"), StartsWith("kubeconfig user: user \"admin\": username "));
  EXPECT_THAT(Failed("good:user", "two"), StartsWith("kubeconfig good:user: has no context"));
  NPG_EXPECT_OK(Load("good:user").status());
}

}  // namespace
}  // namespace npg::kubernetes::kubeconfig_test
