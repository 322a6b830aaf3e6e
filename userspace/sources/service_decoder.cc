// SPDX-License-Identifier: Apache-2.0
#include "sources/service_decoder.h"

#include <simdjson.h>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "core/port.h"
#include "sources/json_value.h"
#include "sources/service_name.h"
#include "sources/source.h"

namespace npg::sources {
namespace {

constexpr absl::string_view kDocuments =
    "expected a list of ports, or a Kubernetes Service, ServiceList or List";

// An object says what it is, except for the items of a ServiceList.
bool IsService(simdjson::dom::object object, absl::string_view default_kind) {
  const absl::string_view version = StringMember(object, "apiVersion");
  const absl::string_view kind = StringMember(object, "kind");
  return (kind.empty() ? default_kind : kind) == "Service" && (version.empty() || version == "v1");
}

// "http", or the port number of a port without a name, or its place.
std::string PortLabel(simdjson::dom::object port, size_t index) {
  const absl::string_view name = StringMember(port, "name");
  if (!name.empty()) return absl::StrCat("port ", Printable(name));
  const std::optional<simdjson::dom::element> number = Member(port, "port");
  if (number && number->is_number()) return absl::StrCat("port ", Describe(*number));
  return absl::StrCat("ports[", index, "]");
}

absl::StatusOr<core::Protocol> ProtocolMember(simdjson::dom::object object) {
  const std::optional<simdjson::dom::element> value = Member(object, "protocol");
  if (!value) return core::Protocol::kTcp;
  std::string_view text;
  if (value->get(text) != simdjson::SUCCESS) {
    return absl::InvalidArgumentError(absl::StrCat("protocol is ", Describe(*value)));
  }
  return core::ParseProtocol({text.data(), text.size()});
}

// The port that one entry of spec.ports has allocated, if any.
absl::StatusOr<std::optional<core::PortKey>> DecodeServicePort(simdjson::dom::object port) {
  const std::optional<simdjson::dom::element> value = Member(port, "nodePort");
  if (!value) return std::nullopt;
  int64_t number = 0;
  if (value->get(number) == simdjson::SUCCESS && number == 0) return std::nullopt;
  const absl::StatusOr<uint16_t> node_port = PortNumber(*value);
  if (!node_port.ok()) {
    return absl::InvalidArgumentError(absl::StrCat("nodePort ", node_port.status().message()));
  }
  const absl::StatusOr<core::Protocol> protocol = ProtocolMember(port);
  if (!protocol.ok()) return protocol.status();
  return core::PortKey{*node_port, *protocol};
}

void AddServicePorts(simdjson::dom::array ports, ServicePorts& result) {
  size_t index = 0;
  for (const simdjson::dom::element element : ports) {
    simdjson::dom::object port;
    if (element.get(port) != simdjson::SUCCESS) {
      result.skipped.push_back(
          absl::StrCat(result.service, " ports[", index, "]: ", Describe(element), " is no port"));
    } else if (const auto key = DecodeServicePort(port); !key.ok()) {
      result.skipped.push_back(OneLine(
          absl::StrCat(result.service, " ", PortLabel(port, index), ": ", key.status().message())));
    } else if (key->has_value()) {
      result.ports.push_back(**key);
    }
    ++index;
  }
}

// "30080", "30081/udp".
absl::StatusOr<core::PortKey> ParsePortText(absl::string_view text) {
  core::PortKey key;
  const size_t slash = text.find('/');
  const absl::StatusOr<uint16_t> port = core::ParsePort(text.substr(0, slash));
  if (!port.ok()) return port.status();
  key.port = *port;
  if (slash != absl::string_view::npos) {
    const absl::StatusOr<core::Protocol> protocol = core::ParseProtocol(text.substr(slash + 1));
    if (!protocol.ok()) return protocol.status();
    key.protocol = *protocol;
  }
  return key;
}

struct ListedPort {
  core::PortKey key;
  std::string service;
};

absl::StatusOr<ListedPort> DecodeListedObject(simdjson::dom::object item) {
  for (const simdjson::dom::key_value_pair member : item) {
    if (member.key != "port" && member.key != "protocol" && member.key != "service") {
      return absl::InvalidArgumentError(
          absl::StrCat("unknown key \"", Printable({member.key.data(), member.key.size()}),
                       "\" (known: port, protocol, service)"));
    }
  }
  ListedPort listed;
  const std::optional<simdjson::dom::element> port = Member(item, "port");
  if (!port) return absl::InvalidArgumentError("no \"port\"");
  absl::StatusOr<uint16_t> number;
  std::string_view text;
  if (port->get(text) == simdjson::SUCCESS) {
    number = core::ParsePort({text.data(), text.size()});
    if (!number.ok()) return number.status();
  } else {
    number = PortNumber(*port);
    if (!number.ok()) {
      return absl::InvalidArgumentError(absl::StrCat("port ", number.status().message()));
    }
  }
  listed.key.port = *number;
  const absl::StatusOr<core::Protocol> protocol = ProtocolMember(item);
  if (!protocol.ok()) return protocol.status();
  listed.key.protocol = *protocol;
  if (const std::optional<simdjson::dom::element> service = Member(item, "service")) {
    const absl::string_view name = StringMember(item, "service");
    if (!IsServiceName(name)) {
      return absl::InvalidArgumentError(
          absl::StrCat("service ", Describe(*service), " is not \"namespace/name\""));
    }
    listed.service = std::string(name);
  }
  return listed;
}

absl::StatusOr<ListedPort> DecodeListed(simdjson::dom::element item) {
  simdjson::dom::object object;
  if (item.get(object) == simdjson::SUCCESS) return DecodeListedObject(object);
  std::string_view text;
  if (item.get(text) == simdjson::SUCCESS) {
    const absl::StatusOr<core::PortKey> key = ParsePortText({text.data(), text.size()});
    if (!key.ok()) return key.status();
    return ListedPort{*key, ""};
  }
  const absl::StatusOr<uint16_t> port = PortNumber(item);
  if (!port.ok()) {
    return absl::InvalidArgumentError(absl::StrCat("port ", port.status().message()));
  }
  return ListedPort{{*port, core::Protocol::kTcp}, ""};
}

}  // namespace

ServicePorts DecodeService(simdjson::dom::element service) {
  ServicePorts result;
  simdjson::dom::object object, metadata, spec;
  if (service.get(object) != simdjson::SUCCESS) {
    result.skipped.push_back(absl::StrCat(Describe(service), " is not a Service"));
    return result;
  }
  absl::string_view name_space = "default", name;
  if (const auto value = Member(object, "metadata");
      value && value->get(metadata) == simdjson::SUCCESS) {
    name = StringMember(metadata, "name");
    if (Member(metadata, "namespace")) name_space = StringMember(metadata, "namespace");
  }
  std::string full_name = absl::StrCat(name_space, "/", name);
  if (!IsServiceName(full_name)) {
    result.skipped.push_back(
        name.empty() ? "Service without metadata.name"
                     : absl::StrCat("\"", Printable(full_name), "\" is not the name of a Service"));
    return result;
  }
  result.service = std::move(full_name);

  const auto spec_value = Member(object, "spec");
  if (!spec_value || spec_value->get(spec) != simdjson::SUCCESS) {
    result.skipped.push_back(absl::StrCat(result.service, ": no spec"));
    return result;
  }
  const absl::string_view type = StringMember(spec, "type");
  if (type != "NodePort" && type != "LoadBalancer") return result;
  const auto ports_value = Member(spec, "ports");
  if (!ports_value) return result;
  simdjson::dom::array ports;
  if (ports_value->get(ports) != simdjson::SUCCESS) {
    result.skipped.push_back(
        absl::StrCat(result.service, ": spec.ports is ", Describe(*ports_value), ", not a list"));
    return result;
  }
  AddServicePorts(ports, result);
  return result;
}

bool PortsDecoder::AddPort(core::PortKey key, absl::string_view service) {
  return ports_.try_emplace(key, service).second;
}

void PortsDecoder::AddService(simdjson::dom::element service, absl::string_view where) {
  ServicePorts decoded = DecodeService(service);
  for (std::string& line : decoded.skipped) {
    // A Service that has a name needs no other address.
    skipped_.Add(decoded.service.empty() ? absl::StrCat(where, line) : std::move(line));
  }
  for (const core::PortKey& key : decoded.ports) {
    if (AddPort(key, decoded.service)) continue;
    const std::string& owner = ports_[key];
    skipped_.Add(absl::StrCat(decoded.service, ": nodePort ", core::ToString(key),
                              " is listed already", owner.empty() ? "" : " for ", owner));
  }
}

void PortsDecoder::AddPortList(simdjson::dom::array items) {
  size_t number = 0;
  for (const simdjson::dom::element item : items) {
    ++number;
    const absl::StatusOr<ListedPort> listed = DecodeListed(item);
    if (!listed.ok()) {
      skipped_.Add(absl::StrCat("item ", number, ": ", listed.status().message()));
    } else if (!AddPort(listed->key, listed->service)) {
      skipped_.Add(absl::StrCat("item ", number, ": port ", core::ToString(listed->key),
                                " is listed already"));
    }
  }
}

absl::Status PortsDecoder::AddObject(simdjson::dom::element root) {
  const simdjson::dom::object object = root.get_object().value_unsafe();
  const absl::string_view kind = StringMember(object, "kind");
  if (IsService(object, "")) {
    AddService(root, "");
    return absl::OkStatus();
  }
  if (kind != "ServiceList" && kind != "List") {
    return absl::InvalidArgumentError(
        kind.empty() ? absl::StrCat("an object without \"kind\"; ", kDocuments)
                     : absl::StrCat("kind is \"", Printable(kind), "\"; ", kDocuments));
  }
  simdjson::dom::element items_value;
  simdjson::dom::array items;
  if (object.at_key("items").get(items_value) != simdjson::SUCCESS) {
    return absl::InvalidArgumentError(absl::StrCat("a ", kind, " without \"items\""));
  }
  if (items_value.is_null()) return absl::OkStatus();
  if (items_value.get(items) != simdjson::SUCCESS) {
    return absl::InvalidArgumentError(
        absl::StrCat("the items of a ", kind, " are ", Describe(items_value), ", not a list"));
  }
  const absl::string_view default_kind = kind == "ServiceList" ? "Service" : "";
  size_t number = 0;
  for (const simdjson::dom::element item : items) {
    ++number;
    simdjson::dom::object member;
    if (item.get(member) == simdjson::SUCCESS && !IsService(member, default_kind)) continue;
    AddService(item, absl::StrCat("item ", number, ": "));
  }
  return absl::OkStatus();
}

absl::Status PortsDecoder::AddDocument(absl::string_view json) {
  simdjson::dom::element root;
  if (const auto error = parser_.parse(json.data(), json.size()).get(root); error) {
    return absl::InvalidArgumentError(
        absl::StrCat("not valid JSON: ", simdjson::error_message(error)));
  }
  simdjson::dom::array list;
  if (root.get(list) == simdjson::SUCCESS) {
    AddPortList(list);
    return absl::OkStatus();
  }
  if (root.is_object()) return AddObject(root);
  return absl::InvalidArgumentError(absl::StrCat(Describe(root), " stands there; ", kDocuments));
}

Reading PortsDecoder::Take() && { return Reading{std::move(ports_), std::move(skipped_).Take()}; }

}  // namespace npg::sources
