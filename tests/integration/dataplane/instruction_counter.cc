// SPDX-License-Identifier: Apache-2.0
#include "integration/dataplane/instruction_counter.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <linux/bpf.h>

#include <array>
#include <bit>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <deque>
#include <type_traits>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/types/span.h"
#include "base/errno_status.h"
#include "dataplane/bpf/pinned_map.h"
#include "dataplane/bpf/skeleton.h"

namespace npg::dataplane {
namespace {

constexpr size_t kMaxInstructions = 10'000;  // the programs have no loop

// The verifier inlines bounds check and address: about this many instructions instead of a call.
constexpr size_t kArrayLookup = 7;

template <typename T>
absl::StatusOr<T> Binary(uint8_t code, T left, T right) {
  constexpr T kBits = sizeof(T) * 8;
  switch (BPF_OP(code)) {
    case BPF_ADD:
      return left + right;
    case BPF_SUB:
      return left - right;
    case BPF_MUL:
      return left * right;
    case BPF_OR:
      return left | right;
    case BPF_AND:
      return left & right;
    case BPF_XOR:
      return left ^ right;
    case BPF_LSH:
      return left << (right % kBits);
    case BPF_RSH:
      return left >> (right % kBits);
    case BPF_MOV:
      return right;
    default:
      return absl::UnimplementedError(absl::StrCat("cannot run opcode ", code));
  }
}

template <typename T>
absl::StatusOr<bool> Jumps(uint8_t code, T left, T right) {
  using Signed = std::make_signed_t<T>;
  switch (BPF_OP(code)) {
    case BPF_JA:
      return true;
    case BPF_JEQ:
      return left == right;
    case BPF_JNE:
      return left != right;
    case BPF_JGT:
      return left > right;
    case BPF_JGE:
      return left >= right;
    case BPF_JLT:
      return left < right;
    case BPF_JLE:
      return left <= right;
    case BPF_JSET:
      return (left & right) != 0;
    case BPF_JSGT:
      return static_cast<Signed>(left) > static_cast<Signed>(right);
    case BPF_JSLT:
      return static_cast<Signed>(left) < static_cast<Signed>(right);
    default:
      return absl::UnimplementedError(absl::StrCat("cannot run opcode ", code));
  }
}

size_t SizeOf(uint8_t code) {
  switch (BPF_SIZE(code)) {
    case BPF_B:
      return 1;
    case BPF_H:
      return 2;
    case BPF_W:
      return 4;
    default:
      return 8;
  }
}

class Machine {
 public:
  Machine(const Skeleton& skeleton, absl::Span<const bpf_insn> program, RunFacts& facts)
      : skeleton_(skeleton), program_(program), facts_(facts) {
    facts_.address.sk = &facts_.socket;
    registers_[BPF_REG_1] = std::bit_cast<uint64_t>(&facts_.address);
    registers_[BPF_REG_10] = std::bit_cast<uint64_t>(stack_.data() + stack_.size());
  }

  absl::StatusOr<Executed> Run() {
    for (size_t at = 0; at < program_.size() && executed_.instructions < kMaxInstructions; ++at) {
      ++executed_.instructions;
      if (program_[at].code == (BPF_JMP | BPF_EXIT)) {
        executed_.result = registers_[BPF_REG_0];
        return executed_;
      }
      const absl::StatusOr<int> skip = Step(at);
      if (!skip.ok()) return base::Annotate(skip.status(), absl::StrCat("instruction ", at));
      at += static_cast<size_t>(*skip);
    }
    return absl::InternalError("the program does not end");
  }

 private:
  // Executes one instruction. Returns how many to skip after it.
  absl::StatusOr<int> Step(size_t at) {
    const bpf_insn& insn = program_[at];
    uint64_t& to = registers_.at(insn.dst_reg);
    const auto sign_extended = static_cast<uint64_t>(int64_t{insn.imm});
    const uint64_t operand =
        BPF_SRC(insn.code) == BPF_X ? registers_.at(insn.src_reg) : sign_extended;
    switch (BPF_CLASS(insn.code)) {
      case BPF_LD:
        return LoadImmediate(at);
      case BPF_LDX: {
        uint64_t value = 0;
        std::memcpy(&value, Memory(registers_.at(insn.src_reg), insn.off), SizeOf(insn.code));
        to = value;
        return 0;
      }
      case BPF_ST:
        std::memcpy(Memory(to, insn.off), &sign_extended, SizeOf(insn.code));
        return 0;
      case BPF_STX:
        if (BPF_MODE(insn.code) != BPF_MEM) break;
        std::memcpy(Memory(to, insn.off), &registers_.at(insn.src_reg), SizeOf(insn.code));
        return 0;
      case BPF_ALU: {
        if (BPF_OP(insn.code) == BPF_END) return ByteOrder(insn);
        const auto result =
            Binary<uint32_t>(insn.code, static_cast<uint32_t>(to), static_cast<uint32_t>(operand));
        if (!result.ok()) return result.status();
        to = *result;
        return 0;
      }
      case BPF_ALU64: {
        const auto result = Binary<uint64_t>(insn.code, to, operand);
        if (!result.ok()) return result.status();
        to = *result;
        return 0;
      }
      case BPF_JMP: {
        if (BPF_OP(insn.code) == BPF_CALL) return Call(insn);
        const auto jumps = Jumps<uint64_t>(insn.code, to, operand);
        if (!jumps.ok()) return jumps.status();
        return *jumps ? insn.off : 0;
      }
      case BPF_JMP32: {
        const auto jumps =
            Jumps<uint32_t>(insn.code, static_cast<uint32_t>(to), static_cast<uint32_t>(operand));
        if (!jumps.ok()) return jumps.status();
        return *jumps ? insn.off : 0;
      }
    }
    return absl::UnimplementedError(absl::StrCat("cannot run opcode ", insn.code));
  }

