// SPDX-License-Identifier: Apache-2.0
#include "testing/api_events.h"

#include <cstddef>
#include <nlohmann/json.hpp>
#include <regex>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "testing/api_request.h"
#include "testing/api_status.h"

namespace npg::testing {
namespace {

using Json = nlohmann::json;

std::string Text(const Json& object, const std::string& name) {
  return object.is_object() && object.contains(name) && object[name].is_string()
             ? object[name].get<std::string>()
             : "";
}

// metav1.MicroTime, in the form that Go's decoder accepts.
bool IsMicroTime(const std::string& text) {
  static const std::regex kPattern(R"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}(Z|[+-]\d\d:\d\d))");
  return std::regex_match(text, kPattern);
}

bool IsName(const std::string& text) {
  static const std::regex kPattern(R"([a-z0-9]([-a-z0-9.]*[a-z0-9])?)");
  return text.size() <= 253 && std::regex_match(text, kPattern);
}

bool IsQualifiedName(const std::string& text) {
  static const std::regex kPattern(
      R"(([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)");
  return std::regex_match(text, kPattern);
}

void CheckText(const Json& event, const std::string& field, size_t most,
               std::vector<std::string>& errors) {
  const std::string text = Text(event, field);
  if (text.empty()) errors.push_back(field + ": Required value");
  if (text.size() > most) {
    errors.push_back(
        absl::StrCat(field, ": Invalid value: \"\": can have at most ", most, " characters"));
  }
}

void CheckSeries(const Json& event, std::vector<std::string>& errors) {
  if (!event.contains("series") || event["series"].is_null()) return;
  const Json& series = event["series"];
  if (!series.is_object() || !series.contains("count") || !series["count"].is_number_integer() ||
      series["count"].get<int>() < 2) {
    errors.emplace_back("series.count: Invalid value: \"\": should be at least 2");
  }
  if (!IsMicroTime(Text(series, "lastObservedTime"))) {
    errors.emplace_back("series.lastObservedTime: Required value");
  }
}

std::vector<std::string> Errors(const Json& event, const std::string& ns) {
  constexpr size_t kMaxText = 128;
  constexpr size_t kMaxNote = 1024;
  std::vector<std::string> errors;
  if (!IsName(Text(event["metadata"], "name"))) errors.emplace_back("metadata.name: Invalid value");
  if (Text(event, "eventTime").empty()) errors.emplace_back("eventTime: Required value");
  CheckText(event, "reportingController", kMaxText, errors);
  if (!IsQualifiedName(Text(event, "reportingController"))) {
    errors.emplace_back("reportingController: Invalid value");
  }
  CheckText(event, "reportingInstance", kMaxText, errors);
  CheckText(event, "action", kMaxText, errors);
  CheckText(event, "reason", kMaxText, errors);
  if (Text(event, "note").size() > kMaxNote) {
    errors.emplace_back("message: Invalid value: \"\": can have at most 1024 characters");
  }
  const std::string type = Text(event, "type");
  if (type != "Normal" && type != "Warning") errors.emplace_back("type: Invalid value");
  const Json regarding = event.value("regarding", Json::object());
  // An object without a namespace has its Events in "default".
  const std::string object_ns = Text(regarding, "namespace");
  if (object_ns != ns && !(object_ns.empty() && ns == "default")) {
    errors.emplace_back("involvedObject.namespace: Invalid value: does not match event.namespace");
  }
  for (const char* old : {"deprecatedCount", "deprecatedFirstTimestamp", "deprecatedLastTimestamp",
                          "deprecatedSource"}) {
    if (event.contains(old)) errors.push_back(absl::StrCat(old, ": needs to be unset"));
  }
  CheckSeries(event, errors);
  return errors;
}

ApiAnswer Invalid(const std::string& name, const std::vector<std::string>& errors) {
  return StatusAnswer(422, "Invalid",
                      absl::StrCat("Event.events.k8s.io ", JsonQuote(name),
                                   " is invalid: ", absl::StrJoin(errors, ", ")));
}

// "", "apis", "events.k8s.io", "v1", "namespaces", NAMESPACE, "events" and NAME.
std::vector<std::string> Parts(const ApiRequest& request) {
  return absl::StrSplit(request.path, '/');
}

constexpr size_t kNamespace = 5;
constexpr size_t kName = 7;

ApiAnswer Done(int code, const std::string& body) {
  ApiAnswer answer;
  answer.code = code;
  answer.body = body;
  return answer;
}

}  // namespace

ApiAnswer ForbiddenEvents(absl::string_view verb, absl::string_view ns) {
  return StatusAnswer(
      403, "Forbidden",
      absl::StrCat("events.events.k8s.io is forbidden: User \"system:serviceaccount:x:y\" cannot ",
                   verb, " resource \"events\" in API group \"events.k8s.io\" in the namespace ",
                   JsonQuote(ns)),
      R"({"group":"events.k8s.io","kind":"events"})");
}

ApiAnswer ApiEvents::Handle(const ApiRequest& request) {
  const bool named = Parts(request).size() > kName;
  if (request.method == "POST" && !named) return Create(request);
  if (request.method == "PATCH" && named) return Patch(request);
  return MethodNotAllowed();
}

ApiAnswer ApiEvents::Create(const ApiRequest& request) {
  if (request.Header("content-type") != "application/json") {
    return StatusAnswer(415, "UnsupportedMediaType",
                        "the body of the request was in an unknown "
                        "format");
  }
  const Json event = Json::parse(request.body, nullptr, /*allow_exceptions=*/false);
  if (!event.is_object() || !event.value("metadata", Json()).is_object()) {
    return BadRequest("the object provided is unrecognized");
  }
  const std::string time = Text(event, "eventTime");
  if (!time.empty() && !IsMicroTime(time)) {
    return BadRequest(absl::StrCat("parsing time ", JsonQuote(time), " as RFC3339 with micros"));
  }
  const std::string ns = Parts(request)[kNamespace];
  const std::string name = Text(event["metadata"], "name");
  if (Text(event, "apiVersion") != "events.k8s.io/v1" || Text(event, "kind") != "Event") {
    return BadRequest("the API version in the data does not match the expected API version");
  }
  if (Text(event["metadata"], "namespace") != ns) {
    return BadRequest(
        "the namespace of the provided object does not match the namespace sent on "
        "the request");
  }
  if (const auto errors = Errors(event, ns); !errors.empty()) return Invalid(name, errors);
  const auto [it, fresh] = events_.try_emplace(absl::StrCat(ns, "/", name), event.dump());
  if (!fresh) {
    return StatusAnswer(409, "AlreadyExists",
                        absl::StrCat("events.events.k8s.io ", JsonQuote(name), " already exists"));
  }
  return Done(201, it->second);
}

ApiAnswer ApiEvents::Patch(const ApiRequest& request) {
  const std::string ns = Parts(request)[kNamespace];
  const std::string name = Parts(request)[kName];
  const auto it = events_.find(absl::StrCat(ns, "/", name));
  if (it == events_.end()) {
    return StatusAnswer(404, "NotFound",
                        absl::StrCat("events.events.k8s.io ", JsonQuote(name), " not found"));
  }
  if (request.Header("content-type") != "application/merge-patch+json") {
    return StatusAnswer(415, "UnsupportedMediaType",
                        "the body of the request was in an unknown "
                        "format");
  }
  const Json patch = Json::parse(request.body, nullptr, /*allow_exceptions=*/false);
  if (!patch.is_object()) return BadRequest("no patch");
  const Json old = Json::parse(it->second);
  Json event = old;
  event.merge_patch(patch);
  std::vector<std::string> errors = Errors(event, ns);
  for (const char* field : {"eventTime", "reportingController", "reportingInstance", "action",
                            "reason", "regarding", "related", "note", "type"}) {
    if (event.value(field, Json()) != old.value(field, Json())) {
      errors.push_back(absl::StrCat(field, ": field is immutable"));
    }
  }
  if (!errors.empty()) return Invalid(name, errors);
  it->second = event.dump();
  return Done(200, it->second);
}

std::vector<std::string> ApiEvents::All() const {
  std::vector<std::string> all;
  for (const auto& [key, json] : events_) all.push_back(json);
  return all;
}

}  // namespace npg::testing
