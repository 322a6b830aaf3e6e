// SPDX-License-Identifier: Apache-2.0
#include "cli/event_text.h"

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>

#include "abi/entries.h"
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

}  // namespace

std::string EventText(const EventFacts& facts) {
  const abi::Event& event = facts.event;
  std::string line = absl::StrFormat(
      "%s  %-9s  %s  %s -> %s", absl::FormatTime("%H:%M:%E3S", facts.time, absl::UTCTimeZone()),
      core::ToString(event.port), Action(event),
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
  if (facts.nodeport && !facts.nodeport->service.empty()) {
    absl::StrAppend(&line, "  ", base::Printable(facts.nodeport->service));
  }
  return line;
}

std::string EventJson(const EventFacts& facts) {
  const abi::Event& event = facts.event;
  Json json;
  json["time"] = absl::FormatTime("%Y-%m-%dT%H:%M:%E6SZ", facts.time, absl::UTCTimeZone());
  json["action"] = Action(event);
  json["port"] = event.port.port;
  json["protocol"] = std::string(core::ProtocolName(event.port.protocol));
  json["address"] = inspect::AddressValue(event.address);
  json["client"] = {{"pid", event.pid},
                    {"uid", event.uid},
                    {"comm", event.comm},
                    {"cgroup_id", event.cgroup_id},
                    {"cgroup", inspect::TextOrNull(facts.client_cgroup)}};
  inspect::AddWorkload(core::ParseCgroupPath(facts.client_cgroup), json["client"]);
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
  const bool named = facts.nodeport && !facts.nodeport->service.empty();
  json["service"] = named ? Json(facts.nodeport->service) : Json(nullptr);
  return ToJsonLine(json);
}

}  // namespace npg::cli
