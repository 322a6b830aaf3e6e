// SPDX-License-Identifier: Apache-2.0
#include "serve/kube_event_poster.h"

#include <spdlog/common.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "base/errno_status.h"
#include "base/event_loop.h"
#include "base/thread.h"
#include "kubernetes/cluster_access.h"
#include "kubernetes/http_client.h"
#include "log/fields.h"
#include "log/log.h"
#include "serve/kube_event_answer.h"
#include "serve/kube_events.h"
#include "serve/node_view.h"

namespace npg::serve {
namespace {

using kubernetes::AccessLoader;
using kubernetes::ClusterAccess;
using kubernetes::HttpClient;
using kubernetes::HttpEnd;
using kubernetes::HttpHead;
using kubernetes::HttpRequest;

// More than an Event or one Service needs.
constexpr size_t kMaxBody = size_t{1} << 20;
constexpr absl::Duration kAnswerTimeout = absl::Seconds(30);

}  // namespace

KubeEventPoster::KubeEventPoster(AccessLoader load, NodeView& view, Options options)
    : load_(std::move(load)),
      view_(view),
      options_(std::move(options)),
      events_(options_.events, random_) {
  if (options_.advice) advice_.emplace(options_.node_advice, random_);
}

absl::StatusOr<std::unique_ptr<KubeEventPoster>> KubeEventPoster::Start(ClusterAccess access,
                                                                        NodeView& view,
                                                                        Options options) {
  return Start([access = std::move(access)]() -> absl::StatusOr<ClusterAccess> { return access; },
               view, std::move(options));
}

absl::StatusOr<std::unique_ptr<KubeEventPoster>> KubeEventPoster::Start(AccessLoader load,
                                                                        NodeView& view,
                                                                        Options options) {
  std::unique_ptr<KubeEventPoster> poster(
      new KubeEventPoster(std::move(load), view, std::move(options)));
  NPG_RETURN_IF_ERROR(poster->Prepare());
  NPG_RETURN_IF_ERROR(poster->StartThread());
  return poster;
}

// Sets up everything but the thread, so that the thread itself cannot fail.
absl::Status KubeEventPoster::Prepare() {
  stop_.Reset(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!stop_) return base::ErrnoStatus(errno, "eventfd");
  absl::StatusOr<std::unique_ptr<base::EventLoop>> loop = base::EventLoop::Create();
  if (!loop.ok()) return loop.status();
  loop_ = *std::move(loop);
  Refresh().IgnoreError();  // Send() tries it again, and reports the error
  NPG_RETURN_IF_ERROR(
      loop_->AddFd(stop_.get(), EPOLLIN, [this](uint32_t /*events*/) { loop_->Stop(); }));
  loop_->After(options_.poll, [this] { Poll(); });
  return absl::OkStatus();
}

absl::Status KubeEventPoster::Refresh() {
  absl::StatusOr<ClusterAccess> access = load_();
  if (!access.ok()) return client_ == nullptr ? access.status() : absl::OkStatus();
  if (client_ != nullptr && *access == access_) return absl::OkStatus();
  auto client = HttpClient::Create(*loop_, *access, options_.user_agent, options_.timeouts);
  if (!client.ok()) return client.status();
  client_ = *std::move(client);
  access_ = *std::move(access);
  return absl::OkStatus();
}

std::string KubeEventPoster::Server() const {
  return access_.server.empty() ? "the API server" : access_.server;
}

absl::Status KubeEventPoster::StartThread() {
  absl::StatusOr<std::thread> thread = base::StartThread("kube-events", [this] {
    if (const absl::Status status = loop_->Run(); !status.ok()) fault_.Note(status);
  });
  if (!thread.ok()) return thread.status();
  thread_ = *std::move(thread);
  return absl::OkStatus();
}

KubeEventPoster::~KubeEventPoster() {
  if (!thread_.joinable()) return;
  eventfd_write(stop_.get(), 1);
  thread_.join();
}

void KubeEventPoster::Poll() {
  // Reading errors are reported elsewhere.
  if (const NodeView::Result status = view_.Get(options_.poll / 2); status.ok()) {
    const absl::Time now = absl::Now();
    events_.Observe((*status)->conflicts, (*status)->bound, now);
    if (advice_) advice_->Observe(options_.advice(**status), now);
  }
  Pump();
  loop_->After(options_.poll, [this] { Poll(); });
}

void KubeEventPoster::Pump() {
  if (busy_) return;
  const absl::Time now = absl::Now();
  if (auto request = events_.Next(now)) {
    advising_ = false;
    return Send(*std::move(request));
  }
  if (auto request = advice_ ? advice_->Next(now) : std::nullopt) {
    advising_ = true;
    return Send(*std::move(request));
  }
  loop_->Cancel(std::exchange(pump_timer_, 0));
  const absl::Time due = std::min(events_.due(), advice_ ? advice_->due() : absl::InfiniteFuture());
  if (due == absl::InfiniteFuture()) return;
  pump_timer_ = loop_->After(due - now, [this] {
    pump_timer_ = 0;
    Pump();
  });
}

void KubeEventPoster::Send(HttpRequest request) {
  busy_ = true;
  answer_ = {};
  const absl::Status refreshed = Refresh();
  absl::StatusOr<std::string> token =
      refreshed.ok() ? kubernetes::ReadToken(access_) : absl::StatusOr<std::string>(refreshed);
  if (!token.ok()) {
    answer_.failure = std::string(token.status().message());
    return OnAnswer(answer_);
  }
  request.token = *std::move(token);
  request.answer_timeout = kAnswerTimeout;
  client_->Start(std::move(request), {[this](const HttpHead& head) {
                                        answer_.status = head.status;
                                        answer_.retry_after = head.retry_after;
                                        return true;
                                      },
                                      [this](absl::string_view bytes) {
                                        if (answer_.body.size() + bytes.size() > kMaxBody) {
                                          return false;
                                        }
                                        answer_.body.append(bytes.data(), bytes.size());
                                        return true;
                                      },
                                      [this](const HttpEnd& end) {
                                        if (end.kind != HttpEnd::Kind::kComplete) {
                                          answer_.status = 0;
                                          answer_.failure = end.message.empty()
                                                                ? "the answer is too long"
                                                                : end.message;
                                        }
                                        OnAnswer(answer_);
                                      }});
}

void KubeEventPoster::OnAnswer(const KubeEventAnswer& answer) {
  busy_ = false;
  if (advising_) {
    Log(advice_->OnAnswer(answer, absl::Now()));
  } else {
    const uint64_t created = events_.counts().created;
    const absl::Status status = events_.OnAnswer(answer, absl::Now());
    if (!status.ok() || events_.counts().created > created) Log(status);
  }
  // Not from here: the client is not ready for the next request yet.
  loop_->Cancel(pump_timer_);
  pump_timer_ = loop_->After(absl::ZeroDuration(), [this] {
    pump_timer_ = 0;
    Pump();
  });
}

void KubeEventPoster::Log(const absl::Status& status) {
  if (absl::IsPermissionDenied(status)) {
    if (std::exchange(forbidden_, true)) return;
    log::Log(spdlog::level::warn,
             absl::StrCat("Kubernetes Events are not sent: ", Server(), ": ", status.message()),
             log::Fields().Add("server", Server()));
    return;
  }
  if (status.ok() && std::exchange(forbidden_, false)) {
    log::Log(spdlog::level::info, "Kubernetes Events are sent: the right is there now",
             log::Fields().Add("server", Server()));
  }
  fault_.Note(status.ok()
                  ? status
                  : absl::Status(status.code(),
                                 absl::StrCat(Server(), ": one is given up: ", status.message())));
}

}  // namespace npg::serve
