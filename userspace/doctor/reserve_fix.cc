// SPDX-License-Identifier: Apache-2.0
#include "doctor/reserve_fix.h"

#include <cstddef>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "core/port_ranges.h"

namespace npg::doctor {
namespace {

// A line that a shell, sysctl and the kernel all take at once: less than a page.
constexpr size_t kMostText = 3000;
constexpr size_t kMostRanges = kMostText / absl::string_view("30000-32767,").size();

// A node with many connections needs some thousand ports for them.
constexpr size_t kFewestPorts = 4096;

// What the kernel can hand out without meeting a NodePort; nullopt where too little is left.
std::optional<core::PortRange> RangeBeside(const core::PortRange& local,
                                           const core::PortRange& nodeports) {
  std::optional<core::PortRange> widest;
  for (const core::PortRange& range : core::Without(local, {nodeports})) {
    const size_t count = core::CountPorts({range});
    if (count >= kFewestPorts && (!widest || count > core::CountPorts({*widest}))) widest = range;
  }
  return widest;
}

}  // namespace

std::string RangeFix(const core::PortRange& local, const core::PortRange& nodeports) {
  const std::string cluster =
      "have the cluster take NodePorts from a range that the kernel does not hand out "
      "(--service-node-port-range of the API server, default 30000-32767; Services keep the ports "
      "that they have)";
  const std::optional<core::PortRange> range = RangeBeside(local, nodeports);
  if (!range) return absl::StrCat("they are too many to be reserved one by one: ", cluster);
  const std::string value = absl::StrCat(range->first, " ", range->last);
  return absl::StrCat(
      "they are too many to be reserved one by one: sysctl -w net.ipv4.ip_local_port_range='",
      value, "', and keep it: echo 'net.ipv4.ip_local_port_range = ", value,
      "' > /etc/sysctl.d/90-nodeport-guard-range.conf. It helps for sockets that are bound "
      "afterwards; restart what holds such a port now. Or ",
      cluster);
}

std::string ReserveFix(const absl::StatusOr<core::PortRanges>& reserved,
                       const core::PortRanges& more) {
  if (!reserved.ok()) {
    return absl::StrCat("add ", core::PortRangesText(core::Coarse(more, kMostRanges)),
                        " to net.ipv4.ip_local_reserved_ports, of which could not be read what it "
                        "holds now: setting it drops that");
  }
  core::PortRanges all = *reserved;
  all.insert(all.end(), more.begin(), more.end());
  std::string text = core::PortRangesText(all);
  std::string besides;
  if (text.size() > kMostText) {
    const core::PortRanges coarse = core::Coarse(all, kMostRanges);
    text = core::PortRangesText(coarse);
    besides = absl::StrCat(" It also reserves ", core::CountPorts(coarse) - core::CountPorts(all),
                           " ports that lie between, or it would be too long.");
  }
  const std::string line = absl::StrCat("net.ipv4.ip_local_reserved_ports=", text);
  return absl::StrCat("sysctl -w ", line, ", and keep it: echo '", line,
                      "' > /etc/sysctl.d/90-nodeport-guard.conf.", besides,
                      " It helps for sockets that are bound afterwards; restart what holds such a "
                      "port now");
}

}  // namespace npg::doctor
