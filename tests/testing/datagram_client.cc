// SPDX-License-Identifier: Apache-2.0
#include "testing/datagram_client.h"

#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/uio.h>

#include <array>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <string>
#include <system_error>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "base/errno_status.h"
#include "testing/transport.h"

namespace npg::testing {
namespace {

int SendBy(SendCall call, int fd, SocketAddress& address) {
  char question = '?';
  if (call == SendCall::kSendto) {
    return sendto(fd, &question, 1, 0, address.get(), address.size) < 0 ? errno : 0;
  }
  iovec data{&question, 1};
  mmsghdr message{};
  message.msg_hdr.msg_name = address.get();
  message.msg_hdr.msg_namelen = address.size;
  message.msg_hdr.msg_iov = &data;
  message.msg_hdr.msg_iovlen = 1;
  if (call == SendCall::kSendmsg) return sendmsg(fd, &message.msg_hdr, 0) < 0 ? errno : 0;
  return sendmmsg(fd, &message, 1, 0) != 1 ? errno : 0;
}

std::string ErrorText(int error) {
  if (error == ECONNREFUSED) return "refused";
  if (error == EAGAIN) return "timed out";
  return std::generic_category().message(error);
}

}  // namespace

std::string SendCallName(SendCall call) {
  switch (call) {
    case SendCall::kSendto:
      return "sendto";
    case SendCall::kSendmsg:
      return "sendmsg";
    case SendCall::kSendmmsg:
      return "sendmmsg";
  }
  return "?";
}

absl::StatusOr<DatagramClient> DatagramClient::Open(int family, const std::string& source,
                                                    uint16_t source_port) {
  auto fd = OpenSocket(family, Transport::kUdp);
  if (!fd.ok()) return fd.status();
  // Without this option, only connected sockets receive ICMP errors.
  const int on = 1;
  if (setsockopt(fd->get(), IPPROTO_IP, IP_RECVERR, &on, sizeof(on)) != 0 ||
      (family == AF_INET6 &&
       setsockopt(fd->get(), IPPROTO_IPV6, IPV6_RECVERR, &on, sizeof(on)) != 0)) {
    return base::ErrnoStatus(errno, "ask for ICMP errors");
  }
  if (!source.empty() || source_port != 0) {
    const std::string any = family == AF_INET6 ? "::" : "0.0.0.0";
    const auto address = MakeAddress(source.empty() ? any : source, source_port);
    if (!address.ok()) return address.status();
    if (bind(fd->get(), address->get(), address->size) != 0) {
      return base::ErrnoStatus(errno, absl::StrCat("bind ", source, " port ", source_port));
    }
  }
  return DatagramClient(*std::move(fd));
}

std::string DatagramClient::Ask(const std::string& destination, uint16_t port, SendCall call,
                                int timeout_ms) const {
  auto address = MakeAddress(destination, port);
  if (!address.ok()) return std::string(address.status().message());
  const timeval timeout{timeout_ms / 1000, (timeout_ms % 1000) * 1000};
  setsockopt(fd_.get(), SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout));
  if (const int error = SendBy(call, fd_.get(), *address); error != 0) return ErrorText(error);
  std::array<char, 64> buffer{};
  SocketAddress peer;
  peer.size = sizeof(peer.storage);
  const ssize_t size = recvfrom(fd_.get(), buffer.data(), buffer.size(), 0, peer.get(), &peer.size);
  if (size < 0) return ErrorText(errno);
  const std::string answer(buffer.data(), static_cast<size_t>(size));
  if (peer.size != address->size || std::memcmp(&peer.storage, &address->storage, peer.size) != 0) {
    return absl::StrCat("an answer from elsewhere, port ", peer.port());
  }
  return answer.substr(0, answer.find('\n'));
}

std::string AskByDatagram(const std::string& destination, uint16_t port, SendCall call) {
  const auto address = MakeAddress(destination, port);
  if (!address.ok()) return std::string(address.status().message());
  const auto client = DatagramClient::Open(address->family());
  if (!client.ok()) return std::string(client.status().message());
  return client->Ask(destination, port, call);
}

}  // namespace npg::testing
