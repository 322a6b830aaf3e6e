// SPDX-License-Identifier: Apache-2.0
// The maps of bind protection and of reserved ports: what BpfGuard writes into them, what the
// programs at bind() make of it, and what a restart keeps.
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "abi/convert.h"
#include "abi/entries.h"
#include "abi/names.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "base/unique_fd.h"
#include "core/bind_facts.h"
#include "core/listener.h"
#include "core/owner_policy.h"
#include "core/port.h"
#include "core/port_ranges.h"
#include "dataplane/bpf/bind_events_reader.h"
#include "dataplane/bpf/bpf_guard.h"
#include "dataplane/bpf/guard_state.h"
#include "dataplane/bpf/pinned_map.h"
#include "dataplane/bpf/reserved_map.h"
#include "dataplane/bpf/skeleton.h"
#include "guard_abi.h"
#include "integration/dataplane/dataplane_fixture.h"
#include "node/cgroups.h"
#include "testing/command.h"
#include "testing/paths.h"
#include "testing/status_asserts.h"
#include "testing/transport.h"

namespace npg::dataplane::protection_maps_test {
namespace {

using ::npg::testing::MakeAddress;
using ::npg::testing::OpenSocket;
using ::npg::testing::SocketAddress;
using ::npg::testing::Transport;
using ::testing::AllOf;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

// The maps that ABI version 5 added.
constexpr std::array<const char*, 10> kNewMaps = {
    "refusable",  "first_holders",  "bind_addresses", "bind_uids", "bind_cgroups",
    "bind_names", "reserved_ports", "protection",     "advice",    "bind_stats"};

constexpr abi::Address kOwn4 = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 0, 0, 1};
constexpr abi::Address kOther4 = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 0, 0, 2};

core::PortKey Udp(uint16_t port) { return {port, core::Protocol::kUdp}; }

core::PortKey Tcp(uint16_t port) { return {port, core::Protocol::kTcp}; }

// 0, or the errno of bind().
int BindError(int socket, const std::string& address, uint16_t port) {
  const absl::StatusOr<SocketAddress> at = MakeAddress(address, port);
  if (!at.ok()) return -1;
  return bind(socket, at->get(), at->size) == 0 ? 0 : errno;
}

class ProtectionMapsTest : public DataplaneTest {
 protected:
  // A guard that protects kPort in this mode, TCP and UDP, of both families.
  absl::StatusOr<std::unique_ptr<BpfGuard>> Protecting(abi::BindProtection mode) {
    auto guard = Guard({kPort}, {abi::Scope::kLoopback, mode});
    if (!guard.ok()) return guard;
    core::Difference tcp;
    tcp.put.push_back({Tcp(kPort), {abi::Bit(abi::Source::kFile), "default/web"}});
    absl::Status status = (*guard)->ApplyNodePorts(tcp).status();
    if (status.ok()) {
      status = (*guard)->SetRefusable({{Udp(kPort), abi::kFamilyV4 | abi::kFamilyV6},
                                       {Tcp(kPort), abi::kFamilyV4 | abi::kFamilyV6}});
    }
    if (!status.ok()) return status;
    return guard;
  }

  static int Bind(const std::string& address, uint16_t port,
                  Transport transport = Transport::kUdp) {
    const absl::StatusOr<SocketAddress> at = MakeAddress(address, port);
    if (!at.ok()) return -1;
    const absl::StatusOr<base::UniqueFd> socket = OpenSocket(at->family(), transport);
    if (!socket.ok()) return -1;
    return BindError(socket->get(), address, port);
  }

  uint64_t Counted(abi::Counter counter) const {
    const absl::StatusOr<GuardState> state = GuardState::Open(pins_);
    NPG_EXPECT_OK(state);
    if (!state.ok()) return 0;
    const absl::StatusOr<abi::Counters> counters = state->Counters();
    NPG_EXPECT_OK(counters);
    return counters.ok() ? (*counters)[counter] : 0;
  }

  // Makes the pins those of ABI version 4, as far as its readers and this build can tell.
  void MakePinsOfAbi4() {
    for (const char* name : kNewMaps) ASSERT_EQ(unlink(pins_.Map(name).c_str()), 0) << name;
    ASSERT_EQ(unlink(pins_.Map("bind_events").c_str()), 0);
    NPG_ASSERT_OK_AND_ASSIGN(const base::UniqueFd config, OpenPin(pins_.Map("config")));
    abi::Config former = Config();
    former.abi_version = 4;
    NPG_ASSERT_OK(PutElement(config.get(), "config", uint32_t{0}, abi::ToC(former)));
  }
};

