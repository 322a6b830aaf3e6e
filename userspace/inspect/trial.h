// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_INSPECT_TRIAL_H_
#define NODEPORT_GUARD_INSPECT_TRIAL_H_

#include <string>

namespace npg::inspect {

// Something that was tried in the kernel, and how that ended.
struct Trial {
  std::string what;    // "load the guard's programs"
  int error = 0;       // errno; 0: it works, ENOSYS: the kernel does not have it
  std::string detail;  // of the error, where more is known
};

}  // namespace npg::inspect

#endif  // NODEPORT_GUARD_INSPECT_TRIAL_H_
