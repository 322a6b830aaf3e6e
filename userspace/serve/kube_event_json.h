// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_SERVE_KUBE_EVENT_JSON_H_
#define NODEPORT_GUARD_SERVE_KUBE_EVENT_JSON_H_

#include <cstddef>
#include <nlohmann/json.hpp>
#include <string>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"

// What the Events of events.k8s.io/v1 have in common.

namespace npg::serve {

// Their limits, in bytes.
inline constexpr size_t kMaxKubeEventNote = 1024;
inline constexpr size_t kMaxKubeEventInstance = 128;

// The members reportingController, reportingInstance, type, eventTime and note, cut to the limits,
// and those that name the kind. `node` is that of the reporter.
nlohmann::ordered_json KubeEventOf(absl::string_view node, absl::Time now, std::string note);

// reportingInstance of an Event of this node.
std::string ReportingInstance(absl::string_view node);

std::string MicroTime(absl::Time time);

// Replaces invalid UTF-8 in names.
std::string DumpKubeEvent(const nlohmann::ordered_json& json);

// The path of the Events of a namespace.
std::string KubeEventsPath(absl::string_view ns);

}  // namespace npg::serve

#endif  // NODEPORT_GUARD_SERVE_KUBE_EVENT_JSON_H_