TEST_F(ProtectionMapsTest, WritesAndReplacesEntries) {
  NPG_ASSERT_OK_AND_ASSIGN(const std::unique_ptr<BpfGuard> guard, Guard());
  NPG_ASSERT_OK_AND_ASSIGN(const GuardState state, GuardState::Open(pins_));
  const std::vector<BpfGuard::Refusable> steps = {
      {{Tcp(1), abi::kFamilyV4}, {Tcp(2), abi::kFamilyV4}, {Udp(2), abi::kFamilyV6}},
      {{Tcp(1), abi::kFamilyV4 | abi::kFamilyV6}, {Udp(2), abi::kFamilyV6}, {Tcp(3), 1}},
      {{Tcp(0), abi::kFamilyV6}, {Udp(9), abi::kFamilyV4}},
      {}};
  for (const BpfGuard::Refusable& step : steps) {
    NPG_ASSERT_OK(guard->SetRefusable(step));
    NPG_ASSERT_OK_AND_ASSIGN(const BpfGuard::Refusable written, guard->ReadRefusable());
    EXPECT_EQ(written, step);
    NPG_ASSERT_OK_AND_ASSIGN(const auto shown, state.Refusable());
    EXPECT_EQ(BpfGuard::Refusable(shown.begin(), shown.end()), step);
  }
  const std::vector<std::set<core::PortHolder>> holders = {
      {{Tcp(1), 0}, {Tcp(1), 1000}, {Udp(1), 7}}, {{Tcp(1), 1000}, {Tcp(2), 0}}, {}};
  for (const std::set<core::PortHolder>& step : holders) {
    NPG_ASSERT_OK(guard->SetFirstHolders(step));
    NPG_ASSERT_OK_AND_ASSIGN(const std::set<core::PortHolder> written, guard->FirstHolders());
    EXPECT_EQ(written, step);
    NPG_ASSERT_OK_AND_ASSIGN(const std::vector<core::PortHolder> shown, state.FirstHolders());
    EXPECT_EQ(std::set<core::PortHolder>(shown.begin(), shown.end()), step);
    EXPECT_TRUE(std::is_sorted(shown.begin(), shown.end()));
  }
}

// Thousands of ports change one by one while Services are created.
TEST_F(ProtectionMapsTest, WritesOnlyWhatChanged) {
  NPG_ASSERT_OK_AND_ASSIGN(const std::unique_ptr<BpfGuard> guard, Guard());
  BpfGuard::Refusable ports = {{Tcp(1), abi::kFamilyV4}, {Tcp(2), abi::kFamilyV4}};
  std::set<core::PortHolder> holders = {{Tcp(1), 7}, {Tcp(2), 7}};
  NPG_ASSERT_OK(guard->SetRefusable(ports));
  NPG_ASSERT_OK(guard->SetFirstHolders(holders));
  // As another process would: a rewrite of the whole map would undo it.
  NPG_ASSERT_OK_AND_ASSIGN(const base::UniqueFd refusable, OpenPin(pins_.Map("refusable")));
  NPG_ASSERT_OK(RemoveElement(refusable.get(), "refusable", abi::ToC(Tcp(1))));
  NPG_ASSERT_OK_AND_ASSIGN(const base::UniqueFd first, OpenPin(pins_.Map("first_holders")));
  NPG_ASSERT_OK(RemoveElement(first.get(), "first_holders", abi::ToC(core::PortHolder{Tcp(1), 7})));
  ports.emplace(Tcp(3), abi::kFamilyV4);
  holders.insert({Tcp(3), 7});
  NPG_ASSERT_OK(guard->SetRefusable(ports));
  NPG_ASSERT_OK(guard->SetFirstHolders(holders));
  NPG_ASSERT_OK_AND_ASSIGN(const BpfGuard::Refusable now, guard->ReadRefusable());
  EXPECT_EQ(now, (BpfGuard::Refusable{{Tcp(2), abi::kFamilyV4}, {Tcp(3), abi::kFamilyV4}}));
  NPG_ASSERT_OK_AND_ASSIGN(const std::set<core::PortHolder> left, guard->FirstHolders());
  EXPECT_EQ(left, (std::set<core::PortHolder>{{Tcp(2), 7}, {Tcp(3), 7}}));
}

