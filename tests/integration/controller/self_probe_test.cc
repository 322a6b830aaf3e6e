// SPDX-License-Identifier: Apache-2.0
// The self-probe fails if anything keeps the guard from taking effect, and it leaves
// nothing behind.
#include "controller/self_probe.h"

#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/bpf.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "abi/entries.h"
#include "abi/names.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "base/unique_fd.h"
#include "core/desired_state.h"
#include "core/mark.h"
#include "core/owner_policy.h"
#include "core/port.h"
#include "dataplane/bpf/bpf_guard.h"
#include "dataplane/bpf/events_reader.h"
#include "dataplane/bpf/guard_state.h"
#include "dataplane/bpf/netns_cookie.h"
#include "dataplane/bpf/pin_paths.h"
#include "dataplane/bpf/pinned_map.h"
#include "dataplane/nft/nft_table.h"
#include "node/conntrack_watch.h"
#include "testing/command.h"
#include "testing/status_asserts.h"
#include "testing/taken_ports.h"
#include "testing/test_node.h"
#include "testing/wait_until.h"

namespace npg::controller::self_probe_test {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

constexpr core::Mark kMark;

base::UniqueFd OpenFolder(const std::string& path) {
  return base::UniqueFd(open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
}

sockaddr_in At(const char* address, uint16_t port) {
  sockaddr_in in{};
  in.sin_family = AF_INET;
  in.sin_port = htons(port);
  inet_pton(AF_INET, address, &in.sin_addr);
  return in;
}

// A UDP socket of another process; port 0: any. Empty when it cannot be bound. `shares`: with the
// options that let sockets of one user share a port.
base::UniqueFd Stranger(const char* address, uint16_t port, bool shares = false) {
  base::UniqueFd fd(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  constexpr int kOn = 1;
  if (shares) {
    setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &kOn, sizeof(kOn));
    setsockopt(fd.get(), SOL_SOCKET, SO_REUSEPORT, &kOn, sizeof(kOn));
  }
  const sockaddr_in at = At(address, port);
  if (bind(fd.get(), reinterpret_cast<const sockaddr*>(&at), sizeof(at)) != 0) fd.Reset();
  return fd;
}

bool SendFrom(const base::UniqueFd& fd, const char* address, uint16_t port) {
  const sockaddr_in to = At(address, port);
  return sendto(fd.get(), "?", 1, 0, reinterpret_cast<const sockaddr*>(&to), sizeof(to)) == 1;
}

// Indices of ports().
constexpr size_t kUdp4Canary = 1;
constexpr size_t kTcp4Client = SelfProbe::kCanaries;
constexpr size_t kUdp4Client = SelfProbe::kCanaries + 2;

class SelfProbeTest : public ::testing::Test {
 protected:
  void SetUp() override {
    NPG_ASSERT_OK_AND_ASSIGN(node_, testing::TestNode::Create());
    pins_ = dataplane::PinPaths(node_->bpffs());
    cgroup_fd_ = OpenFolder(node_->cgroup().path());
    ASSERT_TRUE(cgroup_fd_);
    NPG_ASSERT_OK_AND_ASSIGN(config_.netns_cookie, dataplane::NetnsCookie(cgroup_fd_.get()));
    config_.abi_version = abi::kVersion;
    config_.mark = kMark.value;
    config_.mark_mask = kMark.mask;
    NPG_ASSERT_OK_AND_ASSIGN(table_, dataplane::NftTable::Install(kMark));
    std::filesystem::create_directories(pins_.Root());
    NPG_ASSERT_OK_AND_ASSIGN(guard_,
                             dataplane::BpfGuard::Load(pins_, dataplane::ProgramConstants{}));
  }

  // Probes the guard, and attaches it before if necessary.
  absl::StatusOr<absl::Duration> Probe() {
    if (!probe_) {
      const absl::Status attached = guard_->Attach(cgroup_fd_.get(), config_);
      if (!attached.ok()) return attached;
      probe_ = std::make_unique<SelfProbe>(*guard_, *table_, kMark, config_.mode);
    }
    return Finish(*probe_);
  }

  // Runs a probe to its end, or the one that has begun.
  absl::StatusOr<absl::Duration> Finish(SelfProbe& probe) const {
    for (;;) {
      if (std::optional<SelfProbe::Result> result = probe.Run(cgroup_fd_.get(), nodeports_)) {
        return *std::move(result);
      }
    }
  }

  // A rule that drops `which` of the untracked packets, for whose answers a probe then waits.
  static absl::Status Drop(const std::string& which) {
    return testing::RunCommand({"nft", "-f", "-"},
                               absl::StrCat("table inet fw { chain in { type filter hook input "
                                            "priority 0; ",
                                            which, " ct state untracked drop; }; }\n"))
        .status();
  }
  static absl::Status DropNothing() {
    return testing::RunCommand({"nft", "delete", "table", "inet", "fw"}).status();
  }

  uint64_t Counted(abi::Counter counter) const { return guard_->Counter(counter).value_or(999); }

  std::unique_ptr<testing::TestNode> node_;
  dataplane::PinPaths pins_{dataplane::PinPaths::kDefaultBpffs};
  base::UniqueFd cgroup_fd_;
  abi::Config config_;
  std::unique_ptr<dataplane::NftTable> table_;
  std::unique_ptr<dataplane::BpfGuard> guard_;
  core::PortEntries nodeports_;
  std::unique_ptr<SelfProbe> probe_;
};

TEST_F(SelfProbeTest, ExercisesBothProgramsAndLeavesNothing) {
  NPG_ASSERT_OK(Probe().status());
  NPG_ASSERT_OK_AND_ASSIGN(const auto events, dataplane::EventsReader::Open(pins_));
  for (uint64_t round = 2; round <= 4; ++round) {
    NPG_ASSERT_OK(Probe().status());
    EXPECT_EQ(Counted(abi::Counter::kProbed), SelfProbe::kClients * round);
  }
  EXPECT_EQ(Counted(abi::Counter::kExempted), 0);
  uint64_t lost = 0;
  EXPECT_THAT(events->Drain(&lost), IsEmpty());
  NPG_ASSERT_OK_AND_ASSIGN(const dataplane::GuardState state, dataplane::GuardState::Open(pins_));
  NPG_ASSERT_OK_AND_ASSIGN(const auto nodeports, state.NodePorts());
  EXPECT_THAT(nodeports, IsEmpty());
  NPG_ASSERT_OK_AND_ASSIGN(const auto stats, state.PortStats());
  EXPECT_THAT(stats, IsEmpty());
  NPG_ASSERT_OK_AND_ASSIGN(const std::string sockets, testing::RunCommand({"ss", "-Htuan"}));
  for (const uint16_t port : probe_->ports()) {
    EXPECT_NE(port, 0);
    EXPECT_THAT(sockets, Not(HasSubstr(absl::StrCat(":", port, " "))));
  }
}

TEST_F(SelfProbeTest, ItsEntriesInTheTableCountAsNoConnections) {
  NPG_ASSERT_OK_AND_ASSIGN(const bool before, table_->Quiet({}));
  EXPECT_TRUE(before);
  NPG_ASSERT_OK(Probe().status());
  NPG_ASSERT_OK_AND_ASSIGN(const bool to_others, table_->Quiet({}));
  EXPECT_FALSE(to_others);
  NPG_ASSERT_OK_AND_ASSIGN(const bool knowing, table_->Quiet(probe_->ports()));
  EXPECT_TRUE(knowing);
}

TEST_F(SelfProbeTest, NamesEachProgramThatIsDetached) {
  NPG_ASSERT_OK(Probe().status());
  for (const char* name : dataplane::kLinkNames) {
    NPG_ASSERT_OK_AND_ASSIGN(const base::UniqueFd link, dataplane::OpenPin(pins_.Link(name)));
    ASSERT_EQ(bpf_link_detach(link.get()), 0);
    EXPECT_THAT(Probe().status().message(), AllOf(HasSubstr(name), HasSubstr("not attached")));
    NPG_ASSERT_OK(guard_->Repair(cgroup_fd_.get()).status());
    NPG_EXPECT_OK(Probe().status());
  }
}

TEST_F(SelfProbeTest, NamesAReplacedProgram) {
  NPG_ASSERT_OK(Probe().status());
  const std::array<bpf_insn, 2> proceed = {
      {{BPF_ALU64 | BPF_MOV | BPF_K, 0, 0, 0, 1}, {BPF_JMP | BPF_EXIT, 0, 0, 0, 0}}};
  bpf_prog_load_opts options{};
  options.sz = sizeof(options);
  options.expected_attach_type = BPF_CGROUP_INET6_CONNECT;
  const base::UniqueFd other(bpf_prog_load(BPF_PROG_TYPE_CGROUP_SOCK_ADDR, "somebodys", "GPL",
                                           proceed.data(), proceed.size(), &options));
  ASSERT_TRUE(other);
  NPG_ASSERT_OK_AND_ASSIGN(const base::UniqueFd link,
                           dataplane::OpenPin(pins_.Link("npg_connect6")));
  ASSERT_EQ(bpf_link_update(link.get(), other.get(), nullptr), 0);
  EXPECT_THAT(Probe().status().message(), AllOf(HasSubstr("npg_connect6"), HasSubstr("replaced")));
  NPG_ASSERT_OK_AND_ASSIGN(const std::vector<std::string> repaired,
                           guard_->Repair(cgroup_fd_.get()));
  EXPECT_EQ(repaired.size(), 1);
  NPG_EXPECT_OK(Probe().status());
}

TEST_F(SelfProbeTest, FindsPacketsThatAreTrackedInAnyZone) {
  NPG_ASSERT_OK(Probe().status());
  EXPECT_EQ(probe_->broken(), 0);
  const struct {
    const char* rule;
    abi::TrafficBits broken;
  } cases[] = {
      {"ct zone set 7", abi::AllTraffic()},
      {"ct original zone set 9", abi::AllTraffic()},
      {"ct zone set 0", abi::AllTraffic()},
      {"meta l4proto udp ct zone set 7",
       abi::Bit(abi::Traffic::kUdp4) | abi::Bit(abi::Traffic::kUdp6)},
      {"meta nfproto ipv4 meta l4proto tcp ct zone set 7", abi::Bit(abi::Traffic::kTcp4)},
  };
  for (const auto& each : cases) {
    SCOPED_TRACE(each.rule);
    NPG_ASSERT_OK(testing::RunCommand({"nft", "-f", "-"},
                                      absl::StrCat("table inet vrf { chain out { type filter hook "
                                                   "output priority raw; ",
                                                   each.rule, "; }; }\n"))
                      .status());
    // Each time: an entry that a probe leaves would hide the next one.
    for (int i = 0; i < 3; ++i) {
      EXPECT_THAT(Probe().status().message(), HasSubstr("conntrack tracked"));
      EXPECT_EQ(probe_->broken(), each.broken);
    }
    NPG_ASSERT_OK(testing::RunCommand({"nft", "delete", "table", "inet", "vrf"}).status());
    NPG_EXPECT_OK(Probe().status());
    EXPECT_EQ(probe_->broken(), 0);
  }
}

TEST_F(SelfProbeTest, FindsPacketsThatAreNotAnswered) {
  NPG_ASSERT_OK(Probe().status());
  const struct {
    const char* rule;
    abi::TrafficBits broken;
  } cases[] = {
      {"ct state untracked drop", abi::AllTraffic()},
      {"meta l4proto udp ct state untracked reject",
       abi::Bit(abi::Traffic::kUdp4) | abi::Bit(abi::Traffic::kUdp6)},
      {"meta nfproto ipv6 ct state untracked drop",
       abi::Bit(abi::Traffic::kTcp6) | abi::Bit(abi::Traffic::kUdp6)},
  };
  for (const auto& each : cases) {
    SCOPED_TRACE(each.rule);
    NPG_ASSERT_OK(testing::RunCommand({"nft", "-f", "-"},
                                      absl::StrCat("table inet fw { chain in { type filter hook "
                                                   "input priority 0; ",
                                                   each.rule, "; }; }\n"))
                      .status());
    EXPECT_FALSE(Probe().ok());
    EXPECT_EQ(probe_->broken(), each.broken);
    NPG_ASSERT_OK(testing::RunCommand({"nft", "delete", "table", "inet", "fw"}).status());
    NPG_EXPECT_OK(Probe().status());
  }
}

// What is marked and not exempted is tracked as without a guard: no connect is worse off.
TEST_F(SelfProbeTest, FailsWithoutTheTable) {
  NPG_ASSERT_OK(Probe().status());
  NPG_ASSERT_OK(table_->Remove());
  EXPECT_FALSE(Probe().ok());
  EXPECT_EQ(probe_->broken(), 0);
}

TEST_F(SelfProbeTest, FailsIfTheProgramsGuardAnotherNetworkNamespace) {
  ++config_.netns_cookie;
  EXPECT_THAT(Probe().status().message(),
              AllOf(HasSubstr("npg_connect4"), HasSubstr("did not see")));
}

TEST_F(SelfProbeTest, FailsIfTheTableMatchesAnotherMark) {
  config_.mark = config_.mark_mask = 0x2000;
  EXPECT_THAT(Probe().status().message(), HasSubstr("mark"));
}

TEST_F(SelfProbeTest, NeedsNeitherMarkNorTableInObserveMode) {
  config_.mode = abi::Mode::kObserve;
  NPG_ASSERT_OK(table_->Remove());
  NPG_EXPECT_OK(Probe().status());
  EXPECT_EQ(Counted(abi::Counter::kProbed), SelfProbe::kClients);
  EXPECT_EQ(Counted(abi::Counter::kObserved), 0);
}

TEST_F(SelfProbeTest, WorksIfThePolicyIgnoresTheController) {
  config_.default_verdict = abi::OwnerVerdict::kIgnored;
  core::OwnerPolicy policy;
  policy.only = {"containerd"};
  NPG_ASSERT_OK(guard_->SetOwnerPolicy(policy));
  NPG_EXPECT_OK(Probe().status());
}

TEST_F(SelfProbeTest, UsesNoPortThatIsANodePort) {
  NPG_ASSERT_OK(Probe().status());
  for (const auto& [index, protocol] :
       {std::pair{size_t{0}, core::Protocol::kTcp}, std::pair{kUdp4Canary, core::Protocol::kUdp},
        std::pair{kTcp4Client, core::Protocol::kTcp},
        std::pair{kUdp4Client, core::Protocol::kUdp}}) {
    const core::PortKey taken{probe_->ports().at(index), protocol};
    nodeports_[taken] = {abi::Bit(abi::Source::kFile), "default/web"};
    NPG_ASSERT_OK(guard_->ApplyNodePorts({{{taken, nodeports_[taken]}}, {}}).status());
    NPG_ASSERT_OK(Probe().status());
    EXPECT_NE(probe_->ports().at(index), taken.port);
    NPG_ASSERT_OK_AND_ASSIGN(const core::PortEntries in_map, guard_->NodePorts());
    EXPECT_EQ(in_map, nodeports_);
  }
}

// Firewalls have rules for the range of NodePorts.
TEST_F(SelfProbeTest, ItsCanariesAreInTheRangeOfTheNodePorts) {
  constexpr uint16_t kLow = 30'000;
  constexpr uint16_t kHigh = 31'000;
  for (const uint16_t port : {kLow, kHigh}) {
    nodeports_[core::PortKey{port, core::Protocol::kTcp}] = {abi::Bit(abi::Source::kFile),
                                                             "default/web"};
  }
  NPG_ASSERT_OK(Probe().status());
  for (size_t i = 0; i < SelfProbe::kCanaries; ++i) {
    EXPECT_GE(probe_->ports().at(i), kLow);
    EXPECT_LE(probe_->ports().at(i), kHigh);
  }
  EXPECT_GT(probe_->ports()[kTcp4Client], kHigh) << "a client has a port as other clients have";
}

TEST_F(SelfProbeTest, UsesOtherPortsThanThoseThatStrangersTook) {
  NPG_ASSERT_OK(Probe().status());
  const auto before = probe_->ports();
  const base::UniqueFd canary = Stranger("127.0.0.1", before[kUdp4Canary], /*shares=*/true);
  const base::UniqueFd client = Stranger("0.0.0.0", before[kUdp4Client], /*shares=*/true);
  ASSERT_TRUE(canary && client) << "the probe holds its ports while it runs only";
  NPG_EXPECT_OK(Probe().status());
  EXPECT_EQ(probe_->broken(), 0);
  EXPECT_EQ(probe_->tested(), abi::AllTraffic());
  EXPECT_NE(probe_->ports()[kUdp4Canary], before[kUdp4Canary]);
  EXPECT_NE(probe_->ports()[kUdp4Client], before[kUdp4Client]);
}

TEST_F(SelfProbeTest, NobodySharesAPortOfARunningProbe) {
  NPG_ASSERT_OK(Probe().status());
  NPG_ASSERT_OK(Drop("meta nfproto ipv6"));
  ASSERT_FALSE(probe_->Run(cgroup_fd_.get(), nodeports_).has_value()) << "it must wait";
  for (const size_t index : {kUdp4Canary, kUdp4Client}) {
    for (const char* address : {"127.0.0.1", "0.0.0.0"}) {
      EXPECT_FALSE(Stranger(address, probe_->ports().at(index), /*shares=*/true)) << address;
    }
  }
  EXPECT_FALSE(Finish(*probe_).ok());
}

// Another flow that has both ports of a client and its canary, between other addresses.
TEST_F(SelfProbeTest, AForeignFlowWithTheSamePortsChangesNothing) {
  NPG_ASSERT_OK(Probe().status());
  const abi::TrafficBits tcp6 = abi::Bit(abi::Traffic::kTcp6);
  NPG_ASSERT_OK(Drop("meta nfproto ipv6 meta l4proto tcp"));
  ASSERT_FALSE(probe_->Run(cgroup_fd_.get(), nodeports_).has_value()) << "it must wait";
  const uint16_t canary = probe_->ports()[kUdp4Canary];
  const uint16_t client = probe_->ports()[kUdp4Client];
  const base::UniqueFd stranger = Stranger("127.0.0.2", client);
  ASSERT_TRUE(stranger);
  NPG_ASSERT_OK_AND_ASSIGN(node::ConntrackWatch watch, node::ConntrackWatch::Start());
  ASSERT_TRUE(SendFrom(stranger, "127.0.0.3", canary));
  NPG_ASSERT_OK_AND_ASSIGN(const auto tracked, watch.Take());
  ASSERT_EQ(tracked.list.size(), 1U) << "conntrack must track it";
  EXPECT_EQ(tracked.list[0].flow.client_port, client);
  EXPECT_EQ(tracked.list[0].flow.server_port, canary);
  EXPECT_FALSE(Finish(*probe_).ok());
  EXPECT_EQ(probe_->broken(), tcp6);
  EXPECT_EQ(probe_->tested(), abi::AllTraffic());
  // Its entry is still there, or the next packet would make another one.
  SendFrom(stranger, "127.0.0.3", canary);
  SendFrom(stranger, "127.0.0.3", canary);
  NPG_ASSERT_OK_AND_ASSIGN(const auto again, watch.Take());
  EXPECT_THAT(again.list, IsEmpty());
}

TEST_F(SelfProbeTest, AStrangerWhoFloodsTheCanaryChangesNothing) {
  NPG_ASSERT_OK(Probe().status());
  const base::UniqueFd stranger = Stranger("127.0.0.2", 0);
  ASSERT_TRUE(stranger);
  std::atomic<uint16_t> port = probe_->ports()[kUdp4Canary];
  std::atomic<bool> stop = false;
  std::thread flood([&] {
    while (!stop) SendFrom(stranger, "127.0.0.1", port);
  });
  for (int i = 0; i < 20; ++i) {
    const absl::Status status = Probe().status();
    EXPECT_TRUE(status.ok() || absl::IsUnavailable(status)) << status;
    EXPECT_EQ(probe_->broken(), 0);
    if (probe_->ports()[kUdp4Canary] != 0) port = probe_->ports()[kUdp4Canary];
  }
  stop = true;
  flood.join();
}

// That is no rule in the way of exempted packets: without the entry, replies are tracked.
TEST_F(SelfProbeTest, CannotTellWhereTheTableLosesTheFlowsOfAProbe) {
  NPG_ASSERT_OK(Probe().status());
  NPG_ASSERT_OK(Drop("meta nfproto ipv4 meta l4proto tcp"));
  ASSERT_FALSE(probe_->Run(cgroup_fd_.get(), nodeports_).has_value()) << "it must wait";
  NPG_ASSERT_OK(table_->Remove());
  const absl::Status status = Finish(*probe_).status();
  EXPECT_TRUE(absl::IsUnavailable(status)) << status;
  EXPECT_THAT(status.message(), HasSubstr("has no entry of the probe's flow"));
  EXPECT_EQ(probe_->broken(), 0);
  EXPECT_EQ(probe_->tested() & abi::Bit(abi::Traffic::kTcp4), 0);
}

// Any process could otherwise keep the guard from standing aside, with one datagram in each probe.
TEST_F(SelfProbeTest, AStrangersDatagramDoesNotHideThatAnAnswerIsMissing) {
  NPG_ASSERT_OK(Probe().status());
  const abi::TrafficBits udp4 = abi::Bit(abi::Traffic::kUdp4);
  NPG_ASSERT_OK(Drop("meta nfproto ipv4 meta l4proto udp"));
  ASSERT_FALSE(probe_->Run(cgroup_fd_.get(), nodeports_).has_value()) << "it must wait";
  const base::UniqueFd stranger = Stranger("127.0.0.2", 0);
  ASSERT_TRUE(SendFrom(stranger, "127.0.0.1", probe_->ports()[kUdp4Canary]));
  const absl::Status status = Finish(*probe_).status();
  EXPECT_TRUE(absl::IsFailedPrecondition(status)) << status;
  EXPECT_EQ(probe_->broken(), udp4);
  EXPECT_EQ(probe_->tested(), abi::AllTraffic());
  NPG_ASSERT_OK(DropNothing());
  NPG_EXPECT_OK(Probe().status());
  EXPECT_EQ(probe_->broken(), 0);
}

// A probe that is not called for longer than it waits finds the answers that arrived meanwhile.
TEST_F(SelfProbeTest, APauseIsNoMissingAnswer) {
  NPG_ASSERT_OK(Probe().status());
  NPG_ASSERT_OK(Drop("meta nfproto ipv6 meta l4proto tcp"));
  ASSERT_FALSE(probe_->Run(cgroup_fd_.get(), nodeports_).has_value()) << "it must wait";
  NPG_ASSERT_OK(DropNothing());
  // The kernel sends the SYN again, and completes the connection without this process.
  const std::string client = absl::StrCat("[::1]:", probe_->ports()[SelfProbe::kCanaries + 3], " ");
  EXPECT_TRUE(testing::WaitUntil(testing::kPatience, [&] {
    const auto sockets = testing::RunCommand({"ss", "-Htn6", "state", "established"});
    return sockets.ok() && sockets->find(client) != std::string::npos;
  }));
  // Longer than a probe waits for an answer: only time passes here.
  sleep(4);
  NPG_EXPECT_OK(Finish(*probe_).status());
  EXPECT_EQ(probe_->broken(), 0);
}

TEST_F(SelfProbeTest, AKindWithoutPortsDoesNotHideThatAnotherIsBroken) {
  NPG_ASSERT_OK_AND_ASSIGN(std::vector<base::UniqueFd> strangers,
                           testing::TakeUdpPortsOfLoopback6(50'000, 50'019));
  const abi::TrafficBits udp6 = abi::Bit(abi::Traffic::kUdp6);
  const absl::Status unproven = Probe().status();
  EXPECT_TRUE(absl::IsUnavailable(unproven)) << unproven;
  EXPECT_EQ(probe_->broken(), 0);
  EXPECT_EQ(probe_->tested(), abi::AllTraffic() & ~udp6);
  NPG_ASSERT_OK(testing::RunCommand({"nft", "-f", "-"},
                                    "table inet vrf { chain out { type filter hook output "
                                    "priority raw; meta nfproto ipv4 meta l4proto tcp ct zone set "
                                    "7; }; }\n")
                    .status());
  EXPECT_THAT(Probe().status().message(), HasSubstr("conntrack tracked"));
  EXPECT_EQ(probe_->broken(), abi::Bit(abi::Traffic::kTcp4));
  EXPECT_EQ(probe_->tested(), abi::AllTraffic() & ~udp6);
  NPG_ASSERT_OK(testing::RunCommand({"nft", "delete", "table", "inet", "vrf"}).status());
  strangers.clear();
  NPG_EXPECT_OK(Probe().status());
  EXPECT_EQ(probe_->tested(), abi::AllTraffic());
}

// More new flows than fit in the queue of the watch: those of the probe may be among the lost.
TEST_F(SelfProbeTest, CannotTellWhetherPacketsAreTrackedAfterAnOverrun) {
  NPG_ASSERT_OK(guard_->Attach(cgroup_fd_.get(), config_));
  SelfProbe probe(*guard_, *table_, kMark, config_.mode, /*conntrack_queue=*/1);
  const abi::TrafficBits tcp6 = abi::Bit(abi::Traffic::kTcp6);
  NPG_ASSERT_OK(Drop("meta nfproto ipv6 meta l4proto tcp"));
  ASSERT_FALSE(probe.Run(cgroup_fd_.get(), nodeports_).has_value()) << "it must wait";
  const base::UniqueFd stranger = Stranger("127.0.0.2", 0);
  ASSERT_TRUE(stranger);
  constexpr uint16_t kFirst = 20'000;
  constexpr uint16_t kFlows = 200;
  for (uint16_t i = 0; i < kFlows; ++i) {
    // A later send() may report the ICMP error of an earlier datagram, which is expected here.
    SendFrom(stranger, "127.0.0.3", static_cast<uint16_t>(kFirst + i));
  }
  EXPECT_TRUE(absl::IsFailedPrecondition(Finish(probe).status()));
  EXPECT_EQ(probe.broken(), tcp6);
  EXPECT_EQ(probe.tested(), tcp6) << "nothing is known of the others";
  NPG_ASSERT_OK(DropNothing());
  NPG_EXPECT_OK(Finish(probe).status());
  EXPECT_EQ(probe.tested(), abi::AllTraffic());
}

TEST_F(SelfProbeTest, ProbesACgroupThatThisProcessIsNotIn) {
  const std::string inner = node_->cgroup().path() + "/inner";
  ASSERT_TRUE(std::filesystem::create_directory(inner));
  cgroup_fd_ = OpenFolder(inner);
  NPG_EXPECT_OK(Probe().status());
  EXPECT_EQ(Counted(abi::Counter::kProbed), SelfProbe::kClients);
  // It fails if the cgroup is gone.
  ASSERT_EQ(rmdir(inner.c_str()), 0);
  EXPECT_FALSE(Probe().ok());
}

// The canaries are exempt in spite of it, so that the probe can pass.
TEST_F(SelfProbeTest, WorksWhileTheGuardStandsAside) {
  config_.standing_aside = abi::AllTraffic();
  NPG_EXPECT_OK(Probe().status());
}

// The probe must not wait for a process that the freezer has stopped.
TEST_F(SelfProbeTest, FailsSoonInAFrozenCgroup) {
  const std::string inner = node_->cgroup().path() + "/inner";
  ASSERT_TRUE(std::filesystem::create_directory(inner));
  cgroup_fd_ = OpenFolder(inner);
  NPG_ASSERT_OK(Probe().status());
  std::ofstream(inner + "/cgroup.freeze") << 1;
  const absl::Status frozen = Probe().status();
  std::ofstream(inner + "/cgroup.freeze") << 0;
  EXPECT_TRUE(absl::IsUnavailable(frozen)) << frozen;
  EXPECT_THAT(frozen.message(), HasSubstr("frozen"));
  NPG_EXPECT_OK(Probe().status());
  EXPECT_EQ(rmdir(inner.c_str()), 0) << "no process was left in it";
}

// A program does not see processes outside its cgroup, so a link on another cgroup counts
// as not attached.
TEST_F(SelfProbeTest, FailsIfTheLinksAreOnAnotherCgroup) {
  const std::string inner = node_->cgroup().path() + "/inner";
  ASSERT_TRUE(std::filesystem::create_directory(inner));
  const base::UniqueFd wrong = OpenFolder(inner);
  NPG_ASSERT_OK(guard_->Attach(wrong.get(), config_));
  SelfProbe probe(*guard_, *table_, kMark, abi::Mode::kEnforce);
  EXPECT_THAT(Finish(probe).status().message(),
              AllOf(HasSubstr("npg_connect4"), HasSubstr("is attached to cgroup id")));
  NPG_ASSERT_OK(guard_->Repair(cgroup_fd_.get()).status());
  NPG_EXPECT_OK(Finish(probe).status());
  rmdir(inner.c_str());
}

}  // namespace
}  // namespace npg::controller::self_probe_test
