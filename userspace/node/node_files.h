// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_NODE_NODE_FILES_H_
#define NODEPORT_GUARD_NODE_NODE_FILES_H_

#include <cstdint>
#include <optional>
#include <string>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "core/port_ranges.h"

// Readers of files in /proc, which is `proc` here.
namespace npg::node {

// The first and last port that the kernel assigns.
absl::StatusOr<core::PortRange> ReadLocalPortRange(const std::string& proc);

// A list of ports as the kernel prints it ("8080,9000-9100"), of any length.
absl::StatusOr<core::PortRanges> ReadPortRanges(const std::string& path);

// The ports that it does not assign.
absl::StatusOr<core::PortRanges> ReadReservedPorts(const std::string& proc);

// net.ipv4.conf.all.route_localnet.
absl::StatusOr<bool> ReadRouteLocalnet(const std::string& proc);

// The effective capabilities of this process, one bit each, from the text of
// /proc/self/status.
absl::StatusOr<uint64_t> ParseEffectiveCapabilities(absl::string_view status);
absl::StatusOr<uint64_t> ReadEffectiveCapabilities(const std::string& proc);

// Whether this process is in the network namespace of pid 1; nullopt where that
// may not be read.
std::optional<bool> InNetnsOfInit(const std::string& proc);

// The names of the legacy ip_tables tables of both families.
bool HasLegacyTables(const std::string& proc, bool ipv6);

}  // namespace npg::node

#endif  // NODEPORT_GUARD_NODE_NODE_FILES_H_
