// SPDX-License-Identifier: Apache-2.0
// Reserved ports on the real sysctl of a network namespace, with the notes in a real map.
#include "controller/reserve_keeper.h"

#include <bpf/bpf.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mount.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <memory>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "abi/names.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "base/errno_status.h"
#include "base/unique_fd.h"
#include "core/port_ranges.h"
#include "dataplane/bpf/pin_paths.h"
#include "dataplane/bpf/reserved_map.h"
#include "guard_abi.h"
#include "node/node_files.h"
#include "node/reserved_ports.h"
#include "testing/status_asserts.h"
#include "testing/test_node.h"

namespace npg::testing::reserve_keeper_test {
namespace {

using controller::ReserveKeeper;
using dataplane::ReservedMap;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Lt;
using ::testing::SizeIs;
using ::testing::StartsWith;

constexpr const char* kSysctl = "net/ipv4/ip_local_reserved_ports";
constexpr const char* kFile = "/proc/sys/net/ipv4/ip_local_reserved_ports";
constexpr absl::Time kStart = absl::UnixEpoch();

core::PortRanges Ports(absl::string_view text) { return *core::ParsePortRanges(text); }

// The whole list, of any length.
std::string ReservedNow() {
  const auto ports = node::ReadReservedPorts("/proc");
  return ports.ok() ? core::PortRangesText(*ports) : ports.status().ToString();
}

// `count` ports of which no two are adjacent.
core::PortRanges Scattered(uint16_t first, size_t count) {
  core::PortRanges ports;
  for (size_t i = 0; i < count; ++i) {
    const auto port = static_cast<uint16_t>(first + 2 * i);
    ports.push_back({port, port});
  }
  return ports;
}

absl::Status BindMount(const std::string& from, const std::string& to, bool read_only) {
  if (mount(from.c_str(), to.c_str(), nullptr, MS_BIND, nullptr) != 0) {
    return base::ErrnoStatus(errno, "bind " + to);
  }
  if (read_only &&
      mount(nullptr, to.c_str(), nullptr, MS_BIND | MS_REMOUNT | MS_RDONLY, nullptr) != 0) {
    return base::ErrnoStatus(errno, "remount " + to);
  }
  return absl::OkStatus();
}

class ReserveKeeperTest : public ::testing::Test {
 protected:
  void SetUp() override {
    NPG_ASSERT_OK_AND_ASSIGN(node_, TestNode::Create());
    NPG_ASSERT_OK(SetSysctl("net/ipv4/ip_local_port_range", "20000 60999"));
    Administrate("8080,9000-9100");
    settings_.mode = abi::ReservePorts::kAllocated;
    settings_.paths = {kFile};
    pins_ = dataplane::PinPaths(node_->bpffs());
    std::filesystem::create_directories(pins_.Maps());
    LIBBPF_OPTS(bpf_map_create_opts, options, .map_flags = BPF_F_NO_PREALLOC);
    const base::UniqueFd map(bpf_map_create(BPF_MAP_TYPE_HASH, "reserved_ports",
                                            sizeof(npg_reserved_key), sizeof(npg_reserved),
                                            NPG_MAX_RESERVED, &options));
    ASSERT_TRUE(map) << std::generic_category().message(errno);
    ASSERT_EQ(bpf_obj_pin(map.get(), pins_.Map("reserved_ports").c_str()), 0);
  }

  void Administrate(const std::string& text) { NPG_ASSERT_OK(SetSysctl(kSysctl, text)); }
  ReserveKeeper NewKeeper() { return {settings_, *ReservedMap::Open(pins_)}; }
  ReservedMap::Content Notes() { return *ReservedMap::Open(pins_)->Read(); }
  absl::StatusOr<size_t> Restore() {
    return controller::RestoreReservedPorts(pins_, settings_.paths);
  }

