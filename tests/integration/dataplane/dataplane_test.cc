// SPDX-License-Identifier: Apache-2.0
// The BPF half of the guard on the real kernel: what it pins and when, what it adopts
// at a restart, and what it repairs.
#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/bpf.h>
#include <linux/capability.h>
#include <netinet/in.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <memory>
#include <numeric>
#include <optional>
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
#include "core/datagram_targets.h"
#include "core/desired_state.h"
#include "core/listener.h"
#include "core/port.h"
#include "dataplane/bpf/bpf_guard.h"
#include "dataplane/bpf/controller_lock.h"
#include "dataplane/bpf/events_reader.h"
#include "dataplane/bpf/guard_state.h"
#include "dataplane/bpf/netns_cookie.h"
#include "dataplane/bpf/pin_paths.h"
#include "dataplane/bpf/pinned_map.h"
#include "guard_abi.h"
#include "node/cgroups.h"
#include "testing/command.h"
#include "testing/status_asserts.h"
#include "testing/test_node.h"
#include "testing/wait_until.h"

namespace npg::dataplane::dataplane_test {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

constexpr uint16_t kPort = 33589;

class DataplaneTest : public ::testing::Test {
 protected:
  void ExpectCarriedOver(const core::PortKey& key, abi::SourceBits sources);

