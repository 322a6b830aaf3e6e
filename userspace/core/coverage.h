// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_CORE_COVERAGE_H_
#define NODEPORT_GUARD_CORE_COVERAGE_H_

#include <cstdint>
#include <vector>

#include "absl/strings/string_view.h"

namespace npg::core {

// How much of a node's NodePorts a source can see, or its sources together. A source that sees
// all of them may see none because there are none.
enum class Coverage : uint8_t {
  kAll = 0,
  kPart = 1,  // there can be NodePorts that it does not see
  kNone = 2,  // it sees nothing that implements NodePorts
};

// "all", "part", "none": the values of JSON.
absl::string_view Name(Coverage coverage);

// What sources see together, by the coverage of each that was read. `failed`: there are others,
// which could not be read.
Coverage Together(const std::vector<Coverage>& read, bool failed);

}  // namespace npg::core

#endif  // NODEPORT_GUARD_CORE_COVERAGE_H_
