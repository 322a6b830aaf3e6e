// SPDX-License-Identifier: Apache-2.0
#include "sources/kubernetes/kubernetes_source.h"

#include <spdlog/spdlog.h>

#include <memory>
#include <string>
#include <utility>

#include "absl/random/random.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "base/errno_status.h"
#include "base/event_loop.h"
#include "base/memory.h"
#include "core/bind_facts.h"
#include "kubernetes/cluster_access.h"
#include "kubernetes/http_client.h"
#include "sources/kubernetes/reflector.h"
#include "sources/source.h"

namespace npg::sources {

// Makes the requests of the reflector, and reports their results.
class KubernetesSource::Follower {
 public:
  // `load` and `options` outlive it. An access that cannot be loaded yet is no error.
  static absl::StatusOr<std::unique_ptr<Follower>> Create(base::EventLoop& loop,
                                                          const kubernetes::AccessLoader& load,
                                                          const Options& options,
                                                          Callback callback) {
    std::unique_ptr<Follower> follower(new Follower(loop, load, options, std::move(callback)));
    absl::StatusOr<kubernetes::ClusterAccess> access = load();
    if (access.ok()) {
      NPG_RETURN_IF_ERROR(follower->Use(*std::move(access)));
    } else {
      follower->reflector_.OnNoAccess(access.status(), absl::Now());
      follower->ReportSoon();
    }
    return follower;
  }

  ~Follower() {
    loop_.Cancel(request_timer_);
    loop_.Cancel(report_timer_);
    loop_.Cancel(check_timer_);
  }
  Follower(const Follower&) = delete;
  Follower& operator=(const Follower&) = delete;

  // Returns the delay of the first list.
  absl::Duration Start() {
    CheckLater();
    return Ask();
  }

  // Without a server as long as it cannot be loaded.
  const kubernetes::ClusterAccess& access() const { return access_; }

  const core::BindFacts* bind_facts() const {
    return reflector_.listed() == absl::Time() ? nullptr : &reflector_.store().bind_facts();
  }

  SourceState State() const {
    SourceState state = reflector_.State();
    state.detail = access_.server;
    return state;
  }

 private:
  Follower(base::EventLoop& loop, const kubernetes::AccessLoader& load, const Options& options,
           Callback callback)
      : loop_(loop),
        load_(load),
        options_(options),
        callback_(std::move(callback)),
        reflector_(options.reflector, random_) {}

  absl::Status Use(kubernetes::ClusterAccess access) {
    auto client =
        kubernetes::HttpClient::Create(loop_, access, options_.user_agent, options_.timeouts);
    if (!client.ok()) return client.status();
    client_ = *std::move(client);
    access_ = std::move(access);
    return absl::OkStatus();
  }

  // Takes over an access that has changed. No request is in progress.
  absl::Status Refresh() {
    absl::StatusOr<kubernetes::ClusterAccess> access = load_();
    if (!access.ok()) {
      if (client_ == nullptr) return access.status();
      if (std::exchange(refused_, access.status()) != access.status()) {
        spdlog::warn("source kubernetes: {} ({}) is used as before: {}", access_.server,
                     access_.origin, std::string(access.status().message()));
      }
      return absl::OkStatus();
    }
    refused_ = absl::OkStatus();
    if (client_ != nullptr && *access == access_) return absl::OkStatus();
    return Change(*std::move(access));
  }

  absl::Status Change(kubernetes::ClusterAccess access) {
    spdlog::info("source kubernetes: the access is now {} ({})", access.server, access.origin);
    return Use(std::move(access));
  }

  void CheckLater() {
    check_timer_ = loop_.After(options_.access_check, [this] {
      CheckLater();
      CheckServer();
    });
  }

  // If the access names another server: gives up the request in progress, or the wait before
  // the next one. What else changes, such as credentials, counts from the next request.
  void CheckServer() {
    // Without a client, the next request is due as soon as there is an access.
    if (client_ == nullptr) return;
    absl::StatusOr<kubernetes::ClusterAccess> access = load_();
    if (!access.ok() || access->server == access_.server) return;
    // The client that is replaced ends its exchange, without calling back.
    if (const absl::Status changed = Change(*std::move(access)); !changed.ok()) {
      spdlog::warn("source kubernetes: {} is used as before: {}", access_.server,
                   std::string(changed.message()));
      return;
    }
    loop_.Cancel(std::exchange(request_timer_, 0));
    reflector_.OnOtherServer();
    Ask();
  }

  absl::Duration Ask() {
    Reflector::Step step = reflector_.Next(absl::Now());
    const absl::Duration delay = step.delay;
    request_timer_ = loop_.After(delay, [this, step = std::move(step)]() mutable {
      request_timer_ = 0;
      Request(std::move(step.request));
    });
    return delay;
  }

  void Request(kubernetes::HttpRequest request) {
    const std::string server = access_.server;
    const absl::Status refreshed = Refresh();
    if (!server.empty() && server != access_.server) {
      reflector_.OnOtherServer();
      request = reflector_.Next(absl::Now()).request;
    }
    if (!refreshed.ok()) {
      reflector_.OnNoAccess(refreshed, absl::Now());
      Report();
      Ask();
      return;
    }
    absl::StatusOr<std::string> token = kubernetes::ReadToken(access_);
    if (!token.ok()) {
      reflector_.OnNoCredentials(token.status(), absl::Now());
      Report();
      Ask();
      return;
    }
    request.token = *std::move(token);
    spdlog::debug("source kubernetes: GET {}{}", access_.server, request.target);
    client_->Start(std::move(request), {[this](const kubernetes::HttpHead& head) {
                                          const bool more = reflector_.OnHead(head, absl::Now());
                                          ReportSoon();
                                          return more;
                                        },
                                        [this](absl::string_view bytes) {
                                          const bool more = reflector_.OnBody(bytes, absl::Now());
                                          client_->SetIdleTimeout(reflector_.IdleTimeout());
                                          ReportSoon();
                                          return more;
                                        },
                                        [this](const kubernetes::HttpEnd& end) {
                                          reflector_.OnEnd(end, absl::Now());
                                          Report();
                                          Ask();
                                        }});
  }

