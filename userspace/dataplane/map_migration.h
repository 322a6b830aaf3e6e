// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_DATAPLANE_MAP_MIGRATION_H_
#define NODEPORT_GUARD_DATAPLANE_MAP_MIGRATION_H_

#include <bpf/libbpf.h>

#include <cstdint>
#include <string>
#include <vector>

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

// Per-CPU counters: of each key all CPUs' values.
using CounterValues = std::vector<std::vector<uint64_t>>;

// MigrateMap() for a per-CPU array of counters of 64 bits, which the programs still
// count in. `carried` is what was copied. FAILED_PRECONDITION when the map is of
// another kind.
absl::StatusOr<std::string> MigrateCounters(int from, int to, CounterValues& carried);

// Adds to `to` what `from` has been counted up since: by as much, whatever `to`
// has counted itself by then. A count of the microsecond between reading and writing
// a value of `to` is lost.
absl::Status AddGrowth(int from, const CounterValues& carried, int to);

}  // namespace npg::dataplane

#endif  // NODEPORT_GUARD_DATAPLANE_MAP_MIGRATION_H_
