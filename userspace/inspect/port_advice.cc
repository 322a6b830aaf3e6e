// SPDX-License-Identifier: Apache-2.0
#include "inspect/port_advice.h"

#include <cstddef>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/string_view.h"
#include "base/text.h"
#include "core/port_overlap.h"
#include "core/port_ranges.h"

namespace npg::inspect {
namespace {

// A line that a shell, sysctl and the kernel all take at once: less than a page.
constexpr size_t kMaxReserveText = 3000;
constexpr size_t kMaxReserveRanges = kMaxReserveText / absl::string_view("30000-32767,").size();

constexpr absl::string_view kAfterwards =
    "It helps for sockets that are bound afterwards; restart what holds such a port now";

// Where a sysctl has no room.
constexpr absl::string_view kClusterRange =
    "have the cluster take NodePorts from a range that the kernel does not hand out "
    "(--service-node-port-range of the API server, default 30000-32767; Services keep the ports "
    "that they have)";

std::string ReservedLine(const core::PortRanges& ranges) {
  return absl::StrCat("net.ipv4.ip_local_reserved_ports=", core::PortRangesText(ranges));
}

std::string KeptReservation(const core::PortRanges& ranges) {
  const std::string line = ReservedLine(ranges);
  return absl::StrCat("sysctl -w ", line, ", and keep it: echo '", line,
                      "' > /etc/sysctl.d/90-nodeport-guard.conf.");
}

std::string RangeValue(const core::PortRange& range) {
  return absl::StrCat(range.first, " ", range.last);
}

std::string MoveFix(const core::PortRanges& moved) {
  if (moved.empty()) {
    return absl::StrCat("they are too many to be reserved one by one: ", kClusterRange);
  }
  const std::string value = RangeValue(moved.front());
  return absl::StrCat(
      "they are too many to be reserved one by one: sysctl -w net.ipv4.ip_local_port_range='",
      value, "', and keep it: echo 'net.ipv4.ip_local_port_range = ", value,
      "' > /etc/sysctl.d/90-nodeport-guard-range.conf. ", kAfterwards, ". Or ", kClusterRange);
}

// The setting alone, for a text of limited length.
std::string ShortSetting(const core::PortOverlap& overlap) {
  switch (overlap.advice) {
    case core::OverlapAdvice::kReserve:
      return absl::StrCat("sysctl -w ", ReservedLine(overlap.ranges));
    case core::OverlapAdvice::kReserveFlag:
      return "nodeport-guard run --reserve-ports allocated";
    case core::OverlapAdvice::kMoveRange:
      if (!overlap.ranges.empty()) {
        return absl::StrCat("sysctl -w net.ipv4.ip_local_port_range='",
                            RangeValue(overlap.ranges.front()), "'");
      }
      return absl::StrCat("a --service-node-port-range of the API server outside of ",
                          overlap.local.first, "-", overlap.local.last);
    case core::OverlapAdvice::kNone:
      break;
  }
  return "";
}

std::string LikelihoodText(const core::PortOverlap& overlap) {
  if (overlap.listeners == 0) return "no TCP listener has an assigned port now";
  const bool one = overlap.listeners == 1;
  return absl::StrCat(
      "if the ", one ? "TCP listener" : base::Count(overlap.listeners, "TCP listener"),
      " with an assigned port ", one ? "was" : "were", " bound anew, ", one ? "it" : "one of them",
      " would get an allocated NodePort with a probability of ", PercentText(overlap.collision),
      ", and the next Service gets the number of ", one ? "that one" : "one of them", " with ",
      PercentText(overlap.next_service));
}

}  // namespace

std::string PercentText(double probability) {
  if (probability <= 0) return "0%";
  if (probability < 0.0001) return "under 0.01%";
  return absl::StrFormat("%.3g%%", 100 * probability);
}

std::string OverlapFacts(const core::PortOverlap& overlap) {
  if (overlap.advice == core::OverlapAdvice::kNone) return "";
  return absl::StrCat(base::Count(overlap.allocated, "NodePort"),
                      overlap.allocated == 1 ? " is" : " are", " among the ", overlap.automatic,
                      " ports that the kernel hands out (net.ipv4.ip_local_port_range ",
                      overlap.local.first, "-", overlap.local.last, "); ", LikelihoodText(overlap),
                      overlap.cost == 0
                          ? ""
                          : absl::StrCat("; the setting that ends this costs ", overlap.cost,
                                         " of the ", overlap.automatic, " ports"));
}

std::string OverlapFix(const core::PortOverlap& overlap) {
  switch (overlap.advice) {
    case core::OverlapAdvice::kReserve:
      return absl::StrCat(KeptReservation(overlap.ranges), " ", kAfterwards);
    case core::OverlapAdvice::kReserveFlag:
      return absl::StrCat(ShortSetting(overlap), ", which follows the Services. ", kAfterwards);
    case core::OverlapAdvice::kMoveRange:
      return MoveFix(overlap.ranges);
    case core::OverlapAdvice::kNone:
      break;
  }
  return "";
}

std::string OverlapAdvice(const core::PortOverlap& overlap) {
  if (overlap.advice == core::OverlapAdvice::kNone) return "";
  return absl::StrCat(OverlapFacts(overlap), ". This setting ends it: ", ShortSetting(overlap),
                      ".");
}

std::string ReserveFix(const absl::StatusOr<core::PortRanges>& reserved,
                       const core::PortRanges& more) {
  if (!reserved.ok()) {
    return absl::StrCat("add ", core::PortRangesText(core::Coarse(more, kMaxReserveRanges)),
                        " to net.ipv4.ip_local_reserved_ports, of which could not be read what it "
                        "holds now: setting it drops that");
  }
  core::PortRanges all = *reserved;
  all.insert(all.end(), more.begin(), more.end());
  std::string besides;
  if (core::PortRangesText(all).size() > kMaxReserveText) {
    const core::PortRanges coarse = core::Coarse(all, kMaxReserveRanges);
    besides = absl::StrCat(" It also reserves ", core::CountPorts(coarse) - core::CountPorts(all),
                           " ports that lie between, or it would be too long.");
    all = coarse;
  }
  return absl::StrCat(KeptReservation(all), besides, " ", kAfterwards);
}

absl::string_view LimitsOfReserving() {
  return "Sockets that were bound before keep their ports, and MASQUERADE picks source ports "
         "without regard to reserved ones (kubernetes/kubernetes issue 139276)";
}

}  // namespace npg::inspect
