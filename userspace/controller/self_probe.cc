// SPDX-License-Identifier: Apache-2.0
#include "controller/self_probe.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <cstdint>
#include <cstring>

#include "abi/names.h"
#include "absl/cleanup/cleanup.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "base/errno_status.h"
#include "base/unique_fd.h"
#include "core/desired_state.h"
#include "core/mark.h"
#include "core/port.h"
#include "dataplane/bpf/cgroup_socket.h"
#include "dataplane/nft/nft_table.h"

namespace npg::controller {
namespace {

constexpr absl::string_view kCanary = "nodeport-guard/self-probe";
constexpr int kConnectMilliseconds = 500;
constexpr int kMaxPorts = 8;  // attempts to get a port that is no NodePort

absl::string_view ProgramOf(int family) {
  return family == AF_INET ? "npg_connect4" : "npg_connect6";
}

struct Address {
  sockaddr_storage storage{};
  socklen_t size = 0;

  const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&storage); }
};

// 127.0.0.1, v4-mapped for an IPv6 socket. That runs connect6 also on a node
// without an IPv6 address.
Address Loopback(int family, uint16_t port) {
  Address address;
  if (family == AF_INET) {
    sockaddr_in v4{};
    v4.sin_family = AF_INET;
    v4.sin_port = htons(port);
    v4.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    std::memcpy(&address.storage, &v4, sizeof(v4));
    address.size = sizeof(v4);
  } else {
    sockaddr_in6 v6{};
    v6.sin6_family = AF_INET6;
    v6.sin6_port = htons(port);
    v6.sin6_addr.s6_addr[10] = v6.sin6_addr.s6_addr[11] = 0xff;
    const in_addr_t loopback = htonl(INADDR_LOOPBACK);
    std::memcpy(&v6.sin6_addr.s6_addr[12], &loopback, sizeof(loopback));
    std::memcpy(&address.storage, &v6, sizeof(v6));
    address.size = sizeof(v6);
  }
  return address;
}

// Binds to `port` if that is free, or else to any port, and stores its number.
absl::Status BindTo(int fd, int family, uint16_t& port) {
  constexpr int kOn = 1;
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &kOn, sizeof(kOn));
  const Address wanted = Loopback(family, port);
  const bool bound_as_wanted = bind(fd, wanted.get(), wanted.size) == 0;
  if (bound_as_wanted && port != 0) return absl::OkStatus();
  const Address any = Loopback(family, 0);
  if (!bound_as_wanted && (port == 0 || bind(fd, any.get(), any.size) != 0)) {
    return base::ErrnoStatus(errno, "bind to 127.0.0.1");
  }
  sockaddr_storage bound{};
  socklen_t size = sizeof(bound);
  if (getsockname(fd, reinterpret_cast<sockaddr*>(&bound), &size) != 0) {
    return base::ErrnoStatus(errno, "getsockname");
  }
  // At the same place in both families.
  sockaddr_in v4{};
  std::memcpy(&v4, &bound, sizeof(v4));
  port = ntohs(v4.sin_port);
  return absl::OkStatus();
}

// Its close() resets the connection: no TIME_WAIT on either side.
void ResetAtClose(int fd) {
  constexpr linger kReset{1, 0};
  setsockopt(fd, SOL_SOCKET, SO_LINGER, &kReset, sizeof(kReset));
}

absl::Status WaitConnected(int fd) {
  pollfd poll_fd{fd, POLLOUT, 0};
  const int ready = poll(&poll_fd, 1, kConnectMilliseconds);
  if (ready < 0) return base::ErrnoStatus(errno, "poll");
  if (ready == 0) return base::ErrnoStatus(ETIMEDOUT, "connect");
  int error = 0;
  socklen_t size = sizeof(error);
  if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) != 0) error = errno;
  if (error != 0) return base::ErrnoStatus(error, "connect");
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<base::UniqueFd> SelfProbe::Listen(const core::PortEntries& nodeports) {
  uint16_t& port = ports_[0];
  for (int i = 0; i < kMaxPorts; ++i) {
    // In the controller's own cgroup: the lookup finds listeners of every cgroup.
    base::UniqueFd fd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    if (!fd) return base::ErrnoStatus(errno, "create a socket");
    NPG_RETURN_IF_ERROR(BindTo(fd.get(), AF_INET, port));
    if (nodeports.contains({port, core::Protocol::kTcp})) {
      port = 0;
      continue;
    }
    if (listen(fd.get(), SOMAXCONN) != 0) return base::ErrnoStatus(errno, "listen on 127.0.0.1");
    return fd;
  }
  return absl::UnavailableError(absl::StrCat("each of ", kMaxPorts,
                                             " ports that the kernel picked is a NodePort; keep "
                                             "net.ipv4.ip_local_port_range out of their range"));
}

