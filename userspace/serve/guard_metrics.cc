// SPDX-License-Identifier: Apache-2.0
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "abi/guard_abi_text.h"
#include "absl/strings/string_view.h"
#include "guard_abi.h"
#include "serve/json_field.h"
#include "serve/metric_families.h"
#include "serve/metrics.h"

namespace npg::serve {
namespace {

using Json = nlohmann::ordered_json;

void AddNumber(const Json& number, MetricFamilies& out, Labels labels = {}) {
  if (const std::optional<double> value = NumberIn(number)) out.Add(*value, std::move(labels));
}

const Json& Counter(const Json& document, npg_counter counter) {
  return Field(Field(document, "counters"), std::string(abi::CounterName(counter)).c_str());
}

void AddCounters(const Json& document, MetricFamilies& out) {
  out.Counter("exempted_connects_total",
              "Connects to a NodePort that were given to the host's own listener.");
  AddNumber(Counter(document, NPG_COUNTER_EXEMPTED), out);
  out.Counter("passed_connects_total",
              "Connects to a NodePort that went on as if there were no guard, by the reason.");
  for (const npg_counter counter :
       {NPG_COUNTER_FOREIGN_NETNS, NPG_COUNTER_NO_LISTENER, NPG_COUNTER_IGNORED_OWNER,
        NPG_COUNTER_OBSERVED, NPG_COUNTER_MARK_FAILED}) {
    AddNumber(Counter(document, counter), out, {Label("reason", abi::CounterName(counter))});
  }
  out.Counter("probed_connects_total",
              "Connects of the controller's self-probes that the programs saw.");
  AddNumber(Counter(document, NPG_COUNTER_PROBED), out);
  out.Counter("events_suppressed_total",
              "Exemptions of which no event was published: too many of one port in one second.");
  AddNumber(Counter(document, NPG_COUNTER_EVENTS_SUPPRESSED), out);
  out.Counter("events_lost_total", "Exemptions of which no event was published: nobody read them.");
  AddNumber(Counter(document, NPG_COUNTER_EVENTS_LOST), out);
  out.Counter("rules_restored_total",
              "Times that the controller put back what somebody had removed from the kernel.");
  AddNumber(Counter(document, NPG_COUNTER_RULES_RESTORED), out);
}

void AddKernelSide(const Json& guard, MetricFamilies& out) {
  out.Gauge("config_info", "What the guard was told to do; always 1.");
  if (guard.is_object()) {
    out.Add(1, {Label("mode", TextIn(Field(guard, "mode"))),
                Label("scope", TextIn(Field(guard, "scope"))),
                Label("mark", TextIn(Field(guard, "mark"))),
                Label("mark_mask", TextIn(Field(guard, "mark_mask")))});
  }
  out.Gauge("program_attached", "1 when the BPF program is attached to its cgroup, else 0.");
  for (const Json& program : Field(guard, "programs")) {
    out.Add(IsTrue(Field(program, "attached")) ? 1 : 0,
            {Label("program", TextIn(Field(program, "name")))});
  }
  const Json& table = Field(guard, "nft_table");
  out.Gauge("nft_table_present", "1 when the guard's nft table is in place, else 0.");
  // null: it could not be read.
  if (table.is_object()) out.Add(IsTrue(Field(table, "present")) ? 1 : 0);
  out.Counter("nft_exempted_packets_total", "Marked packets that the nft table exempted from NAT.");
  AddNumber(Field(table, "exempted_packets"), out);
  out.Gauge("nft_flows", "Connections of which the nft table knows that they are exempted.");
  AddNumber(Field(table, "flows"), out);
  out.Gauge("nft_flows_max", "Connections with fewer than which no set of the nft table is full.");
  AddNumber(Field(table, "flows_max"), out);
  out.Gauge("nft_datagram_ports", "UDP listeners whose unconnected traffic the nft table exempts.");
  AddNumber(Field(table, "datagram_ports"), out);
}

void AddMaps(const Json& maps, MetricFamilies& out) {
  for (const bool capacity : {false, true}) {
    if (capacity) {
      out.Gauge("map_max_entries", "Entries that the BPF map can hold.");
    } else {
      out.Gauge("map_entries", "Entries that the BPF map holds.");
    }
    for (const auto& map : maps.items()) {
      AddNumber(Field(map.value(), capacity ? "max_entries" : "entries"), out,
                {Label("map", map.key())});
    }
  }
}

void AddNodePorts(const Json& nodeports, MetricFamilies& out) {
  out.Gauge("nodeports", "NodePorts that the guard knows.");
  AddNumber(Field(nodeports, "total"), out);
  out.Gauge("source_nodeports", "NodePorts that the source names; a port may have several.");
  for (const npg_source source : {NPG_SOURCE_KUBERNETES, NPG_SOURCE_NETFILTER, NPG_SOURCE_FILE}) {
    const std::string name(abi::SourceName(source));
    AddNumber(Field(nodeports, name.c_str()), out, {Label("source", name)});
  }
}

}  // namespace

void AddGuardMetrics(const MetricsInput& input, MetricFamilies& out) {
  const bool known = input.node.ok() && *input.node != nullptr;
  out.Gauge("status_success",
            "1 when the state of the guard could be read for these metrics, else 0.");
  out.Add(known ? 1 : 0);
  if (!known) return;
  const Json& document = (*input.node)->document;
  const Json& problems = Field(document, "problems");
  out.Gauge("problems",
            "Parts of the guard that are broken, as 'nodeport-guard status' names them.");
  if (problems.is_array()) out.Add(static_cast<double>(problems.size()));
  AddCounters(document, out);
  AddKernelSide(Field(document, "guard"), out);
  AddMaps(Field(document, "maps"), out);
  AddNodePorts(Field(Field(document, "guard"), "nodeports"), out);
}

}  // namespace npg::serve
