// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_SOURCES_KUBERNETES_SERVICE_STORE_H_
#define NODEPORT_GUARD_SOURCES_KUBERNETES_SERVICE_STORE_H_

#include <compare>
#include <cstddef>
#include <cstdint>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "absl/container/btree_map.h"
#include "absl/container/btree_set.h"
#include "absl/container/inlined_vector.h"
#include "absl/status/statusor.h"
#include "core/bind_facts.h"
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
// whose name sorts first, and is shared if it is for one of them.
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

  // What the Services say about the use of their ports. The object is the same for the life of the
  // store.
  const core::BindFacts& bind_facts() const { return facts_; }

  // Whether the reading or the facts have changed since the last call.
  bool TakeChanged() { return std::exchange(changed_, false); }

  // The reading has been reported: from now on, Reading::changed names what changes.
  void NoteReported() { reading_->changed.emplace(); }

  // Takes over all of `other`. Counts as a change only if its reading or its facts differ.
  void Replace(ServiceStore other);

 private:
  // A port of a Service, as small as a PortKey.
  struct Port {
    uint16_t number = 0;
    core::Protocol protocol = core::Protocol::kTcp;
    uint8_t families = 0;  // for which it may be refused; 0: it is shared

    core::PortKey key() const { return {number, protocol}; }
    auto operator<=>(const Port&) const = default;
  };
  using Ports = absl::InlinedVector<Port, 4>;  // sorted, each PortKey once

  struct Service {
    Ports ports;
    uint16_t health_check_port = 0;
  };

  // A Service has a port.
  struct Claim {
    core::PortKey key;
    uint8_t families = 0;  // as in Port
    core::ServiceRef name;

    auto order() const { return std::tie(key, name, families); }
    bool operator==(const Claim& other) const { return order() == other.order(); }
    auto operator<=>(const Claim& other) const { return order() <=> other.order(); }
  };

  static Ports PortsOf(const ServicePorts& service);
  void ReplacePorts(const core::ServiceRef& name, const Ports& before, const Ports& now);
  void ReplaceHealthCheck(uint16_t before, uint16_t now);
  void NoteChanged(const core::PortKey& key);
  // Bring the reading and the facts up to date with the claims of a port.
  void Settle(const core::PortKey& key);
  void SettleFacts(const core::PortKey& key, bool shared, uint32_t families);
  void SetSkipped(const core::ServiceRef& name, std::vector<std::string> lines);

  absl::btree_map<core::ServiceRef, Service> known_;
  // The Services of each port: nearly always one.
  absl::btree_set<Claim> claims_;
  absl::btree_map<uint16_t, size_t> health_check_claims_;  // their number
  // Rare. The empty name has the lines of Services without a valid name.
  absl::btree_map<core::ServiceRef, std::vector<std::string>> skipped_;
  size_t with_ports_ = 0;
  size_t health_check_ports_ = 0;
  absl::StatusOr<Reading> reading_ = Reading{};
  core::BindFacts facts_;
  bool changed_ = false;
};

}  // namespace npg::sources

#endif  // NODEPORT_GUARD_SOURCES_KUBERNETES_SERVICE_STORE_H_
