// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_SOURCES_SERVICE_BIND_FACTS_H_
#define NODEPORT_GUARD_SOURCES_SERVICE_BIND_FACTS_H_

#include <simdjson.h>

#include <cstdint>
#include <vector>

#include "absl/container/inlined_vector.h"
#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "core/bind_facts.h"
#include "core/port.h"

namespace npg::sources {

// The targetPort of an entry of spec.ports.
struct TargetPort {
  enum class Kind : uint8_t { kAbsent, kNumber, kUnknown };  // unknown: a name, or malformed

  Kind kind = Kind::kAbsent;
  uint16_t number = 0;

  // Reads the member `targetPort`. 0 and "" count as absent, as for an API server.
  absl::Status Read(simdjson::ondemand::value member);
};

// Collects from the spec of one Service, whatever the order of its members, which of its NodePorts
// one of its backends may bind on the node. Malformed members are no errors: with them, the
// NodePorts are shared.
class ServiceBindFacts {
 public:
  // Read the members spec.selector and spec.ipFamilies.
  absl::Status ReadSelector(simdjson::ondemand::value member);
  absl::Status ReadIpFamilies(simdjson::ondemand::value member);

  // Adds an entry of spec.ports. `node_port` has the port 0 if none is allocated to it. `port` is
  // spec.ports[].port as it is written.
  void AddPort(core::PortKey node_port, const TargetPort& target, absl::string_view port);

  // The families for which the NodePorts are allocated; 0 if all are shared.
  uint32_t Families() const { return has_selector_ ? families_ : 0; }

  // Those of `node_ports` that are shared, if Families() is not 0.
  std::vector<core::PortKey> Shared(const std::vector<core::PortKey>& node_ports) &&;

 private:
  bool has_selector_ = false;
  uint32_t families_ = core::kServiceV4;  // without the member
  // The ports on which the backends listen, and the NodePorts of entries with an unknown one.
  absl::InlinedVector<core::PortKey, 8> targets_;
  std::vector<core::PortKey> shared_;
};

}  // namespace npg::sources

#endif  // NODEPORT_GUARD_SOURCES_SERVICE_BIND_FACTS_H_
