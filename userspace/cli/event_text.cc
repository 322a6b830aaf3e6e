// SPDX-License-Identifier: Apache-2.0
#include "cli/event_text.h"

#include <array>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>

#include "abi/guard_abi_text.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "base/printable.h"
#include "cli/guard_text.h"
#include "cli/output.h"
#include "core/listener.h"
#include "core/port.h"
#include "core/workload.h"
#include "guard_abi.h"

namespace npg::cli {
namespace {

using Json = nlohmann::ordered_json;

core::PortKey KeyOf(const npg_event& event) {
  return {event.port, static_cast<core::Protocol>(event.protocol)};
}

std::string Action(const npg_event& event) { return event.observed != 0 ? "observed" : "exempted"; }

// "containerd[812] (containerd.service)".
std::string Process(absl::string_view comm, uint32_t pid, const std::string& cgroup) {
  const core::Workload workload = core::ParseCgroupPath(cgroup);
  return absl::StrCat(base::Printable(comm), "[", pid, "]", workload.empty() ? "" : " (",
                      base::Printable(core::ToString(workload)), workload.empty() ? "" : ")");
}

}  // namespace

std::string EventText(const EventFacts& facts) {
  const npg_event& event = facts.event;
  std::string line = absl::StrFormat(
      "%s  %-9s  %s  %s -> %s", absl::FormatTime("%H:%M:%E3S", facts.time, absl::UTCTimeZone()),
      core::ToString(KeyOf(event)), Action(event),
      Process(abi::FieldText(event.comm), event.pid, facts.client_cgroup),
      core::AddressText(std::to_array(event.address)));
  const std::string bound = core::AddressText(std::to_array(event.listener_address));
  if (facts.listener && facts.listener->pid != 0) {
    absl::StrAppend(
        &line, "  ",
        Process(abi::FieldText(facts.listener->comm), facts.listener->pid, facts.listener_cgroup),
        " on ", bound);
  } else {
    absl::StrAppend(&line, "  listener on ", bound);
  }
  if (facts.nodeport && facts.nodeport->service[0] != '\0') {
    absl::StrAppend(&line, "  ", base::Printable(abi::FieldText(facts.nodeport->service)));
  }
  return line;
}

std::string EventJson(const EventFacts& facts) {
  const npg_event& event = facts.event;
  Json json;
  json["time"] = absl::FormatTime("%Y-%m-%dT%H:%M:%E6SZ", facts.time, absl::UTCTimeZone());
  json["action"] = Action(event);
  json["port"] = event.port;
  json["protocol"] = std::string(core::ProtocolName(KeyOf(event).protocol));
  json["address"] = AddressValue(std::to_array(event.address));
  json["client"] = {{"pid", event.pid},
                    {"uid", event.uid},
                    {"comm", std::string(abi::FieldText(event.comm))},
                    {"cgroup_id", event.cgroup_id},
                    {"cgroup", TextOrNull(facts.client_cgroup)}};
  AddWorkload(core::ParseCgroupPath(facts.client_cgroup), json["client"]);
  Json listener;
  listener["address"] = AddressValue(std::to_array(event.listener_address));
  if (facts.listener && facts.listener->pid != 0) {
    listener["pid"] = facts.listener->pid;
    listener["uid"] = facts.listener->uid;
    listener["comm"] = std::string(abi::FieldText(facts.listener->comm));
  } else {
    listener["pid"] = nullptr;
    listener["uid"] = nullptr;
    listener["comm"] = nullptr;
  }
  listener["cgroup"] = TextOrNull(facts.listener_cgroup);
  AddWorkload(core::ParseCgroupPath(facts.listener_cgroup), listener);
  json["listener"] = std::move(listener);
  const bool named = facts.nodeport && facts.nodeport->service[0] != '\0';
  json["service"] =
      named ? Json(std::string(abi::FieldText(facts.nodeport->service))) : Json(nullptr);
  return ToJsonLine(json);
}

}  // namespace npg::cli