  // Deferred: not from within libcurl, and once for all data that arrived together.
  void ReportSoon() {
    if (report_timer_ != 0) return;
    report_timer_ = loop_.After(absl::ZeroDuration(), [this] {
      report_timer_ = 0;
      Report();
    });
  }

  void Report() {
    const bool listed = std::exchange(listed_, reflector_.listed()) != reflector_.listed();
    const bool changed = reflector_.store().TakeChanged();
    if (listed) {
      spdlog::info("source kubernetes: {} Services have {} NodePorts, from {} ({})",
                   reflector_.store().services(), reflector_.store().reading()->ports.size(),
                   access_.server, reflector_.used_watch_list() ? "WatchList" : "list");
    }
    // The last data before a failure is valid, and may have to last for long: report
    // the reading first, then the error.
    if (changed || listed || (reflector_.synced() && !reported_.ok())) {
      reported_ = absl::OkStatus();
      callback_(reflector_.store().reading());
      reflector_.store().NoteReported();
    }
    if (!reflector_.synced() && reflector_.failure() != reported_) {
      reported_ = reflector_.failure();
      // Without a server, the error names the kubeconfig that is not there yet.
      callback_(access_.server.empty() ? reported_ : base::Annotate(reported_, access_.server));
    }
    // A list needs several times the memory of its result.
    if (listed) base::ReleaseUnusedMemory();
  }

  base::EventLoop& loop_;
  const kubernetes::AccessLoader& load_;
  const Options& options_;
  const Callback callback_;
  absl::BitGen random_;
  Reflector reflector_;
  kubernetes::ClusterAccess access_;                // of client_
  std::unique_ptr<kubernetes::HttpClient> client_;  // null: no access so far
  absl::Status refused_;                            // why the last access is still used
  base::EventLoop::TimerId request_timer_ = 0;
  base::EventLoop::TimerId report_timer_ = 0;
  base::EventLoop::TimerId check_timer_ = 0;
  absl::Status reported_;
  absl::Time listed_;
};

KubernetesSource::KubernetesSource(kubernetes::AccessLoader load, Options options)
    : load_(std::move(load)), options_(std::move(options)) {}

KubernetesSource::KubernetesSource(kubernetes::ClusterAccess access, Options options)
    : KubernetesSource(
          [access = std::move(access)]() -> absl::StatusOr<kubernetes::ClusterAccess> {
            return access;
          },
          std::move(options)) {}

KubernetesSource::~KubernetesSource() = default;

absl::StatusOr<Reading> KubernetesSource::Read() {
  absl::StatusOr<std::unique_ptr<base::EventLoop>> loop = base::EventLoop::Create();
  if (!loop.ok()) return loop.status();
  const absl::StatusOr<kubernetes::ClusterAccess> access = load_();
  if (!access.ok()) return access.status();
  bool done = false;
  absl::StatusOr<Reading> result =
      absl::DeadlineExceededError(absl::StrCat(access->server, ": list Services: not done within ",
                                               absl::FormatDuration(options_.read_timeout)));
  Options options = options_;
  options.reflector.first_spread = absl::ZeroDuration();
  auto follower =
      Follower::Create(**loop, load_, options, [&](const absl::StatusOr<Reading>& reading) {
        if (!std::exchange(done, true)) result = reading;
        (*loop)->Stop();
      });
  if (!follower.ok()) return follower.status();
  (*loop)->After(options_.read_timeout, [&] { (*loop)->Stop(); });
  (*follower)->Start();
  NPG_RETURN_IF_ERROR((*loop)->Run());
  const core::BindFacts* const facts = (*follower)->bind_facts();
  if (result.ok() && facts != nullptr) read_facts_ = *facts;
  return result;
}

void KubernetesSource::HurryFirstReading() {
  options_.reflector.first_spread = absl::ZeroDuration();
}

absl::Status KubernetesSource::Follow(base::EventLoop& loop, Callback callback) {
  auto follower = Follower::Create(loop, load_, options_, std::move(callback));
  if (!follower.ok()) return follower.status();
  follower_ = *std::move(follower);
  const absl::Duration delay = follower_->Start();
  const kubernetes::ClusterAccess& access = follower_->access();
  if (access.server.empty()) {
    spdlog::info("source kubernetes: waits for its access");
    return absl::OkStatus();
  }
  spdlog::info("source kubernetes: {} ({}) will be asked for the Services in {}", access.server,
               access.origin, absl::FormatDuration(absl::Trunc(delay, absl::Milliseconds(1))));
  return absl::OkStatus();
}

const core::BindFacts* KubernetesSource::bind_facts() const {
  const core::BindFacts* const followed = follower_ ? follower_->bind_facts() : nullptr;
  if (followed != nullptr) return followed;
  return read_facts_ ? &*read_facts_ : nullptr;
}

SourceState KubernetesSource::State() const {
  return follower_ ? follower_->State() : SourceState{};
}

}  // namespace npg::sources
