// SPDX-License-Identifier: Apache-2.0
#include "log/exemption_log.h"

#include <spdlog/common.h>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>

#include "abi/entries.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "core/listener.h"
#include "core/port.h"
#include "core/service_name.h"
#include "core/workload.h"
#include "log/fields.h"

namespace npg::log {
namespace {

// "containerd[812] (containerd.service)", "the kernel", "an unknown process".
std::string OwnerText(const core::Owner& owner) {
  if (owner.no_process) return "the kernel";
  if (owner.pid == 0) return "an unknown process";
  const std::string workload = core::ToString(owner.workload);
  return absl::StrCat(core::ProcessText(owner.comm, owner.pid), workload.empty() ? "" : " (",
                      workload, workload.empty() ? "" : ")");
}

absl::string_view Verb(bool observed) { return observed ? "would have exempted" : "exempted"; }

std::string OfService(absl::string_view service) {
  if (service.empty()) return "";
  // Where no Service is known, the rules that take the port.
  return absl::StrCat(core::IsServiceName(service) ? ", NodePort of " : ", taken by ", service);
}

void AddPort(const core::PortKey& key, absl::string_view service, Fields& fields) {
  fields.Add("port", key.port).Add("protocol", core::ProtocolName(key.protocol));
  if (!service.empty()) fields.Add("service", service);
}

}  // namespace

void ExemptionLog::Note(const Exemption& exemption, absl::Time now) {
  Port& port = Find(exemption.event.port, exemption.event.observed, now);
  port.service = exemption.service;
  std::string listener =
      absl::StrCat(core::AddressText(exemption.event.listener_address), " ", exemption.owner.pid);
  if (port.listeners.contains(listener) || port.listeners.size() >= kMaxListeners ||
      !Allowed(now)) {
    ++port.unlogged;
    return;
  }
  if (port.logged) ++*port.logged;
  port.owner = OwnerText(exemption.owner);
  port.listeners.insert(listener);
  LogFirst(exemption, core::AddressText(exemption.event.listener_address));
}

ExemptionLog::Port& ExemptionLog::Find(const core::PortKey& key, bool observed, absl::Time now) {
  if (const auto it = index_.find(key); it != index_.end()) {
    ports_.splice(ports_.begin(), ports_, it->second);
    return ports_.front();
  }
  if (ports_.size() >= kMaxPorts) {
    index_.erase(ports_.back().key);
    ports_.pop_back();
    forgot_ = true;
  }
  Port& port = ports_.emplace_front();
  port.key = key;
  port.observed = observed;
  port.since = now;
  if (const auto before = before_.find(key); before != before_.end()) {
    port.logged = observed ? before->second.observed : before->second.exempted;
    before_.erase(before);
  } else if (!forgot_) {
    port.logged = 0;
  }
  index_[key] = ports_.begin();
  return port;
}

// Limits the lines, so that a node with many conflicts still has a readable log.
bool ExemptionLog::Allowed(absl::Time now) {
  if (now - window_ >= kSummary) {
    window_ = now;
    lines_ = 0;
  }
  if (lines_ >= kMaxLines) {
    ++suppressed_;
    return false;
  }
  ++lines_;
  return true;
}

void ExemptionLog::LogFirst(const Exemption& exemption, const std::string& listener) {
  const abi::Event& event = exemption.event;
  const core::PortKey& key = event.port;
  const bool observed = event.observed;
  Fields fields;
  fields.Add("event", observed ? "observed" : "exempted");
  AddPort(key, exemption.service, fields);
  fields.Add("address", core::AddressText(event.address))
      .Add("client_pid", event.pid)
      .Add("client_comm", event.comm)
      .Add("listener_address", listener);
  if (exemption.owner.pid != 0) {
    fields.Add("listener_pid", exemption.owner.pid).Add("listener_comm", exemption.owner.comm);
    const std::string workload = core::ToString(exemption.owner.workload);
    if (!workload.empty()) fields.Add("listener_workload", workload);
  }
  sink_(spdlog::level::info,
        absl::StrCat(Verb(observed), " a connect of ", core::ProcessText(event.comm, event.pid),
                     " to ", core::AddressText(event.address), " port ", core::ToString(key),
                     OfService(exemption.service), ": it is for ", OwnerText(exemption.owner),
                     " on ", listener),
        fields);
}

void ExemptionLog::Tick(absl::Time now, Totals totals) {
  for (Port& port : ports_) {
    if (now - port.since < kSummary) continue;
    const std::optional<ExemptionTotals> counted = totals(port.key);
    std::optional<uint64_t> total;
    if (counted) total = port.observed ? counted->observed : counted->exempted;
    // Without a count, use the number of unlogged events, which may be less.
    const uint64_t more =
        total && port.logged && *total >= *port.logged ? *total - *port.logged : port.unlogged;
    if (more > 0) Summarize(port, more, now);
    port.logged = total;
    port.since = now;
    port.unlogged = 0;
    // Allow first lines for as many listeners again.
    if (port.listeners.size() >= kMaxListeners) port.listeners.clear();
  }
  if (suppressed_ > 0 && now - window_ >= kSummary) {
    sink_(spdlog::level::warn,
          absl::StrCat(suppressed_, " further connects were not logged (rate limit); ",
                       "'nodeport-guard status' shows the conflicts"),
          Fields().Add("event", "unsaid").Add("count", suppressed_));
    suppressed_ = 0;
  }
}

void ExemptionLog::Summarize(Port& port, uint64_t more, absl::Time now) {
  Fields fields;
  fields.Add("event", port.observed ? "observed_summary" : "exempted_summary");
  AddPort(port.key, port.service, fields);
  fields.Add("count", more).Add("seconds", absl::ToInt64Seconds(now - port.since));
  sink_(spdlog::level::info,
        absl::StrCat(Verb(port.observed), " ", more, " more ", more == 1 ? "connect" : "connects",
                     " to port ", core::ToString(port.key), OfService(port.service), ", since ",
                     absl::FormatTime("%H:%M", port.since, absl::UTCTimeZone()),
                     port.owner.empty() ? "" : ", for ", port.owner),
        fields);
}

}  // namespace npg::log
