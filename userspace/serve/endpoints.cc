// SPDX-License-Identifier: Apache-2.0
#include "serve/endpoints.h"

#include <sys/utsname.h>

#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "inspect/json.h"
#include "log/health.h"
#include "serve/http_message.h"
#include "serve/http_server.h"
#include "serve/node_view.h"
#include "serve/status_page.h"

namespace npg::serve {
namespace {

using Json = nlohmann::ordered_json;

constexpr absl::Duration kMaxAge = absl::Seconds(1);
constexpr const char* kJsonType = "application/json";

std::string JsonText(const Json& json) {
  return json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

HttpResponse HealthResponse(const log::HealthAnswer& answer, bool json) {
  HttpResponse response;
  response.status = answer.ok ? 200 : 503;
  if (json) {
    response.content_type = kJsonType;
    response.body = JsonText({{"ok", answer.ok}, {"checks", answer.lines}});
  } else {
    response.body = absl::StrCat(absl::StrJoin(answer.lines, "\n"), "\n");
  }
  return response;
}

HttpResponse StatusResponse(const NodeView::Result& node) {
  HttpResponse response;
  response.content_type = kJsonType;
  if (node.ok()) {
    response.body = JsonText(inspect::StatusJson(**node));
  } else {
    response.status = 503;
    response.body = JsonText({{"error", std::string(node.status().message())}});
  }
  return response;
}

HttpResponse PageResponse(const Endpoints& endpoints, const NodeView::Result& node) {
  PageInput input;
  const log::HealthState state = endpoints.health->Read();
  input.now = absl::Now();
  input.live = log::Liveness(state, input.now);
  input.ready = log::Readiness(state);
  input.has_metrics = endpoints.metrics != nullptr;
  if (node.ok()) {
    input.status = node->get();
  } else {
    input.error = std::string(node.status().message());
  }
  utsname system{};
  if (uname(&system) == 0) {
    input.node = static_cast<const char*>(system.nodename);
    input.kernel = absl::StrCat(static_cast<const char*>(system.release), " ",
                                static_cast<const char*>(system.machine));
  }
  HttpResponse response;
  response.content_type = "text/html; charset=utf-8";
  response.security_policy = StatusPagePolicy();
  response.body = RenderStatusPage(input);
  return response;
}

}  // namespace

std::vector<HttpRoute> MakeRoutes(const Endpoints& endpoints) {
  std::vector<HttpRoute> routes;
  const std::shared_ptr<log::Health> health = endpoints.health;
  routes.push_back({"/healthz", false, [health](const HttpRequest& request) {
                      return HealthResponse(log::Liveness(health->Read(), absl::Now()),
                                            request.wants_json);
                    }});
  routes.push_back({"/readyz", false, [health](const HttpRequest& request) {
                      return HealthResponse(log::Readiness(health->Read()), request.wants_json);
                    }});
  routes.push_back({"/api/v1/status", true, [node = endpoints.node](const HttpRequest&) {
                      return StatusResponse(node->Get(kMaxAge));
                    }});
  routes.push_back({"/", true, [endpoints](const HttpRequest&) {
                      return PageResponse(endpoints, endpoints.node->Get(kMaxAge));
                    }});
  if (endpoints.metrics) {
    routes.push_back({"/metrics", true, [metrics = endpoints.metrics](const HttpRequest&) {
                        HttpResponse response;
                        response.content_type = "text/plain; version=0.0.4; charset=utf-8";
                        response.body = metrics();
                        return response;
                      }});
  }
  return routes;
}

}  // namespace npg::serve
