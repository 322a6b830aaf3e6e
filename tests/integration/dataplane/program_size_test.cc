// SPDX-License-Identifier: Apache-2.0
// What the programs cost, in numbers that do not depend on the machine: every connect and bind of
// a node runs them.
#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <gtest/gtest.h>
#include <linux/bpf.h>
#include <netinet/in.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <ostream>
#include <string>

#include "absl/strings/string_view.h"
#include "dataplane/bpf/bpf_guard.h"
#include "dataplane/bpf/pin_paths.h"
#include "dataplane/bpf/skeleton.h"
#include "dataplane/bpf/unallocated_ports.h"
#include "integration/dataplane/instruction_counter.h"
#include "testing/status_asserts.h"

namespace npg::dataplane::program_size_test {
namespace {

constexpr absl::string_view kThink =
    "\nEvery connect or bind of the node pays for it. If it is worth that, measure it "
    "(scripts/bench --group connect, --group bind), and raise the limit in program_size_test.cc.";

Skeleton Loaded() {
  Skeleton skeleton = OpenGuardPrograms({});
  if (skeleton == nullptr || nodeport_guard__load(skeleton.get()) != 0) return nullptr;
  if (!UnallocatedPorts(bpf_map__fd(skeleton->maps.unallocated),
                        bpf_map__fd(skeleton->maps.nodeports))
           .Rebuild()
           .ok()) {
    return nullptr;
  }
  return skeleton;
}

// Limits a tenth above what Linux 6.18 and clang 14 make: kernels and compilers differ a little.
struct Size {
  const char* program;
  uint32_t verified;  // instructions that the verifier visits; known since Linux 5.16
  uint32_t xlated;    // instructions after the verifier's rewriting
  uint32_t jited;     // bytes on x86-64
};

constexpr std::array<Size, 4> kSizes = {{
    {"npg_connect4", 6000, 1250, 5650},
    {"npg_connect6", 11700, 2400, 11000},
    {"npg_bind4", 255, 225, 1090},
    {"npg_bind6", 260, 235, 1125},
}};

TEST(ProgramSizeTest, ProgramsDoNotGrow) {
  const Skeleton skeleton = Loaded();
  ASSERT_NE(skeleton, nullptr);
  for (const Size& size : kSizes) {
    const bpf_program* program = bpf_object__find_program_by_name(skeleton->obj, size.program);
    ASSERT_NE(program, nullptr) << size.program;
    bpf_prog_info info{};
    uint32_t length = sizeof(info);
    ASSERT_EQ(bpf_obj_get_info_by_fd(bpf_program__fd(program), &info, &length), 0);
    EXPECT_LE(info.verified_insns, size.verified) << size.program << kThink;
    EXPECT_LE(info.xlated_prog_len / sizeof(bpf_insn), size.xlated) << size.program << kThink;
#if defined(__x86_64__)
    EXPECT_LE(info.jited_prog_len, size.jited) << size.program << kThink;
#endif
  }
}

struct Path {
  const char* name;
  const char* program;
  int protocol;
  const char* address;
  bool bound;           // the socket has a port already
  size_t instructions;  // at most; with clang 14 a tenth less, on every machine
  size_t helpers;       // exactly
};

void PrintTo(const Path& path, std::ostream* out) { *out << path.name; }

constexpr uint16_t kPort = 9999;  // no NodePort
constexpr uint16_t kSource = 40000;

class ProgramPathTest : public ::testing::TestWithParam<Path> {};

TEST_P(ProgramPathTest, EndsEarly) {
  const Path& path = GetParam();
  const Skeleton skeleton = Loaded();
  ASSERT_NE(skeleton, nullptr);
  RunFacts facts;
  facts.address.protocol = static_cast<uint32_t>(path.protocol);
  facts.address.user_port = htons(kPort);
  facts.netns_cookie = 1;
  facts.socket.src_port = path.bound ? kSource : 0;
  if (inet_pton(AF_INET, path.address, &facts.address.user_ip4) != 1) {
    ASSERT_EQ(inet_pton(AF_INET6, path.address, &facts.address.user_ip6), 1);
  }
  const bpf_program* program = bpf_object__find_program_by_name(skeleton->obj, path.program);
  ASSERT_NE(program, nullptr);
  NPG_ASSERT_OK_AND_ASSIGN(const Executed executed, CountInstructions(skeleton, program, facts));
  EXPECT_EQ(executed.result, 1) << "the connect or bind would fail";
  EXPECT_LE(executed.instructions, path.instructions) << kThink;
  EXPECT_EQ(executed.helpers, path.helpers) << kThink;
}

INSTANTIATE_TEST_SUITE_P(
    Paths, ProgramPathTest,
    ::testing::Values(
        Path{"TcpElsewhere", "npg_connect4", IPPROTO_TCP, "192.0.2.1", false, 27, 0},
        Path{"UdpElsewhere", "npg_connect4", IPPROTO_UDP, "192.0.2.1", false, 30, 0},
        Path{"BoundUdpElsewhere", "npg_connect4", IPPROTO_UDP, "192.0.2.1", true, 53, 0},
        Path{"TcpLoopback", "npg_connect4", IPPROTO_TCP, "127.0.0.1", false, 92, 0},
        Path{"BoundUdpLoopback", "npg_connect4", IPPROTO_UDP, "127.0.0.1", true, 120, 0},
        Path{"TcpElsewhere6", "npg_connect6", IPPROTO_TCP, "2001:db8::1", false, 27, 0},
        Path{"BoundUdpElsewhere6", "npg_connect6", IPPROTO_UDP, "2001:db8::1", true, 53, 0},
        Path{"TcpLoopback6", "npg_connect6", IPPROTO_TCP, "::1", false, 142, 0},
        Path{"TcpMapped", "npg_connect6", IPPROTO_TCP, "::ffff:127.0.0.1", false, 146, 0},
        // Of another network namespace: the cookie is not that of the empty configuration.
        Path{"BindInAPod", "npg_bind4", IPPROTO_TCP, "127.0.0.1", false, 31, 1}),
    [](const auto& test) { return std::string(test.param.name); });

}  // namespace
}  // namespace npg::dataplane::program_size_test
