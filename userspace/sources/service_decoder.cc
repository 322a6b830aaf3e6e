// SPDX-License-Identifier: Apache-2.0
#include "sources/service_decoder.h"

#include <simdjson.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "base/errno_status.h"
#include "core/port.h"
#include "core/service_name.h"
#include "kubernetes/json_value.h"
#include "sources/service_bind_facts.h"
#include "sources/skipped_lines.h"

namespace npg::sources {
namespace {

using simdjson::ondemand::value;

// The members of a Service. Texts live as long as the document.
struct Parts {
  absl::string_view api_version, kind;
  absl::string_view name_space = "default";
  absl::string_view name, resource_version;
  bool has_spec = false;
  absl::string_view type;
  std::vector<core::PortKey> ports;
  uint16_t health_check_port = 0;
  ServiceBindFacts facts;
  // The errors in the spec, to be printed after the Service's name, which may come
  // last. Bounded, because a hostile object may have a million.
  std::vector<std::string> wrong;
  size_t more_wrong = 0;

  void Wrong(std::string line) {
    if (wrong.size() < SkippedLines::kNamed) {
      wrong.push_back(core::OneLine(std::move(line)));
    } else {
      ++more_wrong;
    }
  }
};

// One entry of spec.ports.
struct PortEntry {
  absl::string_view name, number;
  absl::StatusOr<uint16_t> node_port = 0;  // 0: not allocated
  absl::StatusOr<core::Protocol> protocol = core::Protocol::kTcp;
  bool sctp = false;  // in place of `protocol`
  TargetPort target;
};

// The error of `status` as a line that begins with `subject`.
absl::Status OfService(absl::string_view subject, const absl::Status& status) {
  return absl::InvalidArgumentError(absl::StrCat(subject, " ", status.message()));
}

// Reads a member that holds a port or 0. `port` has an error of the value, the status one
// of the JSON.
absl::Status ReadPort(value member, absl::string_view name, absl::StatusOr<uint16_t>& port) {
  const absl::string_view number = kubernetes::NumberText(member);
  if (number.empty()) {
    const absl::StatusOr<std::string> what = kubernetes::Describe(member);
    if (!what.ok()) return what.status();
    port = absl::InvalidArgumentError(absl::StrCat(name, " ", *what, " is not a number"));
    return absl::OkStatus();
  }
  int64_t parsed = 0;
  port = absl::SimpleAtoi(number, &parsed) && parsed == 0 ? uint16_t{0}
                                                          : kubernetes::ParsePortNumber(number);
  if (!port.ok()) port = OfService(name, port.status());
  return absl::OkStatus();
}

absl::Status ReadProtocol(value member, absl::StatusOr<core::Protocol>& protocol, bool& sctp) {
  absl::string_view text;
  NPG_RETURN_IF_ERROR(kubernetes::ReadText(member, text));
  sctp = absl::EqualsIgnoreCase(text, "SCTP");
  if (sctp) return absl::OkStatus();
  if (text.data() != nullptr) {
    protocol = core::ParseProtocol(text);
    return absl::OkStatus();
  }
  const absl::StatusOr<std::string> what = kubernetes::Describe(member);
  if (!what.ok()) return what.status();
  protocol = absl::InvalidArgumentError(absl::StrCat("protocol is ", *what));
  return absl::OkStatus();
}

absl::Status ReadNumber(value member, absl::string_view& number) {
  number = kubernetes::NumberText(member);
  return absl::OkStatus();
}

// "port http", or the port number of a port without a name, or its place.
std::string PortLabel(const PortEntry& entry, size_t index) {
  if (!entry.name.empty()) return absl::StrCat("port ", core::Printable(entry.name));
  if (!entry.number.empty()) return absl::StrCat("port ", core::Printable(entry.number));
  return absl::StrCat("ports[", index, "]");
}

absl::Status ReadPortEntry(value element, size_t index, Parts& parts) {
  if (!kubernetes::IsObject(element)) {
    const absl::StatusOr<std::string> what = kubernetes::Describe(element);
    if (!what.ok()) return what.status();
    parts.Wrong(absl::StrCat(" ports[", index, "]: ", *what, " is no port"));
    return absl::OkStatus();
  }
  PortEntry entry;
  NPG_RETURN_IF_ERROR(kubernetes::WalkObject(
      element,
      {{"name", [&](value member) { return kubernetes::ReadText(member, entry.name); }},
       {"port", [&](value member) { return ReadNumber(member, entry.number); }},
       {"targetPort", [&](value member) { return entry.target.Read(member); }},
       {"nodePort", [&](value member) { return ReadPort(member, "nodePort", entry.node_port); }},
       {"protocol",
        [&](value member) { return ReadProtocol(member, entry.protocol, entry.sctp); }}}));
  if (entry.protocol.ok() && !entry.sctp) {
    const uint16_t node_port = entry.node_port.ok() ? *entry.node_port : uint16_t{0};
    parts.facts.AddPort({node_port, *entry.protocol}, entry.target, entry.number);
  }
  if (entry.node_port.ok() && (*entry.node_port == 0 || entry.sctp)) return absl::OkStatus();
  const absl::Status& status =
      entry.node_port.ok() ? entry.protocol.status() : entry.node_port.status();
  if (status.ok()) {
    parts.ports.push_back({*entry.node_port, *entry.protocol});
  } else {
    parts.Wrong(absl::StrCat(" ", PortLabel(entry, index), ": ", status.message()));
  }
  return absl::OkStatus();
}

absl::Status ReadPorts(value member, Parts& parts) {
  simdjson::ondemand::array ports;
  const auto error = member.get_array().get(ports);
  if (error == simdjson::INCORRECT_TYPE) {
    const absl::StatusOr<std::string> what = kubernetes::Describe(member);
    if (!what.ok()) return what.status();
    parts.Wrong(absl::StrCat(": spec.ports is ", *what, ", not a list"));
    return absl::OkStatus();
  }
  if (error != simdjson::SUCCESS) return kubernetes::JsonError(error);
  size_t index = 0;
  for (simdjson::simdjson_result<value> element : ports) {
    value port;
    if (const auto wrong = element.get(port); wrong) return kubernetes::JsonError(wrong);
    NPG_RETURN_IF_ERROR(ReadPortEntry(port, index++, parts));
  }
  return absl::OkStatus();
}

absl::Status ReadHealthCheckPort(value member, Parts& parts) {
  absl::StatusOr<uint16_t> port = 0;
  NPG_RETURN_IF_ERROR(ReadPort(member, "healthCheckNodePort", port));
  if (port.ok()) {
    parts.health_check_port = *port;
  } else {
    parts.Wrong(absl::StrCat(": ", port.status().message()));
  }
  return absl::OkStatus();
}

absl::Status ReadSpec(value member, Parts& parts) {
  parts.has_spec = kubernetes::IsObject(member);
  return kubernetes::WalkObject(
      member,
      {{"type", [&](value type) { return kubernetes::ReadText(type, parts.type); }},
       {"ports", [&](value ports) { return ReadPorts(ports, parts); }},
       {"selector", [&](value selector) { return parts.facts.ReadSelector(selector); }},
       {"ipFamilies", [&](value families) { return parts.facts.ReadIpFamilies(families); }},
       {"healthCheckNodePort", [&](value port) { return ReadHealthCheckPort(port, parts); }}});
}

absl::Status ReadNamespace(value member, absl::string_view& name_space) {
  name_space = "";  // one that is there and no text is not "default"
  return kubernetes::ReadText(member, name_space);
}

absl::Status ReadMetadata(value member, Parts& parts) {
  return kubernetes::WalkObject(
      member, {{"name", [&](value name) { return kubernetes::ReadText(name, parts.name); }},
               {"namespace", [&](value name) { return ReadNamespace(name, parts.name_space); }},
               {"resourceVersion", [&](value version) {
                  return kubernetes::ReadText(version, parts.resource_version);
                }}});
}

absl::Status ReadService(value object, Parts& parts) {
  return kubernetes::WalkObject(
      object,
      {{"apiVersion", [&](value text) { return kubernetes::ReadText(text, parts.api_version); }},
       {"kind", [&](value text) { return kubernetes::ReadText(text, parts.kind); }},
       {"metadata", [&](value metadata) { return ReadMetadata(metadata, parts); }},
       {"spec", [&](value spec) { return ReadSpec(spec, parts); }}});
}

void AddSpec(Parts parts, ServicePorts& result) {
  if (!parts.has_spec) {
    result.skipped.push_back(absl::StrCat(result.service, ": no spec"));
    return;
  }
  if (parts.type != "NodePort" && parts.type != "LoadBalancer") return;
  result.ports = std::move(parts.ports);
  result.health_check_port = parts.health_check_port;
  result.families = parts.facts.Families();
  if (result.families != 0) result.shared = std::move(parts.facts).Shared(result.ports);
  for (const std::string& line : parts.wrong) {
    result.skipped.push_back(absl::StrCat(result.service, line));
  }
  if (parts.more_wrong > 0) {
    result.skipped.push_back(absl::StrCat(result.service, ": and ", parts.more_wrong, " more"));
  }
}

ServicePorts Assemble(Parts parts) {
  ServicePorts result;
  result.resource_version = std::string(parts.resource_version);
  if (parts.kind != "Service" || (!parts.api_version.empty() && parts.api_version != "v1")) {
    result.is_service = false;
    result.skipped.push_back(absl::StrCat("an object of kind \"", core::Printable(parts.kind),
                                          "\", apiVersion \"", core::Printable(parts.api_version),
                                          "\", is not a Service"));
    return result;
  }
  std::string full_name = absl::StrCat(parts.name_space, "/", parts.name);
  if (parts.name.empty()) {
    result.skipped.emplace_back("Service without metadata.name");
  } else if (!core::IsServiceName(full_name)) {
    result.skipped.push_back(
        absl::StrCat("\"", core::Printable(full_name), "\" is not the name of a Service"));
  } else {
    result.service = std::move(full_name);
    AddSpec(std::move(parts), result);
  }
  return result;
}

}  // namespace

absl::StatusOr<ServicePorts> DecodeService(value service, absl::string_view default_kind) {
  if (!kubernetes::IsObject(service)) {
    const absl::StatusOr<std::string> what = kubernetes::Describe(service);
    if (!what.ok()) return what.status();
    ServicePorts result;
    result.skipped.push_back(absl::StrCat(*what, " is not a Service"));
    return result;
  }
  Parts parts;
  NPG_RETURN_IF_ERROR(ReadService(service, parts));
  if (parts.kind.empty()) parts.kind = default_kind;
  return Assemble(std::move(parts));
}

}  // namespace npg::sources
