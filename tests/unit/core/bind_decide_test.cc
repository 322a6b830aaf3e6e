// SPDX-License-Identifier: Apache-2.0
//
// The decision of bpf/guard_bind.h, compiled for the host: every row and every boundary of it. A
// row asks for no fact that it does not need.

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <array>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "guard_abi.h"
#include "guard_bind.h"

using BindWords = std::array<uint32_t, 4>;

// The environment of guard_bind.h. The test sets the facts; the environment records the calls in
// their order.
struct npg_bind_env {
  npg_bind_protection protection = NPG_BIND_DENY;
  uint32_t sources = NPG_SOURCE_KUBERNETES;
  bool device = false;
  uint32_t families = NPG_FAMILY_V4 | NPG_FAMILY_V6;
  std::vector<BindWords> addresses;  // in bind_addresses
  bool first_holder = false;
  bool excepted = false;

  std::vector<std::string> calls;
  std::vector<npg_port_key> keys;  // the arguments of the calls that have one
  std::vector<BindWords> asked;    // the addresses that were looked up
};

static npg_bind_protection npg_bind_env_protection(npg_bind_env* env) {
  env->calls.emplace_back("protection");
  return env->protection;
}

static uint32_t npg_bind_env_sources(npg_bind_env* env, const npg_port_key* key) {
  env->calls.emplace_back("sources");
  env->keys.push_back(*key);
  return env->sources;
}

static int npg_bind_env_device(npg_bind_env* env) {
  env->calls.emplace_back("device");
  return static_cast<int>(env->device);
}

static uint32_t npg_bind_env_refusable(npg_bind_env* env, const npg_port_key* key) {
  env->calls.emplace_back("refusable");
  env->keys.push_back(*key);
  return env->families;
}

static int npg_bind_env_address(npg_bind_env* env, const uint32_t* address) {
  env->calls.emplace_back("address");
  env->asked.push_back({address[0], address[1], address[2], address[3]});
  for (const BindWords& known : env->addresses) {
    if (known == env->asked.back()) return 1;
  }
  return 0;
}

static int npg_bind_env_first_holder(npg_bind_env* env, const npg_port_key* key) {
  env->calls.emplace_back("first_holder");
  env->keys.push_back(*key);
  return static_cast<int>(env->first_holder);
}

static int npg_bind_env_excepted(npg_bind_env* env) {
  env->calls.emplace_back("excepted");
  return static_cast<int>(env->excepted);
}

