// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_TESTS_UNIT_SOURCES_KUBERNETES_REFLECTOR_DIALOGUE_H_
#define NODEPORT_GUARD_TESTS_UNIT_SOURCES_KUBERNETES_REFLECTOR_DIALOGUE_H_

#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <random>
#include <string>
#include <utility>

#include "abi/names.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "kubernetes/http_client.h"
#include "sources/kubernetes/reflector.h"
#include "sources/source.h"
#include "testing/api_status.h"

namespace npg::sources {

// Bodies as an API server sends them.
inline std::string Object(absl::string_view name, int port, int version) {
  return absl::StrCat(R"({"metadata":{"namespace":"a","name":")", name, R"(","resourceVersion":")",
                      version, R"("},"spec":{"type":"NodePort","ports":[{"port":80,"nodePort":)",
                      port, R"(,"protocol":"TCP"}]}})");
}
inline std::string Event(absl::string_view type, absl::string_view object) {
  return absl::StrCat(R"({"type":")", type, R"(","object":)", object, "}\n");
}
inline std::string Bookmark(int version) {
  return Event("BOOKMARK", absl::StrCat(R"({"kind":"Service","apiVersion":"v1","metadata":)",
                                        R"({"resourceVersion":")", version, R"("}})"));
}
inline std::string InitialEventsEnd(int version) {
  return Event("BOOKMARK",
               absl::StrCat(R"({"metadata":{"resourceVersion":")", version,
                            R"(","annotations":{"k8s.io/initial-events-end":"true"}}})"));
}
inline std::string List(int version, absl::string_view items, absl::string_view next = "") {
  return absl::StrCat(R"({"kind":"ServiceList","apiVersion":"v1","metadata":{)",
                      R"("resourceVersion":")", version, R"(","continue":")", next,
                      R"("},"items":[)", items, "]}");
}

// A reflector whose API server is the test, in virtual time.
class Dialogue {
 public:
  explicit Dialogue(const Reflector::Options& options = {}, uint64_t seed = 1)
      : random_(seed), reflector_(options, random_) {}

  Reflector& reflector() { return reflector_; }
  SourceState State() const { return reflector_.State(); }
  uint64_t Errors(abi::SourceError kind) const { return State().errors[kind]; }
  absl::Time now() const { return now_; }
  void Wait(absl::Duration time) { now_ += time; }
  const Reflector::Step& step() const { return step_; }
  // The random timeoutSeconds of the last request; -1 if it has none.
  int timeout_seconds() const { return timeout_seconds_; }

  // The next request, after its delay, with N for its random timeoutSeconds.
  std::string Ask() {
    step_ = reflector_.Next(now_);
    now_ += step_.delay;
    std::string target = step_.request.target;
    const std::string parameter = "timeoutSeconds=";
    const size_t at = target.find(parameter);
    timeout_seconds_ = -1;
    if (at == std::string::npos) return target;
    const size_t begin = at + parameter.size();
    const size_t end = target.find('&', begin);
    EXPECT_TRUE(absl::SimpleAtoi(target.substr(begin, end - begin), &timeout_seconds_)) << target;
    return target.replace(begin, end - begin, "N");
  }

  bool Head(int status, std::optional<absl::Duration> retry_after = std::nullopt) {
    return reflector_.OnHead({status, retry_after}, now_);
  }
  bool Body(absl::string_view bytes) { return reflector_.OnBody(bytes, now_); }
  void End(kubernetes::HttpEnd::Kind kind = kubernetes::HttpEnd::Kind::kComplete,
           std::string message = "") {
    reflector_.OnEnd({kind, std::move(message)}, now_);
    EXPECT_FALSE(absl::StrContains(State().last_error, "\n")) << State().last_error;
  }

  // Gives a whole answer.
  void Answer(int status, absl::string_view body,
              std::optional<absl::Duration> retry_after = std::nullopt) {
    Head(status, retry_after);
    End(Body(body) ? kubernetes::HttpEnd::Kind::kComplete : kubernetes::HttpEnd::Kind::kStopped);
  }
  void Answer(const testing::ApiAnswer& answer) {
    std::optional<absl::Duration> retry_after;
    if (answer.retry_after > 0) retry_after = absl::Seconds(answer.retry_after);
    Answer(answer.code, answer.body, retry_after);
  }

  // Lists one Service, a/web with 30080, by WatchList; its stream stays open.
  void SyncByWatchList(int version = 10) {
    Ask();
    Head(200);
    EXPECT_TRUE(Body(Event("ADDED", Object("web", 30080, version)) + InitialEventsEnd(version)));
  }

  // The same, then ends the stream and expects the request of the next watch.
  void SyncAndWatch() {
    SyncByWatchList();
    Wait(absl::Minutes(5));
    End();
    const std::string target = Ask();
    EXPECT_TRUE(absl::EndsWith(target, "&resourceVersion=10")) << target;
  }

 private:
  std::mt19937_64 random_;
  Reflector reflector_;
  absl::Time now_ = absl::FromUnixSeconds(1'700'000'000);
  Reflector::Step step_;
  int timeout_seconds_ = -1;
};

}  // namespace npg::sources

#endif  // NODEPORT_GUARD_TESTS_UNIT_SOURCES_KUBERNETES_REFLECTOR_DIALOGUE_H_
