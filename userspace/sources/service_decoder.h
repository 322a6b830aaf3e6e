// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_SOURCES_SERVICE_DECODER_H_
#define NODEPORT_GUARD_SOURCES_SERVICE_DECODER_H_

#include <simdjson.h>

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "core/port.h"

namespace npg::sources {

// The ports of one Service object.
struct ServicePorts {
  std::string service;               // "namespace/name"; empty when the object has no name
  std::vector<core::PortKey> ports;  // its nodePorts, as it lists them
  // spec.healthCheckNodePort, 0 when there is none. kube-proxy listens on it, and no rule
  // takes it away: reported, never guarded.
  uint16_t health_check_port = 0;
  // For core::BindFacts: the families for which its nodePorts may be refused, except those in
  // `shared`; 0: all are shared.
  uint32_t families = 0;
  std::vector<core::PortKey> shared;
  std::string resource_version;      // metadata.resourceVersion; empty when absent
  std::vector<std::string> skipped;  // its errors, one line each
  // False when the object has another kind than v1 Service (`skipped` has it); then it
  // has no ports.
  bool is_service = true;
};

// Decodes a Kubernetes Service, as the API server and kubectl write it, in one
// walk, whatever the order of its members. A Service has nodePorts when its
// type is NodePort or LoadBalancer; a nodePort that is absent or 0 is not
// allocated (allocateLoadBalancerNodePorts: false). An absent namespace is
// "default". null counts as absent; the first of repeated members counts. Ports
// of protocol SCTP are left out: they are valid, and take no connects of TCP or UDP.
// Values that no Service can have are in `skipped` by name: "default/web port http:
// nodePort 70000 is outside 1-65535". A selector, ipFamilies or a targetPort that no Service can
// have is not: the nodePort is valid and counts as shared.
//
// `default_kind` is the kind of an object without one: the items of a ServiceList have
// none, those of a List must have one.
//
// INVALID_ARGUMENT when the walk finds invalid JSON; the document is then unusable.
// Skipped members (managedFields, annotations, status) are not validated: the caller
// validates the text first if it needs that.
absl::StatusOr<ServicePorts> DecodeService(simdjson::ondemand::value service,
                                           absl::string_view default_kind = "Service");

}  // namespace npg::sources

#endif  // NODEPORT_GUARD_SOURCES_SERVICE_DECODER_H_