namespace npg::core::bind_decide_test {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr npg_port_key kKey = {33589, IPPROTO_TCP, 0};

BindWords Parse(const std::string& text) {
  BindWords address{};
  EXPECT_EQ(inet_pton(AF_INET6, text.c_str(), address.data()), 1) << text;
  return address;
}

npg_bind_outcome Decide(npg_bind_env& env, const std::string& address, npg_port_key key = kKey) {
  return npg_decide_bind(&env, &key, Parse(address).data());
}

TEST(BindDecide, RefusesOrReportsWhereAllRowsSayYes) {
  for (const auto& [mode, outcome] :
       {std::pair{NPG_BIND_DENY, NPG_BIND_REFUSED}, std::pair{NPG_BIND_WARN, NPG_BIND_WARNED}}) {
    npg_bind_env env;
    env.protection = mode;
    env.addresses = {Parse("::ffff:10.0.0.1")};
    EXPECT_EQ(Decide(env, "::ffff:10.0.0.1"), outcome);
    EXPECT_THAT(env.calls, ElementsAre("protection", "sources", "device", "refusable", "address",
                                       "first_holder", "excepted"));
    ASSERT_EQ(env.keys.size(), 3U);
    for (const npg_port_key& key : env.keys) {
      EXPECT_EQ(key.port, kKey.port);
      EXPECT_EQ(key.protocol, kKey.protocol);
    }
  }
}

// Row 1.
TEST(BindDecide, OffAsksNothingElse) {
  npg_bind_env env;
  env.protection = NPG_BIND_OFF;
  EXPECT_EQ(Decide(env, "::"), NPG_BIND_PASSED);
  EXPECT_THAT(env.calls, ElementsAre("protection"));
}

TEST(BindDecide, ABindToAnyPortIsNeverRefused) {
  npg_bind_env env;
  EXPECT_EQ(Decide(env, "::", {0, IPPROTO_UDP, 0}), NPG_BIND_PASSED);
  EXPECT_THAT(env.calls, IsEmpty());
}

// Row 2.
TEST(BindDecide, OnlyNodePorts) {
  for (const uint32_t sources : {uint32_t{0}, uint32_t{NPG_SOURCE_PROBE}}) {
    npg_bind_env env;
    env.sources = sources;
    EXPECT_EQ(Decide(env, "::"), NPG_BIND_PASSED) << sources;
    EXPECT_THAT(env.calls, ElementsAre("protection", "sources"));
  }
  // The canary never has other sources, but a NodePort must not be lost by that bit.
  npg_bind_env env;
  env.sources = NPG_SOURCE_PROBE | NPG_SOURCE_FILE;
  EXPECT_EQ(Decide(env, "::"), NPG_BIND_REFUSED);
}

// Row 3.
TEST(BindDecide, ASocketOfADeviceIsLeftAlone) {
  npg_bind_env env;
  env.device = true;
  EXPECT_EQ(Decide(env, "::ffff:0.0.0.0"), NPG_BIND_PASSED);
  EXPECT_THAT(env.calls, ElementsAre("protection", "sources", "device"));
}

// Row 4.
TEST(BindDecide, OnlyTheFamiliesOfTheService) {
  struct Case {
    const char* address;
    bool v4, v6;
  };
  const std::vector<Case> cases = {{"::ffff:0.0.0.0", true, false},
                                   {"::ffff:10.0.0.1", true, false},
                                   {"::", true, true},
                                   {"fd00::1", false, true},
                                   {"::2", false, true},
                                   {"::1:0:0:0", false, true},
                                   {"::fffe:10.0.0.1", false, true},
                                   {"::1:ffff:10.0.0.1", false, true}};
  for (const Case& c : cases) {
    for (uint32_t families = 0; families < 4; ++families) {
      npg_bind_env env;
      env.families = families;
      env.addresses = {Parse(c.address)};
      const bool concerned =
          (c.v4 && (families & NPG_FAMILY_V4) != 0) || (c.v6 && (families & NPG_FAMILY_V6) != 0);
      EXPECT_EQ(Decide(env, c.address), concerned ? NPG_BIND_REFUSED : NPG_BIND_PASSED)
          << c.address << " families " << families;
      EXPECT_EQ(env.calls.back(), concerned ? "excepted" : "refusable") << c.address;
    }
  }
}

// Row 5.
TEST(BindDecide, WildcardsCollideWithoutALookup) {
  for (const char* address : {"::", "::ffff:0.0.0.0"}) {
    npg_bind_env env;
    EXPECT_EQ(Decide(env, address), NPG_BIND_REFUSED) << address;
    EXPECT_THAT(env.calls, ElementsAre("protection", "sources", "device", "refusable",
                                       "first_holder", "excepted"));
  }
}

TEST(BindDecide, OnlyTheAddressesOfNodePorts) {
  for (const char* address : {"::ffff:10.0.0.2", "::ffff:224.0.0.1", "fd00::2", "ff02::1",
                              "::ffff:126.255.255.255", "::ffff:128.0.0.0", "::2", "::7f00:1"}) {
    npg_bind_env env;
    env.addresses = {Parse("::ffff:10.0.0.1"), Parse("fd00::1"), Parse("::ffff:127.0.0.0")};
    EXPECT_EQ(Decide(env, address), NPG_BIND_PASSED) << address;
    EXPECT_EQ(env.calls.back(), "address");
    EXPECT_THAT(env.asked, ElementsAre(Parse(address)));
    env.addresses.push_back(Parse(address));
    EXPECT_EQ(Decide(env, address), NPG_BIND_REFUSED) << address;
  }
}

TEST(BindDecide, LoopbackCollidesWhereRulesSaySo) {
  for (const char* address : {"::ffff:127.0.0.1", "::ffff:127.0.0.0", "::ffff:127.255.255.255"}) {
    for (const uint32_t sources : {uint32_t{NPG_SOURCE_NETFILTER}, uint32_t{NPG_SOURCE_FILE},
                                   uint32_t{NPG_SOURCE_KUBERNETES | NPG_SOURCE_NETFILTER}}) {
      npg_bind_env env;
      env.sources = sources;
      EXPECT_EQ(Decide(env, address), NPG_BIND_REFUSED) << address;
      EXPECT_THAT(env.asked, IsEmpty());
    }
    // A Service alone may not own loopback: kube-proxy in mode ipvs, or nodePortAddresses.
    npg_bind_env env;
    env.addresses = {Parse("::ffff:10.0.0.1")};
    EXPECT_EQ(Decide(env, address), NPG_BIND_PASSED) << address;
    EXPECT_THAT(env.asked, ElementsAre(Parse("::ffff:127.0.0.0")));
    // No source sees rules.
    npg_bind_env assumed;
    assumed.addresses = {Parse("::ffff:127.0.0.0")};
    EXPECT_EQ(Decide(assumed, address), NPG_BIND_REFUSED) << address;
  }
}

TEST(BindDecide, Loopback6NeverCollides) {
  npg_bind_env env;
  env.sources = NPG_SOURCE_NETFILTER | NPG_SOURCE_FILE;
  env.addresses = {Parse("::1"), Parse("::ffff:127.0.0.0")};
  EXPECT_EQ(Decide(env, "::1"), NPG_BIND_PASSED);
  EXPECT_EQ(env.calls.back(), "refusable");
}

// Rows 6 and 7.
TEST(BindDecide, SparesFirstHoldersAndExceptions) {
  for (const npg_bind_protection mode : {NPG_BIND_WARN, NPG_BIND_DENY}) {
    npg_bind_env first;
    first.protection = mode;
    first.first_holder = true;
    EXPECT_EQ(Decide(first, "::"), NPG_BIND_SPARED);
    EXPECT_EQ(first.calls.back(), "first_holder");
    npg_bind_env excepted;
    excepted.protection = mode;
    excepted.excepted = true;
    EXPECT_EQ(Decide(excepted, "::"), NPG_BIND_SPARED);
    EXPECT_EQ(excepted.calls.back(), "excepted");
  }
}

}  // namespace
}  // namespace npg::core::bind_decide_test
