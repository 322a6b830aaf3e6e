// SPDX-License-Identifier: Apache-2.0
#include "serve/http_stream.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/types.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>

#include "absl/strings/ascii.h"
#include "absl/strings/string_view.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"

namespace npg::serve {

absl::Time HttpStream::Deadline(absl::Duration from_now) { return absl::Now() + from_now; }

bool HttpStream::Wait(int16_t events) const {
  const absl::Duration left = deadline_ - absl::Now();
  std::array<pollfd, 2> fds = {{{fd_, events, 0}, {stop_, POLLIN, 0}}};
  const int ready =
      poll(fds.data(), fds.size(),
           static_cast<int>(absl::ToInt64Milliseconds(std::max(left, absl::ZeroDuration()))));
  return ready > 0 && fds[1].revents == 0 && fds[0].revents != 0;
}

// Nothing here is asked for by parts. The library would take the header apart by
// a std::regex, whose recursion takes more stack the longer it is, and would
// answer with every part that is asked for: thousands of the whole body, say.
void HttpStream::HideRange(char* data, size_t size) {
  constexpr absl::string_view kName = "range";
  for (char* byte = data; byte != data + size; ++byte) {
    if (*byte == '\n') {
      of_range_ = 0;
    } else if (of_range_ < kName.size()) {
      const bool fits = absl::ascii_tolower(static_cast<unsigned char>(*byte)) == kName[of_range_];
      of_range_ = fits ? of_range_ + 1 : kName.size();
      // With its last letter, for what follows may not be here yet.
      if (fits && of_range_ == kName.size()) *byte = '_';
    }
  }
}

bool HttpStream::is_readable() const { return next_ < end_ || Wait(POLLIN); }

bool HttpStream::is_writable() const { return Wait(POLLOUT); }

ssize_t HttpStream::read(char* data, size_t size) {
  if (next_ == end_) {
    if (received_ >= kMaxRequest || !Wait(POLLIN)) return -1;
    const ssize_t count = recv(fd_, buffer_.data(), buffer_.size(), MSG_DONTWAIT);
    if (count <= 0) return count;
    received_ += static_cast<size_t>(count);
    HideRange(buffer_.data(), static_cast<size_t>(count));
    next_ = 0;
    end_ = static_cast<size_t>(count);
  }
  const size_t count = std::min(size, end_ - next_);
  std::memcpy(data, buffer_.data() + next_, count);
  next_ += count;
  return static_cast<ssize_t>(count);
}

ssize_t HttpStream::write(const char* data, size_t size) {
  if (!writing_) {
    writing_ = true;
    deadline_ = Deadline(response_);
    begin_writing_();
  }
  const ssize_t count = Wait(POLLOUT) ? send(fd_, data, size, MSG_DONTWAIT | MSG_NOSIGNAL) : -1;
  failed_ = failed_ || count < 0;
  return count;
}

// Nobody asks: no handler is told who the client is.
void HttpStream::get_remote_ip_and_port(std::string& ip, int& port) const {
  ip.clear();
  port = 0;
}
void HttpStream::get_local_ip_and_port(std::string& ip, int& port) const {
  ip.clear();
  port = 0;
}

void HttpStream::Linger() {
  constexpr absl::Duration kMost = absl::Seconds(1);
  constexpr size_t kMostBytes = size_t{1} << 20;
  if (failed_) {
    // Who does not read what there is would never be told of an end behind it.
    constexpr linger kReset{1, 0};
    setsockopt(fd_, SOL_SOCKET, SO_LINGER, &kReset, sizeof(kReset));
    return;
  }
  shutdown(fd_, SHUT_WR);
  deadline_ = Deadline(kMost);
  for (size_t taken = 0; taken < kMostBytes && Wait(POLLIN);) {
    const ssize_t count = recv(fd_, buffer_.data(), buffer_.size(), MSG_DONTWAIT);
    if (count <= 0) return;
    taken += static_cast<size_t>(count);
  }
}

}  // namespace npg::serve