// What a map that is full refuses is tried again by the next call.
TEST_F(ProtectionMapsTest, AFullMapTakesTheRestLater) {
  NPG_ASSERT_OK_AND_ASSIGN(const std::unique_ptr<BpfGuard> guard, Guard());
  std::set<core::PortHolder> holders;
  for (uint32_t uid = 0; uid <= NPG_MAX_NODEPORTS; ++uid) holders.insert({Tcp(kPort), uid});
  const absl::Status full = guard->SetFirstHolders(holders);
  EXPECT_TRUE(absl::IsResourceExhausted(full)) << full;
  holders.erase(holders.begin());
  NPG_ASSERT_OK(guard->SetFirstHolders(holders));
  NPG_ASSERT_OK_AND_ASSIGN(const std::set<core::PortHolder> written, guard->FirstHolders());
  EXPECT_EQ(written, holders);
}

TEST_F(ProtectionMapsTest, DenyRefusesBinds) {
  NPG_ASSERT_OK_AND_ASSIGN(const std::unique_ptr<BpfGuard> guard,
                           Protecting(abi::BindProtection::kDeny));
  EXPECT_EQ(guard->refusal_errno(), HasSetRetval() ? EADDRINUSE : EPERM);
  NPG_ASSERT_OK_AND_ASSIGN(const auto reader, BindEventsReader::Open(pins_));
  for (const char* address : {"0.0.0.0", "127.0.0.1", "::", "::ffff:127.0.0.1"}) {
    for (const Transport transport : {Transport::kUdp, Transport::kTcp}) {
      EXPECT_EQ(Bind(address, kPort, transport), guard->refusal_errno()) << address;
    }
  }
  EXPECT_EQ(Counted(abi::Counter::kBindRefused), 8U);
  uint64_t lost = 0;
  const std::vector<abi::BindEvent> events = reader->Drain(&lost);
  ASSERT_EQ(events.size(), 8U);
  EXPECT_EQ(events[0].port, Udp(kPort));
  EXPECT_EQ(events[0].outcome, abi::BindOutcome::kRefused);
  EXPECT_EQ(events[0].error, guard->refusal_errno());
  EXPECT_EQ(events[0].pid, static_cast<uint32_t>(getpid()));
  EXPECT_EQ(events[0].uid, getuid());
  EXPECT_EQ(events[1].port, Tcp(kPort));
  abi::Address any4{};
  any4[10] = any4[11] = 0xff;
  EXPECT_EQ(events[0].address, any4);
  EXPECT_EQ(events[4].address, abi::Address{});
  EXPECT_THAT(reader->Drain(&lost), IsEmpty());
  EXPECT_EQ(lost, 0U);
  NPG_ASSERT_OK_AND_ASSIGN(const GuardState state, GuardState::Open(pins_));
  NPG_ASSERT_OK_AND_ASSIGN(const auto stats, state.BindStats());
  ASSERT_EQ(stats.size(), 2U);
  for (const auto& [key, value] : stats) {
    EXPECT_EQ(value.refused, 4U) << core::ToString(key);
    EXPECT_EQ(value.warned, 0U);
    EXPECT_EQ(value.binder.pid, getpid());
    EXPECT_EQ(value.binder.asked_port, kPort);
    EXPECT_NE(value.last_boot_ns, 0U);
  }
}

TEST_F(ProtectionMapsTest, LeavesOtherBindsAlone) {
  NPG_ASSERT_OK_AND_ASSIGN(const std::unique_ptr<BpfGuard> guard,
                           Protecting(abi::BindProtection::kDeny));
  EXPECT_EQ(Bind("0.0.0.0", kPort + 1), 0);
  EXPECT_EQ(Bind("0.0.0.0", 0), 0);
  EXPECT_EQ(Bind("::", 0, Transport::kTcp), 0);
  EXPECT_EQ(Bind("::1", kPort), 0);
  // Not of the families of the Service.
  NPG_ASSERT_OK(guard->SetRefusable({{Udp(kPort), abi::kFamilyV6}}));
  EXPECT_EQ(Bind("0.0.0.0", kPort), 0);
  EXPECT_NE(Bind("::", kPort), 0);
  NPG_ASSERT_OK(guard->SetRefusable({}));
  EXPECT_EQ(Bind("::", kPort), 0);
  EXPECT_EQ(Counted(abi::Counter::kBindRefused), 1U);
}

TEST_F(ProtectionMapsTest, LeavesOtherNamespacesAlone) {
  NPG_ASSERT_OK_AND_ASSIGN(const std::unique_ptr<BpfGuard> guard,
                           Protecting(abi::BindProtection::kDeny));
  NPG_ASSERT_OK_AND_ASSIGN(const std::string elsewhere, testing::RunInFork([] {
                             if (unshare(CLONE_NEWNET) != 0) return std::string("unshare failed");
                             return absl::StrCat(Bind("0.0.0.0", kPort));
                           }));
  EXPECT_EQ(elsewhere, "0");
  EXPECT_NE(Bind("0.0.0.0", kPort), 0);
}

