// SPDX-License-Identifier: Apache-2.0
#include "testing/guard_process.h"

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <fstream>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "base/capabilities.h"
#include "base/errno_status.h"
#include "testing/command.h"
#include "testing/kube_proxy_rules.h"
#include "testing/test_node.h"
#include "testing/transport.h"
#include "testing/wait_until.h"

namespace npg::testing {
namespace {

// "+bpf", in the syntax of setpriv(1).
std::string Raise(absl::string_view capability) {
  return absl::StrCat("+", absl::AsciiStrToLower(absl::StripPrefix(capability, "CAP_")));
}

}  // namespace

std::vector<std::string> WithCapabilities(const std::vector<std::string>& command,
                                          const std::vector<int>& without) {
  std::vector<std::string> bounding = {"-all"};
  for (const base::Capability& capability : base::kCapabilities) {
    // This process may lack a capability that only old kernels require.
    const bool mine = capability.need != base::Capability::Need::kOldKernel ||
                      base::LackedCapabilities({capability.number}).empty();
    if (mine && std::find(without.begin(), without.end(), capability.number) == without.end()) {
      bounding.push_back(Raise(capability.name));
    }
  }
  std::vector<std::string> bounded = {"setpriv", "--no-new-privs", "--inh-caps=-all",
                                      "--bounding-set=" + absl::StrJoin(bounding, ",")};
  bounded.insert(bounded.end(), command.begin(), command.end());
  return bounded;
}

absl::Status WriteNodePortsFile(const std::string& path, const std::vector<NodePort>& nodeports) {
  const std::string list =
      absl::StrJoin(nodeports, ", ", [](std::string* out, const NodePort& nodeport) {
        absl::StrAppend(out, "\"", nodeport.port,
                        nodeport.transport == Transport::kUdp ? "/udp\"" : "/tcp\"");
      });
  const std::string next = path + ".next";
  std::ofstream file(next);
  file << "[" << list << "]\n" << std::flush;
  if (!file) return base::ErrnoStatus(errno, absl::StrCat("write ", next));
  file.close();
  if (std::rename(next.c_str(), path.c_str()) != 0) {
    return base::ErrnoStatus(errno, absl::StrCat("rename ", next, " to ", path));
  }
  return absl::OkStatus();
}

std::vector<std::string> GuardCommand(const TestNode& node,
                                      const std::vector<std::string>& arguments) {
  std::vector<std::string> command = {node.guard()};
  command.insert(command.end(), arguments.begin(), arguments.end());
  for (const std::string& argument :
       {std::string("--cgroup"), node.cgroup().path(), std::string("--bpffs"), node.bpffs()}) {
    command.push_back(argument);
  }
  return command;
}

absl::StatusOr<GuardProcess> GuardProcess::Start(const TestNode& node,
                                                 const std::vector<std::string>& arguments) {
  std::vector<std::string> all = {"run"};
  all.insert(all.end(), arguments.begin(), arguments.end());
  auto child = ChildProcess::Start(WithCapabilities(GuardCommand(node, all)));
  if (!child.ok()) return child.status();
  bool ended = false;
  const bool ready = WaitUntil(kPatience, [&child, &ended] {
    ended = !child->Running();
    return ended || absl::StrContains(child->Err(), "ready: ");
  });
  if (!ready || ended) {
    return absl::InternalError(
        absl::StrCat("nodeport-guard run ", ended ? "ended: " : "is not ready: ", child->Err()));
  }
  return GuardProcess(*std::move(child));
}

absl::Status GuardProcess::Stop() {
  child_.Signal(SIGTERM);
  const auto result = child_.Wait(kPatience);
  if (!result.ok()) return result.status();
  if (result->exit_code == 0) return absl::OkStatus();
  return absl::InternalError(
      absl::StrCat("nodeport-guard run: exit code ", result->exit_code, ": ", result->err));
}

absl::Status GuardProcess::Kill() {
  child_.Signal(SIGKILL);
  return child_.Wait(kPatience).status();
}

}  // namespace npg::testing
