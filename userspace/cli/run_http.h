// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_CLI_RUN_HTTP_H_
#define NODEPORT_GUARD_CLI_RUN_HTTP_H_

#include <memory>

#include "absl/status/statusor.h"
#include "serve/endpoints.h"
#include "serve/http_address.h"

namespace npg::cli {

// Serves the HTTP endpoints of `run` for as long as the returned object lives. Logs
// warnings about the address when it listens there.
absl::StatusOr<std::shared_ptr<void>> ServeHttp(const serve::HttpAddress& address,
                                                const serve::Endpoints& endpoints);

}  // namespace npg::cli

#endif  // NODEPORT_GUARD_CLI_RUN_HTTP_H_
