// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_TESTS_TESTING_STREAM_H_
#define NODEPORT_GUARD_TESTS_TESTING_STREAM_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <thread>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/notification.h"
#include "base/unique_fd.h"
#include "testing/client.h"
#include "testing/echo_server.h"

namespace npg::testing {

// A connection to an EchoServer that compares every byte in both directions. It checks
// lengths, because a cut stream can look like a clean end. All calls fail with DATA_LOSS
// for a wrong byte and DEADLINE_EXCEEDED after a minute without progress.
class Stream {
 public:
  // Connects and reads the name of the server.
  static absl::StatusOr<std::unique_ptr<Stream>> Open(const Dial& dial);

  const std::string& server() const { return server_; }
  uint16_t local_port() const { return local_port_; }
  uint64_t exchanged() const { return sent_; }

  // Sends the next `bytes` of a pseudo-random sequence and receives the echo.
  absl::Status Exchange(size_t bytes);

  // Sends the acknowledgement that the kernel delays after Exchange(): without it, a connection of
  // TCP sends a packet up to 200 ms later. Nothing else follows until the next call.
  absl::Status Acknowledge();

  // Makes the server send first, and receives its bytes.
  absl::Status Receive(EchoServer& server, size_t bytes);

  // Shuts down sending; the server must end its direction without another byte.
  absl::Status Finish();

 private:
  Stream(const Dial& dial, base::UniqueFd fd, std::string server);

  absl::Status ExchangeStream(size_t bytes);
  absl::Status ExchangeDatagrams(size_t bytes);
  absl::Status ReceiveEcho(size_t most);
  absl::Status ReceiveDatagram(const std::string& expected);

  const Dial dial_;
  const base::UniqueFd fd_;
  const std::string server_;
  const uint16_t local_port_;
  const uint64_t seed_;
  uint64_t sent_ = 0;
  uint64_t received_ = 0;
};

// Exchanges bytes on a stream, on its own thread, until Stop().
class BusyStream {
 public:
  explicit BusyStream(std::unique_ptr<Stream> stream);
  ~BusyStream();
  BusyStream(const BusyStream&) = delete;
  BusyStream& operator=(const BusyStream&) = delete;

  // The number of bytes received back; does not grow if the stream hangs.
  uint64_t progress() const { return progress_; }

  // Stops, and returns the stream and the status of the exchange.
  std::pair<std::unique_ptr<Stream>, absl::Status> Stop();

 private:
  std::unique_ptr<Stream> stream_;
  absl::Status status_;
  absl::Notification stop_;
  std::atomic<uint64_t> progress_ = 0;
  std::thread thread_;
};

}  // namespace npg::testing

#endif  // NODEPORT_GUARD_TESTS_TESTING_STREAM_H_
