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
  // How long to wait, after the programs are detached, for exempted connections to
  // end. The remaining ones are reported; NAT may cut them.
  absl::Duration drain = absl::ZeroDuration();
  // Receives lines of text: what is removed, what is waited for.
  std::function<void(absl::string_view line)> report = [](absl::string_view) {};
};

// Removes the guard from this node: links, pins, nft table. Works on what a killed
// controller left, and can be repeated. UNAVAILABLE, with its pid, while a controller
// runs: it would restore everything. FAILED_PRECONDITION if the guard serves another
// network namespace: the pins are removed then, the table must be removed from there.
absl::Status Unload(const UnloadOptions& options);

}  // namespace npg::controller

#endif  // NODEPORT_GUARD_CONTROLLER_UNLOAD_H_
