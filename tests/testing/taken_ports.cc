// SPDX-License-Identifier: Apache-2.0
#include "testing/taken_ports.h"

#include <sys/socket.h>

#include <cerrno>
#include <cstdint>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "base/errno_status.h"
#include "base/unique_fd.h"
#include "testing/test_node.h"
#include "testing/transport.h"

namespace npg::testing {

absl::StatusOr<std::vector<base::UniqueFd>> TakeUdpPortsOfLoopback6(uint16_t first, uint16_t last) {
  NPG_RETURN_IF_ERROR(SetSysctl("net/ipv4/ip_local_port_range", absl::StrCat(first, " ", last)));
  std::vector<base::UniqueFd> taken;
  for (uint32_t port = first; port <= last; ++port) {
    const absl::StatusOr<SocketAddress> at = MakeAddress("::1", static_cast<uint16_t>(port));
    if (!at.ok()) return at.status();
    absl::StatusOr<base::UniqueFd> fd = OpenSocket(AF_INET6, Transport::kUdp);
    if (!fd.ok()) return fd.status();
    if (bind(fd->get(), at->get(), at->size) != 0) {
      return base::ErrnoStatus(errno, absl::StrCat("bind UDP port ", port, " of ::1"));
    }
    taken.push_back(*std::move(fd));
  }
  return taken;
}

}  // namespace npg::testing
