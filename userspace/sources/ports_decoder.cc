// SPDX-License-Identifier: Apache-2.0
#include "sources/ports_decoder.h"

#include <simdjson.h>

#include <algorithm>
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
#include "base/errno_status.h"
#include "core/bind_facts.h"
#include "core/port.h"
#include "core/service_name.h"
#include "core/service_ref.h"
#include "kubernetes/json_value.h"
#include "sources/service_decoder.h"
#include "sources/source.h"

namespace npg::sources {
namespace {

constexpr absl::string_view kDocuments =
    "expected a list of ports, or a Kubernetes Service, ServiceList or List";

absl::StatusOr<core::Protocol> ProtocolMember(simdjson::dom::object object) {
  const std::optional<simdjson::dom::element> value = kubernetes::Member(object, "protocol");
  if (!value) return core::Protocol::kTcp;
  std::string_view text;
  if (value->get(text) != simdjson::SUCCESS) {
    return absl::InvalidArgumentError(absl::StrCat("protocol is ", kubernetes::Describe(*value)));
  }
  return core::ParseProtocol({text.data(), text.size()});
}

struct ListedPort {
  core::PortKey key;
  std::string service;
};

absl::StatusOr<ListedPort> DecodeListedObject(simdjson::dom::object item) {
  for (const simdjson::dom::key_value_pair member : item) {
    if (member.key != "port" && member.key != "protocol" && member.key != "service") {
      return absl::InvalidArgumentError(
          absl::StrCat("unknown key \"", core::Printable({member.key.data(), member.key.size()}),
                       "\" (known: port, protocol, service)"));
    }
  }
  ListedPort listed;
  const std::optional<simdjson::dom::element> port = kubernetes::Member(item, "port");
  if (!port) return absl::InvalidArgumentError("no \"port\"");
  absl::StatusOr<uint16_t> number;
  std::string_view text;
  if (port->get(text) == simdjson::SUCCESS) {
    number = core::ParsePort({text.data(), text.size()});
    if (!number.ok()) return number.status();
  } else {
    number = kubernetes::PortNumber(*port);
    if (!number.ok()) {
      return absl::InvalidArgumentError(absl::StrCat("port ", number.status().message()));
    }
  }
  listed.key.port = *number;
  const absl::StatusOr<core::Protocol> protocol = ProtocolMember(item);
  if (!protocol.ok()) return protocol.status();
  listed.key.protocol = *protocol;
  if (const std::optional<simdjson::dom::element> service = kubernetes::Member(item, "service")) {
    const absl::string_view name = kubernetes::StringMember(item, "service");
    if (!core::IsServiceName(name)) {
      return absl::InvalidArgumentError(
          absl::StrCat("service ", kubernetes::Describe(*service), " is not \"namespace/name\""));
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
    // "30080", "30081/udp".
    const auto port = core::ParsePortAndProtocol({text.data(), text.size()});
    if (!port.ok()) return port.status();
    return ListedPort{{port->port, port->protocol.value_or(core::Protocol::kTcp)}, ""};
  }
  const absl::StatusOr<uint16_t> port = kubernetes::PortNumber(item);
  if (!port.ok()) {
    return absl::InvalidArgumentError(absl::StrCat("port ", port.status().message()));
  }
  return ListedPort{{*port, core::Protocol::kTcp}, ""};
}

// The root of a walk; the DOM parser has found that it is a JSON object.
absl::StatusOr<simdjson::ondemand::value> Root(simdjson::ondemand::document& document) {
  simdjson::ondemand::value root;
  if (const auto error = document.get_value().get(root); error) return kubernetes::JsonError(error);
  return root;
}

}  // namespace

bool PortsDecoder::AddPort(core::PortKey key, const core::ServiceRef& service) {
  return ports_.try_emplace(key, service).second;
}

void PortsDecoder::AddFamilies(const core::PortKey& key, uint32_t families) {
  if (families == 0) {
    facts_.refusable.erase(key);
    facts_.shared.insert(key);
  } else if (!facts_.shared.contains(key)) {
    facts_.refusable[key] |= families;
  }
}

void PortsDecoder::AddFacts(ServicePorts& decoded) {
  std::sort(decoded.shared.begin(), decoded.shared.end());
  for (const core::PortKey& key : decoded.ports) {
    const bool shared = std::binary_search(decoded.shared.begin(), decoded.shared.end(), key);
    AddFamilies(key, shared ? 0 : decoded.families);
  }
  if (decoded.health_check_port != 0) facts_.health_checks.insert(decoded.health_check_port);
}

void PortsDecoder::AddService(ServicePorts decoded, absl::string_view where) {
  for (std::string& line : decoded.skipped) {
    // Lines about a named Service already contain its name.
    skipped_.Add(decoded.service.empty() ? absl::StrCat(where, line) : std::move(line));
  }
  AddFacts(decoded);
  const core::ServiceRef name = decoded.service;
  for (const core::PortKey& key : decoded.ports) {
    if (AddPort(key, name)) continue;
    const core::ServiceRef& owner = ports_[key];
    skipped_.Add(absl::StrCat(decoded.service, ": nodePort ", core::ToString(key),
                              " is listed already", owner.empty() ? "" : " for ", owner.text()));
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
    if (listed.ok()) AddFamilies(listed->key, core::kServiceV4 | core::kServiceV6);
  }
}

absl::Status PortsDecoder::AddItems(simdjson::ondemand::value items,
                                    absl::string_view default_kind) {
  simdjson::ondemand::array array;
  if (const auto error = items.get_array().get(array); error) return kubernetes::JsonError(error);
  size_t number = 0;
  for (simdjson::simdjson_result<simdjson::ondemand::value> element : array) {
    ++number;
    simdjson::ondemand::value item;
    if (const auto error = element.get(item); error) return kubernetes::JsonError(error);
    absl::StatusOr<ServicePorts> decoded = DecodeService(item, default_kind);
    if (!decoded.ok()) return decoded.status();
    if (!decoded->is_service) continue;
    AddService(*std::move(decoded), absl::StrCat("item ", number, ": "));
  }
  return absl::OkStatus();
}

absl::Status PortsDecoder::AddObject(simdjson::dom::object root,
                                     const simdjson::padded_string& text) {
  const absl::string_view kind = kubernetes::StringMember(root, "kind");
  const absl::string_view version = kubernetes::StringMember(root, "apiVersion");
  const bool is_service = kind == "Service" && (version.empty() || version == "v1");
  if (!is_service && kind != "ServiceList" && kind != "List") {
    return absl::InvalidArgumentError(
        kind.empty() ? absl::StrCat("an object without \"kind\"; ", kDocuments)
                     : absl::StrCat("kind is \"", core::Printable(kind), "\"; ", kDocuments));
  }
  if (!is_service) {
    simdjson::dom::element items;
    if (root.at_key("items").get(items) != simdjson::SUCCESS) {
      return absl::InvalidArgumentError(absl::StrCat("a ", kind, " without \"items\""));
    }
    if (!items.is_null() && !items.is_array()) {
      return absl::InvalidArgumentError(absl::StrCat("the items of a ", kind, " are ",
                                                     kubernetes::Describe(items), ", not a list"));
    }
  }
  // Files and the API server share the decoder of Services, which parses on demand.
  simdjson::ondemand::parser parser;
  simdjson::ondemand::document document;
  if (const auto error = parser.iterate(text).get(document); error)
    return kubernetes::JsonError(error);
  absl::StatusOr<simdjson::ondemand::value> object = Root(document);
  if (!object.ok()) return object.status();
  if (is_service) {
    absl::StatusOr<ServicePorts> decoded = DecodeService(*object);
    if (!decoded.ok()) return decoded.status();
    AddService(*std::move(decoded), "");
    return absl::OkStatus();
  }
  const absl::string_view default_kind = kind == "ServiceList" ? "Service" : "";
  return kubernetes::WalkObject(
      *object,
      {{"items", [&](simdjson::ondemand::value items) { return AddItems(items, default_kind); }}});
}

absl::Status PortsDecoder::AddDocument(absl::string_view json) {
  const simdjson::padded_string text(json.data(), json.size());
  simdjson::dom::element root;
  if (const auto error = parser_.parse(text).get(root); error) return kubernetes::JsonError(error);
  simdjson::dom::array list;
  if (root.get(list) == simdjson::SUCCESS) {
    AddPortList(list);
    return absl::OkStatus();
  }
  simdjson::dom::object object;
  if (root.get(object) == simdjson::SUCCESS) return AddObject(object, text);
  return absl::InvalidArgumentError(
      absl::StrCat(kubernetes::Describe(root), " is not a document; ", kDocuments));
}

Reading PortsDecoder::Take() && { return Reading{std::move(ports_), std::move(skipped_).Take()}; }

}  // namespace npg::sources
