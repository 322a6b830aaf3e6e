// SPDX-License-Identifier: Apache-2.0
#include "doctor/reserve_fix.h"

#include <cstddef>
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

}  // namespace

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
