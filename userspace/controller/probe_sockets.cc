// SPDX-License-Identifier: Apache-2.0
#include "controller/probe_sockets.h"

#include <sys/random.h>
#include <sys/socket.h>
#include <sys/types.h>

#include <array>
#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "abi/names.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "base/unique_fd.h"
#include "controller/probe_client.h"
#include "controller/probe_loopback.h"
#include "core/desired_state.h"
#include "dataplane/bpf/cgroup_socket.h"

namespace npg::controller {
namespace {

absl::StatusOr<std::string> MakeNonce() {
  std::string nonce(ProbeClient::kNonceBytes, '\0');
  if (getrandom(nonce.data(), nonce.size(), GRND_NONBLOCK) != static_cast<ssize_t>(nonce.size())) {
    return absl::UnavailableError("the kernel has no random bytes yet");
  }
  return nonce;
}

}  // namespace

ProbeSockets::ProbeSockets(Ports& ports) {
  for (size_t i = 0; i < canaries_.size(); ++i) {
    ProbeCanary& canary = canaries_.at(i);
    canary.tcp = i % 2 == 0;
    canary.v4 = i < 2;
    canary.traffic = abi::TrafficOf(canary.tcp, canary.v4);
    canary.port = &ports.at(i);
  }
  const std::array<std::pair<int, size_t>, kClients> connects = {
      {{AF_INET, 0}, {AF_INET6, 0}, {AF_INET, 1}, {AF_INET6, 2}, {AF_INET6, 3}}};
  for (size_t i = 0; i < clients_.size(); ++i) {
    ProbeClient& client = clients_.at(i);
    client.family = connects.at(i).first;
    client.canary = &canaries_.at(connects.at(i).second);
    client.port = &ports.at(kCanaries + i);
  }
}

ProbeSockets::~ProbeSockets() = default;

absl::Status ProbeSockets::Start(int cgroup_fd) {
  const absl::StatusOr<std::string> nonce = MakeNonce();
  if (!nonce.ok()) return nonce.status();
  std::vector<dataplane::CgroupSockets::Kind> kinds;
  for (size_t i = 0; i < clients_.size(); ++i) {
    ProbeClient& client = clients_.at(i);
    client.payload = absl::StrCat(*nonce, i);
    kinds.push_back({client.family, client.canary->type()});
  }
  absl::StatusOr<std::unique_ptr<dataplane::CgroupSockets>> sockets =
      dataplane::CgroupSockets::Start(cgroup_fd, std::move(kinds));
  if (!sockets.ok()) return CannotTell(sockets.status());
  made_ = *std::move(sockets);
  return absl::OkStatus();
}

std::optional<absl::Status> ProbeSockets::Bind(const core::PortEntries& nodeports,
                                               absl::Duration wait) {
  std::optional<absl::StatusOr<dataplane::CgroupSockets::Made>> made = made_->Take(wait);
  if (!made) return std::nullopt;
  made_.reset();
  if (!made->ok()) return made->status();
  for (ProbeCanary& canary : canaries_) {
    canary.ready = canary.Listen(nodeports);
    if (canary.ready.ok()) continue;
    canary.fd.Reset();
    *canary.port = 0;
  }
  BindClients(**made, nodeports);
  entered_ = (*made)->entered;
  return absl::OkStatus();
}

void ProbeSockets::BindClients(dataplane::CgroupSockets::Made& made,
                               const core::PortEntries& nodeports) {
  for (size_t i = 0; i < clients_.size(); ++i) {
    ProbeClient& client = clients_.at(i);
    const ProbeCanary& canary = *client.canary;
    absl::StatusOr<base::UniqueFd>& fd = made.sockets.at(i);
    client.ready = canary.ready;
    if (!canary.fd) continue;
    // A kernel without IPv6 never runs connect6.
    if (absl::IsUnimplemented(fd.status()) && client.family == AF_INET6) continue;
    client.ready = CannotTell(fd.status());
    if (!fd.ok()) continue;
    client.ready = CannotTell(BindApart(fd->get(), client.family, canary.type(), canary.v4,
                                        canary.key().protocol, nodeports, *client.port));
    if (client.ready.ok()) {
      client.fd = *std::move(fd);
    } else {
      *client.port = 0;
    }
  }
}

absl::Status ProbeSockets::Unready(abi::TrafficBits& not_known) const {
  absl::Status failed, unknown;
  for (const ProbeClient& client : clients_) {
    if (client.ready.ok()) continue;
    not_known |= abi::Bit(client.canary->traffic);
    (absl::IsUnavailable(client.ready) ? unknown : failed).Update(client.ready);
  }
  failed.Update(unknown);
  return failed;
}

}  // namespace npg::controller
