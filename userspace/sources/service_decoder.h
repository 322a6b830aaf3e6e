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

// What one Service object has allocated.
struct ServicePorts {
  std::string service;               // "namespace/name"; empty when the object does not say
  std::vector<core::PortKey> ports;  // its nodePorts, as it lists them
  // spec.healthCheckNodePort, 0 when there is none. kube-proxy itself listens
  // there, no rule of its takes the port away: reported, never guarded.
  uint16_t health_check_port = 0;
  std::string resource_version;      // metadata.resourceVersion; empty when absent
  std::vector<std::string> skipped;  // what is wrong with it, one line each
  // False when the object says that it is something else than a v1 Service
  // (`skipped` has its kind); then it has no ports.
  bool is_service = true;
};

// Decodes a Kubernetes Service, as the API server and kubectl write it, in one
// walk, whatever the order of its members. A Service has nodePorts when its
// type is NodePort or LoadBalancer; a nodePort that is absent or 0 is not
// allocated (allocateLoadBalancerNodePorts: false). A namespace that is absent
// is "default". null is absent; of a member that is there twice the first
// counts. Ports of protocol SCTP, and values that no Service can have, are in
// `skipped` by name: "default/web port http: nodePort 70000 is outside
// 1-65535".
//
// `default_kind` is the kind of an object that does not say: the items of a
// ServiceList do not, those of a List must.
//
// INVALID_ARGUMENT when the walk meets what is not JSON; the document is then
// unusable. What the walk passes over (managedFields, annotations, status) is
// not looked into: whoever needs it valid checks the text first.
absl::StatusOr<ServicePorts> DecodeService(simdjson::ondemand::value service,
                                           absl::string_view default_kind = "Service");

}  // namespace npg::sources

#endif  // NODEPORT_GUARD_SOURCES_SERVICE_DECODER_H_
