// SPDX-License-Identifier: Apache-2.0
#include "testing/syn_retry.h"

#include <bpf/bpf.h>
#include <fcntl.h>
#include <linux/bpf.h>

#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/errno_status.h"
#include "base/unique_fd.h"

namespace npg::testing {
namespace {

constexpr int32_t kJiffies = 10;

constexpr bpf_insn Instruction(int code, uint8_t to, uint8_t from, int16_t offset, int32_t value) {
  bpf_insn instruction{};
  instruction.code = static_cast<uint8_t>(code);
  instruction.dst_reg = to & 0xf;
  instruction.src_reg = from & 0xf;
  instruction.off = offset;
  instruction.imm = value;
  return instruction;
}

}  // namespace

absl::Status RetrySynSoon(const std::string& path) {
  constexpr auto kOp = static_cast<int16_t>(offsetof(bpf_sock_ops, op));
  constexpr auto kReply = static_cast<int16_t>(offsetof(bpf_sock_ops, reply));
  // Replies kJiffies to the query for the first timeout of a connection, and to no other.
  // Kernels before 6.4 refuse to store an immediate value in the context.
  constexpr std::array<bpf_insn, 6> kProgram = {
      Instruction(BPF_LDX | BPF_MEM | BPF_W, BPF_REG_2, BPF_REG_1, kOp, 0),
      Instruction(BPF_JMP | BPF_JNE | BPF_K, BPF_REG_2, 0, 2, BPF_SOCK_OPS_TIMEOUT_INIT),
      Instruction(BPF_ALU64 | BPF_MOV | BPF_K, BPF_REG_3, 0, 0, kJiffies),
      Instruction(BPF_STX | BPF_MEM | BPF_W, BPF_REG_1, BPF_REG_3, kReply, 0),
      Instruction(BPF_ALU64 | BPF_MOV | BPF_K, BPF_REG_0, 0, 0, 1),
      Instruction(BPF_JMP | BPF_EXIT, 0, 0, 0, 0),
  };
  const base::UniqueFd group(open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!group) return base::ErrnoStatus(errno, absl::StrCat("open ", path));
  const base::UniqueFd program(bpf_prog_load(BPF_PROG_TYPE_SOCK_OPS, "test_syn_retry", "GPL",
                                             kProgram.data(), kProgram.size(), nullptr));
  if (!program) return base::ErrnoStatus(errno, "load a program of type sock_ops");
  if (bpf_prog_attach(program.get(), group.get(), BPF_CGROUP_SOCK_OPS, BPF_F_ALLOW_MULTI) != 0) {
    return base::ErrnoStatus(errno, absl::StrCat("attach a program of type sock_ops to ", path));
  }
  return absl::OkStatus();
}

}  // namespace npg::testing
