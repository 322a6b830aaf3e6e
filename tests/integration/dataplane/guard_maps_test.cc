// SPDX-License-Identifier: Apache-2.0
// What BpfGuard writes into its maps, and what the programs and other readers make of it.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "abi/entries.h"
#include "abi/names.h"
#include "absl/status/status.h"
#include "base/unique_fd.h"
#include "core/datagram_targets.h"
#include "core/desired_state.h"
#include "core/listener.h"
#include "core/port.h"
#include "dataplane/bpf/bpf_guard.h"
#include "dataplane/bpf/guard_state.h"
#include "integration/dataplane/dataplane_fixture.h"
#include "testing/command.h"
#include "testing/status_asserts.h"

namespace npg::dataplane::guard_maps_test {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST_F(DataplaneTest, ApplyNodePortsReturnsTheNumberOfNewPorts) {
  NPG_ASSERT_OK_AND_ASSIGN(const std::unique_ptr<BpfGuard> guard, Guard({kPort}));
  NPG_ASSERT_OK_AND_ASSIGN(const size_t fresh, guard->ApplyNodePorts(Ports({kPort, kPort + 1})));
  EXPECT_EQ(fresh, 1);
  core::Difference gone;
  gone.remove = {{kPort, core::Protocol::kUdp}, {kPort + 7, core::Protocol::kUdp}};
  NPG_ASSERT_OK(guard->ApplyNodePorts(gone));
  NPG_ASSERT_OK(guard->ApplyNodePorts(gone));  // removing an absent port is no error
  NPG_ASSERT_OK_AND_ASSIGN(const GuardState state, GuardState::Open(pins_));
  NPG_ASSERT_OK_AND_ASSIGN(const auto ports, state.NodePorts());
  ASSERT_EQ(ports.size(), 1);
  EXPECT_EQ(ports[0].first.port, kPort + 1);
}

abi::SourceState StateOf(size_t ports) {
  abi::SourceState state;
  state.connected = true;
  state.ports = ports;
  return state;
}

TEST_F(DataplaneTest, SourcesAreReadableWithoutAController) {
  {
    NPG_ASSERT_OK_AND_ASSIGN(const std::unique_ptr<BpfGuard> guard, Guard());
    NPG_ASSERT_OK(guard->SetSourceState(abi::Source::kFile, StateOf(1)));
    NPG_ASSERT_OK(guard->SetSourceState(abi::Source::kNetfilter, StateOf(2)));
    NPG_ASSERT_OK(guard->SetSourceState(abi::Source::kFile, StateOf(3)));
  }
  NPG_ASSERT_OK_AND_ASSIGN(GuardState state, GuardState::Open(pins_));
  NPG_ASSERT_OK_AND_ASSIGN(auto sources, state.Sources());
  ASSERT_EQ(sources.size(), 2);
  EXPECT_EQ(sources[0].first, abi::Source::kNetfilter);
  EXPECT_EQ(sources[0].second.ports, 2);
  EXPECT_EQ(sources[1].first, abi::Source::kFile);
  EXPECT_EQ(sources[1].second.ports, 3);
  NPG_ASSERT_OK_AND_ASSIGN(
      const std::string dump,
      testing::RunCommand({"bpftool", "map", "dump", "pinned", pins_.Map("sources")}));
  EXPECT_THAT(dump, HasSubstr("\"health_check_ports\": 0"));

  NPG_ASSERT_OK_AND_ASSIGN(const std::unique_ptr<BpfGuard> guard, Guard());
  NPG_ASSERT_OK(
      guard->KeepSourceStates(abi::Bit(abi::Source::kFile) | abi::Bit(abi::Source::kKubernetes)));
  NPG_ASSERT_OK_AND_ASSIGN(sources, state.Sources());
  ASSERT_EQ(sources.size(), 1);
  EXPECT_EQ(sources[0].first, abi::Source::kFile);
}

TEST_F(DataplaneTest, WritesBackTheMapsThatAdoptedProgramsRead) {
  NPG_ASSERT_OK_AND_ASSIGN(const std::unique_ptr<BpfGuard> guard, Guard());
  const core::LocalAddress former{{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 0, 0, 1}, 2};
  const core::LocalAddress other{{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 0, 0, 2}, 3};
  NPG_ASSERT_OK(guard->SetLocalAddresses({former}));
  NPG_ASSERT_OK(guard->SetServedCgroups({uint64_t{42}}));
  NPG_ASSERT_OK_AND_ASSIGN(const BpfGuard::FormerMaps before, guard->ReadFormerMaps());
  NPG_ASSERT_OK(guard->SetLocalAddresses({other}));
  NPG_ASSERT_OK(guard->SetServedCgroups({}));
  NPG_ASSERT_OK(guard->WriteFormerMaps(before));
  NPG_ASSERT_OK_AND_ASSIGN(const GuardState state, GuardState::Open(pins_));
  NPG_ASSERT_OK_AND_ASSIGN(const auto addresses, state.LocalAddresses());
  ASSERT_EQ(addresses.size(), 1);
  EXPECT_EQ(addresses[0].address, former.address);
  EXPECT_EQ(addresses[0].ifindex, former.ifindex);
  NPG_ASSERT_OK_AND_ASSIGN(const auto cgroups, state.GuardCgroups());
  EXPECT_THAT(cgroups, ElementsAre(uint64_t{42}));
}

TEST_F(DataplaneTest, MarksUdpSocketsOnlyWhereTheTableDoesNotKnowTheDestination) {
  constexpr std::array<uint8_t, 16> kLoopback4{0, 0, 0,    0,    0,   0, 0, 0,
                                               0, 0, 0xff, 0xff, 127, 0, 0, 1};
  const auto mark_of_connect = [] {
    const base::UniqueFd fd(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    const sockaddr_in address = Loopback(kPort);
    EXPECT_EQ(connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)), 0);
    uint32_t mark = 0;
    socklen_t size = sizeof(mark);
    EXPECT_EQ(getsockopt(fd.get(), SOL_SOCKET, SO_MARK, &mark, &size), 0);
    return mark;
  };
  NPG_ASSERT_OK_AND_ASSIGN(std::unique_ptr<BpfGuard> guard, Guard());
  const base::UniqueFd listener = Listen(kPort);
  ASSERT_TRUE(listener);
  EXPECT_EQ(mark_of_connect(), 0x1000U);
  core::DatagramTargets one;
  one.addresses.emplace(kLoopback4, kPort);
  NPG_ASSERT_OK(guard->SetDatagramTargets(one));
  EXPECT_EQ(mark_of_connect(), 0U);
  core::DatagramTargets range;
  range.loopback4.insert(kPort);
  NPG_ASSERT_OK(guard->KeepDatagramTargets(range));
  EXPECT_EQ(mark_of_connect(), 0x1000U) << "it adds none";
  NPG_ASSERT_OK(guard->SetDatagramTargets(range));
  EXPECT_EQ(mark_of_connect(), 0U);
  NPG_ASSERT_OK(guard->KeepDatagramTargets(range));
  EXPECT_EQ(mark_of_connect(), 0U);
  guard.reset();
  NPG_ASSERT_OK_AND_ASSIGN(guard, Guard());
  EXPECT_EQ(mark_of_connect(), 0x1000U) << "the controller that starts has written none yet";
  NPG_ASSERT_OK_AND_ASSIGN(const uint64_t exempted, Exempted());
  EXPECT_EQ(exempted, 6U);
}