TEST_F(ProtectionMapsTest, ARefusedBindLeavesNoNote) {
  NPG_ASSERT_OK_AND_ASSIGN(const std::unique_ptr<BpfGuard> guard,
                           Protecting(abi::BindProtection::kDeny));
  NPG_ASSERT_OK_AND_ASSIGN(const base::UniqueFd socket, OpenSocket(AF_INET, Transport::kTcp));
  EXPECT_EQ(BindError(socket.get(), "0.0.0.0", kPort), guard->refusal_errno());
  NPG_ASSERT_OK_AND_ASSIGN(std::optional<core::Binder> note, guard->NoteOf(socket.get()));
  EXPECT_FALSE(note.has_value());
  EXPECT_EQ(BindError(socket.get(), "0.0.0.0", 0), 0) << "it may have another port";
  NPG_ASSERT_OK_AND_ASSIGN(note, guard->NoteOf(socket.get()));
  ASSERT_TRUE(note.has_value());
  EXPECT_EQ(note->asked_port, 0);
}

TEST_F(ProtectionMapsTest, WarnReportsAndLetsPass) {
  NPG_ASSERT_OK_AND_ASSIGN(const std::unique_ptr<BpfGuard> guard,
                           Protecting(abi::BindProtection::kWarn));
  NPG_ASSERT_OK_AND_ASSIGN(const auto reader, BindEventsReader::Open(pins_));
  EXPECT_EQ(Bind("0.0.0.0", kPort), 0);
  uint64_t lost = 0;
  const std::vector<abi::BindEvent> events = reader->Drain(&lost);
  ASSERT_EQ(events.size(), 1U);
  EXPECT_EQ(events[0].outcome, abi::BindOutcome::kWarned);
  EXPECT_EQ(events[0].error, 0);
  EXPECT_EQ(Counted(abi::Counter::kBindWarned), 1U);
  EXPECT_EQ(Counted(abi::Counter::kBindRefused), 0U);
}

TEST_F(ProtectionMapsTest, OffDoesNothing) {
  NPG_ASSERT_OK_AND_ASSIGN(const std::unique_ptr<BpfGuard> guard,
                           Protecting(abi::BindProtection::kOff));
  EXPECT_EQ(Bind("0.0.0.0", kPort), 0);
  NPG_ASSERT_OK_AND_ASSIGN(const GuardState state, GuardState::Open(pins_));
  NPG_ASSERT_OK_AND_ASSIGN(const auto stats, state.BindStats());
  EXPECT_THAT(stats, IsEmpty());
}

// Kernels before 6.1 lack the helper, which then is in no instruction that the verifier sees.
TEST_F(ProtectionMapsTest, RefusesWithoutTheHelper) {
  const Skeleton skeleton = OpenGuardPrograms({abi::Scope::kLoopback, abi::BindProtection::kDeny});
  ASSERT_NE(skeleton, nullptr);
  skeleton->rodata->has_set_retval = 0;
  NPG_ASSERT_OK(LoadSkeleton(skeleton, "load"));
  NPG_ASSERT_OK(
      PutElement(bpf_map__fd(skeleton->maps.config), "config", uint32_t{0}, abi::ToC(Config())));
  npg_nodeport nodeport{};
  nodeport.sources = NPG_SOURCE_FILE;
  NPG_ASSERT_OK(PutElement(bpf_map__fd(skeleton->maps.nodeports), "nodeports", abi::ToC(Udp(kPort)),
                           nodeport));
  NPG_ASSERT_OK(PutElement(bpf_map__fd(skeleton->maps.refusable), "refusable", abi::ToC(Udp(kPort)),
                           npg_refusable{NPG_FAMILY_V4}));
  const base::UniqueFd link(bpf_link_create(bpf_program__fd(skeleton->progs.npg_bind4),
                                            cgroup_fd_.get(), BPF_CGROUP_INET4_BIND, nullptr));
  ASSERT_TRUE(link);
  EXPECT_EQ(Bind("0.0.0.0", kPort), EPERM);
  EXPECT_EQ(Bind("0.0.0.0", kPort + 1), 0);
}

