// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_CONTROLLER_PROBE_SOCKETS_H_
#define NODEPORT_GUARD_CONTROLLER_PROBE_SOCKETS_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>

#include "abi/names.h"
#include "absl/status/status.h"
#include "absl/time/time.h"
#include "controller/probe_client.h"
#include "core/desired_state.h"
#include "dataplane/bpf/cgroup_socket.h"

namespace npg::controller {

// The sockets of one self-probe: a canary for each kind of traffic, and the clients of the guarded
// cgroup that connect to them. Creates and binds them. Their ports are the caller's, who may give
// them to the next probe.
class ProbeSockets {
 public:
  static constexpr size_t kCanaries = 4;
  static constexpr size_t kClients = 5;
  // In host order, first the canaries', then the clients'; 0: to be chosen.
  using Ports = std::array<uint16_t, kCanaries + kClients>;
  using Clients = std::array<ProbeClient, kClients>;

  // `ports` outlives this.
  explicit ProbeSockets(Ports& ports);
  ~ProbeSockets();
  ProbeSockets(const ProbeSockets&) = delete;
  ProbeSockets& operator=(const ProbeSockets&) = delete;

  // Begins to create the clients' sockets in the cgroup. UNAVAILABLE if that cannot be done.
  absl::Status Start(int cgroup_fd);
  // True until Bind() has their result.
  bool starting() const { return made_ != nullptr; }

  // Waits for them for `wait` at most, then binds the clients, and canaries that listen, to ports
  // that are not in `nodeports`. nullopt: they are not ready. A socket that is not to be had is
  // no error: see ProbeCanary::ready and ProbeClient::ready.
  std::optional<absl::Status> Bind(const core::PortEntries& nodeports, absl::Duration wait);

  // OK when the clients' sockets belong to the cgroup, or else why not.
  const absl::Status& entered() const { return entered_; }

  std::array<ProbeCanary, kCanaries>& canaries() { return canaries_; }
  Clients& clients() { return clients_; }
  const Clients& clients() const { return clients_; }

  // Why clients show nothing: a part of the guard that does not work before what cannot be told.
  // Adds their traffic to `not_known`.
  absl::Status Unready(abi::TrafficBits& not_known) const;

 private:
  void BindClients(dataplane::CgroupSockets::Made& made, const core::PortEntries& nodeports);

  std::array<ProbeCanary, kCanaries> canaries_;
  Clients clients_;
  std::unique_ptr<dataplane::CgroupSockets> made_;  // until they are
  absl::Status entered_;
};

}  // namespace npg::controller

#endif  // NODEPORT_GUARD_CONTROLLER_PROBE_SOCKETS_H_
