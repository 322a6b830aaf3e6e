// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_DATAPLANE_BPF_MAP_MIGRATION_H_
#define NODEPORT_GUARD_DATAPLANE_BPF_MAP_MIGRATION_H_

#include <bpf/libbpf.h>

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace npg::dataplane {

// True when the map behind `fd` is what `map` would be created as: type, key
// and value size, entries, flags.
absl::StatusOr<bool> SameLayout(int fd, const bpf_map* map);

// Copies what can be copied from one map to another of a different layout.
// Values are extended with zeroes or cut, for fields are only ever appended to
// an ABI struct; a changed key cannot be translated. Returns, as half a
// sentence for people, what was done: "12 entries carried over", or why it
// starts anew.
absl::StatusOr<std::string> MigrateMap(int from, int to);

}  // namespace npg::dataplane

#endif  // NODEPORT_GUARD_DATAPLANE_BPF_MAP_MIGRATION_H_