  void SetUp() override {
    NPG_ASSERT_OK_AND_ASSIGN(node_, testing::TestNode::Create());
    pins_ = PinPaths(node_->bpffs());
    cgroup_fd_.Reset(open(node_->cgroup().path().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    ASSERT_TRUE(cgroup_fd_);
    NPG_ASSERT_OK_AND_ASSIGN(cookie_, AskNetnsCookie());
  }

  abi::Config Config() const {
    abi::Config config;
    config.abi_version = abi::kVersion;
    config.mark = config.mark_mask = 0x1000;
    config.netns_cookie = cookie_;
    return config;
  }

  static core::Difference Ports(const std::vector<uint16_t>& ports) {
    core::Difference difference;
    for (const uint16_t port : ports) {
      difference.put.push_back(
          {{port, core::Protocol::kUdp}, {abi::Bit(abi::Source::kFile), "default/web"}});
    }
    return difference;
  }

  // A loaded, filled and attached guard.
  absl::StatusOr<std::unique_ptr<BpfGuard>> Guard(const std::vector<uint16_t>& ports = {kPort}) {
    std::filesystem::create_directories(pins_.Root());  // ControllerLock makes it
    absl::StatusOr<std::unique_ptr<BpfGuard>> guard = BpfGuard::Load(pins_, abi::Scope::kLoopback);
    if (!guard.ok()) return guard;
    absl::Status status = (*guard)->ApplyNodePorts(Ports(ports)).status();
    if (status.ok()) status = (*guard)->SetOwnerPolicy({});
    if (status.ok()) status = (*guard)->Attach(cgroup_fd_.get(), Config());
    if (!status.ok()) return status;
    return guard;
  }

  static sockaddr_in Loopback(uint16_t port) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.sin_port = htons(port);
    return address;
  }

  // UDP, because a connect runs the hook and sends no packet. After the programs are attached:
  // no controller adds records of earlier sockets.
  static base::UniqueFd Listen(uint16_t port) {
    base::UniqueFd fd(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    const sockaddr_in address = Loopback(port);
    if (bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0) {
      fd.Reset();
    }
    return fd;
  }

  static void Connect(uint16_t port) {
    const base::UniqueFd fd(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    const sockaddr_in address = Loopback(port);
    ASSERT_EQ(connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)), 0);
  }

  absl::StatusOr<uint64_t> Exempted() const {
    absl::StatusOr<GuardState> state = GuardState::Open(pins_);
    if (!state.ok()) return state.status();
    const absl::StatusOr<abi::Counters> counters = state->Counters();
    if (!counters.ok()) return counters.status();
    return (*counters)[abi::Counter::kExempted];
  }

  // Makes the second program of the guard impossible to attach: another program is attached
  // exclusively in its place.
  void BlockConnect6() {
    {
      NPG_ASSERT_OK_AND_ASSIGN(const base::UniqueFd link, OpenPin(pins_.Link("npg_connect6")));
      ASSERT_EQ(bpf_link_detach(link.get()), 0);
    }
    ASSERT_EQ(unlink(pins_.Link("npg_connect6").c_str()), 0);
    // r0 = 1; exit: proceed.
    const std::array<bpf_insn, 2> proceed = {
        {{BPF_ALU64 | BPF_MOV | BPF_K, 0, 0, 0, 1}, {BPF_JMP | BPF_EXIT, 0, 0, 0, 0}}};
    LIBBPF_OPTS(bpf_prog_load_opts, options, .expected_attach_type = BPF_CGROUP_INET6_CONNECT);
    const base::UniqueFd program(bpf_prog_load(BPF_PROG_TYPE_CGROUP_SOCK_ADDR, "foreign", "GPL",
                                               proceed.data(), proceed.size(), &options));
    ASSERT_TRUE(program);
    ASSERT_EQ(bpf_prog_attach(program.get(), cgroup_fd_.get(), BPF_CGROUP_INET6_CONNECT, 0), 0);
  }

  // The error of a start with mode observe, in a process with the capabilities of the service,
  // or with all.
  std::string StartInVain(bool service) {
    const absl::StatusOr<std::string> failure = testing::RunInFork([this, service] {
      if (service && !KeepServiceCapabilities()) return std::string("capset failed");
      const auto guard = BpfGuard::Load(pins_, abi::Scope::kLoopback);
      if (!guard.ok()) return absl::StrCat("load: ", guard.status().message());
      abi::Config other = Config();
      other.mode = abi::Mode::kObserve;
      return std::string((*guard)->Attach(cgroup_fd_.get(), other).message());
    });
    NPG_EXPECT_OK(failure);
    return failure.value_or("");
  }

  static uint32_t ProgramId(const std::string& pin) {
    const absl::StatusOr<base::UniqueFd> fd = OpenPin(pin);
    bpf_prog_info info{};
    uint32_t size = sizeof(info);
    if (!fd.ok() || bpf_obj_get_info_by_fd(fd->get(), &info, &size) != 0) return 0;
    return info.id;
  }

  uint32_t Attached(const std::string& program) const {
    const auto fd = OpenPin(pins_.Link(program));
    if (!fd.ok()) return 0;
    const auto link = DescribeLink(fd->get(), program);
    return link.ok() ? link->program_id : 0;
  }

  uint32_t MapId(const char* name) const {
    const auto fd = OpenPin(pins_.Map(name));
    if (!fd.ok()) return 0;
    const auto info = DescribeMap(fd->get(), name);
    return info.ok() ? info->id : 0;
  }

  // CAP_BPF and CAP_NET_ADMIN, and CAP_PERFMON, which some kernels require. Not
  // CAP_SYS_ADMIN, with which programs can be opened by id.
  static bool KeepServiceCapabilities() {
    __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
    std::array<__user_cap_data_struct, 2> data{};
    for (const unsigned capability : std::array<unsigned, 3>{CAP_BPF, CAP_NET_ADMIN, CAP_PERFMON}) {
      auto& word = data[CAP_TO_INDEX(capability)];
      word.effective |= CAP_TO_MASK(capability);
      word.permitted |= CAP_TO_MASK(capability);
    }
    return syscall(SYS_capset, &header, data.data()) == 0;
  }

  std::unique_ptr<testing::TestNode> node_;
  PinPaths pins_{PinPaths::kDefaultBpffs};
  base::UniqueFd cgroup_fd_;
  uint64_t cookie_ = 0;
};

TEST_F(DataplaneTest, RecognizesTheRootOfTheHierarchy) {
  struct stat folder {};
  ASSERT_EQ(fstat(cgroup_fd_.get(), &folder), 0);
  NPG_ASSERT_OK_AND_ASSIGN(const uint64_t id, node::CgroupId(cgroup_fd_.get()));
  EXPECT_EQ(id, folder.st_ino);
  EXPECT_FALSE(node::IsHierarchyRoot(cgroup_fd_.get()));

  // A new mount shows the root of the cgroup namespace. In the initial one, whose inode
  // number is fixed (PROC_CGROUP_INIT_INO), that is the root of the hierarchy.
  const std::string root = node_->File("cgroup2");
  std::filesystem::create_directory(root);
  ASSERT_EQ(mount("none", root.c_str(), "cgroup2", 0, nullptr), 0);
  const base::UniqueFd fd(open(root.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  ASSERT_TRUE(fd);
  EXPECT_EQ(node::IsHierarchyRoot(fd.get()),
            std::filesystem::read_symlink("/proc/self/ns/cgroup") == "cgroup:[4026531835]");
  EXPECT_EQ(umount2(root.c_str(), MNT_DETACH), 0);
}

TEST_F(DataplaneTest, AttachPinsEverythingAndLoadPinsNothing) {
  NPG_ASSERT_OK_AND_ASSIGN(const auto lock, ControllerLock::Acquire(pins_));
  NPG_ASSERT_OK_AND_ASSIGN(const std::unique_ptr<BpfGuard> guard,
                           BpfGuard::Load(pins_, abi::Scope::kLoopback));
  EXPECT_TRUE(std::filesystem::is_empty(pins_.Root()));
  EXPECT_TRUE(absl::IsNotFound(GuardState::Open(pins_).status()));

  NPG_ASSERT_OK(guard->ApplyNodePorts(Ports({kPort})));
  NPG_ASSERT_OK(guard->Attach(cgroup_fd_.get(), Config()));
  NPG_ASSERT_OK_AND_ASSIGN(const GuardState state, GuardState::Open(pins_));
  NPG_ASSERT_OK_AND_ASSIGN(const std::vector<LinkState> links, state.Links());
  ASSERT_EQ(links.size(), kLinkNames.size());
  for (const LinkState& link : links) EXPECT_NE(link.cgroup_id, 0) << link.name;
  NPG_ASSERT_OK_AND_ASSIGN(const auto ports, state.NodePorts());
  ASSERT_EQ(ports.size(), 1);
  EXPECT_EQ(ports[0].first.port, kPort);
  EXPECT_EQ(ports[0].second.service, "default/web");
}

TEST_F(DataplaneTest, AStartThatFailsLeavesNothing) {
  {
    NPG_ASSERT_OK_AND_ASSIGN(const auto lock, ControllerLock::Acquire(pins_));
    NPG_ASSERT_OK_AND_ASSIGN(const std::unique_ptr<BpfGuard> guard,
                             BpfGuard::Load(pins_, abi::Scope::kLoopback));
    const base::UniqueFd not_a_cgroup(open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    EXPECT_FALSE(guard->Attach(not_a_cgroup.get(), Config()).ok());
    EXPECT_TRUE(std::filesystem::is_empty(pins_.Root()));
  }
  EXPECT_FALSE(std::filesystem::exists(pins_.Root()));
}

TEST_F(DataplaneTest, ARestartReplacesProgramsInPlaceAndKeepsCounters) {
  std::vector<LinkState> before;
  {
    NPG_ASSERT_OK_AND_ASSIGN(const std::unique_ptr<BpfGuard> guard, Guard());
    EXPECT_FALSE(guard->adopted());
    NPG_ASSERT_OK_AND_ASSIGN(const GuardState state, GuardState::Open(pins_));
    NPG_ASSERT_OK_AND_ASSIGN(before, state.Links());
  }
  const base::UniqueFd listener = Listen(kPort);
  ASSERT_TRUE(listener);
  Connect(kPort);  // while no controller runs
  NPG_ASSERT_OK_AND_ASSIGN(const std::unique_ptr<BpfGuard> guard, Guard());
  EXPECT_TRUE(guard->adopted());
  EXPECT_THAT(guard->notes(), IsEmpty());
  Connect(kPort);
  NPG_ASSERT_OK_AND_ASSIGN(const uint64_t exempted, Exempted());
  EXPECT_EQ(exempted, 2);
  NPG_ASSERT_OK_AND_ASSIGN(const GuardState state, GuardState::Open(pins_));
  NPG_ASSERT_OK_AND_ASSIGN(const std::vector<LinkState> after, state.Links());
  ASSERT_EQ(after.size(), before.size());
  for (size_t i = 0; i < after.size(); ++i) {
    EXPECT_EQ(after[i].id, before[i].id) << after[i].name;
    EXPECT_NE(after[i].program_id, before[i].program_id) << after[i].name;
  }
}

TEST_F(DataplaneTest, AFailedRestartLeavesTheFormerGuardUnchanged) {
  { NPG_ASSERT_OK_AND_ASSIGN(const std::unique_ptr<BpfGuard> guard, Guard()); }
  const base::UniqueFd listener = Listen(kPort);
  NPG_ASSERT_OK_AND_ASSIGN(const std::unique_ptr<BpfGuard> guard,
                           BpfGuard::Load(pins_, abi::Scope::kLoopback));
  const base::UniqueFd not_a_cgroup(open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  abi::Config other = Config();
  other.mode = abi::Mode::kObserve;
  EXPECT_FALSE(guard->Attach(not_a_cgroup.get(), other).ok());
  Connect(kPort);
  NPG_ASSERT_OK_AND_ASSIGN(const uint64_t exempted, Exempted());
  EXPECT_EQ(exempted, 1);
}

TEST_F(DataplaneTest, AFailedRestartRestoresTheProgramsFromTheirPins) {
  { NPG_ASSERT_OK_AND_ASSIGN(const std::unique_ptr<BpfGuard> guard, Guard()); }
  const base::UniqueFd listener = Listen(kPort);
  const uint32_t before = Attached("npg_bind4");
  ASSERT_NE(before, 0);
  EXPECT_EQ(ProgramId(pins_.Program("npg_bind4")), before);
  ASSERT_NO_FATAL_FAILURE(BlockConnect6());
  for (const bool service : {true, false}) {
    SCOPED_TRACE(service ? "with the capabilities of the service" : "with all capabilities");
    const std::string failure = StartInVain(service);
    EXPECT_THAT(failure, HasSubstr("attach npg_connect6"));
    EXPECT_THAT(failure, Not(HasSubstr("restored")));
    EXPECT_EQ(Attached("npg_bind4"), before);
    EXPECT_EQ(ProgramId(pins_.Program("npg_bind4")), before);
    NPG_ASSERT_OK_AND_ASSIGN(const uint64_t counted, Exempted());
    Connect(kPort);
    NPG_ASSERT_OK_AND_ASSIGN(const uint64_t exempted, Exempted());
    EXPECT_EQ(exempted, counted + 1) << "the mode is the former one";
  }
}

// Guards of builds that pinned no programs.
TEST_F(DataplaneTest, AFailedRestartNamesTheProgramsThatItCannotRestore) {
  { NPG_ASSERT_OK_AND_ASSIGN(const std::unique_ptr<BpfGuard> guard, Guard()); }
  const base::UniqueFd listener = Listen(kPort);
  for (const char* name : kLinkNames) ASSERT_EQ(unlink(pins_.Program(name).c_str()), 0);
  ASSERT_EQ(rmdir(pins_.Programs().c_str()), 0);
  const uint32_t before = Attached("npg_bind4");
  ASSERT_NO_FATAL_FAILURE(BlockConnect6());

  EXPECT_THAT(StartInVain(/*service=*/false), Not(HasSubstr("restored")))
      << "CAP_SYS_ADMIN opens them by id";
  EXPECT_EQ(Attached("npg_bind4"), before);
  const std::string failure = StartInVain(/*service=*/true);
  EXPECT_THAT(failure, HasSubstr("attach npg_connect6"));
  EXPECT_THAT(failure,
              HasSubstr("the former programs of npg_bind4, npg_bind6 could not be restored"));
  EXPECT_THAT(failure, Not(HasSubstr("\n")));
  EXPECT_NE(Attached("npg_bind4"), before);
  EXPECT_FALSE(std::filesystem::exists(pins_.Programs())) << "as it was";
  Connect(kPort);
  NPG_ASSERT_OK_AND_ASSIGN(const uint64_t exempted, Exempted());
  EXPECT_EQ(exempted, 1) << "the new program guards with the former settings";
}

// Pins a map in the place of one of the guard, as another build left it.
base::UniqueFd PinMap(const PinPaths& pins, const char* name, uint32_t key_size,
                      uint32_t value_size) {
  std::filesystem::create_directories(pins.Maps());
  LIBBPF_OPTS(bpf_map_create_opts, options, .map_flags = BPF_F_NO_PREALLOC);
  base::UniqueFd fd(
      bpf_map_create(BPF_MAP_TYPE_HASH, name, key_size, value_size, NPG_MAX_NODEPORTS, &options));
  EXPECT_TRUE(fd);
  EXPECT_EQ(bpf_obj_pin(fd.get(), pins.Map(name).c_str()), 0);
  return fd;
}

// Expects that the next guard has the entry of the other layout: "a/b", since 42.
void DataplaneTest::ExpectCarriedOver(const core::PortKey& key, abi::SourceBits sources) {
  NPG_ASSERT_OK_AND_ASSIGN(const std::unique_ptr<BpfGuard> guard,
                           BpfGuard::Load(pins_, abi::Scope::kLoopback));
  EXPECT_THAT(guard->notes(), ElementsAre(HasSubstr("1 entries carried over")));
  NPG_ASSERT_OK(guard->Attach(cgroup_fd_.get(), Config()));
  NPG_ASSERT_OK_AND_ASSIGN(const GuardState state, GuardState::Open(pins_));
  NPG_ASSERT_OK_AND_ASSIGN(const std::optional<abi::NodePort> entry, state.NodePort(key));
  ASSERT_TRUE(entry.has_value());
  EXPECT_EQ(entry->sources, sources);
  EXPECT_EQ(entry->since, absl::FromUnixSeconds(42));
  EXPECT_EQ(entry->service, "a/b");
}

TEST_F(DataplaneTest, EntriesOfAnOlderLayoutAreCarriedOver) {
  // 24 bytes: sources, reserved, since, and a Service cut to 8.
  const base::UniqueFd old = PinMap(pins_, "nodeports", sizeof(npg_port_key), 24);
  const npg_port_key key{kPort, IPPROTO_UDP, 0};
  npg_nodeport value{};
  value.sources = NPG_SOURCE_FILE;
  value.since = 42;
  std::memcpy(value.service, "a/b", 4);
  ASSERT_EQ(bpf_map_update_elem(old.get(), &key, &value, BPF_ANY), 0);

  ExpectCarriedOver(abi::FromC(key), NPG_SOURCE_FILE);
}

// After a rollback, an older build finds the maps of the newer one.
TEST_F(DataplaneTest, EntriesOfANewerLayoutAreCutToTheKnownFields) {
  struct Newer {
    npg_nodeport known;
    uint64_t more;
  };
  const base::UniqueFd newer = PinMap(pins_, "nodeports", sizeof(npg_port_key), sizeof(Newer));
  const npg_port_key key{kPort, IPPROTO_TCP, 0};
  Newer value{};
  value.known.sources = NPG_SOURCE_KUBERNETES;
  value.known.since = 42;
  std::memcpy(value.known.service, "a/b", 4);
  value.more = ~uint64_t{0};
  ASSERT_EQ(bpf_map_update_elem(newer.get(), &key, &value, BPF_ANY), 0);

  ExpectCarriedOver(abi::FromC(key), NPG_SOURCE_KUBERNETES);
}

TEST_F(DataplaneTest, EntriesWithKeysOfAnOlderLayoutAreDroppedWithANote) {
  const base::UniqueFd old = PinMap(pins_, "nodeports", 8, sizeof(npg_nodeport));
  NPG_ASSERT_OK_AND_ASSIGN(const std::unique_ptr<BpfGuard> guard,
                           BpfGuard::Load(pins_, abi::Scope::kLoopback));
  EXPECT_THAT(guard->notes(), ElementsAre(HasSubstr("keys changed (8 to 4 bytes)")));
  NPG_ASSERT_OK(guard->Attach(cgroup_fd_.get(), Config()));
  NPG_ASSERT_OK_AND_ASSIGN(const GuardState state, GuardState::Open(pins_));
  NPG_ASSERT_OK_AND_ASSIGN(const auto ports, state.NodePorts());
  EXPECT_THAT(ports, IsEmpty());
}

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

// Pins of a build that did not have this map, which came without a new ABI version.
TEST_F(DataplaneTest, AdoptsPinsWithoutTheMapOfSources) {
  { NPG_ASSERT_OK_AND_ASSIGN(const std::unique_ptr<BpfGuard> guard, Guard()); }
  const base::UniqueFd listener = Listen(kPort);
  Connect(kPort);
  ASSERT_EQ(unlink(pins_.Map("sources").c_str()), 0);
  {
    NPG_ASSERT_OK_AND_ASSIGN(const GuardState state, GuardState::Open(pins_));
    NPG_ASSERT_OK_AND_ASSIGN(const auto sources, state.Sources());
    EXPECT_THAT(sources, IsEmpty());
  }
  NPG_ASSERT_OK_AND_ASSIGN(const std::unique_ptr<BpfGuard> guard, Guard());
  EXPECT_TRUE(guard->adopted());
  EXPECT_THAT(guard->notes(), IsEmpty());
  NPG_ASSERT_OK_AND_ASSIGN(const uint64_t exempted, Exempted());
  EXPECT_EQ(exempted, 1) << "a restart keeps the counters";
  NPG_ASSERT_OK(guard->SetSourceState(abi::Source::kFile, StateOf(1)));
  NPG_ASSERT_OK_AND_ASSIGN(const GuardState state, GuardState::Open(pins_));
  NPG_ASSERT_OK_AND_ASSIGN(const auto sources, state.Sources());
  EXPECT_EQ(sources.size(), 1);
}

// A later build may have appended fields. Then this build reads no states of sources,
// but everything else.
TEST_F(DataplaneTest, ReadsNoSourcesOfAnotherLayout) {
  { NPG_ASSERT_OK_AND_ASSIGN(const std::unique_ptr<BpfGuard> guard, Guard()); }
  ASSERT_EQ(unlink(pins_.Map("sources").c_str()), 0);
  const base::UniqueFd later =
      PinMap(pins_, "sources", sizeof(npg_source_key), sizeof(npg_source_state) + 8);
  const npg_source_key key{NPG_SOURCE_FILE};
  const std::array<uint8_t, sizeof(npg_source_state) + 8> value{1};
  ASSERT_EQ(bpf_map_update_elem(later.get(), &key, value.data(), BPF_ANY), 0);
  NPG_ASSERT_OK_AND_ASSIGN(const GuardState state, GuardState::Open(pins_));
  NPG_ASSERT_OK_AND_ASSIGN(const auto sources, state.Sources());
  EXPECT_THAT(sources, IsEmpty());
  NPG_ASSERT_OK_AND_ASSIGN(const auto ports, state.NodePorts());
  EXPECT_EQ(ports.size(), 1);
}

// The programs of another layout use the maps of that layout.
TEST_F(DataplaneTest, AFailedRestartPinsTheFormerMapsAgain) {
  { NPG_ASSERT_OK_AND_ASSIGN(const std::unique_ptr<BpfGuard> guard, Guard()); }
  ASSERT_EQ(unlink(pins_.Map("nodeports").c_str()), 0);
  const base::UniqueFd old = PinMap(pins_, "nodeports", sizeof(npg_port_key), 24);
  ASSERT_EQ(unlink(pins_.Map("sources").c_str()), 0);
  const uint32_t before = MapId("nodeports");
  ASSERT_NE(before, 0);
  ASSERT_NO_FATAL_FAILURE(BlockConnect6());
  EXPECT_THAT(StartInVain(/*service=*/true), HasSubstr("attach npg_connect6"));
  EXPECT_EQ(MapId("nodeports"), before);
  EXPECT_FALSE(std::filesystem::exists(pins_.Map("sources"))) << "it was added by the start";
  EXPECT_TRUE(std::filesystem::exists(pins_.Map("counters")));
}

// Moves a pin of this build to the name that ABI versions below 4 have.
void RenamePin(const std::string& from, const std::string& to) {
  EXPECT_EQ(std::rename(from.c_str(), to.c_str()), 0) << from;
}

// A start over the guard of an earlier ABI version, which has other programs at bind(), fails
// after it has pinned all programs and all links but the last one.
TEST_F(DataplaneTest, AFailedStartRemovesThePinsThatItAdded) {
  { NPG_ASSERT_OK_AND_ASSIGN(const std::unique_ptr<BpfGuard> guard, Guard()); }
  RenamePin(pins_.Program("npg_bind4"), pins_.Program("npg_post_bind4"));
  RenamePin(pins_.Program("npg_bind6"), pins_.Program("npg_post_bind6"));
  RenamePin(pins_.Link("npg_bind4"), pins_.Link("npg_post_bind4"));
  RenamePin(pins_.Link("npg_bind6"), pins_.Link("npg_post_bind6"));
  const uint32_t before = Attached("npg_connect4");
  ASSERT_NE(before, 0);

  // A link of another cgroup is replaced, but the kernel refuses to rename over a mount point.
  NPG_ASSERT_OK_AND_ASSIGN(const std::string child, node_->cgroup().MakeChild("elsewhere"));
  const base::UniqueFd child_fd(open(child.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  NPG_ASSERT_OK_AND_ASSIGN(const base::UniqueFd program, OpenPin(pins_.Program("npg_post_bind6")));
  const base::UniqueFd other(
      bpf_link_create(program.get(), child_fd.get(), BPF_CGROUP_INET6_BIND, nullptr));
  ASSERT_TRUE(other);
  const std::string last = pins_.Link("npg_bind6");
  ASSERT_EQ(bpf_obj_pin(other.get(), last.c_str()), 0);
  ASSERT_EQ(mount(last.c_str(), last.c_str(), nullptr, MS_BIND, nullptr), 0);
  EXPECT_THAT(StartInVain(/*service=*/false), HasSubstr(absl::StrCat("publish ", last)));
  ASSERT_EQ(umount2(last.c_str(), MNT_DETACH), 0);

  EXPECT_EQ(Attached("npg_connect4"), before);
  EXPECT_EQ(ProgramId(pins_.Program("npg_connect4")), before);
  for (const char* name : {"npg_bind4", "npg_bind6"}) {
    EXPECT_FALSE(std::filesystem::exists(pins_.Program(name))) << name;
  }
  for (const char* name : kFormerLinkNames) {
    EXPECT_TRUE(std::filesystem::exists(pins_.Program(name))) << name;
    EXPECT_TRUE(std::filesystem::exists(pins_.Link(name))) << name;
  }
  EXPECT_FALSE(std::filesystem::exists(pins_.Link("npg_bind4")));
  EXPECT_TRUE(std::filesystem::exists(last)) << "it is of the other cgroup";
  for (const bpf_attach_type hook : {BPF_CGROUP_INET4_BIND, BPF_CGROUP_INET6_BIND}) {
    uint32_t attached = 0;
    ASSERT_EQ(bpf_prog_query(cgroup_fd_.get(), hook, 0, nullptr, nullptr, &attached), 0);
    EXPECT_EQ(attached, 1) << "those of the earlier guard, hook " << hook;
  }
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

TEST_F(DataplaneTest, ReadsTheRecordsOfEarlierAbiVersions) {
  NPG_ASSERT_OK_AND_ASSIGN(auto records, ReadFormerRecords(pins_));
  EXPECT_THAT(records, IsEmpty()) << "no guard";
  struct Value {
    uint32_t verdict, pid, uid, reserved;
    std::array<char, NPG_COMM_LEN> comm;
    uint64_t cgroup_id;
  };
  const base::UniqueFd map = PinMap(pins_, "listeners", sizeof(npg_listener_key), sizeof(Value));
  const auto put = [&map](uint8_t protocol, uint32_t verdict) {
    npg_listener_key key{};
    key.port = kPort;
    key.protocol = protocol;
    const Value value{verdict, 812, 7, 0, {'a', 'g', 'e', 'n', 't'}, 42};
    return bpf_map_update_elem(map.get(), &key, &value, BPF_ANY);
  };
  ASSERT_EQ(put(IPPROTO_TCP, NPG_OWNER_GUARDED), 0);
  ASSERT_EQ(put(IPPROTO_UDP, NPG_OWNER_GUARDED), 0);
  core::Binder binder;
  binder.pid = 812;
  binder.comm = "agent";
  binder.uid = 7;
  binder.cgroup_id = 42;
  const abi::ListenerKey tcp{{kPort, core::Protocol::kTcp}, {}};
  const abi::ListenerKey udp{{kPort, core::Protocol::kUdp}, {}};
  NPG_ASSERT_OK_AND_ASSIGN(records, ReadFormerRecords(pins_));
  ASSERT_EQ(records.size(), 2);
  EXPECT_EQ(records[tcp], binder) << "it may have asked for any port";
  binder.asked_port = kPort;
  EXPECT_EQ(records[udp], binder) << "every UDP socket was a listener";
  ASSERT_EQ(put(IPPROTO_TCP, NPG_OWNER_IGNORED), 0);
  NPG_ASSERT_OK_AND_ASSIGN(records, ReadFormerRecords(pins_));
  EXPECT_EQ(records[tcp], binder) << "it holds the port";
}

TEST_F(DataplaneTest, AddsTheCountsOfAnOlderLayoutOnce) {
  // A counter less than this build has.
  std::filesystem::create_directories(pins_.Maps());
  const base::UniqueFd old(bpf_map_create(BPF_MAP_TYPE_PERCPU_ARRAY, "counters", sizeof(uint32_t),
                                          sizeof(uint64_t), NPG_COUNTER_MAX - 1, nullptr));
  ASSERT_TRUE(old);
  ASSERT_EQ(bpf_obj_pin(old.get(), pins_.Map("counters").c_str()), 0);
  NPG_ASSERT_OK_AND_ASSIGN(const uint32_t cpus, PossibleCpus());
  std::vector<uint64_t> values(cpus);
  const auto count = [&](uint64_t sum) {
    const uint32_t index = NPG_COUNTER_EXEMPTED;
    values[0] = sum;
    ASSERT_EQ(bpf_map_update_elem(old.get(), &index, values.data(), BPF_ANY), 0);
  };
  count(5);
  NPG_ASSERT_OK_AND_ASSIGN(const std::unique_ptr<BpfGuard> guard, Guard());
  count(7);
  for (int again = 0; again < 2; ++again) {
    NPG_EXPECT_OK(guard->FinishMigration());
    NPG_ASSERT_OK_AND_ASSIGN(const uint64_t exempted, Exempted());
    EXPECT_EQ(exempted, 7);
  }
}

TEST_F(DataplaneTest, RepairsRemovedPinsOfPrograms) {
  NPG_ASSERT_OK_AND_ASSIGN(const std::unique_ptr<BpfGuard> guard, Guard());
  ASSERT_EQ(unlink(pins_.Program("npg_connect6").c_str()), 0);
  NPG_ASSERT_OK_AND_ASSIGN(std::vector<std::string> repaired, guard->Repair(cgroup_fd_.get()));
  EXPECT_THAT(repaired, ElementsAre(HasSubstr("the pin of program npg_connect6")));
  EXPECT_NE(ProgramId(pins_.Program("npg_connect6")), 0);
  std::filesystem::remove_all(pins_.Root());
  NPG_ASSERT_OK(guard->Repair(cgroup_fd_.get()));
  for (const char* name : kLinkNames) {
    EXPECT_NE(ProgramId(pins_.Program(name)), 0) << name;
    EXPECT_TRUE(std::filesystem::exists(pins_.Link(name))) << name;
  }
  NPG_ASSERT_OK_AND_ASSIGN(repaired, guard->Repair(cgroup_fd_.get()));
  EXPECT_THAT(repaired, IsEmpty());
}

TEST_F(DataplaneTest, RepairsDetachedLinksAndRemovedPins) {
  NPG_ASSERT_OK_AND_ASSIGN(const std::unique_ptr<BpfGuard> guard, Guard());
  const base::UniqueFd listener = Listen(kPort);
  NPG_ASSERT_OK_AND_ASSIGN(std::vector<std::string> repaired, guard->Repair(cgroup_fd_.get()));
  EXPECT_THAT(repaired, IsEmpty());

  NPG_ASSERT_OK_AND_ASSIGN(const base::UniqueFd link, OpenPin(pins_.Link("npg_connect4")));
  ASSERT_EQ(bpf_link_detach(link.get()), 0);
  ASSERT_EQ(unlink(pins_.Link("npg_bind6").c_str()), 0);
  ASSERT_EQ(unlink(pins_.Map("counters").c_str()), 0);
  Connect(kPort);  // the detached program does not see it
  NPG_ASSERT_OK_AND_ASSIGN(repaired, guard->Repair(cgroup_fd_.get()));
  EXPECT_THAT(repaired, ElementsAre(HasSubstr("npg_connect4 was detached"), HasSubstr("npg_bind6"),
                                    HasSubstr("counters")));
  Connect(kPort);
  NPG_ASSERT_OK_AND_ASSIGN(const uint64_t exempted, Exempted());
  EXPECT_EQ(exempted, 1);
  NPG_ASSERT_OK_AND_ASSIGN(repaired, guard->Repair(cgroup_fd_.get()));
  EXPECT_THAT(repaired, IsEmpty());
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

// Another guard had pinned its objects there before it gave the lock away.
TEST_F(DataplaneTest, RepairsPinsOfOtherObjects) {
  NPG_ASSERT_OK_AND_ASSIGN(const std::unique_ptr<BpfGuard> guard, Guard());
  const auto replace = [](const std::string& pin, const std::string& by) {
    const base::UniqueFd other(bpf_obj_get(by.c_str()));
    return other && unlink(pin.c_str()) == 0 && bpf_obj_pin(other.get(), pin.c_str()) == 0;
  };
  ASSERT_TRUE(replace(pins_.Link("npg_bind4"), pins_.Link("npg_bind6")));
  ASSERT_TRUE(replace(pins_.Map("guard_uids"), pins_.Map("guard_cgroups")));
  ASSERT_TRUE(replace(pins_.Program("npg_connect6"), pins_.Program("npg_bind6")));
  NPG_ASSERT_OK_AND_ASSIGN(std::vector<std::string> repaired, guard->Repair(cgroup_fd_.get()));
  EXPECT_THAT(repaired, ElementsAre(HasSubstr("link npg_bind4"), HasSubstr("map guard_uids"),
                                    HasSubstr("program npg_connect6")));
  NPG_ASSERT_OK_AND_ASSIGN(repaired, guard->Repair(cgroup_fd_.get()));
  EXPECT_THAT(repaired, IsEmpty());
}

// The pins are another process's while this one does not have the lock.
TEST_F(DataplaneTest, RepairsLinksAndLeavesPinsWithoutTheLock) {
  NPG_ASSERT_OK_AND_ASSIGN(const std::unique_ptr<BpfGuard> guard, Guard());
  NPG_ASSERT_OK_AND_ASSIGN(base::UniqueFd link, OpenPin(pins_.Link("npg_connect4")));
  ASSERT_EQ(bpf_link_detach(link.get()), 0);
  std::filesystem::remove_all(pins_.Root());
  NPG_ASSERT_OK_AND_ASSIGN(const std::vector<std::string> repaired,
                           guard->Repair(cgroup_fd_.get(), /*pins=*/false));
  EXPECT_THAT(repaired, ElementsAre(HasSubstr("npg_connect4 was detached")));
  EXPECT_FALSE(std::filesystem::exists(pins_.Root()));
  NPG_EXPECT_OK(guard->CheckLinks(cgroup_fd_.get()));
}

// Nothing can be attached while the cgroup is gone, but the next repair must try again.
TEST_F(DataplaneTest, RepairsAfterARepairThatFailed) {
  NPG_ASSERT_OK_AND_ASSIGN(const std::string child, node_->cgroup().MakeChild("comes-back"));
  base::UniqueFd child_fd(open(child.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  std::filesystem::create_directories(pins_.Root());
  NPG_ASSERT_OK_AND_ASSIGN(const std::unique_ptr<BpfGuard> guard,
                           BpfGuard::Load(pins_, abi::Scope::kLoopback));
  NPG_ASSERT_OK(guard->Attach(child_fd.get(), Config()));
  ASSERT_EQ(rmdir(child.c_str()), 0);
  // The kernel detaches the programs some time later.
  ASSERT_TRUE(
      testing::WaitUntil(absl::Seconds(30), [&] { return !guard->Repair(child_fd.get()).ok(); }));
  EXPECT_FALSE(guard->Repair(child_fd.get()).ok());
  EXPECT_THAT(std::string(guard->CheckLinks(child_fd.get()).message()),
              HasSubstr("npg_connect4 is not attached"));

  ASSERT_EQ(mkdir(child.c_str(), 0755), 0);
  child_fd.Reset(open(child.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  NPG_ASSERT_OK_AND_ASSIGN(const std::vector<std::string> repaired, guard->Repair(child_fd.get()));
  EXPECT_EQ(repaired.size(), kLinkNames.size());
  NPG_EXPECT_OK(guard->CheckLinks(child_fd.get()));
}

TEST_F(DataplaneTest, AttachMovesTheLinksToAnotherCgroup) {
  { NPG_ASSERT_OK_AND_ASSIGN(const std::unique_ptr<BpfGuard> guard, Guard()); }
  NPG_ASSERT_OK_AND_ASSIGN(const std::string child, node_->cgroup().MakeChild("elsewhere"));
  const base::UniqueFd child_fd(open(child.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  NPG_ASSERT_OK_AND_ASSIGN(const std::unique_ptr<BpfGuard> guard,
                           BpfGuard::Load(pins_, abi::Scope::kLoopback));
  NPG_ASSERT_OK(guard->Attach(child_fd.get(), Config()));
  NPG_ASSERT_OK_AND_ASSIGN(
      const std::string attached,
      testing::RunCommand({"bpftool", "cgroup", "show", node_->cgroup().path()}));
  EXPECT_THAT(attached, Not(HasSubstr("npg_")));
  NPG_ASSERT_OK_AND_ASSIGN(const std::string moved,
                           testing::RunCommand({"bpftool", "cgroup", "show", child}));
  for (const char* name : kLinkNames) EXPECT_THAT(moved, HasSubstr(name));
}

TEST_F(DataplaneTest, RemovingPinsDetaches) {
  { NPG_ASSERT_OK_AND_ASSIGN(const std::unique_ptr<BpfGuard> guard, Guard()); }
  NPG_ASSERT_OK_AND_ASSIGN(const std::vector<std::string> removed, RemovePins(pins_));
  EXPECT_THAT(removed, Contains("npg_connect4"));
  EXPECT_THAT(removed, Contains("nodeports"));
  EXPECT_TRUE(std::filesystem::is_empty(pins_.Root()));
  NPG_ASSERT_OK_AND_ASSIGN(
      const std::string attached,
      testing::RunCommand({"bpftool", "cgroup", "show", node_->cgroup().path()}));
  EXPECT_THAT(attached, Not(HasSubstr("npg_")));
  NPG_ASSERT_OK_AND_ASSIGN(const std::vector<std::string> again, RemovePins(pins_));
  EXPECT_THAT(again, IsEmpty());
}

// The owner of the folder could replace the maps of the guard.
TEST_F(DataplaneTest, RefusesAFolderThatAnotherUserCanWriteTo) {
  ASSERT_EQ(mkdir(pins_.Root().c_str(), 0700), 0);
  ASSERT_EQ(chown(pins_.Root().c_str(), 65534, 65534), 0);
  absl::Status refused = ControllerLock::Acquire(pins_).status();
  EXPECT_TRUE(absl::IsFailedPrecondition(refused)) << refused;
  EXPECT_THAT(std::string(refused.message()), HasSubstr("belongs to uid 65534"));
  ASSERT_EQ(chown(pins_.Root().c_str(), 0, 0), 0);
  ASSERT_EQ(chmod(pins_.Root().c_str(), 0770), 0);
  refused = ControllerLock::Acquire(pins_).status();
  EXPECT_TRUE(absl::IsFailedPrecondition(refused)) << refused;
  EXPECT_THAT(std::string(refused.message()), HasSubstr("mode 0770"));
  ASSERT_EQ(chmod(pins_.Root().c_str(), 0700), 0);
  NPG_EXPECT_OK(ControllerLock::Acquire(pins_));
}

TEST_F(DataplaneTest, TheLockNamesItsHolderAndEndsWithIt) {
  NPG_ASSERT_OK_AND_ASSIGN(pid_t pid, ControllerPid(pins_));
  EXPECT_EQ(pid, 0);
  {
    NPG_ASSERT_OK_AND_ASSIGN(const auto lock, ControllerLock::Acquire(pins_));
    NPG_ASSERT_OK_AND_ASSIGN(pid, ControllerPid(pins_));
    EXPECT_EQ(pid, getpid());
    NPG_ASSERT_OK_AND_ASSIGN(
        const std::string refused, testing::RunInFork([this] {
          return std::string(ControllerLock::Acquire(pins_).status().message());
        }));
    EXPECT_THAT(refused, HasSubstr(absl::StrCat("(pid ", getpid(), ") controls ")));
  }
  NPG_ASSERT_OK_AND_ASSIGN(pid, ControllerPid(pins_));
  EXPECT_EQ(pid, 0);
  NPG_EXPECT_OK(ControllerLock::Acquire(pins_));
}

TEST_F(DataplaneTest, TheLockFollowsTheNameOfTheFolder) {
  NPG_ASSERT_OK_AND_ASSIGN(ControllerLock lock, ControllerLock::Acquire(pins_));
  NPG_ASSERT_OK_AND_ASSIGN(bool renewed, lock.Renew());
  EXPECT_FALSE(renewed);
  for (const bool recreated : {false, true}) {
    SCOPED_TRACE(recreated ? "removed and created again" : "removed");
    ASSERT_EQ(rmdir(pins_.Root().c_str()), 0);
    if (recreated) {
      ASSERT_EQ(mkdir(pins_.Root().c_str(), 0700), 0);
    }
    NPG_ASSERT_OK_AND_ASSIGN(pid_t pid, ControllerPid(pins_));
    EXPECT_EQ(pid, 0) << "nothing that has the name is locked";
    NPG_ASSERT_OK_AND_ASSIGN(renewed, lock.Renew());
    EXPECT_TRUE(renewed);
    NPG_ASSERT_OK_AND_ASSIGN(pid, ControllerPid(pins_));
    EXPECT_EQ(pid, getpid());
  }

  ASSERT_EQ(rmdir(pins_.Root().c_str()), 0);
  {
    // Locks of two descriptions of a file exclude each other within a process, too.
    NPG_ASSERT_OK_AND_ASSIGN(const ControllerLock other, ControllerLock::Acquire(pins_));
    const absl::Status refused = lock.Renew().status();
    EXPECT_TRUE(absl::IsUnavailable(refused)) << refused;
    EXPECT_THAT(std::string(refused.message()), HasSubstr(" controls "));
    { const ControllerLock ends = std::move(lock); }
    EXPECT_TRUE(std::filesystem::exists(pins_.Root())) << "it is that of the other";
  }
  EXPECT_FALSE(std::filesystem::exists(pins_.Root()));
}

TEST_F(DataplaneTest, RefusesAFolderThatIsNoBpffs) {
  const absl::Status status = ControllerLock::Acquire(PinPaths("/tmp")).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message()), HasSubstr("mount -t bpf"));
}

TEST_F(DataplaneTest, LearnsTheNetnsCookieFromAProgram) {
  NPG_ASSERT_OK_AND_ASSIGN(const uint64_t learned, LearnNetnsCookie(cgroup_fd_.get()));
  EXPECT_EQ(learned, cookie_);
}

TEST_F(DataplaneTest, EachReaderReceivesAllEvents) {
  NPG_ASSERT_OK_AND_ASSIGN(const std::unique_ptr<BpfGuard> guard, Guard());
  const base::UniqueFd listener = Listen(kPort);
  NPG_ASSERT_OK_AND_ASSIGN(const auto first, EventsReader::Open(pins_));
  NPG_ASSERT_OK_AND_ASSIGN(const auto second, EventsReader::Open(pins_));
  for (int i = 0; i < 3; ++i) Connect(kPort);
  uint64_t lost = 0;
  for (EventsReader* reader : {first.get(), second.get()}) {
    const std::vector<abi::Event> events = reader->Drain(&lost);
    ASSERT_EQ(events.size(), 3);
    EXPECT_EQ(events[0].port, (core::PortKey{kPort, core::Protocol::kUdp}));
    EXPECT_EQ(events[0].pid, static_cast<uint32_t>(getpid()));
    EXPECT_THAT(reader->Drain(&lost), IsEmpty());
  }
  EXPECT_EQ(lost, 0);
}

TEST_F(DataplaneTest, ASlowReaderCountsLostEvents) {
  constexpr uint16_t kFirst = 20000;
  constexpr int kPorts = 600;
  std::vector<uint16_t> ports(kPorts);
  std::iota(ports.begin(), ports.end(), kFirst);
  NPG_ASSERT_OK_AND_ASSIGN(const std::unique_ptr<BpfGuard> guard, Guard(ports));
  std::vector<base::UniqueFd> listeners;
  for (const uint16_t port : ports) {
    listeners.push_back(Listen(port));
    ASSERT_TRUE(listeners.back());
  }
  NPG_ASSERT_OK_AND_ASSIGN(const auto slow, EventsReader::Open(pins_));
  NPG_ASSERT_OK_AND_ASSIGN(const auto quick, EventsReader::Open(pins_));
  uint64_t read = 0;
  uint64_t lost_by_quick = 0;
  for (int round = 0; round < NPG_EVENTS_PER_SECOND; ++round) {
    for (const uint16_t port : ports) Connect(port);
    read += quick->Drain(&lost_by_quick).size();
  }
  EXPECT_EQ(lost_by_quick, 0);
  ASSERT_GE(read, uint64_t{NPG_EVENTS_BYTES} / sizeof(npg_event)) << "the buffer never filled";
  uint64_t lost = 0;
  EXPECT_THAT(slow->Drain(&lost), IsEmpty());
  EXPECT_EQ(lost, read);
}

}  // namespace
}  // namespace npg::dataplane::dataplane_test
