// SPDX-License-Identifier: Apache-2.0
#include "dataplane/bpf/skeleton.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <linux/bpf.h>
#include <linux/capability.h>

#include <array>
#include <cerrno>
#include <cstdint>
#include <string>
#include <system_error>

#include "abi/names.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "base/capabilities.h"
#include "base/errno_status.h"
#include "base/unique_fd.h"

namespace npg::dataplane {
namespace {

// Checks capabilities first, because a missing one can look like an old kernel: without
// CAP_PERFMON, Linux 6.18 returns EINVAL for a helper.
absl::Status LoadError(int error, absl::string_view doing) {
  const std::string what = absl::StrCat(doing, ": ", std::generic_category().message(error));
  if (const std::string lacked = base::LackedCapabilities({CAP_BPF, CAP_NET_ADMIN, CAP_PERFMON});
      !lacked.empty() && (error == EPERM || error == EACCES || error == EINVAL)) {
    return absl::PermissionDeniedError(
        absl::StrCat(what, "; this process lacks ", lacked, ": run it as root, or add that"));
  }
  if (error == EPERM && !base::LackedCapabilities({CAP_SYS_RESOURCE}).empty()) {
    return absl::PermissionDeniedError(absl::StrCat(
        what,
        "; kernels before 5.11 count BPF memory against RLIMIT_MEMLOCK: add "
        "CAP_SYS_RESOURCE or raise that (LimitMEMLOCK=infinity); on later ones look for a "
        "seccomp profile or a user namespace that forbids bpf(2)"));
  }
  if (error == EACCES) {
    return absl::PermissionDeniedError(
        absl::StrCat(what,
                     "; no capability is missing: the kernel's verifier or a security module "
                     "refuses them (--log-level debug shows the verifier's log)"));
  }
  if (error == EPERM) {
    return absl::PermissionDeniedError(
        absl::StrCat(what,
                     "; no capability is missing: look for a seccomp profile, a user "
                     "namespace or a security module that forbids bpf(2)"));
  }
  if (error == EINVAL || error == ENOSYS || error == EOPNOTSUPP) {
    return absl::UnimplementedError(absl::StrCat(
        what, "; this needs a kernel >= 5.10 with CONFIG_BPF_SYSCALL and CONFIG_CGROUP_BPF"));
  }
  return base::ErrnoStatus(error, doing);
}

}  // namespace

Skeleton OpenGuardPrograms(const ProgramConstants& constants) {
  Skeleton skeleton(nodeport_guard__open());
  if (!skeleton) return skeleton;
  bpf_program__set_autoload(skeleton->progs.npg_learn_netns, false);
  bpf_map__set_autocreate(skeleton->maps.learned_cookie, false);
  skeleton->rodata->scope = static_cast<uint32_t>(constants.scope);
  skeleton->rodata->bind_protection = static_cast<uint32_t>(constants.bind);
  if (constants.bind != abi::BindProtection::kOff) {
    skeleton->rodata->has_set_retval = HasSetRetval() ? 1 : 0;
  }
  return skeleton;
}

bool HasSetRetval() {
  // r1 = -EADDRINUSE; bpf_set_retval(r1); r0 = 0: refuse.
  const std::array<bpf_insn, 4> instructions = {
      {{BPF_ALU64 | BPF_MOV | BPF_K, BPF_REG_1, 0, 0, -EADDRINUSE},
       {BPF_JMP | BPF_CALL, 0, 0, 0, BPF_FUNC_set_retval},
       {BPF_ALU64 | BPF_MOV | BPF_K, BPF_REG_0, 0, 0, 0},
       {BPF_JMP | BPF_EXIT, 0, 0, 0, 0}}};
  LIBBPF_OPTS(bpf_prog_load_opts, options, .expected_attach_type = BPF_CGROUP_INET4_BIND);
  const base::UniqueFd program(bpf_prog_load(BPF_PROG_TYPE_CGROUP_SOCK_ADDR, "npg_retval",
                                             "Dual BSD/GPL", instructions.data(),
                                             instructions.size(), &options));
  return static_cast<bool>(program);
}

absl::Status LoadSkeleton(const Skeleton& skeleton, absl::string_view doing) {
  const int error = nodeport_guard__load(skeleton.get());
  return error == 0 ? absl::OkStatus() : LoadError(-error, doing);
}

}  // namespace npg::dataplane
