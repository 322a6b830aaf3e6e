// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_DATAPLANE_BPF_PIN_FOLDER_H_
#define NODEPORT_GUARD_DATAPLANE_BPF_PIN_FOLDER_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace npg::dataplane {

// A BPF object to be pinned. The descriptor stays the caller's.
struct Pin {
  std::string name;
  int fd = -1;
};

// Pins `pins` in `folder`, by way of a temporary folder beside it. A new folder appears
// complete, by one rename; in an existing one, a rename replaces each pin, so that no
// name is ever missing. An error before the first rename changes nothing.
absl::Status PublishPins(const std::string& folder, const std::vector<Pin>& pins);

// Removes `folder` and its pins, and the temporary folder that an interrupted
// PublishPins() left. Returns the names of the pins. Not an error when there is no such
// folder.
absl::StatusOr<std::vector<std::string>> RemovePinFolder(const std::string& folder);

}  // namespace npg::dataplane

#endif  // NODEPORT_GUARD_DATAPLANE_BPF_PIN_FOLDER_H_
