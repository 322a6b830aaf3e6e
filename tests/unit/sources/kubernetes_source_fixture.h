// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_TESTS_UNIT_SOURCES_KUBERNETES_SOURCE_FIXTURE_H_
#define NODEPORT_GUARD_TESTS_UNIT_SOURCES_KUBERNETES_SOURCE_FIXTURE_H_

#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "abi/names.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/event_loop.h"
#include "core/port.h"
#include "kubernetes/cluster_access.h"
#include "sources/kubernetes/kubernetes_source.h"
#include "sources/source.h"
#include "testing/api_model.h"
#include "testing/api_server.h"
#include "testing/status_asserts.h"

namespace npg::sources {

// A source and an API server with sockets between them. The parameter is whether the
// server speaks HTTP/2.
class KubernetesSourceFixture : public ::testing::TestWithParam<bool> {
 protected:
  using ApiServer = testing::ApiServer;
  using ApiModel = testing::ApiModel;

  static void SetUpTestSuite() {
    // libcurl would use these proxies.
    for (const char* name : {"https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"}) {
      unsetenv(name);
    }
  }

  void SetUp() override {
    NPG_ASSERT_OK_AND_ASSIGN(server_, ApiServer::Start({.http2 = GetParam()}));
    NPG_ASSERT_OK_AND_ASSIGN(loop_, base::EventLoop::Create());
    access_.server = server_->url();
    access_.ca.data = server_->ca_pem();
    access_.token = server_->token();
    access_.origin = "a test";
    // No delays and no timeouts, unless a test sets them.
    options_.reflector.first_spread = absl::ZeroDuration();
    options_.reflector.backoff_first = absl::Milliseconds(1);
    options_.reflector.backoff_max = absl::Milliseconds(20);
    Put("first", 30001);
  }

  // A source must not report an unchanged error twice.
  void TearDown() override {
    for (size_t i = 1; i < reports_.size(); ++i) {
      EXPECT_FALSE(!reports_[i].ok() && reports_[i] == reports_[i - 1]) << "twice: " << reports_[i];
    }
    for (const absl::Status& status : reports_) {
      EXPECT_EQ(status.message().find('\n'), absl::string_view::npos) << status;
    }
  }

  void Put(const std::string& name, int64_t port) {
    server_->Change(
        [&](ApiModel& model) { model.Put({.name = name, .ports = {{.node_port = port}}}); });
  }

  void Follow() {
    source_ = std::make_unique<KubernetesSource>(access_, options_);
    NPG_ASSERT_OK(source_->Follow(*loop_, [this](const absl::StatusOr<Reading>& reading) {
      reports_.push_back(reading.status());
      if (reading.ok()) last_ = *reading;
    }));
  }

  // Runs the loop until the condition holds; returns false at the deadline.
  bool RunUntil(const std::function<bool()>& condition,
                absl::Duration deadline = absl::Seconds(30)) {
    bool held = false;
    base::EventLoop::TimerId tick = 0;
    const std::function<void()> ask = [&] {
      held = condition();
      if (held) return loop_->Stop();
      tick = loop_->After(absl::Milliseconds(1), ask);
    };
    tick = loop_->After(absl::ZeroDuration(), ask);
    const auto over = loop_->After(deadline, [this] { loop_->Stop(); });
    EXPECT_TRUE(loop_->Run().ok());
    loop_->Cancel(over);
    loop_->Cancel(tick);
    return held;
  }

  bool Knows(uint16_t port) const {
    return last_ && last_->ports.contains({port, core::Protocol::kTcp});
  }
  bool RunUntilKnown(uint16_t port) {
    return RunUntil([this, port] { return Knows(port); });
  }
  // Runs until the source has a list and the server has an open watch of it.
  bool RunUntilSynced() {
    return RunUntil([this] {
      return last_ && source_->State().connected && server_->traffic().open_watches == 1;
    });
  }
  bool RunUntilCounted(abi::SourceError kind, uint64_t count = 1) {
    return RunUntil([this, kind, count] { return Errors(kind) >= count; });
  }
  uint64_t Errors(abi::SourceError kind) const { return source_->State().errors[kind]; }
  bool NoErrors() const { return source_->State().errors == SourceState().errors; }
  // The number of errors that the source reported.
  size_t ReportedErrors() const {
    size_t errors = 0;
    for (const absl::Status& status : reports_) errors += status.ok() ? 0 : 1;
    return errors;
  }

  std::unique_ptr<ApiServer> server_;
  std::unique_ptr<base::EventLoop> loop_;
  kubernetes::ClusterAccess access_;
  KubernetesSource::Options options_;
  std::unique_ptr<KubernetesSource> source_;
  std::vector<absl::Status> reports_;  // OK for each reading
  std::optional<Reading> last_;
};

inline std::string HttpName(const ::testing::TestParamInfo<bool>& info) {
  return info.param ? "Http2" : "Http1";
}

}  // namespace npg::sources

#endif  // NODEPORT_GUARD_TESTS_UNIT_SOURCES_KUBERNETES_SOURCE_FIXTURE_H_
