// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_BASE_SERVICE_MANAGER_H_
#define NODEPORT_GUARD_BASE_SERVICE_MANAGER_H_

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace npg::base {

// Notifies the service manager that started this process, by the protocol of sd_notify(3):
// assignments, one per line ("READY=1"), in one datagram to the socket in NOTIFY_SOCKET.
// Sends nothing if that is not set. OK means that the manager received it, not that it
// accepted it.
absl::Status NotifyServiceManager(absl::string_view assignments);

}  // namespace npg::base

#endif  // NODEPORT_GUARD_BASE_SERVICE_MANAGER_H_