TEST_F(ProtectionMapsTest, SparesExceptions) {
  NPG_ASSERT_OK_AND_ASSIGN(const std::unique_ptr<BpfGuard> guard,
                           Protecting(abi::BindProtection::kDeny));
  ASSERT_EQ(prctl(PR_SET_NAME, "exceptional"), 0);
  NPG_ASSERT_OK_AND_ASSIGN(const uint64_t cgroup, node::CgroupId(cgroup_fd_.get()));
  uint64_t spared = 0;
  const auto expect_spared = [&](const char* why) {
    EXPECT_EQ(Bind("0.0.0.0", kPort), 0) << why;
    EXPECT_EQ(Counted(abi::Counter::kBindSpared), ++spared) << why;
  };
  const auto expect_refused = [&](const char* why) {
    EXPECT_EQ(Bind("0.0.0.0", kPort), guard->refusal_errno()) << why;
  };
  NPG_ASSERT_OK(guard->SetFirstHolders({{Udp(kPort), getuid() + 1}, {Tcp(kPort), getuid()}}));
  NPG_ASSERT_OK(guard->SetBindExceptions({getuid() + 1}, {"exceptiona"}));
  NPG_ASSERT_OK(guard->SetBindCgroups({cgroup + 1}));
  expect_refused("other exceptions");
  NPG_ASSERT_OK(guard->SetFirstHolders({{Udp(kPort), getuid()}}));
  expect_spared("first holder");
  NPG_ASSERT_OK(guard->SetFirstHolders({}));
  NPG_ASSERT_OK(guard->SetBindExceptions({getuid()}, {}));
  expect_spared("uid");
  NPG_ASSERT_OK(guard->SetBindExceptions({}, {"exceptional"}));
  expect_spared("name");
  NPG_ASSERT_OK(guard->SetBindExceptions({}, {}));
  NPG_ASSERT_OK(guard->SetBindCgroups({cgroup}));
  expect_spared("cgroup");
  NPG_ASSERT_OK(guard->SetBindCgroups({}));
  expect_refused("none");
  core::OwnerPolicy policy;
  policy.ignored = {"exceptional"};
  NPG_ASSERT_OK(guard->SetOwnerPolicy(policy));
  expect_spared("a holder of ports");
  policy.ignored.clear();
  policy.only = {"exceptional"};
  NPG_ASSERT_OK(guard->SetOwnerPolicy(policy));
  expect_refused("a name whose listeners are guarded");
}

TEST_F(ProtectionMapsTest, RefusesOnTheAddressesOfTheNode) {
  NPG_ASSERT_OK_AND_ASSIGN(const std::unique_ptr<BpfGuard> guard,
                           Protecting(abi::BindProtection::kDeny));
  // No interface has these: a bind that is let pass fails with another error.
  NPG_ASSERT_OK(guard->SetBindAddresses({kOwn4}));
  EXPECT_EQ(Bind("10.0.0.1", kPort), guard->refusal_errno());
  EXPECT_EQ(Bind("10.0.0.2", kPort), EADDRNOTAVAIL);
  NPG_ASSERT_OK(guard->SetBindAddresses({kOther4}));
  EXPECT_EQ(Bind("10.0.0.1", kPort), EADDRNOTAVAIL);
  EXPECT_EQ(Bind("10.0.0.2", kPort), guard->refusal_errno());
}

TEST_F(ProtectionMapsTest, LimitsEventsAndCountsAll) {
  constexpr uint64_t kBinds = 3 * NPG_EVENTS_PER_SECOND;
  NPG_ASSERT_OK_AND_ASSIGN(const std::unique_ptr<BpfGuard> guard,
                           Protecting(abi::BindProtection::kDeny));
  NPG_ASSERT_OK_AND_ASSIGN(const auto reader, BindEventsReader::Open(pins_));
  for (uint64_t i = 0; i < kBinds; ++i) EXPECT_NE(Bind("0.0.0.0", kPort), 0);
  uint64_t lost = 0;
  const uint64_t events = reader->Drain(&lost).size();
  EXPECT_GE(events, uint64_t{NPG_EVENTS_PER_SECOND});
  EXPECT_EQ(events + Counted(abi::Counter::kEventsSuppressed), kBinds);
  EXPECT_EQ(Counted(abi::Counter::kBindRefused), kBinds);
}

