// SPDX-License-Identifier: Apache-2.0
#include "testing/api_object.h"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/string_view.h"
#include "testing/json_spans.h"

namespace npg::testing {
namespace {

std::string PortJson(const ServicePort& port) {
  std::string json = "{";
  if (!port.name.empty()) absl::StrAppend(&json, R"("name":")", port.name, R"(",)");
  absl::StrAppend(&json, R"("protocol":")", port.protocol, R"(","port":)", port.port,
                  R"(,"targetPort":)", port.target.empty() ? absl::StrCat(port.port) : port.target);
  if (port.node_port != 0) absl::StrAppend(&json, R"(,"nodePort":)", port.node_port);
  if (!port.extra.empty()) absl::StrAppend(&json, ",", port.extra);
  return absl::StrCat(json, "}");
}

std::string SelectorJson(const ServiceSpec& spec) {
  if (!spec.selector.empty()) return spec.selector;
  return absl::StrCat(R"({"app":")", spec.name, R"("})");
}

std::string PortsJson(const std::vector<ServicePort>& ports) {
  std::string json = R"("ports":[)";
  for (const ServicePort& port : ports) {
    absl::StrAppend(&json, json.back() == '[' ? "" : ",", PortJson(port));
  }
  return absl::StrCat(json, "],");
}

// The metadata around the hole for the resourceVersion.
struct Metadata {
  std::string before, after;
  std::optional<uint64_t> version;
};

Metadata SplitMetadata(absl::string_view metadata) {
  const absl::string_view value = JsonValue(metadata, "resourceVersion");
  if (value.data() == nullptr) {
    return {R"({"resourceVersion":")", absl::StrCat("\",", metadata.substr(1)), std::nullopt};
  }
  const auto at = static_cast<size_t>(value.data() - metadata.data());
  Metadata split{absl::StrCat(metadata.substr(0, at), "\""),
                 absl::StrCat("\"", metadata.substr(at + value.size())), std::nullopt};
  uint64_t version = 0;
  if (absl::SimpleAtoi(JsonString(value), &version)) split.version = version;
  return split;
}

}  // namespace

std::string ServiceJson(const ServiceSpec& spec, absl::string_view uid) {
  std::string json =
      absl::StrCat(R"({"kind":"Service","apiVersion":"v1","metadata":{"name":")", spec.name,
                   R"(","namespace":")", spec.ns, R"(","uid":")", uid,
                   R"(","creationTimestamp":"2026-11-23T08:52:20Z")",
                   spec.extra_metadata.empty() ? "" : ",", spec.extra_metadata, R"(},"spec":{)",
                   spec.ports.empty() ? "" : PortsJson(spec.ports), R"("selector":)",
                   SelectorJson(spec), R"(,"type":")", spec.type, R"(","sessionAffinity":"None")");
  if (spec.type == "NodePort" || spec.type == "LoadBalancer") {
    const absl::string_view policy = spec.health_check_node_port != 0 ? "Local" : "Cluster";
    absl::StrAppend(&json, R"(,"externalTrafficPolicy":")", policy, R"(")");
  }
  if (spec.health_check_node_port != 0) {
    absl::StrAppend(&json, R"(,"healthCheckNodePort":)", spec.health_check_node_port);
  }
  if (!spec.extra_spec.empty()) absl::StrAppend(&json, ",", spec.extra_spec);
  return absl::StrCat(json, R"(,"internalTrafficPolicy":"Cluster"},"status":{"loadBalancer":{}}})");
}

absl::StatusOr<ApiObject> ApiObject::Parse(absl::string_view json) {
  // A watch has an object per line. Line feeds in JSON are white space only.
  std::string one_line;
  if (json.find('\n') != absl::string_view::npos) {
    one_line = absl::StrReplaceAll(json, {{"\n", ""}, {"\r", ""}});
    json = one_line;
  }
  const auto members = JsonMembers(json);
  if (!members.has_value()) return absl::InvalidArgumentError("not a JSON object");
  ApiObject object;
  std::string* to = &object.before_;
  for (const JsonMember& member : *members) {
    if (member.key == "kind" || member.key == "apiVersion") continue;
    if (member.key == "spec")
      object.type_ = std::string(JsonString(JsonValue(member.value, "type")));
    if (!object.before_.empty()) *to += ',';
    if (member.key != "metadata" || !object.key_.empty()) {
      absl::StrAppend(to, member.whole);
      continue;
    }
    const absl::string_view ns = JsonString(JsonValue(member.value, "namespace"));
    const absl::string_view name = JsonString(JsonValue(member.value, "name"));
    if (ns.empty() || name.empty()) break;
    object.key_ = absl::StrCat(ns, "/", name);
    Metadata split = SplitMetadata(member.value);
    absl::StrAppend(&object.before_, "\"metadata\":", split.before);
    object.after_ = std::move(split.after);
    object.recorded_version_ = split.version;
    to = &object.after_;
  }
  if (object.key_.empty()) {
    return absl::InvalidArgumentError("an object without metadata.namespace or metadata.name");
  }
  object.after_ += '}';
  return object;
}

ApiObject ApiObject::Verbatim(absl::string_view ns, absl::string_view name,
                              absl::string_view text) {
  ApiObject object;
  object.key_ = absl::StrCat(ns, "/", name);
  object.type_ = std::string(JsonString(JsonValue(JsonValue(text, "spec"), "type")));
  object.verbatim_ = true;
  object.before_ = std::string(text);
  return object;
}

void ApiObject::AppendMembers(uint64_t resource_version, std::string& to) const {
  absl::StrAppend(&to, before_, resource_version, after_);
}

void ApiObject::AppendItem(uint64_t resource_version, std::string& to) const {
  if (verbatim_) {
    to += before_;
    return;
  }
  to += '{';
  AppendMembers(resource_version, to);
}

void ApiObject::AppendTyped(uint64_t resource_version, std::string& to) const {
  if (verbatim_) {
    to += before_;
    return;
  }
  to += R"({"kind":"Service","apiVersion":"v1",)";
  AppendMembers(resource_version, to);
}

}  // namespace npg::testing
