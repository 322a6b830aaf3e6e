// SPDX-License-Identifier: Apache-2.0
#include "integration/dataplane/dataplane_fixture.h"

#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/bpf.h>
#include <linux/capability.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "abi/entries.h"
#include "abi/names.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "base/unique_fd.h"
#include "core/desired_state.h"
#include "core/port.h"
#include "dataplane/bpf/bpf_guard.h"
#include "dataplane/bpf/guard_state.h"
#include "dataplane/bpf/netns_cookie.h"
#include "dataplane/bpf/pin_paths.h"
#include "dataplane/bpf/pinned_map.h"
#include "dataplane/bpf/skeleton.h"
#include "guard_abi.h"
#include "testing/command.h"
#include "testing/status_asserts.h"
#include "testing/test_node.h"

namespace npg::dataplane {
namespace {

// CAP_BPF and CAP_NET_ADMIN, and CAP_PERFMON, which some kernels require. Not
// CAP_SYS_ADMIN, with which programs can be opened by id.
bool KeepServiceCapabilities() {
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  std::array<__user_cap_data_struct, 2> data{};
  for (const unsigned capability : std::array<unsigned, 3>{CAP_BPF, CAP_NET_ADMIN, CAP_PERFMON}) {
    auto& word = data[CAP_TO_INDEX(capability)];
    word.effective |= CAP_TO_MASK(capability);
    word.permitted |= CAP_TO_MASK(capability);
  }
  return syscall(SYS_capset, &header, data.data()) == 0;
}

}  // namespace

void DataplaneTest::SetUp() {
  NPG_ASSERT_OK_AND_ASSIGN(node_, testing::TestNode::Create());
  pins_ = PinPaths(node_->bpffs());
  cgroup_fd_.Reset(open(node_->cgroup().path().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  ASSERT_TRUE(cgroup_fd_);
  NPG_ASSERT_OK_AND_ASSIGN(cookie_, AskNetnsCookie());
}

abi::Config DataplaneTest::Config() const {
  abi::Config config;
  config.abi_version = abi::kVersion;
  config.mark = config.mark_mask = 0x1000;
  config.netns_cookie = cookie_;
  return config;
}

core::Difference DataplaneTest::Ports(const std::vector<uint16_t>& ports) {
  core::Difference difference;
  for (const uint16_t port : ports) {
    difference.put.push_back(
        {{port, core::Protocol::kUdp}, {abi::Bit(abi::Source::kFile), "default/web"}});
  }
  return difference;
}

absl::StatusOr<std::unique_ptr<BpfGuard>> DataplaneTest::Guard(const std::vector<uint16_t>& ports,
                                                               const ProgramConstants& constants) {
  std::filesystem::create_directories(pins_.Root());  // ControllerLock makes it
  absl::StatusOr<std::unique_ptr<BpfGuard>> guard = BpfGuard::Load(pins_, constants);
  if (!guard.ok()) return guard;
  absl::Status status = (*guard)->ApplyNodePorts(Ports(ports)).status();
  if (status.ok()) status = (*guard)->SetOwnerPolicy({});
  if (status.ok()) status = (*guard)->Attach(cgroup_fd_.get(), Config());
  if (!status.ok()) return status;
  return guard;
}

sockaddr_in DataplaneTest::Loopback(uint16_t port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(port);
  return address;
}

base::UniqueFd DataplaneTest::Listen(uint16_t port) {
  base::UniqueFd fd(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  const sockaddr_in address = Loopback(port);
  if (bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0) {
    fd.Reset();
  }
  return fd;
}

void DataplaneTest::Connect(uint16_t port) {
  const base::UniqueFd fd(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  const sockaddr_in address = Loopback(port);
  ASSERT_EQ(connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)), 0);
}

absl::StatusOr<uint64_t> DataplaneTest::Exempted() const {
  absl::StatusOr<GuardState> state = GuardState::Open(pins_);
  if (!state.ok()) return state.status();
  const absl::StatusOr<abi::Counters> counters = state->Counters();
  if (!counters.ok()) return counters.status();
  return (*counters)[abi::Counter::kExempted];
}

void DataplaneTest::BlockConnect6() {
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

std::string DataplaneTest::StartInVain(bool service) {
  const absl::StatusOr<std::string> failure = testing::RunInFork([this, service] {
    if (service && !KeepServiceCapabilities()) return std::string("capset failed");
    const auto guard = BpfGuard::Load(pins_, ProgramConstants{});
    if (!guard.ok()) return absl::StrCat("load: ", guard.status().message());
    abi::Config other = Config();
    other.mode = abi::Mode::kObserve;
    return std::string((*guard)->Attach(cgroup_fd_.get(), other).message());
  });
  NPG_EXPECT_OK(failure);
  return failure.value_or("");
}

uint32_t DataplaneTest::ProgramId(const std::string& pin) {
  const absl::StatusOr<base::UniqueFd> fd = OpenPin(pin);
  bpf_prog_info info{};
  uint32_t size = sizeof(info);
  if (!fd.ok() || bpf_obj_get_info_by_fd(fd->get(), &info, &size) != 0) return 0;
  return info.id;
}

uint32_t DataplaneTest::Attached(const std::string& program) const {
  const auto fd = OpenPin(pins_.Link(program));
  if (!fd.ok()) return 0;
  const auto link = DescribeLink(fd->get(), program);
  return link.ok() ? link->program_id : 0;
}

uint32_t DataplaneTest::MapId(const char* name) const {
  const auto fd = OpenPin(pins_.Map(name));
  if (!fd.ok()) return 0;
  const auto info = DescribeMap(fd->get(), name);
  return info.ok() ? info->id : 0;
}

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

}  // namespace npg::dataplane
