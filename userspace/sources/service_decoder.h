// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_SOURCES_SERVICE_DECODER_H_
#define NODEPORT_GUARD_SOURCES_SERVICE_DECODER_H_

#include <simdjson.h>

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "core/port.h"
#include "sources/skipped_lines.h"
#include "sources/source.h"

namespace npg::sources {

// What one Service object has allocated.
struct ServicePorts {
  std::string service;               // "namespace/name"; empty when the object does not say
  std::vector<core::PortKey> ports;  // its nodePorts, as it lists them
  std::vector<std::string> skipped;  // what is wrong with it, one line each
};

// Decodes a Kubernetes Service, as the API server and kubectl write it. A
// Service has nodePorts when its type is NodePort or LoadBalancer; a nodePort
// that is absent or 0 is not allocated (allocateLoadBalancerNodePorts: false).
// healthCheckNodePort is no NodePort: kube-proxy listens on it. A namespace
// that is absent is "default". Ports of protocol SCTP, and values that no
// Service can have, are in `skipped` by name: "default/web port http: nodePort
// 70000 is outside 1-65535".
ServicePorts DecodeService(simdjson::dom::element service);

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
// Objects in a List that are no v1 Services are passed over in silence. Items
// that are wrong, or that name a port for a second time, are in
// Reading::skipped, one line each ("item 3: port 70000 is outside 1-65535",
// items being counted from 1); the rest is valid.
class PortsDecoder {
 public:
  // INVALID_ARGUMENT when `json` is not JSON, or none of the documents above.
  // What it has added until then stays added.
  absl::Status AddDocument(absl::string_view json);

  Reading Take() &&;

 private:
  void AddPortList(simdjson::dom::array items);
  absl::Status AddObject(simdjson::dom::element root);
  void AddService(simdjson::dom::element service, absl::string_view where);
  // False when the port is there already.
  bool AddPort(core::PortKey key, absl::string_view service);

  simdjson::dom::parser parser_;
  core::PortSnapshot ports_;
  SkippedLines skipped_;
};

}  // namespace npg::sources

#endif  // NODEPORT_GUARD_SOURCES_SERVICE_DECODER_H_
