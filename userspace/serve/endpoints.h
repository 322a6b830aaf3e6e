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

// What the HTTP server has to say, and whence.
struct Endpoints {
  std::shared_ptr<log::Health> health;
  std::shared_ptr<NodeView> node;
  std::function<std::string()> metrics;  // the text of /metrics; empty: 404
};

// "/", "/healthz", "/readyz", "/api/v1/status" and "/metrics". The node is read at
// most once a second, however many ask.
std::vector<HttpRoute> MakeRoutes(const Endpoints& endpoints);

}  // namespace npg::serve

#endif  // NODEPORT_GUARD_SERVE_ENDPOINTS_H_
