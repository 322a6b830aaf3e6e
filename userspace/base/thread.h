// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_BASE_THREAD_H_
#define NODEPORT_GUARD_BASE_THREAD_H_

#include <functional>
#include <string>
#include <thread>

#include "absl/status/statusor.h"

namespace npg::base {

// A thread with all signals blocked, because the controller reads them from a signalfd, and
// without the capabilities that only loading the programs needs, which the first thread
// does. RESOURCE_EXHAUSTED when the thread cannot be created, as at the limit of processes.
// `name` is for ps and top, which show 15 bytes of it.
absl::StatusOr<std::thread> StartThread(const std::string& name, std::function<void()> body);

}  // namespace npg::base

#endif  // NODEPORT_GUARD_BASE_THREAD_H_
