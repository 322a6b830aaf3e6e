// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_CONTROLLER_UNLOAD_H_
#define NODEPORT_GUARD_CONTROLLER_UNLOAD_H_

#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "dataplane/bpf/pin_paths.h"
#include "node/reserved_ports.h"

namespace npg::controller {

struct UnloadOptions {
  dataplane::PinPaths pins{dataplane::PinPaths::kDefaultBpffs};
  // How long to wait, after the programs are detached, for exempted connections to
  // end. The remaining ones are reported; NAT may cut them.
  absl::Duration drain = absl::ZeroDuration();
  // Where net.ipv4.ip_local_reserved_ports can be written.
  std::vector<std::string> reserved_ports_paths = node::ReservedPortsPaths();
  // Receives lines of text: what is removed, what is waited for.
  std::function<void(absl::string_view line)> report = [](absl::string_view) {};
};

// Removes the guard from this node: links, pins, nft table, and the ports that it has added to
// net.ipv4.ip_local_reserved_ports. Works on what a killed controller left, and can be repeated.
// UNAVAILABLE, with its pid, while a controller runs: it would restore everything.
// FAILED_PRECONDITION if the guard serves another network namespace: the table and the ports must
// be removed from there. The pins are removed then unless it has added ports: which ones, only the
// pins know. They stay, too, when the ports cannot be removed.
absl::Status Unload(const UnloadOptions& options);

}  // namespace npg::controller

#endif  // NODEPORT_GUARD_CONTROLLER_UNLOAD_H_
