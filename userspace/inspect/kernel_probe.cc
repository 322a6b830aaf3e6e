// SPDX-License-Identifier: Apache-2.0
#include "inspect/kernel_probe.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <linux/bpf.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "abi/names.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "base/unique_fd.h"
#include "dataplane/bpf/skeleton.h"

namespace npg::inspect {
namespace {

// libbpf says on standard error what it thinks of a failure, unless told not to.
class QuietLibbpf {
 public:
  QuietLibbpf() : before_(libbpf_set_print(nullptr)) {}
  ~QuietLibbpf() { libbpf_set_print(before_); }
  QuietLibbpf(const QuietLibbpf&) = delete;
  QuietLibbpf& operator=(const QuietLibbpf&) = delete;

 private:
  libbpf_print_fn_t before_;
};

// Loads a connect4 program of these instructions; `log` gets what the verifier said.
base::UniqueFd LoadConnect4(const std::vector<bpf_insn>& instructions, std::string& log) {
  bpf_prog_load_opts options{};
  options.sz = sizeof(options);
  options.expected_attach_type = BPF_CGROUP_INET4_CONNECT;
  std::array<char, 4096> buffer{};
  options.log_buf = buffer.data();
  options.log_size = buffer.size();
  options.log_level = 1;
  base::UniqueFd program(bpf_prog_load(BPF_PROG_TYPE_CGROUP_SOCK_ADDR, "npg_doctor", "Dual BSD/GPL",
                                       instructions.data(), instructions.size(), &options));
  const int error = errno;
  log = buffer.data();
  errno = error;
  return program;
}

constexpr bpf_insn Instruction(uint8_t code, int32_t immediate) {
  bpf_insn instruction{};
  instruction.code = code;
  instruction.imm = immediate;
  return instruction;
}

constexpr bpf_insn kExit = Instruction(BPF_JMP | BPF_EXIT, 0);
constexpr bpf_insn kProceed = Instruction(BPF_ALU64 | BPF_MOV | BPF_K, 1);  // r0 = 1

// Calls the helper without arguments: the verifier refuses that, but says
// whether it knows the helper.
Trial TryHelper(bpf_func_id helper, const char* name) {
  Trial trial{absl::StrCat("call ", name, " from a connect program"), 0, ""};
  std::string log;
  const base::UniqueFd program =
      LoadConnect4({Instruction(BPF_JMP | BPF_CALL, helper), kProceed, kExit}, log);
  if (program) return trial;
  const int error = errno;
  for (const char* unknown : {"unknown func", "invalid func", "cannot use helper"}) {
    if (!absl::StrContains(log, unknown)) continue;
    trial.error = ENOSYS;
    trial.detail =
        absl::StrCat("the verifier says: ", absl::string_view(log).substr(0, log.find('\n')));
    return trial;
  }
  // It got as far as the arguments.
  if (!log.empty()) return trial;
  trial.error = error;
  return trial;
}

}  // namespace

Trial TryPrograms(abi::Scope scope) {
  Trial trial{"load the guard's programs and maps", 0, ""};
  const QuietLibbpf quiet;
  const dataplane::Skeleton skeleton =
      dataplane::OpenGuardPrograms({scope, abi::BindProtection::kOff});
  if (!skeleton) {
    trial.error = errno;
    return trial;
  }
  trial.error = -nodeport_guard__load(skeleton.get());
  return trial;
}

std::vector<Trial> TryHelpers() {
  const QuietLibbpf quiet;
  const std::vector<std::pair<bpf_func_id, const char*>> helpers = {
      {BPF_FUNC_sk_lookup_tcp, "bpf_sk_lookup_tcp"},
      {BPF_FUNC_sk_lookup_udp, "bpf_sk_lookup_udp"},
      {BPF_FUNC_setsockopt, "bpf_setsockopt"},
      {BPF_FUNC_get_netns_cookie, "bpf_get_netns_cookie"},
      {BPF_FUNC_sk_storage_get, "bpf_sk_storage_get"},
  };
  std::vector<Trial> trials;
  trials.reserve(helpers.size());
  for (const auto& [helper, name] : helpers) trials.push_back(TryHelper(helper, name));
  return trials;
}

Trial TryRingBuffer() {
  Trial trial{"create a BPF ring buffer", 0, ""};
  const QuietLibbpf quiet;
  const base::UniqueFd map(bpf_map_create(BPF_MAP_TYPE_RINGBUF, "npg_doctor", 0, 0,
                                          static_cast<uint32_t>(getpagesize()), nullptr));
  if (!map) trial.error = errno == EINVAL ? ENOSYS : errno;
  return trial;
}

Trial TryCgroupLink() {
  Trial trial{"attach a program to a cgroup by a link", 0, ""};
  const QuietLibbpf quiet;
  std::string log;
  const base::UniqueFd program = LoadConnect4({kProceed, kExit}, log);
  if (!program) {
    trial.error = errno;
    trial.detail = "load a program for it";
    return trial;
  }
  const base::UniqueFd link(bpf_link_create(program.get(), -1, BPF_CGROUP_INET4_CONNECT, nullptr));
  const int error = errno;
  if (error != EBADF) trial.error = error == EINVAL ? ENOSYS : error;
  return trial;
}

}  // namespace npg::inspect