  static uint8_t* Memory(uint64_t base, int offset) {
    return std::bit_cast<uint8_t*>(base) + offset;
  }

  absl::StatusOr<int> LoadImmediate(size_t at) {
    const bpf_insn& insn = program_[at];
    const bpf_insn& next = program_.at(at + 1);
    uint64_t& to = registers_.at(insn.dst_reg);
    if (insn.src_reg == BPF_PSEUDO_MAP_FD) {
      to = static_cast<uint32_t>(insn.imm);
    } else if (insn.src_reg == BPF_PSEUDO_MAP_VALUE &&
               insn.imm == bpf_map__fd(skeleton_->maps.rodata)) {
      to = std::bit_cast<uint64_t>(skeleton_->rodata) + static_cast<uint32_t>(next.imm);
    } else if (insn.src_reg == 0) {
      to = (static_cast<uint64_t>(static_cast<uint32_t>(next.imm)) << 32) |
           static_cast<uint32_t>(insn.imm);
    } else {
      return absl::UnimplementedError(absl::StrCat("cannot load immediate ", insn.src_reg));
    }
    return 1;
  }

  absl::StatusOr<int> ByteOrder(const bpf_insn& insn) {
    uint64_t& to = registers_.at(insn.dst_reg);
    if (BPF_SRC(insn.code) != BPF_TO_BE || insn.imm != 16) {
      return absl::UnimplementedError("cannot run this change of byte order");
    }
    to = __builtin_bswap16(static_cast<uint16_t>(to));
    return 0;
  }

  absl::StatusOr<int> Call(const bpf_insn& insn) {
    uint64_t& result = registers_[BPF_REG_0];
    ++executed_.helpers;
    switch (insn.imm) {
      case BPF_FUNC_map_lookup_elem:
        return Lookup();
      case BPF_FUNC_get_netns_cookie:
        result = facts_.netns_cookie;
        return 0;
      case BPF_FUNC_sk_storage_get:
        result = 0;
        return 0;
    }
    return absl::UnimplementedError(absl::StrCat("cannot call helper ", insn.imm));
  }

  absl::StatusOr<int> Lookup() {
    const auto map = static_cast<int>(registers_[BPF_REG_1]);
    const absl::StatusOr<bpf_map_info> info = DescribeMap(map, "of a lookup");
    if (!info.ok()) return info.status();
    if (info->type == BPF_MAP_TYPE_ARRAY) {
      --executed_.helpers;
      executed_.instructions += kArrayLookup - 1;
    }
    std::vector<uint8_t>& value = values_.emplace_back(info->value_size);
    const bool found =
        bpf_map_lookup_elem(map, Memory(registers_[BPF_REG_2], 0), value.data()) == 0;
    if (!found && errno != ENOENT) return base::ErrnoStatus(errno, "look up an entry");
    registers_[BPF_REG_0] = found ? std::bit_cast<uint64_t>(value.data()) : 0;
    return 0;
  }

  const Skeleton& skeleton_;
  absl::Span<const bpf_insn> program_;
  RunFacts& facts_;
  std::array<uint64_t, 11> registers_{};
  std::array<uint8_t, 512> stack_{};
  std::deque<std::vector<uint8_t>> values_;  // that lookups returned
  Executed executed_;
};

}  // namespace

absl::StatusOr<Executed> CountInstructions(const Skeleton& skeleton, const bpf_program* program,
                                           RunFacts facts) {
  return Machine(skeleton, {bpf_program__insns(program), bpf_program__insn_cnt(program)}, facts)
      .Run();
}

}  // namespace npg::dataplane
