// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_SERVE_HTTP_STREAM_H_
#define NODEPORT_GUARD_SERVE_HTTP_STREAM_H_

#include <httplib.h>
#include <sys/types.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <utility>

#include "absl/time/time.h"

namespace npg::serve {

// A connection as cpp-httplib reads and writes it, with deadlines for the whole
// of a request and the whole of a response, where the library's own timeouts are
// for one byte more: who sends one every second would never meet those.
class HttpStream : public httplib::Stream {
 public:
  // Of a request, what is read at most. No body is.
  static constexpr size_t kMaxRequest = size_t{16} * 1024;

  // Neither descriptor is owned. Once `stop` is readable, nothing is waited for.
  // `writing` is called before the first byte of the response.
  HttpStream(int fd, int stop, absl::Duration request, absl::Duration response,
             std::function<void()> writing)
      : fd_(fd),
        stop_(stop),
        response_(response),
        begin_writing_(std::move(writing)),
        deadline_(Deadline(request)) {}

  bool is_readable() const override;
  bool is_writable() const override;
  ssize_t read(char* data, size_t size) override;
  ssize_t write(const char* data, size_t size) override;
  void get_remote_ip_and_port(std::string& ip, int& port) const override;
  void get_local_ip_and_port(std::string& ip, int& port) const override;
  socket_t socket() const override { return fd_; }

  // After the response: ends our direction and takes what is still coming, so
  // that close() does not reset the connection before the client has read it.
  void Linger();

 private:
  static absl::Time Deadline(absl::Duration from_now);

  bool Wait(int16_t events) const;
  // Makes a header Range another one, of no meaning.
  void HideRange(char* data, size_t size);

  const int fd_;
  const int stop_;
  const absl::Duration response_;
  const std::function<void()> begin_writing_;
  absl::Time deadline_;
  bool writing_ = false;
  bool failed_ = false;
  size_t received_ = 0;  // in all
  size_t of_range_ = 0;  // letters of "range" that this line has begun with
  std::array<char, 4096> buffer_{};
  size_t next_ = 0, end_ = 0;  // of what is in the buffer
};

}  // namespace npg::serve

#endif  // NODEPORT_GUARD_SERVE_HTTP_STREAM_H_
