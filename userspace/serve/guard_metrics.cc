// SPDX-License-Identifier: Apache-2.0
#include <cstddef>
#include <optional>
#include <utility>

#include "abi/names.h"
#include "absl/strings/str_cat.h"
#include "core/mark.h"
#include "inspect/guard_facts.h"
#include "inspect/guard_parts.h"
#include "inspect/status.h"
#include "serve/metric_families.h"
#include "serve/metrics.h"

namespace npg::serve {
namespace {

void AddCount(size_t count, MetricFamilies& out, Labels labels = {}) {
  out.Add(static_cast<double>(count), std::move(labels));
}

void AddCounters(const inspect::GuardFacts& facts, MetricFamilies& out) {
  const auto each = [&](abi::Counted counted, const auto& add) {
    for (const abi::CounterRow& row : abi::kCounters) {
      if (row.counted == counted) add(row);
    }
  };
  each(abi::Counted::kConnects, [&](const abi::CounterRow& row) {
    out.Counter(absl::StrCat(row.name, "_connects_total"), row.help);
    AddCount(facts.counters[row.value], out);
  });
  // One family, begun once: counters of later versions stand behind those of another kind.
  out.Counter("passed_connects_total",
              "Connects to a NodePort that the guard did not exempt, by reason.");
  each(abi::Counted::kPassedConnects, [&](const abi::CounterRow& row) {
    AddCount(facts.counters[row.value], out, {Label("reason", row.name)});
  });
  each(abi::Counted::kOther, [&](const abi::CounterRow& row) {
    out.Counter(absl::StrCat(row.name, "_total"), row.help);
    AddCount(facts.counters[row.value], out);
  });
}

void AddTable(const std::optional<inspect::NftTable>& table, MetricFamilies& out) {
  out.Gauge("nft_table_present", "1 when the guard's nft table is in place, else 0.");
  out.Add(table && table->present ? 1 : 0);
  if (!table) return;
  out.Counter("nft_exempted_packets_total", "Marked packets that the nft table exempted from NAT.");
  AddCount(table->exempted_packets, out);
  out.Gauge("nft_flows", "Exempted connections in the nft table.");
  AddCount(table->flows, out);
  out.Gauge("nft_flows_max", "Number of connections below which no set of the nft table is full.");
  AddCount(table->flows_max, out);
  out.Gauge("nft_datagram_ports", "UDP listeners whose unconnected traffic the nft table exempts.");
  AddCount(table->datagram_ports, out);
}

void AddKernelSide(const inspect::GuardFacts& facts, MetricFamilies& out) {
  out.Gauge("config_info", "The configuration of the guard; always 1.");
  out.Add(1, {Label("mode", abi::Name(facts.config.mode)),
              Label("scope", abi::Name(facts.config.scope)),
              Label("mark", core::HexText(facts.config.mark)),
              Label("mark_mask", core::HexText(facts.config.mark_mask))});
  out.Gauge("program_attached", "1 when the BPF program is attached to its cgroup, else 0.");
  for (const inspect::Program& program : inspect::Programs(facts)) {
    out.Add(program.attached ? 1 : 0, {Label("program", program.name)});
  }
  AddTable(inspect::VisibleTable(facts), out);
}

void AddMaps(const inspect::Status& status, MetricFamilies& out) {
  out.Gauge("map_entries", "Entries in the BPF map.");
  for (const inspect::MapFill& map : status.maps) {
    AddCount(map.entries, out, {Label("map", map.name)});
  }
  out.Gauge("map_max_entries", "Entries that the BPF map can hold.");
  for (const inspect::MapFill& map : status.maps) {
    AddCount(map.max_entries, out, {Label("map", map.name)});
  }
}

void AddNodePorts(const inspect::NodePortCounts& nodeports, MetricFamilies& out) {
  out.Gauge("nodeports", "NodePorts that the guard knows.");
  AddCount(nodeports.total, out);
  out.Gauge("source_nodeports",
            "NodePorts that the source reports; a port may have several sources.");
  for (size_t i = 0; i < abi::kSources.size(); ++i) {
    AddCount(nodeports.by_source[i], out, {Label("source", abi::kSources[i].name)});
  }
}

}  // namespace

void AddGuardMetrics(const MetricsInput& input, MetricFamilies& out) {
  const bool known = input.node.ok() && *input.node != nullptr;
  out.Gauge("status_success",
            "1 when the state of the guard could be read for these metrics, else 0.");
  out.Add(known ? 1 : 0);
  if (!known) return;
  const inspect::Status& status = **input.node;
  out.Gauge("problems",
            "Parts of the guard that are broken, as 'nodeport-guard status' names them.");
  AddCount(status.problems.size(), out);
  out.Gauge("standing_aside",
            "1 when the guard stands aside for some traffic, because rules of the node would break "
            "exempted connections, else 0.");
  out.Add((status.facts.config.standing_aside & abi::AllTraffic()) != 0 ? 1 : 0);
  AddCounters(status.facts, out);
  AddKernelSide(status.facts, out);
  AddMaps(status, out);
  AddNodePorts(status.nodeports, out);
}

}  // namespace npg::serve
