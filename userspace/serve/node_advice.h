// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_SERVE_NODE_ADVICE_H_
#define NODEPORT_GUARD_SERVE_NODE_ADVICE_H_

#include <functional>
#include <optional>
#include <string>

#include "absl/random/bit_gen_ref.h"
#include "absl/status/status.h"
#include "absl/time/time.h"
#include "kubernetes/http_client.h"
#include "serve/kube_event_answer.h"

namespace npg::serve {

// Sends an Event about the Node, at most once a week: how much the ports that the kernel assigns
// overlap with NodePorts, how likely a collision is, and the one setting that ends it. Uses no
// network, clock or threads.
class NodeAdvice {
 public:
  struct Options {
    std::string node;  // name of the Node object
    // When the last Event was sent, by this run or an earlier one; InfinitePast: never.
    std::function<absl::Time()> last_sent;
    std::function<void(absl::Time)> sent;  // remembers it
    absl::Duration period = absl::Hours(24 * 7);
    // The first request comes at a time drawn from this: all nodes may have the same settings.
    absl::Duration spread = absl::ZeroDuration();
    absl::Duration pause = absl::Hours(1);  // after one that failed or was refused
  };

  NodeAdvice(Options options, absl::BitGenRef random);

  // Takes the present advice, one or two sentences; empty: there is none to give.
  void Observe(const std::string& text, absl::Time now);

  // The next request, if one is due; OnAnswer() must follow.
  std::optional<kubernetes::HttpRequest> Next(absl::Time now);
  // The caller logs an error: PERMISSION_DENIED without the right to create Events.
  absl::Status OnAnswer(const KubeEventAnswer& answer, absl::Time now);

  // When Next() may have something; InfiniteFuture while there is nothing to send.
  absl::Time due() const { return text_.empty() || under_way_ ? absl::InfiniteFuture() : due_; }

 private:
  const Options options_;
  absl::BitGenRef random_;
  std::string text_;
  std::string name_;  // of the Event that is being sent
  absl::Time due_ = absl::InfinitePast();
  bool scheduled_ = false;  // due_ is set
  bool under_way_ = false;  // a request
};

}  // namespace npg::serve

#endif  // NODEPORT_GUARD_SERVE_NODE_ADVICE_H_
