// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_TESTS_TESTING_TRANSPORT_H_
#define NODEPORT_GUARD_TESTS_TESTING_TRANSPORT_H_

#include <netinet/in.h>
#include <sys/socket.h>

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "base/unique_fd.h"

namespace npg::testing {

enum class Transport : uint8_t { kTcp, kUdp, kMptcp };

// "TCP", "UDP", "MPTCP".
absl::string_view TransportName(Transport transport);

// IPPROTO_TCP or IPPROTO_UDP: the protocol of a NodePort for it.
uint8_t NodePortProtocol(Transport transport);

// A socket address with its length, for the socket calls.
struct SocketAddress {
  sockaddr_storage storage{};
  socklen_t size = 0;

  const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&storage); }
  sockaddr* get() { return reinterpret_cast<sockaddr*>(&storage); }
  int family() const { return storage.ss_family; }
  uint16_t port() const;  // host order
};

// "127.0.0.1" is AF_INET; "::1", "::ffff:127.0.0.1" and, with the interface it
// is on, "fe80::1%lo" are AF_INET6. Any other text is a mistake in the test:
// INVALID_ARGUMENT.
absl::StatusOr<SocketAddress> MakeAddress(absl::string_view address, uint16_t port);

// A blocking, close-on-exec socket.
absl::StatusOr<base::UniqueFd> OpenSocket(int family, Transport transport);

// The transports of this kernel: Linux can be built without MPTCP, as Debian's 5.10 is.
std::vector<Transport> Transports();

// A socket that listens for TCP on the address.
absl::StatusOr<base::UniqueFd> ListenOn(absl::string_view address, uint16_t port);

// The port that a socket is bound to; 0 if it is not bound.
uint16_t LocalPort(int fd);

}  // namespace npg::testing

#endif  // NODEPORT_GUARD_TESTS_TESTING_TRANSPORT_H_
