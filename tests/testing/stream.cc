// SPDX-License-Identifier: Apache-2.0
#include "testing/stream.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <string>
#include <thread>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "base/errno_status.h"
#include "base/unique_fd.h"
#include "testing/client.h"
#include "testing/echo_server.h"
#include "testing/transport.h"

namespace npg::testing {
namespace {

constexpr size_t kStreamChunk = 65536;
constexpr size_t kDatagram = 1200;
constexpr int kStallMs = 60'000;
// Pauses, so that the busy stream does not starve the rest of the test.
constexpr absl::Duration kPause = absl::Milliseconds(5);

// Bytes [offset, offset + size) of an endless sequence (splitmix64, words in host order)
// without repetitions, so that a lost, repeated or foreign piece is noticed.
std::string Sequence(uint64_t seed, uint64_t offset, size_t size) {
  std::string bytes(size, '\0');
  for (size_t i = 0; i < size;) {
    const uint64_t at = offset + i;
    uint64_t word = seed + (at / 8 + 1) * 0x9e3779b97f4a7c15U;
    word = (word ^ (word >> 30U)) * 0xbf58476d1ce4e5b9U;
    word = (word ^ (word >> 27U)) * 0x94d049bb133111ebU;
    word ^= word >> 31U;
    const size_t skipped = at % 8;
    const size_t part = std::min(sizeof(word) - skipped, size - i);
    std::memcpy(&bytes[i], reinterpret_cast<const char*>(&word) + skipped, part);
    i += part;
  }
  return bytes;
}

absl::Status Compare(absl::string_view got, absl::string_view expected, uint64_t offset) {
  if (got == expected) return absl::OkStatus();
  const auto [at, unused] = std::mismatch(got.begin(), got.end(), expected.begin(), expected.end());
  return absl::DataLossError(absl::StrCat("byte ", offset + static_cast<uint64_t>(at - got.begin()),
                                          " is wrong or missing"));
}

}  // namespace

Stream::Stream(const Dial& dial, base::UniqueFd fd, std::string server)
    : dial_(dial),
      fd_(std::move(fd)),
      server_(std::move(server)),
      local_port_(LocalPort(fd_.get())),
      seed_(local_port_ * uint64_t{0x10001} + dial.port) {}

absl::StatusOr<std::unique_ptr<Stream>> Stream::Open(const Dial& dial) {
  auto fd = Connect(dial);
  if (!fd.ok()) return fd.status();
  std::string server = AskWho(fd->get(), dial.transport);
  return std::unique_ptr<Stream>(new Stream(dial, *std::move(fd), std::move(server)));
}

absl::Status Stream::Exchange(size_t bytes) {
  return dial_.transport == Transport::kUdp ? ExchangeDatagrams(bytes) : ExchangeStream(bytes);
}

absl::Status Stream::ExchangeStream(size_t bytes) {
  const uint64_t end = sent_ + bytes;
  std::string chunk;
  while (received_ < end) {
    pollfd ready{fd_.get(), POLLIN, 0};
    if (sent_ < end) ready.events |= POLLOUT;
    if (poll(&ready, 1, kStallMs) == 0) {
      return absl::DeadlineExceededError(
          absl::StrCat("stalled: ", sent_, " bytes sent, ", received_, " came back"));
    }
    if ((ready.revents & POLLOUT) != 0) {
      if (chunk.empty()) {
        chunk = Sequence(seed_, sent_, std::min<uint64_t>(kStreamChunk, end - sent_));
      }
      const ssize_t size = send(fd_.get(), chunk.data(), chunk.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
      if (size < 0 && errno != EAGAIN) return base::ErrnoStatus(errno, "send");
      if (size > 0) {
        sent_ += static_cast<uint64_t>(size);
        chunk.erase(0, static_cast<size_t>(size));
      }
    }
    if ((ready.revents & (POLLIN | POLLERR | POLLHUP)) != 0) {
      NPG_RETURN_IF_ERROR(ReceiveEcho(end - received_));
    }
  }
  return absl::OkStatus();
}

absl::Status Stream::Acknowledge() {
  if (dial_.transport == Transport::kUdp) return absl::OkStatus();
  const int on = 1;
  // The kernel sends it within this call (net/ipv4/tcp.c, __tcp_sock_set_quickack()).
  if (setsockopt(fd_.get(), IPPROTO_TCP, TCP_QUICKACK, &on, sizeof(on)) != 0) {
    return base::ErrnoStatus(errno, "TCP_QUICKACK");
  }
  return absl::OkStatus();
}

absl::Status Stream::ReceiveEcho(size_t most) {
  std::string got(std::min(most, kStreamChunk), '\0');
  const ssize_t size = recv(fd_.get(), got.data(), got.size(), MSG_DONTWAIT);
  if (size < 0 && errno == EAGAIN) return absl::OkStatus();
  if (size < 0) return base::ErrnoStatus(errno, absl::StrCat("receive byte ", received_));
  if (size == 0) {
    return absl::DataLossError(
        absl::StrCat("the stream ended after ", received_, " bytes, ", sent_, " were sent"));
  }
  got.resize(static_cast<size_t>(size));
  NPG_RETURN_IF_ERROR(Compare(got, Sequence(seed_, received_, got.size()), received_));
  received_ += got.size();
  return absl::OkStatus();
}

absl::Status Stream::ReceiveDatagram(const std::string& expected) {
  std::string got(kStreamChunk, '\0');
  const ssize_t size = recv(fd_.get(), got.data(), got.size(), 0);
  if (size < 0) return base::ErrnoStatus(errno, absl::StrCat("receive datagram ", received_));
  got.resize(static_cast<size_t>(size));
  return Compare(got, absl::StrCat(server_, "\n", expected), received_);
}

absl::Status Stream::ExchangeDatagrams(size_t bytes) {
  const uint64_t end = sent_ + bytes;
  while (sent_ < end) {
    const std::string datagram = Sequence(seed_, sent_, std::min<uint64_t>(kDatagram, end - sent_));
    if (send(fd_.get(), datagram.data(), datagram.size(), MSG_NOSIGNAL) < 0) {
      return base::ErrnoStatus(errno, "send datagram");
    }
    sent_ += datagram.size();
    NPG_RETURN_IF_ERROR(ReceiveDatagram(datagram));
    received_ += datagram.size();
  }
  return absl::OkStatus();
}

absl::Status Stream::Receive(EchoServer& server, size_t bytes) {
  const bool datagrams = dial_.transport == Transport::kUdp;
  const size_t step = datagrams ? kDatagram : bytes;
  for (size_t done = 0; done < bytes; done += step) {
    const std::string said = Sequence(~seed_, done, std::min(step, bytes - done));
    NPG_RETURN_IF_ERROR(server.Push(local_port_, said));
    if (datagrams) {
      NPG_RETURN_IF_ERROR(ReceiveDatagram(said));
      continue;
    }
    std::string got(said.size(), '\0');
    const ssize_t size = recv(fd_.get(), got.data(), got.size(), MSG_WAITALL);
    if (size < 0) return base::ErrnoStatus(errno, "receive what the server said first");
    got.resize(static_cast<size_t>(size));
    NPG_RETURN_IF_ERROR(Compare(got, said, 0));
  }
  return absl::OkStatus();
}

absl::Status Stream::Finish() {
  if (dial_.transport == Transport::kUdp) return absl::OkStatus();
  if (shutdown(fd_.get(), SHUT_WR) != 0) return base::ErrnoStatus(errno, "shutdown");
  char extra = 0;
  const ssize_t size = recv(fd_.get(), &extra, 1, 0);
  if (size < 0) return base::ErrnoStatus(errno, "wait for the server's end");
  if (size > 0) return absl::DataLossError("a byte too many at the end");
  return absl::OkStatus();
}

BusyStream::BusyStream(std::unique_ptr<Stream> stream) : stream_(std::move(stream)) {
  thread_ = std::thread([this] {
    while (!stop_.WaitForNotificationWithTimeout(kPause) && status_.ok()) {
      status_ = stream_->Exchange(kStreamChunk);
      if (status_.ok()) progress_ += kStreamChunk;
    }
  });
}

BusyStream::~BusyStream() {
  if (!stop_.HasBeenNotified()) stop_.Notify();
  if (thread_.joinable()) thread_.join();
}

std::pair<std::unique_ptr<Stream>, absl::Status> BusyStream::Stop() {
  if (!stop_.HasBeenNotified()) stop_.Notify();
  if (thread_.joinable()) thread_.join();
  return {std::move(stream_), status_};
}

}  // namespace npg::testing
