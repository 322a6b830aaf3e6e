// SPDX-License-Identifier: Apache-2.0
#include "node/socket_lb.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "node/cgroup_programs.h"

namespace npg::node {
namespace {

constexpr absl::string_view kCilium = "Cilium";

struct SocketLbProgram {
  absl::string_view prefix;
  absl::string_view product;
};

constexpr std::array<SocketLbProgram, 12> kSocketLbPrograms = {{
    {"cil_", kCilium},
    // Before Cilium 1.13.
    {"sock4_connect", kCilium},
    {"sock6_connect", kCilium},
    {"sock4_post_bind", kCilium},
    {"sock6_post_bind", kCilium},
    // calico_connect_v4, _v6, _v46; in older versions cali_ctlb_v4.
    {"calico_connect_", "Calico"},
    {"cali_ctlb_", "Calico"},
    {"llb_connect_", "LoxiLB"},
    {"llb_sock", "LoxiLB"},
    // cgroup_connect4_prog, cut.
    {"cgroup_connect4", "Kmesh"},
    {"cgroup_connect6", "Kmesh"},
    {"kmesh_", "Kmesh"},
}};

bool IsConnectOfCilium(const AttachedPrograms& attached) {
  return absl::StartsWith(attached.hook, "connect") &&
         std::any_of(attached.programs.begin(), attached.programs.end(),
                     [](const AttachedPrograms::Program& program) {
                       return SocketLbOf(program.name) == kCilium;
                     });
}

}  // namespace

absl::string_view SocketLbOf(absl::string_view program) {
  for (const SocketLbProgram& known : kSocketLbPrograms) {
    if (absl::StartsWith(program, known.prefix)) return known.product;
  }
  return "";
}

bool HasCiliumConnect(const CgroupPrograms& programs) {
  return std::any_of(programs.attached.begin(), programs.attached.end(), IsConnectOfCilium);
}

bool HasCiliumSocketLb(const std::string& bpffs, const std::string& cgroup) {
  for (const char* program : {"cil_sock4_connect", "cil_sock6_connect"}) {
    const std::string pin = absl::StrCat(bpffs, "/cilium/socketlb/links/cgroup/", program);
    if (access(pin.c_str(), F_OK) == 0) return true;
  }
  if (cgroup.empty()) return false;
  const absl::StatusOr<CgroupPrograms> programs =
      ReadCgroupPrograms(cgroup, {}, /*with_those_below=*/false);
  return programs.ok() && HasCiliumConnect(*programs);
}

}  // namespace npg::node
