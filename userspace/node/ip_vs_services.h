// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_NODE_IP_VS_SERVICES_H_
#define NODEPORT_GUARD_NODE_IP_VS_SERVICES_H_

#include <cstddef>
#include <string>

#include "absl/container/btree_set.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "core/listener.h"
#include "core/port.h"

namespace npg::node {

inline constexpr absl::string_view kIpVsFile = "/proc/net/ip_vs";

// Parses /proc/net/ip_vs piece by piece, in memory that does not grow with it: a busy node has a
// line for each endpoint of each Service on each address.
class IpVsServices {
 public:
  // `own`: the addresses besides loopback that are of interest. Outlives this.
  explicit IpVsServices(const core::AddressSet& own) : own_(own) {}

  // Takes the next bytes of the file, split anywhere. Ignores unknown lines, those that
  // are not of a service, and an incomplete last line.
  void Feed(absl::string_view text);

  // There was a TCP or UDP service on a loopback address or on one of `own`.
  bool found() const { return found_; }
  // The ports of all such services; without those of services for every port, whose number is 0.
  const absl::btree_set<core::PortKey>& ports() const { return ports_; }

 private:
  // Enough for protocol, address and port of a service.
  static constexpr size_t kLineStart = 64;

  void TakeLine(absl::string_view line);

  const core::AddressSet& own_;
  std::string line_;  // the first bytes of the present line
  bool found_ = false;
  absl::btree_set<core::PortKey> ports_;
};

// Whether IPVS has such services in this network namespace; it has none if the file does
// not exist. Stops at the first. RESOURCE_EXHAUSTED when the file does not end.
absl::StatusOr<bool> HasIpVsService(const core::AddressSet& own,
                                    const std::string& path = std::string(kIpVsFile));

// The ports of such services; errors as above. NOT_FOUND: the file does not exist.
absl::StatusOr<absl::btree_set<core::PortKey>> IpVsPorts(
    const core::AddressSet& own, const std::string& path = std::string(kIpVsFile));

}  // namespace npg::node

#endif  // NODEPORT_GUARD_NODE_IP_VS_SERVICES_H_
