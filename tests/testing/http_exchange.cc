// SPDX-License-Identifier: Apache-2.0
#include "testing/http_exchange.h"

#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/time.h>

#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "base/unique_fd.h"

namespace npg::testing {

base::UniqueFd ConnectToHttp(uint16_t port) {
  base::UniqueFd fd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const timeval minute{60, 0};
  setsockopt(fd.get(), SOL_SOCKET, SO_RCVTIMEO, &minute, sizeof(minute));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0) {
    fd.Reset();
  }
  return fd;
}

bool SendText(int fd, absl::string_view text) {
  while (!text.empty()) {
    const ssize_t size = send(fd, text.data(), text.size(), MSG_NOSIGNAL);
    if (size < 0 && errno == EINTR) continue;
    if (size <= 0) return false;
    text.remove_prefix(static_cast<size_t>(size));
  }
  return true;
}

std::string ReadToEnd(int fd) {
  std::string text;
  std::array<char, 65536> buffer{};
  while (true) {
    const ssize_t size = recv(fd, buffer.data(), buffer.size(), 0);
    if (size <= 0) return text;
    text.append(buffer.data(), static_cast<size_t>(size));
  }
}

void WaitForHangUp(int fd) {
  constexpr int kMinute = 60'000;
  pollfd event{fd, POLLRDHUP, 0};
  poll(&event, 1, kMinute);
}

HttpReply ReadReply(int fd, bool head) {
  std::string text;
  HttpReply reply;
  size_t wanted = std::string::npos;
  while (text.size() < wanted) {
    // Reads a byte at a time, because later bytes belong to the next response.
    char byte = 0;
    if (recv(fd, &byte, 1, 0) != 1) return {};
    text += byte;
    if (wanted != std::string::npos || !absl::EndsWith(text, "\r\n\r\n")) continue;
    reply = ParseReply(text);
    size_t length = 0;
    if (!absl::SimpleAtoi(reply.headers["content-length"], &length)) return {};
    wanted = text.size() + (head ? 0 : length);
  }
  return ParseReply(text);
}

HttpReply ParseReply(absl::string_view text) {
  HttpReply reply;
  const std::pair<absl::string_view, absl::string_view> parts =
      absl::StrSplit(text, absl::MaxSplits("\r\n\r\n", 1));
  reply.body = std::string(parts.second);
  const std::vector<absl::string_view> lines = absl::StrSplit(parts.first, "\r\n");
  const std::vector<absl::string_view> words = absl::StrSplit(lines[0], ' ');
  if (words.size() < 2 || words[0] != "HTTP/1.1" || !absl::SimpleAtoi(words[1], &reply.status)) {
    return {};
  }
  for (size_t i = 1; i < lines.size(); ++i) {
    const std::pair<absl::string_view, absl::string_view> field =
        absl::StrSplit(lines[i], absl::MaxSplits(": ", 1));
    reply.headers[absl::AsciiStrToLower(field.first)] = std::string(field.second);
  }
  return reply;
}

HttpReply HttpGet(uint16_t port, absl::string_view path, absl::string_view more_headers) {
  const base::UniqueFd fd = ConnectToHttp(port);
  if (!fd || !SendText(fd.get(), absl::StrCat("GET ", path, " HTTP/1.1\r\nHost: localhost\r\n",
                                              more_headers, "Connection: close\r\n\r\n"))) {
    return {};
  }
  return ParseReply(ReadToEnd(fd.get()));
}

}  // namespace npg::testing
