// SPDX-License-Identifier: Apache-2.0
#include "log/bind_log.h"

#include <spdlog/common.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <string>
#include <vector>

#include "abi/entries.h"
#include "abi/names.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "core/listener.h"
#include "core/port.h"
#include "core/service_name.h"
#include "core/workload.h"
#include "log/fields.h"

namespace npg::log {
namespace {

// The name of an errno with which a bind() can be refused.
std::string ErrnoName(int error) {
  switch (error) {
    case EADDRINUSE:
      return "EADDRINUSE";
    case EPERM:
      return "EPERM";
    default:
      return absl::StrCat("errno ", error);
  }
}

// "uid 1000, containerd.service".
std::string BinderText(const ProtectedBind& bind) {
  std::vector<std::string> parts = {absl::StrCat("uid ", bind.event.uid)};
  std::string workload = core::ToString(bind.workload);
  if (!workload.empty()) parts.push_back(std::move(workload));
  return absl::StrJoin(parts, ", ");
}

// ", the NodePort 30080/tcp of default/web".
std::string NodePortText(const ProtectedBind& bind) {
  const std::string port = core::ToString(bind.event.port);
  if (bind.service.empty()) return absl::StrCat(", the NodePort ", port);
  // Where no Service is known, the rules that take the port.
  return absl::StrCat(", the NodePort ", port,
                      core::IsServiceName(bind.service) ? " of " : ", taken by ", bind.service);
}

Fields FieldsOf(const ProtectedBind& bind, bool refused) {
  const abi::BindEvent& event = bind.event;
  Fields fields;
  fields.Add("event", refused ? "bind_refused" : "bind_warned")
      .Add("port", event.port.port)
      .Add("protocol", core::ProtocolName(event.port.protocol));
  if (!bind.service.empty()) fields.Add("service", bind.service);
  fields.Add("address", core::AddressText(event.address))
      .Add("pid", event.pid)
      .Add("comm", event.comm)
      .Add("uid", event.uid);
  if (refused) fields.Add("error", ErrnoName(event.error));
  if (!bind.executable.empty()) fields.Add("executable", bind.executable);
  const std::string workload = core::ToString(bind.workload);
  if (!workload.empty()) fields.Add("workload", workload);
  return fields;
}

}  // namespace

void BindLog::Note(const ProtectedBind& bind, absl::Time now) {
  const abi::BindEvent& event = bind.event;
  const std::string key = absl::StrCat(core::ToString(event.port), " ", event.uid, " ", event.comm);
  const auto known = known_.find(key);
  if (known != known_.end() && now < known->second.quiet_until) {
    ++known->second.unlogged;
    return;
  }
  if (!Allowed(now) || (known == known_.end() && !HasRoom(now))) {
    ++suppressed_;
    return;
  }
  ++lines_;
  Known& entry = known_[key];
  LogLine(bind, entry.unlogged);
  entry = {now + kSilence, 0};
}

bool BindLog::Allowed(absl::Time now) {
  if (now - window_ >= kSilence) {
    if (suppressed_ > 0) {
      sink_(spdlog::level::warn,
            absl::StrCat(suppressed_, " further binds of NodePorts were not logged (rate limit); ",
                         "'nodeport-guard status' shows the ports"),
            Fields().Add("event", "binds_unsaid").Add("count", suppressed_));
    }
    window_ = now;
    lines_ = 0;
    suppressed_ = 0;
  }
  return lines_ < kMaxLines;
}

bool BindLog::HasRoom(absl::Time now) {
  if (known_.size() < kMaxKnown) return true;
  absl::erase_if(known_, [now](const auto& known) { return known.second.quiet_until <= now; });
  return known_.size() < kMaxKnown;
}

void BindLog::LogLine(const ProtectedBind& bind, uint64_t unlogged) {
  const abi::BindEvent& event = bind.event;
  const bool refused = event.outcome == abi::BindOutcome::kRefused;
  const std::string address = absl::StrCat(core::AddressText(event.address), ":", event.port.port);
  Fields fields = FieldsOf(bind, refused);
  if (unlogged > 0) fields.Add("repeated", unlogged);
  sink_(spdlog::level::warn,
        absl::StrCat(
            core::ProcessText(event.comm, event.pid), " (", BinderText(bind), ") ",
            refused ? "was refused " : "bound ", address,
            refused ? absl::StrCat(" (", ErrnoName(event.error), ")") : "", NodePortText(bind),
            unlogged > 0 ? absl::StrCat("; ", unlogged, " more times since the last line") : ""),
        fields);
}

}  // namespace npg::log