absl::StatusOr<SelfProbe::Seen> SelfProbe::Look() {
  Seen seen;
  const absl::StatusOr<uint64_t> probed = guard_.Counter(abi::Counter::kProbed);
  if (!probed.ok()) return probed.status();
  seen.probed = *probed;
  if (mode_ != abi::Mode::kEnforce) return seen;
  const absl::StatusOr<uint64_t> packets = table_.ExemptedPackets();
  if (!packets.ok()) return packets.status();
  seen.packets = *packets;
  return seen;
}

absl::StatusOr<absl::Duration> SelfProbe::Connect(int cgroup_fd, int family, int listener) {
  const absl::StatusOr<dataplane::CgroupSocket> made =
      dataplane::SocketInCgroup(cgroup_fd, family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK);
  // A kernel without IPv6 never runs connect6.
  if (absl::IsUnimplemented(made.status()) && family == AF_INET6) return absl::ZeroDuration();
  if (!made.ok()) return made.status();
  const int client = made->fd.get();
  NPG_RETURN_IF_ERROR(BindTo(client, family, ports_[1]));
  const absl::StatusOr<Seen> before = Look();
  if (!before.ok()) return before.status();
  const absl::Time start = absl::Now();
  const Address canary = Loopback(family, ports_[0]);
  if (connect(client, canary.get(), canary.size) != 0 && errno != EINPROGRESS) {
    return base::ErrnoStatus(errno, absl::StrCat("connect to the canary, 127.0.0.1:", ports_[0]));
  }
  const absl::Status connected = WaitConnected(client);
  const absl::Duration latency = absl::Now() - start;
  uint32_t mark = 0;
  socklen_t size = sizeof(mark);
  if (getsockopt(client, SOL_SOCKET, SO_MARK, &mark, &size) != 0) {
    return base::ErrnoStatus(errno, "read the mark of the self-probe's socket");
  }
  ResetAtClose(client);
  const base::UniqueFd accepted(accept4(listener, nullptr, nullptr, SOCK_CLOEXEC));
  if (accepted) ResetAtClose(accepted.get());
  const absl::StatusOr<Seen> after = Look();
  if (!after.ok()) return after.status();
  if (after->probed == before->probed && !made->entered.ok()) {
    return absl::UnavailableError(absl::StrCat(
        "this process is not in the guarded cgroup, and cannot create a socket in it: ",
        made->entered.message()));
  }
  if (after->probed == before->probed) {
    return absl::FailedPreconditionError(absl::StrCat(
        ProgramOf(family), " did not see a connect to a guarded port from within the cgroup"));
  }
  if (mode_ != abi::Mode::kEnforce) return latency;
  if ((mark & mark_.mask) != mark_.value) {
    return absl::FailedPreconditionError(
        absl::StrCat("a connect was exempted by ", ProgramOf(family),
                     " but its socket has the mark ", core::HexText(mark), ", not ",
                     core::ToString(mark_), ": another program sets or clears it"));
  }
  if (after->packets == before->packets) {
    return absl::FailedPreconditionError(
        absl::StrCat("the nft table inet ", dataplane::kNftTableName,
                     " did not see the packets of a connect that was marked"));
  }
  if (!connected.ok()) {
    return base::Annotate(connected, absl::StrCat("the exempted connect to the canary, 127.0.0.1:",
                                                  ports_[0], ", did not reach it"));
  }
  return latency;
}

absl::StatusOr<absl::Duration> SelfProbe::ConnectAll(int cgroup_fd, int listener) {
  absl::Duration latency;
  for (const int family : {AF_INET, AF_INET6}) {
    absl::StatusOr<absl::Duration> one = Connect(cgroup_fd, family, listener);
    if (!one.ok()) return one;
    latency += *one;
  }
  return latency;
}

absl::StatusOr<absl::Duration> SelfProbe::Run(int cgroup_fd, const core::PortEntries& nodeports) {
  NPG_RETURN_IF_ERROR(guard_.CheckLinks(cgroup_fd));
  const absl::StatusOr<base::UniqueFd> listener = Listen(nodeports);
  if (!listener.ok()) return listener.status();
  const core::PortKey canary{ports_[0], core::Protocol::kTcp};
  const absl::Cleanup remove = [&] {
    // The next start replaces or removes an entry that stays.
    guard_.ApplyNodePorts({{}, {canary}}).status().IgnoreError();
  };
  const auto entered =
      guard_.ApplyNodePorts({{{canary, {abi::Bit(abi::Source::kProbe), kCanary}}}, {}});
  if (!entered.ok()) return entered.status();
  return ConnectAll(cgroup_fd, listener->get());
}

}  // namespace npg::controller