TEST_F(ProtectionMapsTest, ARestartKeepsAllOfIt) {
  abi::Protection protection;
  protection.bind = abi::BindProtection::kDeny;
  protection.refusal_errno = EADDRINUSE;
  protection.reserve = abi::ReservePorts::kAllocated;
  protection.reserve_state = abi::ReserveState::kOk;
  protection.reserved_ports = 2;
  {
    NPG_ASSERT_OK_AND_ASSIGN(const std::unique_ptr<BpfGuard> guard,
                             Protecting(abi::BindProtection::kDeny));
    NPG_ASSERT_OK(guard->SetFirstHolders({{Tcp(kPort), 7}}));
    NPG_ASSERT_OK(guard->SetProtection(protection));
    NPG_ASSERT_OK_AND_ASSIGN(ReservedMap reserved, guard->Reserved());
    NPG_ASSERT_OK(reserved.Put({{kPort, kPort}}, ReservedMap::Reservation::kOurs));
  }
  EXPECT_NE(Bind("0.0.0.0", kPort), 0) << "while no controller runs";
  NPG_ASSERT_OK_AND_ASSIGN(const GuardState state, GuardState::Open(pins_));
  NPG_ASSERT_OK_AND_ASSIGN(const abi::Protection shown, state.Protection());
  EXPECT_EQ(shown, protection);
  NPG_ASSERT_OK_AND_ASSIGN(const std::unique_ptr<BpfGuard> guard,
                           Guard({kPort}, {abi::Scope::kLoopback, abi::BindProtection::kDeny}));
  EXPECT_THAT(guard->notes(), IsEmpty());
  NPG_ASSERT_OK_AND_ASSIGN(const BpfGuard::Refusable refusable, guard->ReadRefusable());
  EXPECT_EQ(refusable.size(), 2U);
  NPG_ASSERT_OK_AND_ASSIGN(const std::set<core::PortHolder> holders, guard->FirstHolders());
  EXPECT_THAT(holders, ElementsAre(core::PortHolder{Tcp(kPort), 7}));
  NPG_ASSERT_OK_AND_ASSIGN(const ReservedMap reserved, guard->Reserved());
  NPG_ASSERT_OK_AND_ASSIGN(const ReservedMap::Content content, reserved.Read());
  EXPECT_THAT(content.ours, ElementsAre(core::PortRange{kPort, kPort}));
  EXPECT_NE(Bind("0.0.0.0", kPort), 0);
  // An entry that the earlier run left and this one does not want.
  NPG_ASSERT_OK(guard->SetRefusable({{Tcp(kPort), abi::kFamilyV4}}));
  EXPECT_EQ(Bind("0.0.0.0", kPort), 0);
}

TEST_F(ProtectionMapsTest, WritesBackWhatAFailedStartChanged) {
  NPG_ASSERT_OK_AND_ASSIGN(const std::unique_ptr<BpfGuard> guard,
                           Protecting(abi::BindProtection::kDeny));
  NPG_ASSERT_OK(guard->SetFirstHolders({{Tcp(kPort), 7}}));
  NPG_ASSERT_OK(guard->SetBindAddresses({kOwn4}));
  NPG_ASSERT_OK(guard->SetBindExceptions({8}, {"agent"}));
  NPG_ASSERT_OK(guard->SetBindCgroups({uint64_t{42}}));
  NPG_ASSERT_OK_AND_ASSIGN(const BpfGuard::FormerMaps before, guard->ReadFormerMaps());
  NPG_ASSERT_OK(guard->SetRefusable({}));
  NPG_ASSERT_OK(guard->SetFirstHolders({}));
  NPG_ASSERT_OK(guard->SetBindAddresses({kOther4}));
  NPG_ASSERT_OK(guard->SetBindExceptions({9}, {}));
  NPG_ASSERT_OK(guard->SetBindCgroups({}));
  NPG_ASSERT_OK(guard->WriteFormerMaps(before));
  NPG_ASSERT_OK_AND_ASSIGN(const BpfGuard::FormerMaps after, guard->ReadFormerMaps());
  EXPECT_EQ(after.protection.refusable, before.protection.refusable);
  EXPECT_EQ(after.protection.refusable.size(), 2U);
  EXPECT_THAT(after.protection.first_holders, ElementsAre(core::PortHolder{Tcp(kPort), 7}));
  EXPECT_THAT(after.protection.addresses, ElementsAre(kOwn4));
  EXPECT_THAT(after.protection.uids, ElementsAre(8U));
  EXPECT_THAT(after.protection.processes, ElementsAre("agent"));
  EXPECT_THAT(after.protection.cgroups, ElementsAre(uint64_t{42}));
}

