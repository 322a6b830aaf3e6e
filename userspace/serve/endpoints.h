// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_SERVE_ENDPOINTS_H_
#define NODEPORT_GUARD_SERVE_ENDPOINTS_H_

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "log/health.h"
#include "serve/http_server.h"
#include "serve/node_view.h"

namespace npg::serve {

// The content of the HTTP endpoints.
struct Endpoints {
  std::shared_ptr<log::Health> health;
  std::shared_ptr<NodeView> node;
  std::function<std::string()> metrics;  // the text of /metrics; empty: 404
};

// "/", "/healthz", "/readyz", "/api/v1/status" and "/metrics". Reads the node at most once
// a second, whatever the number of requests.
std::vector<HttpRoute> MakeRoutes(const Endpoints& endpoints);

}  // namespace npg::serve

#endif  // NODEPORT_GUARD_SERVE_ENDPOINTS_H_
