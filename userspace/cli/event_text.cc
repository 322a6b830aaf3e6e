// SPDX-License-Identifier: Apache-2.0
#include "cli/event_text.h"

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>

#include "abi/entries.h"
#include "abi/names.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "base/printable.h"
#include "cli/output.h"
#include "core/listener.h"
#include "core/port.h"
#include "core/workload.h"
#include "inspect/json.h"
#include "inspect/protection.h"
#include "inspect/text.h"

namespace npg::cli {
namespace {

using Json = nlohmann::ordered_json;

std::string Action(const abi::Event& event) { return event.observed ? "observed" : "exempted"; }

// "containerd[812] (containerd.service)".
std::string Process(absl::string_view comm, uint32_t pid, const std::string& cgroup) {
  const core::Workload workload = core::ParseCgroupPath(cgroup);
  return absl::StrCat(core::ProcessText(base::Printable(comm), pid), workload.empty() ? "" : " (",
                      base::Printable(core::ToString(workload)), workload.empty() ? "" : ")");
}

std::string TimeText(absl::Time time) {
  return absl::FormatTime("%H:%M:%E3S", time, absl::UTCTimeZone());
}

std::string TimeValue(absl::Time time) {
  return absl::FormatTime("%Y-%m-%dT%H:%M:%E6SZ", time, absl::UTCTimeZone());
}

// "  default/web"; empty when the port has no entry or no name.
std::string ServiceText(const std::optional<abi::NodePort>& nodeport) {
  if (!nodeport || nodeport->service.empty()) return "";
  return absl::StrCat("  ", base::Printable(nodeport->service));
}

Json ServiceValue(const std::optional<abi::NodePort>& nodeport) {
  return nodeport && !nodeport->service.empty() ? Json(nodeport->service) : Json(nullptr);
}

Json ProcessValue(uint32_t pid, uint32_t uid, const std::string& comm, uint64_t cgroup_id,
                  const std::string& cgroup) {
  Json process = {{"pid", pid},
                  {"uid", uid},
                  {"comm", comm},
                  {"cgroup_id", cgroup_id},
                  {"cgroup", inspect::TextOrNull(cgroup)}};
  inspect::AddWorkload(core::ParseCgroupPath(cgroup), process);
  return process;
}

}  // namespace

std::string EventText(const EventFacts& facts) {
  const abi::Event& event = facts.event;
  std::string line = absl::StrFormat(
      "%s  %-9s  %s  %s -> %s", TimeText(facts.time), core::ToString(event.port), Action(event),
      Process(event.comm, event.pid, facts.client_cgroup), core::AddressText(event.address));
  const std::string bound = core::AddressText(event.listener_address);
  const core::Binder& owner = event.owner;
  if (owner.pid != 0) {
    absl::StrAppend(&line, "  ",
                    Process(owner.comm, static_cast<uint32_t>(owner.pid), facts.listener_cgroup),
                    " on ", bound);
  } else {
    absl::StrAppend(&line, "  listener on ", bound);
  }
  return absl::StrCat(line, ServiceText(facts.nodeport));
}

std::string EventText(const BindEventFacts& facts) {
  const abi::BindEvent& event = facts.event;
  const bool refused = event.outcome == abi::BindOutcome::kRefused;
  const std::string error = inspect::RefusalErrnoText(event.error);
  return absl::StrCat(absl::StrFormat("%s  %-9s  bind %s  %s uid %d on %s", TimeText(facts.time),
                                      core::ToString(event.port), refused ? "refused" : "reported",
                                      Process(event.comm, event.pid, facts.cgroup), event.uid,
                                      core::AddressText(event.address)),
                      error.empty() ? "" : "  ", error, ServiceText(facts.nodeport));
}

std::string EventJson(const EventFacts& facts) {
  const abi::Event& event = facts.event;
  Json json;
  json["time"] = TimeValue(facts.time);
  json["action"] = Action(event);
  json["port"] = event.port.port;
  json["protocol"] = std::string(core::ProtocolName(event.port.protocol));
  json["address"] = inspect::AddressValue(event.address);
  json["client"] =
      ProcessValue(event.pid, event.uid, event.comm, event.cgroup_id, facts.client_cgroup);
  Json listener;
  listener["address"] = inspect::AddressValue(event.listener_address);
  if (event.owner.pid != 0) {
    listener["pid"] = event.owner.pid;
    listener["uid"] = event.owner.uid;
    listener["comm"] = event.owner.comm;
  } else {
    listener["pid"] = nullptr;
    listener["uid"] = nullptr;
    listener["comm"] = nullptr;
  }
  listener["cgroup"] = inspect::TextOrNull(facts.listener_cgroup);
  inspect::AddWorkload(core::ParseCgroupPath(facts.listener_cgroup), listener);
  json["listener"] = std::move(listener);
  json["service"] = ServiceValue(facts.nodeport);
  return ToJsonLine(json);
}

std::string EventJson(const BindEventFacts& facts) {
  const abi::BindEvent& event = facts.event;
  Json json;
  json["time"] = TimeValue(facts.time);
  json["action"] = absl::StrCat("bind_", abi::Name(event.outcome));
  json["port"] = event.port.port;
  json["protocol"] = std::string(core::ProtocolName(event.port.protocol));
  json["address"] = inspect::AddressValue(event.address);
  json["process"] = ProcessValue(event.pid, event.uid, event.comm, event.cgroup_id, facts.cgroup);
  json["error"] = inspect::TextOrNull(inspect::RefusalErrnoText(event.error));
  json["service"] = ServiceValue(facts.nodeport);
  return ToJsonLine(json);
}

}  // namespace npg::cli
