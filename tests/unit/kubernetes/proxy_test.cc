// SPDX-License-Identifier: Apache-2.0
//
// The rules of golang.org/x/net/http/httpproxy, which kubectl obeys.
#include "kubernetes/proxy.h"

#include <gtest/gtest.h>

#include <map>
#include <optional>
#include <string>
#include <utility>

#include "kubernetes/cluster_access.h"
#include "kubernetes/in_cluster.h"

namespace npg::kubernetes::proxy_test {
namespace {

using Variables = std::map<std::string, std::string>;

constexpr char kProxy[] = "http://proxy:3128";

std::string Proxy(const std::string& server, Variables variables) {
  ClusterAccess access;
  access.server = server;
  return ProxyOf(access, [variables = std::move(variables)](const std::string& name) {
    const auto it = variables.find(name);
    return it == variables.end() ? std::nullopt : std::optional<std::string>(it->second);
  });
}

// Whether requests to `server` use the proxy, with this NO_PROXY.
bool Proxied(const std::string& server, const std::string& no_proxy) {
  const std::string proxy = Proxy(server, {{"HTTPS_PROXY", kProxy}, {"NO_PROXY", no_proxy}});
  EXPECT_TRUE(proxy.empty() || proxy == kProxy) << proxy;
  return !proxy.empty();
}

TEST(ProxyTest, ComesFromHttpsProxyInEitherCase) {
  const std::string server = "https://10.96.0.1:443";
  EXPECT_EQ(Proxy(server, {}), "");
  EXPECT_EQ(Proxy(server, {{"HTTPS_PROXY", kProxy}}), kProxy);
  EXPECT_EQ(Proxy(server, {{"https_proxy", kProxy}}), kProxy);
  EXPECT_EQ(Proxy(server, {{"HTTPS_PROXY", kProxy}, {"https_proxy", "http://other:1"}}), kProxy);
  EXPECT_EQ(Proxy(server, {{"HTTPS_PROXY", ""}, {"https_proxy", kProxy}}), kProxy);
  EXPECT_EQ(Proxy(server, {{"HTTPS_PROXY", "proxy:3128"}}), kProxy);
  EXPECT_EQ(Proxy(server, {{"HTTPS_PROXY", "socks5://proxy:1080"}}), "socks5://proxy:1080");
  EXPECT_EQ(Proxy(server, {{"ALL_PROXY", kProxy}, {"all_proxy", kProxy}}), "");
  EXPECT_EQ(Proxy(server, {{"HTTP_PROXY", kProxy}, {"http_proxy", kProxy}}), "");
}

TEST(ProxyTest, ThatOfTheKubeconfigComesFirst) {
  ClusterAccess access;
  access.server = "https://127.0.0.1:6443";
  access.proxy_url = "socks5://p:1080";
  const Environment environment = [](const std::string& name) {
    return std::optional<std::string>(name == "NO_PROXY" ? "*" : kProxy);
  };
  EXPECT_EQ(ProxyOf(access, environment), "socks5://p:1080");
}

TEST(ProxyTest, IsNeverForLoopback) {
  for (const char* server :
       {"https://127.0.0.1:6443", "https://127.8.9.1", "https://[::1]:6443", "https://[::1]",
        "https://[::ffff:127.0.0.1]:6443", "https://localhost:6443/path", "https://LOCALHOST"}) {
    EXPECT_FALSE(Proxied(server, "")) << server;
  }
  for (const char* server : {"https://128.0.0.1", "https://[::2]", "https://[::7f00:1]",
                             "https://localhost.example", "https://alocalhost"}) {
    EXPECT_TRUE(Proxied(server, "")) << server;
  }
}

TEST(ProxyTest, NoProxyInEitherCase) {
  const std::string server = "https://api.example";
  EXPECT_EQ(Proxy(server, {{"HTTPS_PROXY", kProxy}, {"no_proxy", "api.example"}}), "");
  EXPECT_EQ(Proxy(server, {{"https_proxy", kProxy}, {"NO_PROXY", "api.example"}}), "");
  EXPECT_EQ(
      Proxy(server, {{"HTTPS_PROXY", kProxy}, {"NO_PROXY", "x"}, {"no_proxy", "api.example"}}),
      kProxy);
}

TEST(ProxyTest, NoProxyNamesAddresses) {
  const std::string v4 = "https://10.96.0.1:6443";
  const std::string v6 = "https://[fd00:10:96::1]:6443";
  for (const char* entry :
       {"10.96.0.1", "10.96.0.1:6443", "a, 10.96.0.1 ,b", "::ffff:10.96.0.1", "10.96.0.0/12",
        ".svc,10.0.0.0/8,localhost", "0.0.0.0/0", "10.96.0.1/32", "*", "x,*"}) {
    EXPECT_FALSE(Proxied(v4, entry)) << entry;
  }
  for (const char* entry : {"", ",", " ", "10.96.0.2", "10.96.0.1:443", "10.96.0.1:",
                            "10.97.0.0/16", "10.96.0.1/33", "10.96.0.1/", "10.96.0.1/x",
                            "10.96.0.1/+8", "::/0", ".96.0.1", "0.1", "[10.96.0.1]", ":6443"}) {
    // A colon without a port is any port.
    EXPECT_EQ(Proxied(v4, entry), std::string(entry) != "10.96.0.1:") << entry;
  }
  for (const char* entry : {"fd00:10:96::1", "FD00:10:96:0:0:0:0:1", "[fd00:10:96::1]:6443",
                            "fd00:10:96::/112", "FD00::/8", "::/0", "fd00:10:96::1/128"}) {
    EXPECT_FALSE(Proxied(v6, entry)) << entry;
  }
  for (const char* entry :
       {"fd00:10:96::2", "[fd00:10:96::1]:443", "[fd00:10:96::1]", "fd00:10:96::/129",
        "fd00:10:97::/48", "0.0.0.0/0", "fd00:10:96::1%eth0", "[fd00:10:96::1", "fe80::/10"}) {
    EXPECT_TRUE(Proxied(v6, entry)) << entry;
  }
  EXPECT_FALSE(Proxied("https://10.96.0.1", "10.96.0.1:443")) << "the port of https";
}

TEST(ProxyTest, NoProxyNamesDomains) {
  const std::string server = "https://api.k8s.Example:6443";
  for (const char* entry :
       {"api.k8s.example", "k8s.example", "EXAMPLE", ".example", "*.example", "*.k8s.example",
        ".k8s.example:6443", "example:6443", "api.k8s.example:6443", "x, k8s.example"}) {
    EXPECT_FALSE(Proxied(server, entry)) << entry;
  }
  for (const char* entry :
       {".api.k8s.example", "*.api.k8s.example", "8s.example", "pi.k8s.example", "k8s.example:443",
        "k8s", "example.", "*.com", "**", "api.*.example", "https://api.k8s.example"}) {
    EXPECT_TRUE(Proxied(server, entry)) << entry;
  }
}

}  // namespace
}  // namespace npg::kubernetes::proxy_test