TEST_F(ProtectionMapsTest, ReadsAndAdoptsPinsOfAbi4) {
  { NPG_ASSERT_OK_AND_ASSIGN(const std::unique_ptr<BpfGuard> guard, Guard()); }
  ASSERT_NO_FATAL_FAILURE(MakePinsOfAbi4());
  {
    NPG_ASSERT_OK_AND_ASSIGN(const GuardState state, GuardState::Open(pins_));
    for (const char* name : {"refusable", "first_holders", "bind_stats", "protection"}) {
      EXPECT_THAT(state.lacks(), Contains(absl::StrCat("map ", name)));
    }
    NPG_ASSERT_OK_AND_ASSIGN(const abi::Protection protection, state.Protection());
    EXPECT_EQ(protection, abi::Protection());
    NPG_ASSERT_OK_AND_ASSIGN(const auto stats, state.BindStats());
    EXPECT_THAT(stats, IsEmpty());
    NPG_ASSERT_OK_AND_ASSIGN(const auto refusable, state.Refusable());
    EXPECT_THAT(refusable, IsEmpty());
    NPG_ASSERT_OK_AND_ASSIGN(const auto holders, state.FirstHolders());
    EXPECT_THAT(holders, IsEmpty());
  }
  EXPECT_TRUE(absl::IsNotFound(BindEventsReader::Open(pins_).status()));
  EXPECT_TRUE(absl::IsNotFound(ReservedMap::Open(pins_).status()));
  EXPECT_EQ(ReadAdviceSent(pins_), absl::InfinitePast());
  EXPECT_TRUE(absl::IsNotFound(WriteAdviceSent(pins_, absl::FromUnixSeconds(1))));

  ASSERT_NO_FATAL_FAILURE(BlockConnect6());
  EXPECT_NE(StartInVain(/*service=*/true), "");
  for (const char* name : kNewMaps) {
    EXPECT_FALSE(std::filesystem::exists(pins_.Map(name))) << name << " is of the failed start";
  }
  ASSERT_TRUE(std::filesystem::exists(pins_.Map("nodeports")));
}

TEST_F(ProtectionMapsTest, AStartOverPinsOfAbi4PinsTheNewMaps) {
  { NPG_ASSERT_OK_AND_ASSIGN(const std::unique_ptr<BpfGuard> guard, Guard()); }
  ASSERT_NO_FATAL_FAILURE(MakePinsOfAbi4());
  NPG_ASSERT_OK_AND_ASSIGN(const std::unique_ptr<BpfGuard> guard,
                           Protecting(abi::BindProtection::kDeny));
  EXPECT_TRUE(guard->adopted());
  EXPECT_THAT(guard->notes(), IsEmpty());
  for (const char* name : kNewMaps) EXPECT_NE(MapId(name), 0U) << name;
  EXPECT_NE(Bind("0.0.0.0", kPort), 0);
  NPG_ASSERT_OK_AND_ASSIGN(const GuardState state, GuardState::Open(pins_));
  EXPECT_THAT(state.lacks(), IsEmpty());
}

// The maps as the last build with ABI version 4 left them.
TEST_F(ProtectionMapsTest, KeepsTheEntriesOfAbi4) {
  const std::string path = testing::TestdataPath("abi/abi-4.bpf.o");
  const std::unique_ptr<bpf_object, void (*)(bpf_object*)> object(
      bpf_object__open_file(path.c_str(), nullptr), bpf_object__close);
  ASSERT_NE(object, nullptr);
  bpf_program__set_autoload(bpf_object__find_program_by_name(object.get(), "npg_learn_netns"),
                            false);
  ASSERT_EQ(bpf_object__load(object.get()), 0);
  std::filesystem::create_directories(pins_.Maps());
  const auto pin = [&](const char* name) {
    bpf_map* map = bpf_object__find_map_by_name(object.get(), name);
    EXPECT_NE(map, nullptr) << name;
    if (map == nullptr) return -1;
    EXPECT_EQ(bpf_map__pin(map, pins_.Map(name).c_str()), 0) << name;
    return bpf_map__fd(map);
  };
  for (const char* name :
       {"config", "socket_owners", "earlier_sockets", "guard_uids", "guard_cgroups", "owner_policy",
        "local_addresses", "port_stats", "sources", "events", "marked_sockets"}) {
    ASSERT_GE(pin(name), 0);
  }
  npg_nodeport nodeport{};
  nodeport.sources = NPG_SOURCE_FILE;
  nodeport.since = 42;
  NPG_ASSERT_OK(PutElement(pin("nodeports"), "nodeports", abi::ToC(Udp(kPort)), nodeport));
  NPG_ASSERT_OK_AND_ASSIGN(const uint32_t cpus, PossibleCpus());
  std::vector<uint64_t> counts(cpus, 3);
  const uint32_t index = NPG_COUNTER_STANDING_ASIDE;
  ASSERT_EQ(bpf_map_update_elem(pin("counters"), &index, counts.data(), BPF_ANY), 0);
  const std::vector<const char*> kept = {"nodeports",  "config",       "socket_owners",
                                         "guard_uids", "owner_policy", "port_stats"};
  std::vector<uint32_t> ids;
  for (const char* name : kept) ids.push_back(MapId(name));

  NPG_ASSERT_OK_AND_ASSIGN(const std::unique_ptr<BpfGuard> guard,
                           Protecting(abi::BindProtection::kDeny));
  EXPECT_TRUE(guard->adopted());
  EXPECT_THAT(guard->notes(),
              ElementsAre(AllOf(HasSubstr("map counters"), HasSubstr("12 entries carried over"))));
  for (size_t i = 0; i < kept.size(); ++i) EXPECT_EQ(MapId(kept[i]), ids[i]) << kept[i];
  EXPECT_EQ(Counted(abi::Counter::kStandingAside), uint64_t{3} * cpus);
  EXPECT_EQ(Counted(abi::Counter::kBindRefused), 0U);
  NPG_ASSERT_OK_AND_ASSIGN(const GuardState state, GuardState::Open(pins_));
  NPG_ASSERT_OK_AND_ASSIGN(const auto entry, state.NodePort(Udp(kPort)));
  ASSERT_TRUE(entry.has_value());
  EXPECT_EQ(entry->since, absl::FromUnixSeconds(42));
  EXPECT_NE(Bind("0.0.0.0", kPort), 0);
  EXPECT_EQ(Counted(abi::Counter::kBindRefused), 1U);
}