  std::unique_ptr<TestNode> node_;
  dataplane::PinPaths pins_{dataplane::PinPaths::kDefaultBpffs};
  ReserveKeeper::Settings settings_;
};

TEST_F(ReserveKeeperTest, AddsAtOnceAndRemovesLater) {
  ReserveKeeper keeper = NewKeeper();
  // 8081 is no automatic port, 9050 is the administrator's.
  keeper.Sync(Ports("8081,9050,30001,30003"), true, kStart);
  EXPECT_EQ(ReservedNow(), "8080,9000-9100,30001,30003");
  EXPECT_EQ(keeper.state(), (ReserveKeeper::State{abi::ReserveState::kOk, 2, ""}));
  keeper.Sync(Ports("30003,30005"), true, kStart);
  EXPECT_EQ(ReservedNow(), "8080,9000-9100,30001,30003,30005");
  keeper.Maintain(kStart);
  EXPECT_EQ(ReservedNow(), "8080,9000-9100,30003,30005");
  // Not more often than every five seconds.
  keeper.Sync(Ports("30003"), true, kStart + absl::Seconds(1));
  keeper.Maintain(kStart + absl::Seconds(4));
  EXPECT_EQ(ReservedNow(), "8080,9000-9100,30003,30005");
  keeper.Maintain(kStart + absl::Seconds(5));
  EXPECT_EQ(ReservedNow(), "8080,9000-9100,30003");
  EXPECT_EQ(keeper.state(), (ReserveKeeper::State{abi::ReserveState::kOk, 1, ""}));
  keeper.Sync({}, true, kStart + absl::Seconds(20));
  keeper.Maintain(kStart + absl::Seconds(20));
  EXPECT_EQ(ReservedNow(), "8080,9000-9100");
  EXPECT_EQ(Notes().admin, core::PortRanges());
}

TEST_F(ReserveKeeperTest, KeepsWhatItKnowsWhileASourceIsNotRead) {
  NewKeeper().Sync(Ports("30001,30003"), true, kStart);
  ReserveKeeper next = NewKeeper();
  next.Sync(Ports("30005"), false, kStart);
  next.Maintain(kStart + absl::Seconds(10));
  EXPECT_EQ(ReservedNow(), "8080,9000-9100,30001,30003,30005");
  next.Sync(Ports("30005"), true, kStart + absl::Seconds(10));
  next.Maintain(kStart + absl::Seconds(20));
  EXPECT_EQ(ReservedNow(), "8080,9000-9100,30005");
}

TEST_F(ReserveKeeperTest, WritesNothingWithoutAReason) {
  ReserveKeeper keeper = NewKeeper();
  keeper.Sync(Ports("30001"), true, kStart);
  // A write would fail now.
  NPG_ASSERT_OK(BindMount(kFile, kFile, true));
  for (int i = 0; i < 3; ++i) {
    keeper.Sync(Ports("30001"), true, kStart + absl::Seconds(10 * i));
    keeper.Sync(Ports("8081,30001"), true, kStart + absl::Seconds(10 * i));
    keeper.Maintain(kStart + absl::Seconds(10 * i));
    EXPECT_EQ(keeper.state(), (ReserveKeeper::State{abi::ReserveState::kOk, 1, ""}));
  }
  keeper.Sync(Ports("30001-30002"), true, kStart);
  EXPECT_EQ(keeper.state().state, abi::ReserveState::kFailed);
}

TEST_F(ReserveKeeperTest, TheAdministratorWritesMeanwhile) {
  ReserveKeeper keeper = NewKeeper();
  keeper.Sync(Ports("30001,30003"), true, kStart);
  // A tool that knows only its own list.
  for (int i = 1; i <= 3; ++i) {
    Administrate("8472,30003");
    keeper.Maintain(kStart + absl::Minutes(30 * i));
    EXPECT_EQ(ReservedNow(), "8472,30001,30003");
    EXPECT_EQ(keeper.state().ports, 1U);
  }
  // One that reads before it writes.
  Administrate(ReservedNow() + ",9999");
  keeper.Sync(Ports("30001,30003,30005"), true, kStart + absl::Hours(3));
  EXPECT_EQ(ReservedNow(), "8472,9999,30001,30003,30005");
  // One that covers the controller's ports.
  Administrate("30000-32767");
  keeper.Maintain(kStart + absl::Hours(4));
  EXPECT_EQ(ReservedNow(), "30000-32767");
  EXPECT_EQ(keeper.state().ports, 0U);
  NPG_ASSERT_OK_AND_ASSIGN(const size_t removed, Restore());
  EXPECT_EQ(removed, 0U);
  EXPECT_EQ(ReservedNow(), "30000-32767");
}

TEST_F(ReserveKeeperTest, TheAdministratorWritesWhileNoControllerRuns) {
  NewKeeper().Sync(Ports("30001,30003"), true, kStart);
  Administrate("30000-32767");
  NewKeeper().Sync(Ports("30001,30003,33000"), true, kStart);
  EXPECT_EQ(ReservedNow(), "30000-32767,33000");
  Administrate(ReservedNow() + ",9999");
  NPG_ASSERT_OK_AND_ASSIGN(const size_t removed, Restore());
  EXPECT_EQ(removed, 1U);
  EXPECT_EQ(ReservedNow(), "9999,30000-32767");
}

TEST_F(ReserveKeeperTest, FollowsTheRangeOfAutomaticPorts) {
  ReserveKeeper keeper = NewKeeper();
  keeper.Sync(Ports("30001,61001"), true, kStart);
  EXPECT_EQ(ReservedNow(), "8080,9000-9100,30001");
  NPG_ASSERT_OK(SetSysctl("net/ipv4/ip_local_port_range", "40000 65000"));
  keeper.Maintain(kStart + absl::Seconds(10));
  EXPECT_EQ(ReservedNow(), "8080,9000-9100,61001");
}

TEST_F(ReserveKeeperTest, OffRemovesWhatAnEarlierRunHasAdded) {
  NewKeeper().Sync(Ports("30001,30003"), true, kStart);
  settings_.mode = abi::ReservePorts::kOff;
  ReserveKeeper off = NewKeeper();
  off.Maintain(kStart);
  EXPECT_EQ(ReservedNow(), "8080,9000-9100");
  EXPECT_EQ(off.state(), ReserveKeeper::State());
  // Nothing of its own is left, so it does not even look.
  settings_.paths = {"/nonexistent"};
  ReserveKeeper idle = NewKeeper();
  idle.Sync(Ports("30001"), true, kStart);
  idle.Maintain(kStart);
  EXPECT_EQ(idle.state(), ReserveKeeper::State());
}

TEST_F(ReserveKeeperTest, RestoresAfterAnEndWithinAWrite) {
  NewKeeper().Sync(Ports("30001"), true, kStart);
  NPG_ASSERT_OK_AND_ASSIGN(ReservedMap map, ReservedMap::Open(pins_));
  // Before the write of 30003, and after that of 30005.
  NPG_ASSERT_OK(map.Put(Ports("30003,30005"), ReservedMap::Reservation::kUnsure));
  NPG_ASSERT_OK_AND_ASSIGN(const auto file, node::ReservedPortsFile::Open(settings_.paths));
  NPG_ASSERT_OK(file.Add(Ports("30005")));
  EXPECT_TRUE(controller::HasReservedPorts(pins_));
  NPG_ASSERT_OK_AND_ASSIGN(const size_t removed, Restore());
  EXPECT_EQ(removed, 2U);
  EXPECT_EQ(ReservedNow(), "8080,9000-9100");
  EXPECT_FALSE(controller::HasReservedPorts(pins_));
  NPG_ASSERT_OK_AND_ASSIGN(const size_t again, Restore());
  EXPECT_EQ(again, 0U);
}

TEST_F(ReserveKeeperTest, NothingIsReservedWhereTooFewWouldBeLeft) {
  NPG_ASSERT_OK(SetSysctl("net/ipv4/ip_local_port_range", "30000 30063"));
  ReserveKeeper keeper = NewKeeper();
  keeper.Sync(Ports("30001"), true, kStart);
  EXPECT_EQ(keeper.state().state, abi::ReserveState::kOk);
  keeper.Sync(Ports("30001-30050"), true, kStart);
  EXPECT_EQ(keeper.state(), (ReserveKeeper::State{abi::ReserveState::kTooFew, 0, ""}));
  EXPECT_EQ(ReservedNow(), "8080,9000-9100");
  keeper.Sync(Ports("30001-30010"), true, kStart);
  EXPECT_EQ(keeper.state(), (ReserveKeeper::State{abi::ReserveState::kOk, 10, ""}));
}

TEST_F(ReserveKeeperTest, AReadOnlySysctlIsAnErrorUntilItCanBeWritten) {
  const std::string host = node_->File("host_reserved_ports");
  std::ofstream(host).close();
  settings_.paths = {kFile, host};
  // As the DaemonSet mounts it.
  NPG_ASSERT_OK(BindMount(kFile, host, false));
  NPG_ASSERT_OK(BindMount(kFile, kFile, true));
  ReserveKeeper with_mount = NewKeeper();
  with_mount.Sync(Ports("30001"), true, kStart);
  EXPECT_EQ(with_mount.state(), (ReserveKeeper::State{abi::ReserveState::kOk, 1, ""}));
  EXPECT_EQ(ReservedNow(), "8080,9000-9100,30001");

  settings_.paths = {kFile};
  ReserveKeeper without = NewKeeper();
  without.Sync(Ports("30001,30003"), true, kStart);
  EXPECT_EQ(without.state().state, abi::ReserveState::kFailed);
  EXPECT_EQ(without.state().ports, 1U);
  EXPECT_THAT(without.state().error,
              AllOf(StartsWith(absl::StrCat(kFile, ": Read-only file system")),
                    HasSubstr("deploy/components/reserve-ports"), HasSubstr("ReadWritePaths="),
                    SizeIs(Lt(size_t{NPG_PROTECTION_ERROR_LEN}))));
  EXPECT_EQ(Restore().status().code(), absl::StatusCode::kInternal);
  EXPECT_TRUE(controller::HasReservedPorts(pins_));

  ASSERT_EQ(umount2(kFile, MNT_DETACH), 0);
  without.Maintain(kStart);
  EXPECT_EQ(without.state(), (ReserveKeeper::State{abi::ReserveState::kOk, 2, ""}));
  EXPECT_EQ(ReservedNow(), "8080,9000-9100,30001,30003");
}

TEST_F(ReserveKeeperTest, DoesNotWriteToAnotherNetworkNamespace) {
  const std::string host = node_->File("host_reserved_ports");
  std::ofstream(host).close();
  NPG_ASSERT_OK(node_->pod().Run([&] { return BindMount(kFile, host, false); }));
  NPG_ASSERT_OK(BindMount(kFile, kFile, true));
  settings_.paths = {kFile, host};
  ReserveKeeper keeper = NewKeeper();
  keeper.Sync(Ports("30001"), true, kStart);
  EXPECT_EQ(keeper.state().state, abi::ReserveState::kFailed);
  EXPECT_THAT(keeper.state().error, HasSubstr("is of another network namespace"));
  NPG_ASSERT_OK_AND_ASSIGN(const core::PortRanges pod, node::ReadPortRanges(host));
  EXPECT_EQ(pod, core::PortRanges());
  EXPECT_EQ(ReservedNow(), "8080,9000-9100");
}

// The text is longer than one write, one page and the buffer of base::ReadSmallFile().
TEST_F(ReserveKeeperTest, TenThousandPorts) {
  const core::PortRanges admin = Scattered(1025, 1500);
  NPG_ASSERT_OK_AND_ASSIGN(const auto file, node::ReservedPortsFile::Open(settings_.paths));
  NPG_ASSERT_OK(file.Replace(admin, {}));
  const core::PortRanges wanted = Scattered(20001, 10'000);
  ReserveKeeper keeper = NewKeeper();
  absl::Time begin = absl::Now();
  keeper.Sync(wanted, true, kStart);
  std::cout << "10,000 ports: " << absl::Now() - begin;
  EXPECT_EQ(keeper.state(), (ReserveKeeper::State{abi::ReserveState::kOk, 10'000, ""}));
  EXPECT_EQ(ReservedNow(), core::PortRangesText(core::Union(admin, wanted)));

  begin = absl::Now();
  keeper.Sync(core::Union(wanted, Ports("50000")), true, kStart);
  std::cout << "; one more: " << absl::Now() - begin;
  EXPECT_TRUE(core::Contains(*node::ReadReservedPorts("/proc"), 50000));
  begin = absl::Now();
  keeper.Maintain(kStart);
  std::cout << "; nothing to do: " << absl::Now() - begin;
  keeper.Sync(wanted, true, kStart);
  begin = absl::Now();
  keeper.Maintain(kStart + absl::Seconds(10));
  std::cout << "; one fewer: " << absl::Now() - begin << "\n";
  EXPECT_EQ(ReservedNow(), core::PortRangesText(core::Union(admin, wanted)));

  NPG_ASSERT_OK_AND_ASSIGN(const size_t removed, Restore());
  EXPECT_EQ(removed, 10'000U);
  EXPECT_EQ(ReservedNow(), core::PortRangesText(admin));
}

}  // namespace
}  // namespace npg::testing::reserve_keeper_test
