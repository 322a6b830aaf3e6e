// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_SOURCES_KUBERNETES_REFLECTOR_H_
#define NODEPORT_GUARD_SOURCES_KUBERNETES_REFLECTOR_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>

#include "abi/names.h"
#include "absl/random/bit_gen_ref.h"
#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "kubernetes/backoff.h"
#include "kubernetes/http_client.h"
#include "sources/kubernetes/list_decoder.h"
#include "sources/kubernetes/service_store.h"
#include "sources/kubernetes/watch_decoder.h"
#include "sources/source.h"

namespace npg::sources {

// Keeps a ServiceStore what the API server knows: lists the Services once, then
// watches them, and finds its way back after whatever goes wrong. Neither
// connects nor waits nor looks at a clock: it says what to ask next, and is told
// what comes back. That makes every history of failures a test.
//
// What it is asked to hold to:
// - The store changes by a list only when its last page has arrived whole, and
//   by a watch one whole event at a time. No error ever changes it.
// - resourceVersion says how old an answer may be. The first list takes whatever
//   the API server has in its cache ("0"): quorum reads from etcd by ten
//   thousand nodes would be dear, and the watch makes up for what is missing.
//   Later lists must not be older than what is known already
//   (resourceVersionMatch=NotOlderThan): with several API servers, one that lags
//   would take guarded ports away for a moment. Only when the known version
//   itself is in doubt, since etcd has been restored from a backup, "0" again.
// - A list is a WatchList (sendInitialEvents, Kubernetes >= 1.32 by default)
//   where the server offers it, which costs it the least memory, and pages of
//   500 elsewhere.
// - The watch asks for bookmarks. They keep the version to resume from young,
//   and are the sign of life of a stream on which nothing happens.
class Reflector {
 public:
  struct Options {
    size_t page = 500;
    // A whole fleet may start at once.
    absl::Duration first_spread = absl::Seconds(5);
    absl::Duration backoff_first = absl::Seconds(1);
    absl::Duration backoff_most = absl::Seconds(60);
    // The server ends a watch after a time in this range.
    absl::Duration watch_least = absl::Minutes(5);
    absl::Duration watch_most = absl::Minutes(10);
    // Lists anew after a time in this range, though nothing asks for it: for what
    // no watch can tell of, as resourceVersions that are used for a second time
    // after etcd has been restored from a backup.
    absl::Duration resync_least = absl::Hours(12);
    absl::Duration resync_most = absl::Hours(24);
    absl::Duration answer_timeout = absl::Seconds(60);
    absl::Duration list_idle = absl::Seconds(30);
    // Bookmarks come once a minute.
    absl::Duration watch_idle = absl::Seconds(80);
    // A Retry-After beyond that is taken for a mistake.
    absl::Duration retry_after_most = absl::Minutes(10);
  };

  // The next request, to be made after `delay`.
  struct Step {
    absl::Duration delay;
    kubernetes::HttpRequest request;  // without its token, which is to be read for each request
  };

  Reflector(const Options& options, absl::BitGenRef random);

  // To be asked at the start, and after each OnEnd().
  Step Next(absl::Time now);

  // The answer to the request of the last Next(). False: enough, end it.
  bool OnHead(const kubernetes::HttpHead& head, absl::Time now);
  bool OnBody(absl::string_view bytes, absl::Time now);
  void OnEnd(const kubernetes::HttpEnd& end, absl::Time now);

  // How long the answer that is under way may be silent: what begins as a list
  // (WatchList) goes on as a watch.
  absl::Duration IdleTimeout() const;

  // The request could not be made at all, since `status` says so of the
  // credentials. In the place of the three above.
  void OnNoCredentials(const absl::Status& status, absl::Time now);

  ServiceStore& store() { return store_; }
  const ServiceStore& store() const { return store_; }

  // True between a list that was applied and the next failure: the store is
  // what the API server says.
  bool synced() const { return synced_; }
  // Why it is not: the last failure. OK before the first.
  const absl::Status& failure() const { return failure_; }
  // When a list was last applied; the epoch before the first.
  absl::Time listed() const { return state_.last_reading; }
  // True when the last list was a WatchList.
  bool used_watch_list() const { return listed_by_watch_; }

  // What is known of itself; `detail` is left to whoever knows the server.
  SourceState State() const;

 private:
  enum class Phase { kWatchList, kPage, kWatch };
  // What is to be done when the exchange under way has ended.
  struct Failure {
    abi::SourceError kind = abi::SourceError::kHttp;
    std::string message = {};
    bool relist = false;  // the version to resume from is of no use
    std::optional<absl::Duration> retry_after = std::nullopt;  // asked for by the server
  };

  std::string ListTarget() const;
  std::string WatchTarget(bool initial_events);  // draws its timeout
  // From the first page, with what the server was found not to know left out.
  void BeginList();
  // The same, the server not knowing WatchList. No failure of anybody.
  void ListByPages();
  // The same, after a while: the server may know more now.
  void BeginListAnew();
  bool OnListBody(absl::string_view bytes);
  bool OnWatchBody(absl::string_view bytes, absl::Time now);
  absl::Status OnEvent(WatchEvent&& event, absl::Time now);
  absl::Status OnErrorEvent(const kubernetes::ApiStatus& status);
  void Commit(std::string resource_version, absl::Time now);

  void EndList(absl::Time now);
  void EndWatch(absl::Time now);
  void EndBadStatus(absl::Time now);
  void EndBadRequest(const std::string& message, const std::string& said, absl::Time now);
  void EndTransport(const kubernetes::HttpEnd& end, absl::Time now);
  void Fail(Failure failure, absl::Time now);

  const Options options_;
  absl::BitGenRef random_;
  kubernetes::Backoff backoff_;

  // What is known.
  ServiceStore store_;
  std::string resource_version_;  // to resume from; empty: none, list
  bool version_in_doubt_ = false;
  bool synced_ = false;
  absl::Status failure_;
  SourceState state_;

  // What the server is known to do. Asked again with every list: servers are
  // upgraded.
  bool offers_watch_list_ = true;
  bool offers_selector_ = true;
  bool listed_by_watch_ = false;
  bool bookmarks_seen_ = false;
  int silent_watches_ = 0;  // that reached the idle limit
  absl::Time resync_;       // when to list again in any case

  // The list under way.
  ServiceStore staging_;
  std::string continue_token_;
  std::string list_version_;  // of its first page

  // The exchange under way.
  Phase phase_ = Phase::kWatchList;
  bool started_ = false;
  absl::Duration delay_;  // before the next
  absl::Time answered_ = absl::InfiniteFuture();
  int status_ = 0;
  std::optional<absl::Duration> retry_after_;
  bool got_body_ = false;
  bool token_refused_ = false;     // once: it may just have rotated
  bool no_list_in_watch_ = false;  // the server took it for a plain watch: end it
  absl::Duration watch_timeout_;
  std::optional<Failure> stop_;  // why the exchange is being ended from here
  std::string error_body_;
  std::optional<ListDecoder> list_decoder_;
  std::optional<WatchDecoder> watch_decoder_;
};

}  // namespace npg::sources

#endif  // NODEPORT_GUARD_SOURCES_KUBERNETES_REFLECTOR_H_
