// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_CONTROLLER_PROBE_EXCHANGE_H_
#define NODEPORT_GUARD_CONTROLLER_PROBE_EXCHANGE_H_

#include <cstddef>

#include "absl/functional/function_ref.h"
#include "absl/time/time.h"
#include "controller/probe_client.h"
#include "controller/probe_sockets.h"

namespace npg::controller {

// The exchange of bytes between the clients of a self-probe, which have begun to connect, and its
// canaries, in turns of limited time.
class ProbeExchange {
 public:
  // `sockets` outlives this. After each part of it that is done, the exchange goes on for `grace`
  // at least, whatever the deadlines of the clients.
  ProbeExchange(ProbeSockets& sockets, absl::Duration grace) : sockets_(sockets), grace_(grace) {}

  // Sends bytes each way on every connection, until SinceBoot() is `until`; calls `each_round`
  // again and again meanwhile. True when all are answered or their time is over.
  bool Turn(absl::Duration until, absl::FunctionRef<void()> each_round);

 private:
  size_t Progress() const;
  void Serve(ProbeCanary& canary);

  ProbeSockets& sockets_;
  const absl::Duration grace_;
  absl::Duration not_before_ = absl::ZeroDuration();  // the exchange does not end before that
  int turns_ = 0;
};

}  // namespace npg::controller

#endif  // NODEPORT_GUARD_CONTROLLER_PROBE_EXCHANGE_H_
