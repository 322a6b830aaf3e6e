// SPDX-License-Identifier: Apache-2.0
#include "base/netlink_socket.h"

#include <linux/netlink.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/types.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "base/errno_status.h"
#include "base/netlink_view.h"
#include "base/unique_fd.h"

namespace npg::base {
namespace {

// Even a rule set that changes often is stable between two transactions. After this many
// interrupted walks, give up.
constexpr int kMaxWalks = 50;

// The kernel normally answers at once.
constexpr timeval kPatience = {5, 0};

size_t Align(size_t size) { return (size + NLMSG_ALIGNTO - 1) & ~size_t{NLMSG_ALIGNTO - 1}; }

// Calls `visit` for each whole message in `bytes`.
void Walk(absl::string_view bytes, absl::FunctionRef<void(const nlmsghdr&)> visit) {
  for (NetlinkMessage message; NextMessage(bytes, message);) {
    visit(*reinterpret_cast<const nlmsghdr*>(message.payload.data() - sizeof(nlmsghdr)));
  }
}

bool SetOption(int fd, int level, int option, int value) {
  return setsockopt(fd, level, option, &value, sizeof(value)) == 0;
}

}  // namespace

void NetlinkMessages::ForEach(absl::FunctionRef<void(const nlmsghdr& message)> visit) const {
  Walk({reinterpret_cast<const char*>(bytes_.data()), bytes_.size()}, visit);
}

absl::StatusOr<NetlinkSocket> NetlinkSocket::Open(int protocol) {
  UniqueFd fd(socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, protocol));
  if (!fd) {
    const absl::string_view what = "open netlink socket";
    if (errno != EPROTONOSUPPORT) return ErrnoStatus(errno, what);
    return absl::UnimplementedError(
        absl::StrCat(what, ": this kernel has no netlink protocol ", protocol));
  }
  // Without this, an error message repeats the refused message, which for a large batch does
  // not fit the queue.
  SetOption(fd.get(), SOL_NETLINK, NETLINK_CAP_ACK, 1);
  if (setsockopt(fd.get(), SOL_SOCKET, SO_RCVTIMEO, &kPatience, sizeof(kPatience)) != 0) {
    return ErrnoStatus(errno, "limit the wait of a netlink socket");
  }
  sockaddr_nl address{};
  address.nl_family = AF_NETLINK;
  socklen_t size = sizeof(address);
  if (bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), size) != 0 ||
      getsockname(fd.get(), reinterpret_cast<sockaddr*>(&address), &size) != 0) {
    return ErrnoStatus(errno, "bind netlink socket");
  }
  NetlinkSocket result(std::move(fd));
  result.port_id_ = address.nl_pid;
  return result;
}

absl::Status NetlinkSocket::Send(const void* data, size_t size, absl::string_view what) const {
  sockaddr_nl kernel{};
  kernel.nl_family = AF_NETLINK;
  for (;;) {
    if (sendto(fd_.get(), data, size, 0, reinterpret_cast<const sockaddr*>(&kernel),
               sizeof(kernel)) >= 0) {
      return absl::OkStatus();
    }
    if (errno != EINTR) return ErrnoStatus(errno, what);
  }
}

absl::StatusOr<NetlinkMessages> NetlinkSocket::Ask(nlmsghdr& request, absl::string_view what) {
  NetlinkMessages answer;
  NPG_RETURN_IF_ERROR(AskForEach(
      request, what, [&answer] { answer.bytes_.clear(); },
      [&answer](const nlmsghdr& message) {
        const auto* begin = reinterpret_cast<const uint8_t*>(&message);
        answer.bytes_.insert(answer.bytes_.end(), begin, begin + message.nlmsg_len);
        answer.bytes_.resize(Align(answer.bytes_.size()));
      }));
  return answer;
}

absl::Status NetlinkSocket::AskForEach(nlmsghdr& request, absl::string_view what,
                                       absl::FunctionRef<void()> start,
                                       absl::FunctionRef<void(const nlmsghdr& message)> visit) {
  for (int walk = 0; walk < kMaxWalks; ++walk) {
    start();
    const absl::StatusOr<bool> whole = AskOnce(request, what, visit);
    if (!whole.ok()) return whole.status();
    if (*whole) return absl::OkStatus();
  }
  return absl::UnavailableError(
      absl::StrCat(what, ": changed during each of ", kMaxWalks, " readings"));
}

