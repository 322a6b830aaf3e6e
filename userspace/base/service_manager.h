// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_BASE_SERVICE_MANAGER_H_
#define NODEPORT_GUARD_BASE_SERVICE_MANAGER_H_

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace npg::base {

// Tells the service manager that started this process what has become of it, by
// the protocol of sd_notify(3): assignments, one per line ("READY=1"), in one datagram
// to the socket that the environment names in NOTIFY_SOCKET. Without that, which
// is so wherever nobody waits for it, nothing is sent. OK says that the manager has
// it, not what it makes of it.
absl::Status NotifyServiceManager(absl::string_view assignments);

}  // namespace npg::base

#endif  // NODEPORT_GUARD_BASE_SERVICE_MANAGER_H_
