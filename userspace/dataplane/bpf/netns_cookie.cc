// SPDX-License-Identifier: Apache-2.0
#include "dataplane/bpf/netns_cookie.h"

#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/errno_status.h"
#include "base/unique_fd.h"
#include "dataplane/bpf/skeleton.h"

namespace npg::dataplane {
namespace {

constexpr int kSoNetnsCookie = 71;  // SO_NETNS_COOKIE, absent from older headers

absl::StatusOr<base::UniqueFd> UdpSocket() {
  base::UniqueFd fd(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (!fd) return base::ErrnoStatus(errno, "create a UDP socket");
  return fd;
}

}  // namespace

absl::StatusOr<uint64_t> AskNetnsCookie() {
  absl::StatusOr<base::UniqueFd> fd = UdpSocket();
  if (!fd.ok()) return fd.status();
  uint64_t cookie = 0;
  socklen_t size = sizeof(cookie);
  if (getsockopt(fd->get(), SOL_SOCKET, kSoNetnsCookie, &cookie, &size) != 0) {
    return base::ErrnoStatus(errno, "read the network namespace's cookie");
  }
  return cookie;
}

absl::StatusOr<uint64_t> LearnNetnsCookie(int cgroup_fd) {
  const Skeleton skeleton(nodeport_guard__open());
  if (!skeleton) return base::ErrnoStatus(errno, "open the embedded BPF object");
  bpf_program* program = nullptr;
  bpf_object__for_each_program(program, skeleton->obj) {
    bpf_program__set_autoload(program, program == skeleton->progs.npg_learn_netns);
  }
  bpf_map* map = nullptr;
  bpf_object__for_each_map(map, skeleton->obj) {
    bpf_map__set_autocreate(map, map == skeleton->maps.learned_cookie || bpf_map__is_internal(map));
  }
  NPG_RETURN_IF_ERROR(LoadSkeleton(skeleton, "load the program that learns the netns cookie"));
  const auto pid = static_cast<uint32_t>(getpid());
  const int map_fd = bpf_map__fd(skeleton->maps.learned_cookie);
  uint64_t cookie = 0;
  if (bpf_map_update_elem(map_fd, &pid, &cookie, BPF_ANY) != 0) {
    return base::ErrnoStatus(errno, "write map learned_cookie");
  }
  const base::UniqueFd link(bpf_link_create(bpf_program__fd(skeleton->progs.npg_learn_netns),
                                            cgroup_fd, BPF_CGROUP_INET4_CONNECT, nullptr));
  if (!link) return base::ErrnoStatus(errno, "attach the program that learns the netns cookie");
  absl::StatusOr<base::UniqueFd> fd = UdpSocket();
  if (!fd.ok()) return fd.status();
  sockaddr_in discard{};
  discard.sin_family = AF_INET;
  discard.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  discard.sin_port = htons(9);
  // UDP: the hook runs, no packet leaves.
  if (connect(fd->get(), reinterpret_cast<const sockaddr*>(&discard), sizeof(discard)) != 0) {
    return base::ErrnoStatus(errno, "connect a UDP socket over loopback");
  }
  if (bpf_map_lookup_elem(map_fd, &pid, &cookie) != 0) {
    return base::ErrnoStatus(errno, "read map learned_cookie");
  }
  if (cookie == 0) {
    return absl::FailedPreconditionError(
        "learn the network namespace's cookie: this process is not in the cgroup it guards, or in "
        "another pid namespace; on kernels before 5.14 run it in both");
  }
  return cookie;
}

absl::StatusOr<uint64_t> NetnsCookie(int cgroup_fd) {
  absl::StatusOr<uint64_t> cookie = AskNetnsCookie();
  if (!absl::IsUnimplemented(cookie.status())) return cookie;
  return LearnNetnsCookie(cgroup_fd);
}

}  // namespace npg::dataplane