// False: the list changed during the walk.
absl::StatusOr<bool> NetlinkSocket::AskOnce(
    nlmsghdr& request, absl::string_view what,
    absl::FunctionRef<void(const nlmsghdr& message)> visit) {
  request.nlmsg_seq = NextSequence();
  request.nlmsg_pid = port_id_;
  // The answer needs an end: for a single object, the acknowledgement.
  const bool dump = (request.nlmsg_flags & NLM_F_DUMP) == NLM_F_DUMP;
  request.nlmsg_flags = static_cast<uint16_t>(request.nlmsg_flags | NLM_F_REQUEST |
                                              (dump ? uint16_t{0} : uint16_t{NLM_F_ACK}));
  NPG_RETURN_IF_ERROR(Send(&request, request.nlmsg_len, what));
  NetlinkReply reply(request.nlmsg_seq, dump);
  while (!reply.ended()) {
    const ssize_t size = recv(fd_.get(), buffer_.get(), kBufferSize, 0);
    if (size < 0 && errno == EINTR) continue;
    if (size < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
      return absl::DeadlineExceededError(
          absl::StrCat(what, ": no answer from the kernel within ", kPatience.tv_sec, " s"));
    }
    if (size < 0) return ErrnoStatus(errno, what);
    reply.Take({buffer_.get(), static_cast<size_t>(size)}, visit);
  }
  if (reply.interrupted()) return false;
  if (reply.error() != 0) return ErrnoStatus(reply.error(), what);
  return true;
}

absl::StatusOr<std::vector<NetlinkVerdict>> NetlinkSocket::SendAll(
    const std::vector<uint8_t>& messages, absl::string_view what) {
  // The kernel accepts a datagram only if it fits the send buffer. _FORCE exceeds
  // net.core.wmem_max and needs CAP_NET_ADMIN; without that, sending a large datagram
  // fails, and the kernel would refuse the batch anyway.
  constexpr size_t kOverhead = 4096;
  SetOption(fd_.get(), SOL_SOCKET, SO_SNDBUFFORCE,
            static_cast<int>(std::max(messages.size() + kOverhead, kBufferSize)));
  // A refused batch gets one verdict for each message, each accounted as at least one page.
  SetOption(fd_.get(), SOL_SOCKET, SO_RCVBUFFORCE, 4 << 20);
  NPG_RETURN_IF_ERROR(Send(messages.data(), messages.size(), what));

  // The kernel processes a batch within the send call: the verdicts are already queued.
  std::vector<NetlinkVerdict> verdicts;
  for (;;) {
    const absl::StatusOr<Received> received = Receive([&verdicts](const nlmsghdr& message) {
      if (message.nlmsg_type != NLMSG_ERROR) return;
      verdicts.push_back({message.nlmsg_seq, ErrorOf(ViewOf(message).payload)});
    });
    if (!received.ok()) return received.status();
    if (*received == Received::kOverrun) return ErrnoStatus(ENOBUFS, what);
    if (*received == Received::kNothing) return verdicts;
  }
}

absl::Status NetlinkSocket::Join(int group) {
  if (!SetOption(fd_.get(), SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, group)) {
    return ErrnoStatus(errno, absl::StrCat("join netlink group ", group));
  }
  return absl::OkStatus();
}

void NetlinkSocket::GrowQueue(int bytes) const {
  // _FORCE exceeds net.core.rmem_max and needs CAP_NET_ADMIN.
  if (SetOption(fd_.get(), SOL_SOCKET, SO_RCVBUFFORCE, bytes)) return;
  SetOption(fd_.get(), SOL_SOCKET, SO_RCVBUF, bytes);
}

absl::StatusOr<NetlinkSocket::Received> NetlinkSocket::Receive(
    absl::FunctionRef<void(const nlmsghdr& message)> visit) {
  for (;;) {
    const ssize_t size = recv(fd_.get(), buffer_.get(), kBufferSize, MSG_DONTWAIT);
    if (size >= 0) {
      Walk({buffer_.get(), static_cast<size_t>(size)}, visit);
      return Received::kMessages;
    }
    if (errno == EAGAIN || errno == EWOULDBLOCK) return Received::kNothing;
    if (errno == ENOBUFS) return Received::kOverrun;
    if (errno != EINTR) return ErrnoStatus(errno, "receive from netlink");
  }
}

}  // namespace npg::base
