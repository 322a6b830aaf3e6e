// SPDX-License-Identifier: Apache-2.0
#include "bench/fleet_costs.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "base/errno_status.h"
#include "bench/figure.h"
#include "bench/fleet_arithmetic.h"
#include "bench/fleet_day.h"
#include "bench/fleet_wire.h"
#include "serve/kube_event.h"
#include "serve/kube_events.h"

namespace npg::bench {
namespace {

constexpr size_t kFleets[] = {1000, 5000, 10000, 15000};
// The mean of so many days.
constexpr uint64_t kDays = 20;
// The cluster of the arithmetic.
constexpr size_t kClusterServices = 10000;
constexpr size_t kClusterNodePorts = 1000;

// The assumptions.
constexpr Churn kChurns[] = {{10, 100}, {100, 5000}};
struct FleetVariant {
  const char* name;
  FleetFeatures features;
};
constexpr FleetVariant kFleetVariants[] = {{"as it is", {true, true}},
                                           {"without selector", {false, true}},
                                           {"without bookmarks", {true, false}},
                                           {"without both", {false, false}}};

std::string NameOfChurn(const Churn& churn) {
  return absl::StrCat(churn.node_port_per_hour, "+", churn.other_per_hour, " changes/h");
}

absl::StatusOr<ListOnWire> FindList(const FleetWire& wire, bool selector) {
  for (const ListOnWire& list : wire.lists) {
    if (list.services == kClusterServices && list.node_ports == kClusterNodePorts &&
        list.watch_list && list.selector == selector) {
      return list;
    }
  }
  return absl::InternalError("no list of the cluster was measured");
}

void AddWire(const FleetWire& wire, std::vector<Figure>& figures) {
  for (const bool watch_list : {true, false}) {
    const std::string group = watch_list ? "wire: WatchList" : "wire: list by pages of 500";
    for (const ListOnWire& list : wire.lists) {
      if (list.watch_list != watch_list) continue;
      const std::string what = absl::StrCat(list.services, ", ", list.node_ports, " NodePorts",
                                            list.selector ? ", " : ", no selector, ");
      figures.push_back({group, what + "recv", "KB", list.received / 1e3});
      figures.push_back({group, what + "sent", "KB", list.sent / 1e3});
      figures.push_back({group, what + "requests", "", list.requests});
    }
  }
  for (const bool selector : {true, false}) {
    const std::string group =
        absl::StrCat("wire: messages of a watch", selector ? "" : " without selector");
    const MessagesOnWire& bytes = selector ? wire.selected : wire.unselected;
    figures.insert(figures.end(), {{group, "NodePort Service added", "B", bytes.added},
                                   {group, "NodePort Service modified", "B", bytes.modified},
                                   {group, "NodePort Service deleted", "B", bytes.deleted},
                                   {group, "ClusterIP Service changed, mean", "B", bytes.other},
                                   {group, "bookmark", "B", bytes.bookmark},
                                   {group, "end of a watch and the next one", "B", bytes.watch}});
  }
}

absl::StatusOr<Messages> MeanDay(const Churn& churn, const FleetFeatures& features,
                                 absl::FunctionRef<bool()> stop) {
  Messages mean;
  for (uint64_t seed = 1; seed <= kDays; ++seed) {
    if (stop()) return absl::CancelledError("interrupted");
    const Messages day = SimulateDay(churn, features, seed);
    mean.lists += day.lists / kDays;
    mean.watches += day.watches / kDays;
    mean.bookmarks += day.bookmarks / kDays;
    mean.events += day.events / kDays;
    mean.other_events += day.other_events / kDays;
  }
  return mean;
}

absl::StatusOr<MessageBytes> BytesOf(const FleetWire& wire, bool selector) {
  const absl::StatusOr<ListOnWire> list = FindList(wire, selector);
  if (!list.ok()) return list.status();
  const MessagesOnWire& bytes = selector ? wire.selected : wire.unselected;
  MessageBytes each;
  each.lists = list->sent + list->received;
  each.watches = bytes.watch;
  each.bookmarks = bytes.bookmark;
  each.events = (bytes.added + bytes.modified + bytes.deleted) / 3;
  each.other_events = bytes.other;
  return each;
}

absl::Status AddDays(const FleetWire& wire, absl::FunctionRef<bool()> stop,
                     std::vector<Figure>& figures) {
  for (const Churn& churn : kChurns) {
    for (const FleetVariant& variant : kFleetVariants) {
      const absl::StatusOr<Messages> messages = MeanDay(churn, variant.features, stop);
      if (!messages.ok()) return messages.status();
      const absl::StatusOr<MessageBytes> bytes = BytesOf(wire, variant.features.selector);
      if (!bytes.ok()) return bytes.status();
      const DayOfNode day = CostOfDay(*messages, *bytes);
      const std::string name = absl::StrCat(NameOfChurn(churn), ", ", variant.name);
      const std::string node = "node, day: " + name;
      figures.insert(figures.end(), {{node, "lists", "", messages->lists},
                                     {node, "watches resumed", "", messages->watches},
                                     {node, "bookmarks", "", messages->bookmarks},
                                     {node, "events of NodePort Services", "", messages->events},
                                     {node, "events of others", "", messages->other_events},
                                     {node, "requests", "", day.requests},
                                     {node, "bytes", "MB", day.bytes / 1e6}});
      for (const size_t nodes : kFleets) {
        const FleetLoad load = LoadOfFleet(day, nodes);
        const std::string fleet = absl::StrCat(nodes, " nodes: ", name);
        figures.insert(figures.end(), {{fleet, "requests, mean", "/s", load.requests_per_second},
                                       {fleet, "bytes, mean", "MB/s", load.bytes_per_second / 1e6},
                                       {fleet, "bytes of a day", "GB", load.bytes_per_day / 1e9}});
      }
    }
  }
  return absl::OkStatus();
}

absl::Status AddStorms(const FleetWire& wire, std::vector<Storm> storms,
                       std::vector<Figure>& figures) {
  std::stable_sort(storms.begin(), storms.end(),
                   [](const Storm& a, const Storm& b) { return a.nodes < b.nodes; });
  for (const Storm& storm : storms) {
    for (const bool selector : {true, false}) {
      const absl::StatusOr<ListOnWire> list = FindList(wire, selector);
      if (!list.ok()) return list.status();
      const std::string group =
          absl::StrCat("storm of ", storm.nodes, " nodes", storm.jitter ? "" : " without jitter",
                       selector ? "" : " without selector");
      const double bytes = list->sent + list->received;
      figures.push_back({group, "lists, peak", "/s", storm.lists});
      figures.push_back({group, "bytes asked for in that second", "MB", storm.lists * bytes / 1e6});
      figures.push_back(
          {group, "bytes of all lists", "GB", static_cast<double>(storm.nodes) * bytes / 1e9});
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::vector<Figure>> FleetCosts(const std::vector<Storm>& storms,
                                               absl::FunctionRef<bool()> stop) {
  const absl::StatusOr<FleetWire> wire = MeasureWire(stop);
  if (!wire.ok()) return wire.status();
  std::vector<Figure> figures;
  AddWire(*wire, figures);
  NPG_RETURN_IF_ERROR(AddDays(*wire, stop, figures));
  NPG_RETURN_IF_ERROR(AddStorms(*wire, storms, figures));
  const double requests = MostEventRequests(
      1, serve::kKubeEventTries, absl::ToDoubleHours(serve::KubeEvents::Options().silence));
  figures.push_back(
      {"Events, each node with one conflict", "requests of a node and day, at most", "", requests});
  for (const size_t nodes : kFleets) {
    figures.push_back({"Events, each node with one conflict",
                       absl::StrCat("requests of ", nodes, " nodes, at most"), "/s",
                       LoadOfFleet({requests, 0}, nodes).requests_per_second});
  }
  return figures;
}

}  // namespace npg::bench
