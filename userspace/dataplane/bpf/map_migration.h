// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_DATAPLANE_BPF_MAP_MIGRATION_H_
#define NODEPORT_GUARD_DATAPLANE_BPF_MAP_MIGRATION_H_

#include <bpf/libbpf.h>

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace npg::dataplane {

// True when the map of `fd` has the layout of `map`: type, key and value size,
// entries, flags.
absl::StatusOr<bool> SameLayout(int fd, const bpf_map* map);

// Copies the entries of one map to another of a different layout. Extends values with
// zeroes or truncates them, because fields are only appended to ABI structs; a changed
// key cannot be translated. Returns a clause for the log: "12 entries carried over", or
// why the map starts empty.
absl::StatusOr<std::string> MigrateMap(int from, int to);

}  // namespace npg::dataplane

#endif  // NODEPORT_GUARD_DATAPLANE_BPF_MAP_MIGRATION_H_
