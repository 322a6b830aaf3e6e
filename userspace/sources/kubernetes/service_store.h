// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_SOURCES_KUBERNETES_SERVICE_STORE_H_
#define NODEPORT_GUARD_SOURCES_KUBERNETES_SERVICE_STORE_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/btree_map.h"
#include "absl/container/btree_set.h"
#include "absl/container/inlined_vector.h"
#include "absl/status/statusor.h"
#include "core/port.h"
#include "core/service_ref.h"
#include "sources/service_decoder.h"
#include "sources/source.h"

namespace npg::sources {

// The Services with NodePorts, as the API server last reported them, and their ports. The
// cost of a change depends on the ports of its Service only.
//
// Two Services have the same port only while the API server moves it: a watch may show
// the new one before the old one is removed. The port stays then, as that of the Service
// whose name sorts first.
class ServiceStore {
 public:
  // Replaces the Service. Keeps nothing of one that has no ports, no health check port
  // and no `skipped` lines. Of a Service without a name, keeps only the `skipped` lines.
  void Put(ServicePorts service);
  void Remove(const core::ServiceRef& service);

  // Always OK; a StatusOr so that it can be passed on without a copy.
  const absl::StatusOr<Reading>& reading() const { return reading_; }

  // Services with NodePorts, and health check node ports, on which kube-proxy
  // itself listens: no NAT owns them, so they are not in the reading.
  size_t services() const { return with_ports_; }
  size_t health_check_ports() const { return health_check_ports_; }

  // Whether the reading has changed since the last call.
  bool TakeChanged() { return std::exchange(changed_, false); }

  // Takes over all of `other`. The reading counts as changed only if it differs.
  void Replace(ServiceStore other);

 private:
  struct Service {
    absl::InlinedVector<core::PortKey, 2> ports;
    uint16_t health_check_port = 0;
  };

  void RemovePorts(const core::ServiceRef& name, const Service& service);
  void Claim(core::PortKey key, const core::ServiceRef& name);
  void Unclaim(core::PortKey key, const core::ServiceRef& name);
  void SetSkipped(const core::ServiceRef& name, std::vector<std::string> lines);

  absl::btree_map<core::ServiceRef, Service> known_;
  // The Services of each port: nearly always one.
  absl::btree_set<std::pair<core::PortKey, core::ServiceRef>> claims_;
  // Rare. The empty name has the lines of Services without a valid name.
  absl::btree_map<core::ServiceRef, std::vector<std::string>> skipped_;
  size_t with_ports_ = 0;
  size_t health_check_ports_ = 0;
  absl::StatusOr<Reading> reading_ = Reading{};
  bool changed_ = false;
};

}  // namespace npg::sources

#endif  // NODEPORT_GUARD_SOURCES_KUBERNETES_SERVICE_STORE_H_
