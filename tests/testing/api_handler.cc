// SPDX-License-Identifier: Apache-2.0
#include "testing/api_handler.h"

#include <algorithm>
#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "absl/time/clock.h"
#include "testing/api_events.h"
#include "testing/api_fault.h"
#include "testing/api_query.h"
#include "testing/api_reply.h"
#include "testing/api_request.h"
#include "testing/api_status.h"
#include "testing/api_traffic.h"

namespace npg::testing {
namespace {

RecordedRequest Record(const ApiRequest& request) {
  return {.time = absl::Now(),
          .kind = request.kind(),
          .method = request.method,
          .target = request.target,
          .path = request.path,
          .query = request.query,
          .http_version = request.http_version,
          .authorization = request.Header("authorization"),
          .user_agent = request.Header("user-agent"),
          .body = request.body};
}

// Of "/api/v1/namespaces/NAMESPACE/..." and "/apis/GROUP/v1/namespaces/NAMESPACE/...".
std::string NamespaceOf(absl::string_view path) {
  const std::pair<absl::string_view, absl::string_view> parts =
      absl::StrSplit(path, absl::MaxSplits("/namespaces/", 1));
  return std::string(parts.second.substr(0, parts.second.find('/')));
}

}  // namespace

// In the order of a real server: authentication, authorization, existence.
std::optional<ApiAnswer> ApiHandler::Refusal(const ApiRequest& request) const {
  const std::string authorization = request.Header("authorization");
  absl::string_view token = authorization;
  const bool by_token =
      absl::ConsumePrefix(&token, "Bearer ") && access_.tokens.count(std::string(token)) != 0;
  if (!by_token && !(access_.client_certificates && request.client_known)) return Unauthorized();
  if (!access_.forbidden_user.empty()) {
    return Forbidden(access_.forbidden_user,
                     request.kind() == RequestKind::kWatch ? "watch" : "list");
  }
  if (request.kind() == RequestKind::kAny) return NotFound();
  if (request.kind() == RequestKind::kEvent) {
    if (!access_.events_forbidden) return std::nullopt;
    return ForbiddenEvents(request.method == "POST" ? "create" : "patch",
                           NamespaceOf(request.path));
  }
  if (request.method != "GET") return MethodNotAllowed();
  return std::nullopt;
}

// Only a list of one namespace with metadata.name as its field selector.
ApiAnswer ApiHandler::ListByName(const ApiRequest& request) const {
  const std::string selector = QueryValue(request.query, "fieldSelector");
  absl::string_view name = selector;
  if (!absl::ConsumePrefix(&name, "metadata.name=")) return BadRequest("not offered in this test");
  const auto services = model_.Services();
  const auto it = services.find(absl::StrCat(NamespaceOf(request.path), "/", name));
  ApiAnswer answer;
  answer.body = absl::StrCat(
      R"({"kind":"ServiceList","apiVersion":"v1","metadata":{"resourceVersion":")",
      model_.resource_version(), R"("},"items":[)", it == services.end() ? "" : it->second, "]}\n");
  return answer;
}

std::shared_ptr<ApiReply> ApiHandler::Reply(const ApiRequest& request, Fault fault) {
  if (fault.answer.has_value()) {
    ApiAnswer answer = *fault.answer;
    return std::make_shared<ApiReply>(std::move(answer), std::move(fault));
  }
  if (auto refusal = Refusal(request)) {
    return std::make_shared<ApiReply>(*std::move(refusal), std::move(fault));
  }
  if (request.kind() == RequestKind::kEvent) {
    return std::make_shared<ApiReply>(events_.Handle(request), std::move(fault));
  }
  if (request.kind() == RequestKind::kOfOne) {
    return std::make_shared<ApiReply>(ListByName(request), std::move(fault));
  }
  if (request.kind() == RequestKind::kList) {
    return std::make_shared<ApiReply>(model_.List(request.query), std::move(fault));
  }
  auto watch = model_.Watch(request.query);
  if (watch.cursor == nullptr) {
    return std::make_shared<ApiReply>(std::move(watch.refusal), std::move(fault));
  }
  auto reply = std::make_shared<ApiReply>(std::move(watch.cursor), std::move(fault));
  watches_.push_back(reply);
  return reply;
}

std::shared_ptr<ApiReply> ApiHandler::Handle(const ApiRequest& request, TrafficLog& traffic) {
  auto reply = Reply(request, faults_.Take(request));
  size_t index = 0;
  traffic.Update([&request, &index](Traffic& seen) {
    index = seen.requests.size();
    seen.requests.push_back(Record(request));
  });
  reply->RecordIn(traffic, index);
  return reply;
}

std::vector<std::shared_ptr<ApiReply>> ApiHandler::OpenWatches() {
  watches_.erase(std::remove_if(watches_.begin(), watches_.end(),
                                [](const auto& watch) { return watch.expired(); }),
                 watches_.end());
  std::vector<std::shared_ptr<ApiReply>> open;
  for (const auto& watch : watches_) open.push_back(watch.lock());
  return open;
}

}  // namespace npg::testing
