// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_SERVE_HTTP_LISTENER_H_
#define NODEPORT_GUARD_SERVE_HTTP_LISTENER_H_

#include "absl/status/statusor.h"
#include "base/unique_fd.h"
#include "serve/http_address.h"

namespace npg::serve {

// A socket that listens on the address. Writes the port that the kernel chose into
// `address`, if it has port 0. The error of a failed bind has a remedy.
absl::StatusOr<base::UniqueFd> ListenForHttp(HttpAddress& address);

}  // namespace npg::serve

#endif  // NODEPORT_GUARD_SERVE_HTTP_LISTENER_H_
