// SPDX-License-Identifier: Apache-2.0
#include "serve/kube_event_json.h"

#include <cstddef>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace npg::serve {
namespace {

// Of the form "example.org/name", as the API server requires.
constexpr absl::string_view kController = "nodeport-guard.io/controller";

// Truncates between two characters: a partial one would be replaced by a longer one.
std::string CutText(std::string text, size_t most) {
  if (text.size() <= most) return text;
  while (most > 0 && (static_cast<unsigned char>(text[most]) & 0xc0) == 0x80) --most;
  text.resize(most);
  return text;
}

}  // namespace

nlohmann::ordered_json KubeEventOf(absl::string_view node, absl::Time now, std::string note) {
  nlohmann::ordered_json json;
  json["apiVersion"] = "events.k8s.io/v1";
  json["kind"] = "Event";
  json["eventTime"] = MicroTime(now);
  json["reportingController"] = std::string(kController);
  json["reportingInstance"] = ReportingInstance(node);
  json["type"] = "Warning";
  json["note"] = CutText(std::move(note), kMaxKubeEventNote);
  return json;
}

std::string ReportingInstance(absl::string_view node) {
  return std::string(node.substr(0, kMaxKubeEventInstance));
}

std::string MicroTime(absl::Time time) {
  return absl::FormatTime("%Y-%m-%dT%H:%M:%E6SZ", time, absl::UTCTimeZone());
}

std::string DumpKubeEvent(const nlohmann::ordered_json& json) {
  return json.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
}

std::string KubeEventsPath(absl::string_view ns) {
  return absl::StrCat("/apis/events.k8s.io/v1/namespaces/", ns, "/events");
}

}  // namespace npg::serve