TEST_F(DataplaneTest, TooManyDatagramTargetsAreNoted) {
  NPG_ASSERT_OK_AND_ASSIGN(const std::unique_ptr<BpfGuard> guard, Guard());
  core::DatagramTargets targets;
  for (uint16_t i = 0; i <= abi::kMaxDatagramTargets; ++i) targets.loopback4.insert(i);
  const absl::Status full = guard->SetDatagramTargets(targets);
  EXPECT_TRUE(absl::IsResourceExhausted(full)) << full;
  targets.loopback4.erase(0);
  NPG_EXPECT_OK(guard->SetDatagramTargets(targets));
}

TEST_F(DataplaneTest, ARecordOfTheControllerReplacesNoneOfABind) {
  NPG_ASSERT_OK_AND_ASSIGN(const std::unique_ptr<BpfGuard> guard, Guard());
  const base::UniqueFd listener = Listen(kPort);
  NPG_ASSERT_OK_AND_ASSIGN(const std::optional<core::Binder> note, guard->NoteOf(listener.get()));
  ASSERT_TRUE(note.has_value());
  EXPECT_EQ(note->asked_port, kPort);
  core::Binder other = *note;
  other.uid = 65534;
  EXPECT_TRUE(absl::IsAlreadyExists(guard->NoteOnSocket(listener.get(), other)));
  EXPECT_TRUE(absl::IsAborted(guard->RenameOnSocket(listener.get(), other, "other")));
  NPG_ASSERT_OK_AND_ASSIGN(std::optional<core::Binder> now, guard->NoteOf(listener.get()));
  EXPECT_EQ(now, note);

  NPG_EXPECT_OK(guard->RenameOnSocket(listener.get(), *note, "process"));
  NPG_ASSERT_OK_AND_ASSIGN(now, guard->NoteOf(listener.get()));
  ASSERT_TRUE(now.has_value());
  EXPECT_EQ(now->comm, "process");
  EXPECT_EQ(now->uid, note->uid);
}

}  // namespace
}  // namespace npg::dataplane::guard_maps_test
