// SPDX-License-Identifier: Apache-2.0
#include "testing/api_server.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <cstdint>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "base/errno_status.h"
#include "testing/api_fault.h"
#include "testing/api_handler.h"
#include "testing/api_model.h"
#include "testing/api_server_loop.h"
#include "testing/api_tls.h"

namespace npg::testing {
namespace {

bool IsIpAddress(const std::string& text) {
  in6_addr address{};  // large enough for both families
  return inet_pton(AF_INET, text.c_str(), &address) == 1 ||
         inet_pton(AF_INET6, text.c_str(), &address) == 1;
}

}  // namespace

ApiServer::ApiServer(const ApiServerOptions& options, ApiTls tls)
    : options_(options), tls_(std::move(tls)), port_(options.port) {}

ApiServer::~ApiServer() = default;

absl::StatusOr<std::unique_ptr<ApiServer>> ApiServer::Start(const ApiServerOptions& options) {
  if (!IsIpAddress(options.address)) {
    return absl::InvalidArgumentError(absl::StrCat(options.address, " is no IP address"));
  }
  auto tls = ApiTls::Make(options.address, options.http2);
  if (!tls.ok()) return tls.status();
  std::unique_ptr<ApiServer> server(new ApiServer(options, *std::move(tls)));
  auto loop =
      ApiServerLoop::Make(server->tls_, server->traffic_, ApiAccess{.tokens = {options.token}});
  if (!loop.ok()) return loop.status();
  server->loop_ = *std::move(loop);
  NPG_RETURN_IF_ERROR(server->ListenAgain());
  server->SetBookmarkPeriod(options.bookmark_period);
  return server;
}

std::string ApiServer::url() const {
  const bool v6 = absl::StrContains(options_.address, ":");
  return absl::StrCat("https://", v6 ? "[" : "", options_.address, v6 ? "]" : "", ":", port_);
}

void ApiServer::Change(absl::FunctionRef<void(ApiModel&)> change) {
  loop_->Do([change](ApiServerLoop& loop) { change(loop.handler().model()); });
}

void ApiServer::AcceptTokens(std::set<std::string> tokens) {
  loop_->Do([&tokens](ApiServerLoop& loop) { loop.handler().access().tokens = std::move(tokens); });
}

void ApiServer::AcceptClientCertificates(bool accept) {
  loop_->Do(
      [accept](ApiServerLoop& loop) { loop.handler().access().client_certificates = accept; });
}

void ApiServer::Forbid(const std::string& user) {
  loop_->Do([&user](ApiServerLoop& loop) { loop.handler().access().forbidden_user = user; });
}

void ApiServer::ForbidEvents(bool forbid) {
  loop_->Do([forbid](ApiServerLoop& loop) { loop.handler().access().events_forbidden = forbid; });
}

std::vector<std::string> ApiServer::Events() {
  std::vector<std::string> events;
  loop_->Do([&events](ApiServerLoop& loop) { events = loop.handler().events().All(); });
  return events;
}

void ApiServer::ForgetEvents() {
  loop_->Do([](ApiServerLoop& loop) { loop.handler().events().Clear(); });
}

void ApiServer::UseCertificate(ServerCertificate certificate) {
  loop_->Do([certificate](ApiServerLoop& loop) { loop.set_certificate(certificate); });
}

void ApiServer::Inject(Fault fault) {
  loop_->Do([&fault](ApiServerLoop& loop) { loop.handler().faults().Add(std::move(fault)); });
}

void ApiServer::ClearFaults() {
  loop_->Do([](ApiServerLoop& loop) { loop.handler().faults().Clear(); });
}

void ApiServer::SendBookmarks() {
  loop_->Do([](ApiServerLoop& loop) { loop.SendBookmarks(); });
}

void ApiServer::SetBookmarkPeriod(absl::Duration period) {
  loop_->Do([period](ApiServerLoop& loop) { loop.SetBookmarkPeriod(period); });
}

void ApiServer::SendToWatches(const std::string& bytes) {
  loop_->Do([&bytes](ApiServerLoop& loop) {
    for (const auto& watch : loop.handler().OpenWatches()) watch->Send(bytes);
  });
}

void ApiServer::CloseWatches() {
  loop_->Do([](ApiServerLoop& loop) {
    for (const auto& watch : loop.handler().OpenWatches()) watch->Finish();
  });
}

void ApiServer::SetAccepting(Accepting accepting) {
  loop_->Do([accepting](ApiServerLoop& loop) { loop.set_accepting(accepting); });
}

void ApiServer::KillConnections() {
  loop_->Do([](ApiServerLoop& loop) { loop.KillConnections(); });
}

void ApiServer::FreezeConnections() {
  loop_->Do([](ApiServerLoop& loop) { loop.FreezeConnections(); });
}

void ApiServer::SendGoAway() {
  loop_->Do([](ApiServerLoop& loop) { loop.SendGoAway(); });
}

void ApiServer::StopListening() {
  loop_->Do([](ApiServerLoop& loop) { loop.StopListening(); });
}

absl::Status ApiServer::ListenAgain() {
  absl::StatusOr<uint16_t> port = port_;
  loop_->Do([this, &port](ApiServerLoop& loop) { port = loop.Listen(options_.address, port_); });
  if (!port.ok()) return port.status();
  port_ = *port;
  return absl::OkStatus();
}

}  // namespace npg::testing
