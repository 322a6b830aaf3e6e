// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_CLI_EVENT_TEXT_H_
#define NODEPORT_GUARD_CLI_EVENT_TEXT_H_

#include <optional>
#include <string>

#include "abi/entries.h"
#include "absl/time/time.h"

namespace npg::cli {

// An exemption, with further facts.
struct EventFacts {
  abi::Event event;
  absl::Time time;                        // of the event, wall clock
  std::string client_cgroup;              // of the client, below the root; empty when unknown
  std::string listener_cgroup;            // of the listener's owner, the same
  std::optional<abi::NodePort> nodeport;  // the port's entry, if it still has one
};

// A bind of a NodePort that was reported or refused, with further facts.
struct BindEventFacts {
  abi::BindEvent event;
  absl::Time time;                        // of the event, wall clock
  std::string cgroup;                     // of the process, below the root; empty when unknown
  std::optional<abi::NodePort> nodeport;  // the port's entry, if it still has one
};

// "12:34:56.789  33589/tcp  exempted  kubelet[712] -> 127.0.0.1  containerd[812] on 127.0.0.1
// default/web", in UTC and without a newline. Columns line up from line to line
// where the names are of usual length.
std::string EventText(const EventFacts& facts);

// "12:34:56.789  30080/tcp  bind refused  python3[812] (agent.service) uid 1000 on 0.0.0.0
// EADDRINUSE  default/web", the same.
std::string EventText(const BindEventFacts& facts);

// The same as a JSON object on one line. Its member `action` tells the kinds apart.
std::string EventJson(const EventFacts& facts);
std::string EventJson(const BindEventFacts& facts);

}  // namespace npg::cli

#endif  // NODEPORT_GUARD_CLI_EVENT_TEXT_H_