TEST_F(ProtectionMapsTest, ReservedPortsOutliveTheController) {
  {
    NPG_ASSERT_OK_AND_ASSIGN(const std::unique_ptr<BpfGuard> guard, Guard());
    NPG_ASSERT_OK_AND_ASSIGN(ReservedMap map, guard->Reserved());
    NPG_ASSERT_OK(map.Put({{40000, 40010}, {65530, 65535}}, ReservedMap::Reservation::kUnsure));
    NPG_ASSERT_OK(map.Put({{40000, 40001}, {40003, 40003}}, ReservedMap::Reservation::kOurs));
    NPG_ASSERT_OK(map.Put({{1, 1}}, ReservedMap::Reservation::kAdmin));
    NPG_ASSERT_OK(map.Remove({{40005, 40006}, {50000, 50000}}));
  }
  NPG_ASSERT_OK_AND_ASSIGN(ReservedMap map, ReservedMap::Open(pins_));
  NPG_ASSERT_OK_AND_ASSIGN(ReservedMap::Content content, map.Read());
  EXPECT_THAT(content.ours,
              ElementsAre(core::PortRange{40000, 40001}, core::PortRange{40003, 40003}));
  EXPECT_THAT(content.unsure,
              ElementsAre(core::PortRange{40002, 40002}, core::PortRange{40004, 40004},
                          core::PortRange{40007, 40010}, core::PortRange{65530, 65535}));
  EXPECT_THAT(content.admin, ElementsAre(core::PortRange{1, 1}));
  NPG_ASSERT_OK(map.Remove({{0, 65535}}));
  NPG_ASSERT_OK_AND_ASSIGN(content, map.Read());
  EXPECT_THAT(content.ours, IsEmpty());
  EXPECT_THAT(content.unsure, IsEmpty());
  EXPECT_THAT(content.admin, IsEmpty());
}

TEST_F(ProtectionMapsTest, AdviceOutlivesTheController) {
  EXPECT_EQ(ReadAdviceSent(pins_), absl::InfinitePast()) << "no guard";
  const absl::Time sent = absl::FromUnixSeconds(1'700'000'000);
  {
    NPG_ASSERT_OK_AND_ASSIGN(const std::unique_ptr<BpfGuard> guard, Guard());
    EXPECT_EQ(ReadAdviceSent(pins_), absl::InfinitePast()) << "never";
    NPG_ASSERT_OK(WriteAdviceSent(pins_, sent + absl::Milliseconds(10)));
  }
  EXPECT_EQ(ReadAdviceSent(pins_), sent);
  NPG_ASSERT_OK_AND_ASSIGN(const std::unique_ptr<BpfGuard> guard, Guard());
  EXPECT_EQ(ReadAdviceSent(pins_), sent);
}

TEST_F(ProtectionMapsTest, RemovingPinsRemovesTheNewMaps) {
  { NPG_ASSERT_OK_AND_ASSIGN(const std::unique_ptr<BpfGuard> guard, Guard()); }
  NPG_ASSERT_OK_AND_ASSIGN(const std::vector<std::string> removed, RemovePins(pins_));
  for (const char* name : kNewMaps) EXPECT_THAT(removed, Contains(name));
  EXPECT_THAT(removed, Contains("bind_events"));
}

}  // namespace
}  // namespace npg::dataplane::protection_maps_test
