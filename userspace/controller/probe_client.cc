// SPDX-License-Identifier: Apache-2.0
#include "controller/probe_client.h"

#include <sys/socket.h>
#include <sys/types.h>

#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <string>

#include "abi/names.h"
#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "base/errno_status.h"
#include "controller/probe_loopback.h"
#include "core/desired_state.h"
#include "core/flow.h"
#include "core/port.h"

namespace npg::controller {
namespace {

bool IsLackOfMemory(int error) { return error == ENOBUFS || error == ENOMEM; }

// FAILED_PRECONDITION for an error that rules of the node, or the peer's kernel, give; UNAVAILABLE
// for one that shows nothing of them.
absl::Status ExchangeError(int error, absl::string_view what) {
  const absl::Status status = base::ErrnoStatus(error, what);
  switch (error) {
    case EPERM:
    case EACCES:
    case ECONNREFUSED:
    case ECONNRESET:
    case EPIPE:
    case EHOSTUNREACH:
    case ENETUNREACH:
    case ENOPROTOOPT:  // "reject with icmp-proto-unreachable"
    case ETIMEDOUT:
      return absl::FailedPreconditionError(status.message());
    default:
      return absl::UnavailableError(status.message());
  }
}

// Sends all of `payload`: true when that was done, false when it has to wait, also for memory.
absl::StatusOr<bool> SendPayload(int fd, absl::string_view payload) {
  const ssize_t sent = send(fd, payload.data(), payload.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
  if (sent == static_cast<ssize_t>(payload.size())) return true;
  const int error = sent >= 0 ? EMSGSIZE : errno;
  if (error == EAGAIN || error == EINTR || IsLackOfMemory(error)) return false;
  return ExchangeError(error, "send");
}

// Receives from a connected socket what is there, up to a limit. `take` gets each datagram, or
// each piece of a stream, as long as it returns true. Returns whether something came.
absl::StatusOr<bool> ReceiveAll(int fd, bool stream,
                                absl::FunctionRef<bool(absl::string_view)> take) {
  std::array<char, 64> buffer{};
  bool any = false;
  for (int i = 0; i < ProbeClient::kMaxMessages; ++i) {
    const ssize_t size = recv(fd, buffer.data(), buffer.size(), MSG_DONTWAIT);
    if (size < 0 && (errno == EAGAIN || errno == EINTR)) return any;
    if (size < 0 || (size == 0 && stream)) {
      return ExchangeError(size == 0 ? ECONNRESET : errno, "receive");
    }
    any = true;
    if (!take({buffer.data(), static_cast<size_t>(size)})) return any;
  }
  return any;
}

}  // namespace

absl::Duration SinceBoot() {
  return absl::Nanoseconds(static_cast<int64_t>(base::BootNanoseconds()));
}

absl::Status ProbeCanary::Listen(const core::PortEntries& nodeports) {
  const int family = v4 ? AF_INET : AF_INET6;
  // In the controller's own cgroup: the lookup finds listeners of every cgroup.
  fd.Reset(socket(family, type(), 0));
  if (!fd && !v4 && errno == EAFNOSUPPORT) return absl::OkStatus();
  if (!fd) return CannotTell(base::ErrnoStatus(errno, "create a socket"));
  const core::Protocol protocol = key().protocol;
  const bool in_range =
      *port == 0 && BindAmongNodePorts(fd.get(), family, v4, protocol, nodeports, *port);
  const absl::Status bound =
      in_range ? absl::OkStatus()
               : BindApart(fd.get(), family, type(), v4, protocol, nodeports, *port);
  if (!v4 && absl::IsNotFound(bound)) {
    fd.Reset();
    *port = 0;
    return absl::OkStatus();
  }
  if (!bound.ok()) return CannotTell(bound);
  if (tcp && listen(fd.get(), SOMAXCONN) != 0) {
    return CannotTell(base::ErrnoStatus(errno, "listen on loopback"));
  }
  return absl::OkStatus();
}

bool ProbeClient::NothingSent() const {
  if (!canary->tcp) return !sent;
  return accepted && (!sent || (request == payload && !echoed));
}

size_t ProbeClient::Progress() const {
  return request.size() + (accepted ? 1U : 0U) + (sent ? 1U : 0U) + (heard ? 1U : 0U) +
         (echoed ? 1U : 0U) + (waits() ? 0U : 1U);
}

core::Flow ProbeClient::flow() const {
  const SocketEnd from = end();
  const SocketEnd to = canary->end();
  return {static_cast<uint8_t>(canary->key().protocol), from.address, to.address, from.port,
          to.port};
}

std::string ProbeClient::Text() const {
  return absl::StrCat(abi::Meaning(canary->traffic), " to ",
                      canary->v4 ? "127.0.0.1:" : "[::1]:", *canary->port);
}

absl::Status ProbeClient::NotTested() const {
  constexpr absl::string_view kNoMemory = "the kernel had no memory to send";
  return absl::UnavailableError(absl::StrCat("a connect (", Text(), ") could not be tested: ",
                                             connected.ok() ? kNoMemory : connected.message()));
}

absl::Status ProbeClient::Connect() {
  const SocketAddress address = Loopback(family, canary->v4, *canary->port);
  if (canary->tcp) ResetAtClose(fd.get());
  if (connect(fd.get(), address.get(), address.size) != 0 && errno != EINPROGRESS) {
    const int error = errno;
    const absl::Status status =
        base::ErrnoStatus(error, absl::StrCat("connect to the canary, ", Text()));
    return IsLackOfMemory(error) ? CannotTell(status) : status;
  }
  // Rules on output may drop it.
  if (!canary->tcp) Send();
  return absl::OkStatus();
}

void ProbeClient::Send() {
  const absl::StatusOr<bool> done = SendPayload(fd.get(), payload);
  connected.Update(done.status());
  sent = sent || (done.ok() && *done);
}

void ProbeClient::Step() {
  const bool tcp = canary->tcp;
  const auto note = [this](const absl::StatusOr<bool>& done) {
    connected.Update(done.status());
    return done.ok() && *done;
  };
  if (tcp && !sent) Send();
  if (accepted && !echoed) {
    note(ReceiveAll(accepted.get(), /*stream=*/true, [this](absl::string_view piece) {
      absl::StrAppend(&request, piece);
      return request.size() < payload.size();
    }));
    if (request == payload) echoed = note(SendPayload(accepted.get(), payload));
  }
  if (!connected.ok()) return;
  note(ReceiveAll(fd.get(), tcp, [this, tcp](absl::string_view piece) {
    answer = tcp ? absl::StrCat(answer, piece) : std::string(piece);
    answered = answer == payload;
    return !answered && answer.size() <= payload.size() + kNonceBytes;
  }));
}

}  // namespace npg::controller
