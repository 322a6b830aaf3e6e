// SPDX-License-Identifier: Apache-2.0
#include <cstdint>
#include <limits>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "log/health.h"
#include "serve/kube_event_counts.h"
#include "serve/metric_families.h"
#include "serve/metrics.h"
#include "serve/process_usage.h"

namespace npg::serve {
namespace {

void AddProbe(const log::HealthState& health, MetricFamilies& out) {
  out.Gauge("self_probe_success", "1 when the last self-probe found the guard effective, else 0.");
  if (health.probe) out.Add(health.probe->result.ok() ? 1 : 0);
  out.Counter("self_probes_total", "Self-probes by result.");
  out.Add(static_cast<double>(health.probes_succeeded), {Label("result", "success")});
  out.Add(static_cast<double>(health.probes_failed), {Label("result", "failure")});
  out.Gauge("self_probe_connect_duration_seconds", "How long the last self-probe's connect took.");
  if (health.probe) out.Add(absl::ToDoubleSeconds(health.probe->latency));
  out.Gauge("self_probe_last_timestamp_seconds", "When the last self-probe was done.");
  if (health.probe) out.AddTime(health.probe->at);
}

void AddHealth(const MetricsInput& input, MetricFamilies& out) {
  const log::HealthState& health = input.health;
  out.Gauge("live",
            "1 when /healthz returns 200: the controller is alive and the guard is effective.");
  out.Add(log::Liveness(health, input.now).ok ? 1 : 0);
  out.Gauge("ready", "1 when /readyz returns 200: the node is guarded as configured.");
  out.Add(log::Readiness(health).ok ? 1 : 0);
  out.Gauge("main_loop_age_seconds", "Time since the last turn of the controller's main loop.");
  // There is no such time before its first turn.
  if (health.loop_turn > absl::UnixEpoch()) {
    out.Add(absl::ToDoubleSeconds(input.now - health.loop_turn));
  }
  AddProbe(health, out);
}

void AddKubeEvents(const KubeEventCounts& counts, MetricFamilies& out) {
  out.Counter("kube_events_total", "Kubernetes Events by outcome.");
  out.Add(static_cast<double>(counts.created), {Label("result", "created")});
  out.Add(static_cast<double>(counts.failed), {Label("result", "failed")});
  out.Add(static_cast<double>(counts.suppressed), {Label("result", "suppressed")});
}

void AddProcess(const ProcessUsage& usage, MetricFamilies& out) {
  out.StandardCounter("process_cpu_seconds_total", "CPU time of the controller, user and system.");
  out.Add(absl::ToDoubleSeconds(usage.cpu));
  out.StandardGauge("process_resident_memory_bytes", "Memory of the controller that is resident.");
  out.Add(static_cast<double>(usage.resident_bytes));
  out.StandardGauge("process_virtual_memory_bytes", "Address space of the controller.");
  out.Add(static_cast<double>(usage.virtual_bytes));
  out.StandardGauge("process_open_fds", "File descriptors that the controller has open.");
  out.Add(static_cast<double>(usage.open_fds));
  out.StandardGauge("process_max_fds", "File descriptors that the controller may have open.");
  out.Add(usage.max_fds == std::numeric_limits<uint64_t>::max()
              ? std::numeric_limits<double>::infinity()
              : static_cast<double>(usage.max_fds));
  out.StandardGauge("process_start_time_seconds", "When the controller was started.");
  out.AddTime(usage.started);
  out.Gauge("threads", "Threads of the controller.");
  out.Add(static_cast<double>(usage.threads));
}

}  // namespace

void AddControllerMetrics(const MetricsInput& input, MetricFamilies& out) {
  out.Gauge("build_info", "The build that runs; always 1.");
  out.Add(1, {Label("version", input.build.version), Label("commit", input.build.commit),
              Label("libbpf_version", input.build.libbpf),
              Label("abi", absl::StrCat(input.build.abi))});
  AddHealth(input, out);
  AddKubeEvents(input.kube_events, out);
  if (input.process.ok()) AddProcess(*input.process, out);
}

}  // namespace npg::serve
