// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_SOURCES_IP_VS_SERVICES_H_
#define NODEPORT_GUARD_SOURCES_IP_VS_SERVICES_H_

#include <cstddef>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace npg::sources {

inline constexpr absl::string_view kIpVsFile = "/proc/net/ip_vs";

// What /proc/net/ip_vs says, read piece by piece in constant memory: a busy node
// has a line for each endpoint of each Service on each address.
class IpVsServices {
 public:
  // The next bytes of the file, cut anywhere. Lines that are no service's, or
  // that nobody understands, say nothing; so does one without its end.
  void Feed(absl::string_view text);

  // There was a TCP or UDP service on an address of 127.0.0.0/8.
  bool on_loopback() const { return on_loopback_; }

 private:
  // Protocol, address and port of a service fit, and decide.
  static constexpr size_t kLineStart = 32;

  std::string line_;  // the first bytes of the line that goes on
  bool on_loopback_ = false;
};

// Whether IPVS has such services in this network namespace; it has none where
// the file is not there. Reads no further than the first. RESOURCE_EXHAUSTED when
// the file does not end.
absl::StatusOr<bool> HasIpVsServiceOnLoopback(const std::string& path = std::string(kIpVsFile));

}  // namespace npg::sources

#endif  // NODEPORT_GUARD_SOURCES_IP_VS_SERVICES_H_
