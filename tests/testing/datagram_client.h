// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_TESTS_TESTING_DATAGRAM_CLIENT_H_
#define NODEPORT_GUARD_TESTS_TESTING_DATAGRAM_CLIENT_H_

#include <cstdint>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/unique_fd.h"
#include "testing/transport.h"

namespace npg::testing {

// The calls that send a datagram from a socket that is not connected.
enum class SendCall : uint8_t { kSendto, kSendmsg, kSendmmsg };

// "sendto", "sendmsg", "sendmmsg".
std::string SendCallName(SendCall call);

// A UDP socket that never calls connect(), as in DNS and QUIC servers, and in clients
// of many peers.
class DatagramClient {
 public:
  // Bound to `source`, if that is not empty, and `source_port`, if that is not 0.
  static absl::StatusOr<DatagramClient> Open(int family, const std::string& source = "",
                                             uint16_t source_port = 0);

  // Sends a question. Returns the name of the EchoServer, "refused", "timed out", or the
  // source of the answer if it is not the destination of the question.
  std::string Ask(const std::string& destination, uint16_t port, SendCall call = SendCall::kSendto,
                  int timeout_ms = 20000) const;

  int fd() const { return fd_.get(); }

 private:
  explicit DatagramClient(base::UniqueFd fd) : fd_(std::move(fd)) {}

  base::UniqueFd fd_;
};

// Asks once, from a new socket.
std::string AskByDatagram(const std::string& destination, uint16_t port,
                          SendCall call = SendCall::kSendto);

}  // namespace npg::testing

#endif  // NODEPORT_GUARD_TESTS_TESTING_DATAGRAM_CLIENT_H_
