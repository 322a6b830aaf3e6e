// SPDX-License-Identifier: Apache-2.0
#include "controller/probe_exchange.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/types.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "base/unique_fd.h"
#include "controller/probe_client.h"
#include "controller/probe_loopback.h"
#include "controller/probe_sockets.h"

namespace npg::controller {

size_t ProbeExchange::Progress() const {
  size_t all = 0;
  for (const ProbeClient& client : sockets_.clients()) all += client.Progress();
  return all;
}

// Accepts connections, or answers datagrams, of the clients.
void ProbeExchange::Serve(ProbeCanary& canary) {
  const auto client_at = [&](const SocketAddress& peer) -> ProbeClient* {
    for (ProbeClient& client : sockets_.clients()) {
      if (client.canary == &canary && client.fd && client.end() == EndOf(peer)) return &client;
    }
    return nullptr;
  };
  for (int i = 0; i < ProbeClient::kMaxMessages; ++i) {
    SocketAddress peer;
    peer.size = sizeof(peer.storage);
    if (canary.tcp) {
      base::UniqueFd accepted(
          accept4(canary.fd.get(), peer.get(), &peer.size, SOCK_CLOEXEC | SOCK_NONBLOCK));
      if (!accepted) return;
      ResetAtClose(accepted.get());
      ProbeClient* const client = client_at(peer);
      if (client != nullptr) client->accepted = std::move(accepted);
    } else {
      std::array<char, 64> buffer{};
      const ssize_t size = recvfrom(canary.fd.get(), buffer.data(), buffer.size(), MSG_DONTWAIT,
                                    peer.get(), &peer.size);
      if (size < 0) return;
      const absl::string_view data(buffer.data(), static_cast<size_t>(size));
      ProbeClient* const client = client_at(peer);
      if (client != nullptr && data == client->payload) {
        client->heard = true;
        sendto(canary.fd.get(), data.data(), data.size(), MSG_DONTWAIT, peer.get(), peer.size);
      }
    }
  }
}

bool ProbeExchange::Turn(absl::Duration until, absl::FunctionRef<void()> each_round) {
  // A datagram that met a full queue is not sent again by the kernel.
  for (ProbeClient& client : sockets_.clients()) {
    if (turns_ == 0 || client.canary->tcp || !client.waits()) continue;
    client.Send();
  }
  ++turns_;
  for (;;) {
    const size_t before = Progress();
    for (ProbeCanary& canary : sockets_.canaries()) {
      if (canary.fd) Serve(canary);
    }
    absl::Duration last = not_before_;
    std::vector<pollfd> waiting;
    for (ProbeClient& client : sockets_.clients()) {
      if (!client.waits()) continue;
      client.Step();
      if (!client.waits()) continue;
      last = std::max(last, client.deadline);
      const bool writes = client.canary->tcp && !client.sent;
      waiting.push_back({client.fd.get(), static_cast<int16_t>(writes ? POLLOUT : POLLIN), 0});
      if (client.accepted && !client.echoed) waiting.push_back({client.accepted.get(), POLLIN, 0});
    }
    each_round();
    if (waiting.empty()) return true;
    const absl::Duration now = SinceBoot();
    // A process that got no time, or was stopped, must not take what has arrived for lost.
    if (Progress() != before) {
      not_before_ = now + grace_;
      if (now < until) continue;
      return false;
    }
    if (now >= last) return true;
    if (now >= until) return false;
    for (const ProbeCanary& canary : sockets_.canaries()) {
      if (canary.fd) waiting.push_back({canary.fd.get(), POLLIN, 0});
    }
    const auto milliseconds = absl::ToInt64Milliseconds(std::min(last, until) - now) + 1;
    poll(waiting.data(), waiting.size(), static_cast<int>(milliseconds));
  }
}

}  // namespace npg::controller
