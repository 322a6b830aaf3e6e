// SPDX-License-Identifier: Apache-2.0
#include "abi/convert.h"

#include <netinet/in.h>

#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>

#include "abi/entries.h"
#include "abi/names.h"
#include "absl/time/time.h"
#include "core/bind_facts.h"
#include "core/port.h"
#include "gtest/gtest.h"
#include "guard_abi.h"

// (The layout itself is asserted where layout.cc is compiled.)

namespace npg::abi::convert_test {
namespace {

constexpr Address kSome = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};

TEST(AbiFields, EndAtTheirFirstNulOrAtTheirEnd) {
  npg_socket_owner listener{};
  EXPECT_EQ(FieldText(listener.comm), "");
  std::memcpy(listener.comm, "containerd\0junk", 15);
  EXPECT_EQ(FieldText(listener.comm), "containerd");
  std::memset(listener.comm, 'x', sizeof(listener.comm));
  EXPECT_EQ(FieldText(listener.comm), std::string(NPG_COMM_LEN, 'x'));
}

TEST(AbiFields, AreSetWithANulAndPadded) {
  npg_policy_key key{};
  std::memset(key.comm, 'x', sizeof(key.comm));
  SetField(key.comm, "kubelet");
  EXPECT_TRUE(key == PolicyKeyOf("kubelet"));
  EXPECT_EQ(FromC(PolicyKeyOf(std::string(40, 'y'))), std::string(kMaxComm, 'y'));
}

template <typename T>
class AbiEquality : public ::testing::Test {};

using Structs =
    ::testing::Types<npg_port_key, npg_nodeport, npg_listener_key, npg_socket_owner, npg_policy_key,
                     npg_policy, npg_port_stats, npg_event, npg_config, npg_source_key,
                     npg_source_state, npg_uid_key, npg_cgroup_key, npg_member, npg_refusable,
                     npg_holder_key, npg_reserved_key, npg_reserved, npg_protection, npg_advice,
                     npg_bind_stats, npg_bind_event>;
TYPED_TEST_SUITE(AbiEquality, Structs);

// Every byte is compared, as the kernel does.
TYPED_TEST(AbiEquality, SeesEveryByte) {
  const TypeParam zero{};
  EXPECT_TRUE(zero == TypeParam{});
  for (size_t i = 0; i < sizeof(TypeParam); ++i) {
    std::array<uint8_t, sizeof(TypeParam)> bytes{};
    bytes.at(i) = 1;
    TypeParam other{};
    std::memcpy(&other, bytes.data(), bytes.size());
    EXPECT_FALSE(zero == other) << "byte " << i;
  }
}

// "63 characters / 63 characters" and the NUL: the longest Service fits.
TEST(Abi, LongestServiceNameFits) { EXPECT_EQ(NPG_SERVICE_LEN, 63 + 1 + 63 + 1); }

TEST(AbiConversion, ZeroesAreTheDefaults) {
  EXPECT_EQ(FromC(npg_nodeport{}), NodePort());
  EXPECT_EQ(FromC(npg_socket_owner{}), core::Binder());
  EXPECT_EQ(FromC(npg_port_stats{}), PortStats());
  EXPECT_EQ(FromC(npg_source_state{}), SourceState());
  EXPECT_EQ(FromC(npg_config{}), Config());
  EXPECT_EQ(FromC(npg_protection{}), Protection());
  EXPECT_EQ(FromC(npg_bind_stats{}), BindStats());
  EXPECT_TRUE(ToC(Protection()) == npg_protection{});
  EXPECT_TRUE(ToC(core::Binder()) == npg_socket_owner{});
  EXPECT_TRUE(ToC(SourceState()) == npg_source_state{});
  EXPECT_TRUE(ToC(Config()) == npg_config{});
  EXPECT_TRUE(IsNever(FromC(npg_nodeport{}).since));
}

TEST(AbiConversion, Keys) {
  const core::PortKey port{33589, core::Protocol::kUdp};
  EXPECT_TRUE(ToC(port) == (npg_port_key{33589, IPPROTO_UDP, 0}));
  EXPECT_EQ(FromC(ToC(port)), port);
  const ListenerKey listener{port, kSome};
  EXPECT_EQ(FromC(ToC(listener)), listener);
  EXPECT_EQ(ToC(listener).port, 33589);
  EXPECT_EQ(ToC(listener).protocol, IPPROTO_UDP);
  EXPECT_EQ(std::to_array(ToC(listener).address), kSome);
  EXPECT_EQ(FromC(ToC(Source::kFile)), Source::kFile);
  const core::PortHolder holder{port, 1000};
  EXPECT_TRUE(ToC(holder) == (npg_holder_key{33589, IPPROTO_UDP, 0, 1000}));
  EXPECT_EQ(FromC(ToC(holder)), holder);
  EXPECT_EQ(std::to_array(AddressKeyOf(kSome).address), kSome);
}

TEST(AbiConversion, NodePortsAndStats) {
  npg_nodeport nodeport{};
  nodeport.sources = NPG_SOURCE_FILE | NPG_SOURCE_NETFILTER;
  nodeport.since = 1000;
  SetField(nodeport.service, "default/web");
  EXPECT_EQ(FromC(nodeport), (NodePort{Bit(Source::kFile) | Bit(Source::kNetfilter),
                                       absl::FromUnixSeconds(1000), "default/web"}));
  npg_port_stats stats{};
  stats.exempted = 1;
  stats.observed = 2;
  stats.last = 3;
  EXPECT_EQ(FromC(stats), (PortStats{1, 2, 3}));
}

TEST(AbiConversion, SocketOwners) {
  const core::Binder binder{812, "containerd", 1000, 4242, 33589};
  const npg_socket_owner value = ToC(binder);
  EXPECT_EQ(value.pid, 812U);
  EXPECT_EQ(value.uid, 1000U);
  EXPECT_EQ(FieldText(value.comm), "containerd");
  EXPECT_EQ(value.cgroup_id, 4242U);
  EXPECT_EQ(value.asked_port, 33589U);
  EXPECT_EQ(FromC(value), binder);
}

TEST(AbiConversion, Addresses) {
  npg_address key{};
  std::memcpy(key.address, kSome.data(), kSome.size());
  EXPECT_EQ(FromC(key, {7, 0}), (core::LocalAddress{kSome, 7}));
}

TEST(AbiConversion, Events) {
  npg_event event{};
  event.time = 1;
  event.cgroup_id = 2;
  event.pid = 3;
  event.uid = 4;
  SetField(event.comm, "kubelet");
  std::memcpy(event.address, kSome.data(), kSome.size());
  event.listener_address[15] = 9;
  event.port = 33589;
  event.protocol = IPPROTO_TCP;
  event.observed = 1;
  Event expected;
  expected.boot_ns = 1;
  expected.cgroup_id = 2;
  expected.pid = 3;
  expected.uid = 4;
  expected.comm = "kubelet";
  expected.port = {33589, core::Protocol::kTcp};
  expected.address = kSome;
  expected.listener_address[15] = 9;
  expected.observed = true;
  EXPECT_EQ(FromC(event), expected);
}

TEST(AbiConversion, BindStatsAndEvents) {
  npg_bind_stats stats{};
  stats.warned = 1;
  stats.refused = 2;
  stats.last = 3;
  stats.binder = ToC(core::Binder{812, "rpc.statd", 1000, 4242, 33589});
  EXPECT_EQ(FromC(stats), (BindStats{1, 2, 3, {812, "rpc.statd", 1000, 4242, 33589}}));
  npg_bind_event event{};
  event.time = 1;
  event.cgroup_id = 2;
  event.pid = 3;
  event.uid = 4;
  SetField(event.comm, "rpc.statd");
  std::memcpy(event.address, kSome.data(), kSome.size());
  event.port = 33589;
  event.protocol = IPPROTO_UDP;
  event.outcome = NPG_BIND_REFUSED;
  event.error = EADDRINUSE;
  BindEvent expected;
  expected.boot_ns = 1;
  expected.cgroup_id = 2;
  expected.pid = 3;
  expected.uid = 4;
  expected.comm = "rpc.statd";
  expected.port = {33589, core::Protocol::kUdp};
  expected.address = kSome;
  expected.outcome = BindOutcome::kRefused;
  expected.error = EADDRINUSE;
  EXPECT_EQ(FromC(event), expected);
  EXPECT_EQ(FromC(npg_refusable{NPG_FAMILY_V6}), kFamilyV6);
}

TEST(AbiConversion, Protection) {
  abi::Protection protection;
  protection.bind = BindProtection::kDeny;
  protection.refusal_errno = EADDRINUSE;
  protection.reserve = ReservePorts::kAllocated;
  protection.reserve_state = ReserveState::kTooFew;
  protection.reserved_ports = 4;
  protection.loopback_assumed = true;
  protection.since = absl::FromUnixSeconds(1000);
  protection.error = "read-only file system";
  const npg_protection value = ToC(protection);
  EXPECT_EQ(value.bind, uint32_t{NPG_BIND_DENY});
  EXPECT_EQ(value.refusal_errno, uint32_t{EADDRINUSE});
  EXPECT_EQ(value.reserve, uint32_t{NPG_RESERVE_ALLOCATED});
  EXPECT_EQ(value.reserve_state, uint32_t{NPG_RESERVED_TOO_FEW});
  EXPECT_EQ(value.reserved_ports, 4U);
  EXPECT_EQ(value.loopback, 1U);
  EXPECT_EQ(value.since, 1000U);
  EXPECT_EQ(FieldText(value.error), "read-only file system");
  EXPECT_EQ(FromC(value), protection);
  protection.error = std::string(1000, 'e');
  EXPECT_EQ(FieldText(ToC(protection).error), std::string(NPG_PROTECTION_ERROR_LEN - 1, 'e'));
}

TEST(AbiConversion, Config) {
  abi::Config config;
  config.abi_version = kVersion;
  config.mode = Mode::kObserve;
  config.mark = 0x1000;
  config.mark_mask = 0x3000;
  config.netns_cookie = 5;
  config.started = absl::FromUnixSeconds(1000);
  config.version = "0.1.0";
  config.scope = Scope::kLocal;
  config.default_verdict = OwnerVerdict::kIgnored;
  config.standing_aside = Bit(Traffic::kUdp6);
  const npg_config value = ToC(config);
  EXPECT_EQ(value.abi_version, uint32_t{NPG_ABI_VERSION});
  EXPECT_EQ(value.mode, uint32_t{NPG_MODE_OBSERVE});
  EXPECT_EQ(value.mark, 0x1000U);
  EXPECT_EQ(value.mark_mask, 0x3000U);
  EXPECT_EQ(value.netns_cookie, 5U);
  EXPECT_EQ(value.started, 1000U);
  EXPECT_EQ(FieldText(value.version), "0.1.0");
  EXPECT_EQ(value.scope, uint32_t{NPG_SCOPE_LOCAL});
  EXPECT_EQ(value.default_verdict, uint32_t{NPG_OWNER_IGNORED});
  EXPECT_EQ(value.standing_aside, uint32_t{NPG_TRAFFIC_UDP6});
  EXPECT_EQ(FromC(value), config);
}

TEST(SourceStateToC, ConvertsEveryField) {
  SourceState state;
  state.connected = true;
  state.since = absl::FromUnixSeconds(100) + absl::Milliseconds(999);
  state.last_event = absl::FromUnixSeconds(200);
  state.last_reading = absl::FromUnixSeconds(300);
  state.services = 1;
  state.ports = 2;
  state.health_check_ports = 3;
  state.skipped = 4;
  state.coverage = core::Coverage::kPart;
  for (const auto& row : kSourceErrors)
    state.errors[row.value] = 10 + static_cast<uint64_t>(row.value);
  state.resource_version = "81234567";
  state.last_error = "cut";
  state.detail = "https://10.96.0.1:443, watch";
  const npg_source_state value = ToC(state);
  EXPECT_EQ(value.connected, 1U);
  EXPECT_EQ(value.since, 100U);
  EXPECT_EQ(value.last_event, 200U);
  EXPECT_EQ(value.last_reading, 300U);
  EXPECT_EQ(value.services, 1U);
  EXPECT_EQ(value.ports, 2U);
  EXPECT_EQ(value.health_check_ports, 3U);
  EXPECT_EQ(value.skipped, 4U);
  EXPECT_EQ(value.coverage, 1U);
  EXPECT_EQ(value.errors[NPG_SOURCE_ERROR_CONNECT], 10U);
  EXPECT_EQ(value.errors[NPG_SOURCE_ERROR_READ], 10U + NPG_SOURCE_ERROR_READ);
  EXPECT_EQ(FieldText(value.resource_version), "81234567");
  EXPECT_EQ(FieldText(value.last_error), "cut");
  EXPECT_EQ(FieldText(value.detail), "https://10.96.0.1:443, watch");
  state.since = absl::FromUnixSeconds(100);
  EXPECT_EQ(FromC(value), state) << "except the fraction of a second";
  EXPECT_EQ(AsStored(state), state);
}

TEST(SourceStateToC, NeverIsZero) {
  EXPECT_TRUE(ToC(SourceState()) == npg_source_state{});
  SourceState state;
  state.since = absl::InfinitePast();
  state.last_event = absl::FromUnixSeconds(-5);
  EXPECT_EQ(ToC(state).since, 0U);
  EXPECT_EQ(ToC(state).last_event, 0U);
}

TEST(SourceStateToC, CutsLongTextAndTerminatesIt) {
  SourceState state;
  state.ports = SIZE_MAX;
  state.resource_version = std::string(1000, 'v');
  state.last_error = std::string(1000, 'e');
  state.detail = std::string(1000, 'd');
  const npg_source_state value = ToC(state);
  EXPECT_EQ(value.ports, UINT32_MAX);
  EXPECT_EQ(FieldText(value.resource_version), std::string(NPG_RESOURCE_VERSION_LEN - 1, 'v'));
  EXPECT_EQ(FieldText(value.last_error), std::string(NPG_ERROR_LEN - 1, 'e'));
  EXPECT_EQ(FieldText(value.detail), std::string(NPG_DETAIL_LEN - 1, 'd'));
}

}  // namespace
}  // namespace npg::abi::convert_test
