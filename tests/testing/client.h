// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_TESTS_TESTING_CLIENT_H_
#define NODEPORT_GUARD_TESTS_TESTING_CLIENT_H_

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "base/unique_fd.h"
#include "testing/transport.h"

namespace npg::testing {

// The way to connect.
enum class Method : uint8_t {
  kConnect,
  kFastOpenSend,     // sendto(MSG_FASTOPEN): connects and sends in one call
  kFastOpenConnect,  // TCP_FASTOPEN_CONNECT: connect() now, SYN with the first data
  kUring,            // IORING_OP_CONNECT, by this thread
  kUringWorker,      // the same with IOSQE_ASYNC: by a worker thread of io_uring
};

// A connect to make.
struct Dial {
  std::string destination;
  uint16_t port = 0;
  Transport transport = Transport::kTcp;
  std::string source{};      // bound to before connect(); empty and no source_port: not bound
  uint16_t source_port = 0;  // 0: the kernel chooses
  uint32_t mark = 0;         // SO_MARK set before; 0: not set
  Method method = Method::kConnect;
};

// "TCP 127.0.0.1:33589 from [::ffff:127.0.0.1]:0"; for SCOPED_TRACE.
std::string ToString(const Dial& dial);

// Connects. The message of an error is that of connect(), but "refused", or "timed out"
// after twenty seconds without an answer.
absl::StatusOr<base::UniqueFd> Connect(const Dial& dial);

// Connects a socket that may have been connected before.
absl::Status ConnectAgain(int fd, absl::string_view destination, uint16_t port);

// Returns the name of the EchoServer at the other end of a connected socket ("host",
// "pod"), or "refused", "timed out", or another error.
std::string AskWho(int fd, Transport transport);

// Connects, asks and closes.
std::string Ask(const Dial& dial);

// Calls all of `asks` at once, and returns the answers in their order. A connect
// that is rejected over loopback takes the second until its SYN is repeated: the
// kernel ignores an ICMP error for a socket that is inside connect().
std::vector<std::string> AskAll(const std::vector<std::function<std::string()>>& asks);

// SO_MARK of a socket.
uint32_t MarkOf(int fd);

// True when the SYN of a connected TCP socket carried data that was accepted.
bool SynCarriedData(int fd);

}  // namespace npg::testing

#endif  // NODEPORT_GUARD_TESTS_TESTING_CLIENT_H_
