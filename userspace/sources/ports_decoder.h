// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_SOURCES_PORTS_DECODER_H_
#define NODEPORT_GUARD_SOURCES_PORTS_DECODER_H_

#include <simdjson.h>

#include <cstdint>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "core/bind_facts.h"
#include "core/port.h"
#include "core/service_ref.h"
#include "sources/service_decoder.h"
#include "sources/skipped_lines.h"
#include "sources/source.h"

namespace npg::sources {

// Decodes documents into one reading. A document is JSON text: a Service, a
// ServiceList, a List, or a plain list of ports of this grammar:
//
//   list = [ item, ... ]
//   item = PORT                       a number from 1 to 65535; TCP
//        | "PORT" | "PORT/PROTOCOL"   "30080", "30081/udp"
//        | {"port": PORT or "PORT", "protocol": PROTOCOL, "service": "NAMESPACE/NAME"}
//                                     protocol and service may be left out
//   PROTOCOL = tcp | udp, in any case
//
// Ignores objects in a List that are no v1 Services. Invalid items, and repeated ports,
// are in Reading::skipped, one line each ("item 3: port 70000 is outside 1-65535",
// counted from 1); the rest is valid. A port of a plain list is not for processes of the node:
// it may be refused for both families.
class PortsDecoder {
 public:
  // INVALID_ARGUMENT when `json` is not valid JSON, or none of the documents above.
  // Ports that were added before the error stay.
  absl::Status AddDocument(absl::string_view json);

  // Of the documents so far. A repeated port is shared if it is in one of them.
  const core::BindFacts& bind_facts() const { return facts_; }

  Reading Take() &&;

 private:
  void AddPortList(simdjson::dom::array items);
  absl::Status AddObject(simdjson::dom::object root, const simdjson::padded_string& text);
  absl::Status AddItems(simdjson::ondemand::value items, absl::string_view default_kind);
  void AddService(ServicePorts decoded, absl::string_view where);
  // False when the port is already in the reading.
  bool AddPort(core::PortKey key, const core::ServiceRef& service);
  // 0: it is shared.
  void AddFamilies(const core::PortKey& key, uint32_t families);
  void AddFacts(ServicePorts& decoded);

  simdjson::dom::parser parser_;
  core::PortSnapshot ports_;
  core::BindFacts facts_;
  SkippedLines skipped_;
};

}  // namespace npg::sources

#endif  // NODEPORT_GUARD_SOURCES_PORTS_DECODER_H_
