// SPDX-License-Identifier: Apache-2.0
#include "testing/test_node.h"

#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstdio>
#include <fstream>
#include <memory>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "base/errno_status.h"
#include "testing/command.h"
#include "testing/echo_server.h"
#include "testing/net_namespace.h"
#include "testing/test_cgroup.h"
#include "testing/transport.h"

namespace npg::testing {
namespace {

using base::ErrnoStatus;

absl::Status MountPrivately() {
  if (mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0) {
    return ErrnoStatus(errno, "make mounts private");
  }
  if (mount("npg-test", "/run", "tmpfs", 0, "mode=755") != 0) {
    return ErrnoStatus(errno, "mount tmpfs on /run");
  }
  if (mkdir("/run/bpf", 0700) != 0 || mount("npg-test", "/run/bpf", "bpf", 0, nullptr) != 0) {
    return ErrnoStatus(errno, "mount bpf on /run/bpf");
  }
  return absl::OkStatus();
}

// nodad: an IPv6 address that is usable at once.
absl::Status ConnectPod(const NetNamespace& pod) {
  const std::string node_side = absl::StrCat(
      "link set lo up\n"
      "link add pod0 type veth peer name eth0 netns ",
      pod.Path(),
      "\n"
      "addr add 10.244.1.1/24 dev pod0\n"
      "link set pod0 up\n");
  NPG_RETURN_IF_ERROR(RunCommand({"ip", "-batch", "-"}, node_side).status());
  return pod.Run([] {
    return RunCommand({"ip", "-batch", "-"},
                      "addr add 10.244.1.2/24 dev eth0\n"
                      "link set eth0 up\n"
                      "route add default via 10.244.1.1\n")
        .status();
  });
}

}  // namespace

absl::Status SetSysctl(const std::string& name, const std::string& value) {
  const std::string path = absl::StrCat("/proc/sys/", name);
  std::ofstream file(path);
  file << value << std::flush;
  if (!file) return ErrnoStatus(errno, absl::StrCat("write ", value, " to ", path));
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<TestNode>> TestNode::Create() {
  auto home = NetNamespace::Current();
  if (!home.ok()) return home.status();
  if (unshare(CLONE_NEWNET | CLONE_NEWNS) != 0) {
    return ErrnoStatus(errno, "unshare: tests of this label need root");
  }
  NPG_RETURN_IF_ERROR(MountPrivately());
  auto pod = NetNamespace::Create();
  if (!pod.ok()) return pod.status();
  std::unique_ptr<TestNode> node(new TestNode(*std::move(home), *std::move(pod)));
  // As kube-proxy does to make NodePorts work on localhost.
  NPG_RETURN_IF_ERROR(SetSysctl("net/ipv4/conf/all/route_localnet", "1"));
  // Without the usual ports of the tests, which count as given: see core::GuessBinder().
  NPG_RETURN_IF_ERROR(SetSysctl("net/ipv4/ip_local_port_range", "40000 60999"));
  NPG_RETURN_IF_ERROR(ConnectPod(node->pod_));
  auto server = EchoServer::Start(
      "pod", {{kPod, kPodPort, Transport::kTcp}, {kPod, kPodPort, Transport::kUdp}}, &node->pod_);
  if (!server.ok()) return server.status();
  node->pod_server_ = *std::move(server);
  auto cgroup = TestCgroup::Create();
  if (!cgroup.ok()) return cgroup.status();
  node->cgroup_ = *std::move(cgroup);
  return node;
}

TestNode::~TestNode() {
  // For the next TestNode of this process; the namespaces go by themselves.
  umount2("/run/bpf", MNT_DETACH);
  umount2("/run", MNT_DETACH);
  if (const absl::Status status = home_.Enter(); !status.ok()) {
    std::fprintf(stderr, "%s\n", status.ToString().c_str());
  }
}

}  // namespace npg::testing
