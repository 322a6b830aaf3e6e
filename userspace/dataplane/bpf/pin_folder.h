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

// Makes `folder` hold `pins`. They are pinned in a folder beside it first; a
// new folder then appears whole, by one rename, and in one that exists each pin
// is replaced by a rename: a reader never finds a name missing. On an error
// before the first rename nothing has changed.
absl::Status PublishPins(const std::string& folder, const std::vector<Pin>& pins);

// Unpins what is in `folder`, and in what an interrupted PublishPins() left
// beside it, and removes both. Returns the names. Not an error when there is no
// such folder.
absl::StatusOr<std::vector<std::string>> RemovePinFolder(const std::string& folder);

}  // namespace npg::dataplane

#endif  // NODEPORT_GUARD_DATAPLANE_BPF_PIN_FOLDER_H_
