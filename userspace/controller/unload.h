// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_CONTROLLER_UNLOAD_H_
#define NODEPORT_GUARD_CONTROLLER_UNLOAD_H_

#include <functional>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "dataplane/bpf/pin_paths.h"

namespace npg::controller {

struct UnloadOptions {
  dataplane::PinPaths pins{dataplane::PinPaths::kDefaultBpffs};
  // How long to wait, after exempting no more connects, for the connections
  // that are exempted to end. Zero: they are named, and cut where NAT claims them.
  absl::Duration drain = absl::ZeroDuration();
  // Takes one line for a person: what is removed, what is waited for.
  std::function<void(absl::string_view line)> report = [](absl::string_view) {};
};

// Removes all that the guard ever put on this node: links, pins, nft table.
// Works without a controller and on what a killed one left; doing it again is
// no error. UNAVAILABLE, naming its pid, while a controller runs: it would put
// everything back. FAILED_PRECONDITION when the guard serves another network
// namespace: the pins are gone then, the table has to be removed from there.
absl::Status Unload(const UnloadOptions& options);

}  // namespace npg::controller

#endif  // NODEPORT_GUARD_CONTROLLER_UNLOAD_H_
