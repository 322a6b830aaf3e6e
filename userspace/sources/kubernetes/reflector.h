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

// Keeps a ServiceStore equal to the Services of the API server: lists them once, then
// watches them, and recovers from every failure. It has no connection, timer or clock:
// it returns the next request, and receives the response. So tests can play every
// sequence of failures.
//
// Invariants:
// - A list changes the store only once its last page is complete, a watch one complete
//   event at a time. No error ever changes it.
// - resourceVersion limits the age of a response. The first list accepts the API server's
//   cache ("0"): quorum reads from etcd by ten thousand nodes would be expensive, and the
//   watch delivers what is missing. Later lists must not be older than the known version
//   (resourceVersionMatch=NotOlderThan): with several API servers, one that lags would
//   briefly remove guarded ports. If the known version itself is in doubt, because etcd
//   was restored from a backup, it is "0" again. A server that has not reached the known
//   version ("Too large resource version") is asked again for it, and after some answers
//   of that kind for its latest state, which is read from etcd.
// - A list is a WatchList (sendInitialEvents, Kubernetes >= 1.32 by default) if the server
//   supports it, which needs the least memory there, otherwise pages of 500. A list that
//   must not be older than a version has no limit: servers up to 1.33 would read its pages
//   from etcd.
// - The watch requests bookmarks. They keep the version to resume from recent, and show
//   that an idle stream is alive.
class Reflector {
 public:
  struct Options {
    size_t page = 500;
    // All nodes may start at the same time.
    absl::Duration first_spread = absl::Seconds(5);
    absl::Duration backoff_first = absl::Seconds(1);
    absl::Duration backoff_max = absl::Seconds(60);
    // After the first expired version the list comes within this time. It is a bound of
    // its own, because the failures before it (a server that was away) raise the other.
    absl::Duration relist_spread = absl::Seconds(5);
    // The server ends a watch after a time in this range.
    absl::Duration watch_min = absl::Minutes(5);
    absl::Duration watch_max = absl::Minutes(10);
    // The interval of the resync, a list without a failure: for changes that no watch
    // reports, as when resourceVersions are reused after etcd was restored from a backup.
    absl::Duration resync_min = absl::Hours(12);
    absl::Duration resync_max = absl::Hours(24);
    absl::Duration answer_timeout = absl::Seconds(60);
    absl::Duration list_idle = absl::Seconds(30);
    // Bookmarks come once a minute.
    absl::Duration watch_idle = absl::Seconds(80);
    // While there is no access to a server: no server is asked, so this does not grow.
    absl::Duration access_retry = absl::Seconds(5);
    // A longer Retry-After is reduced to this.
    absl::Duration retry_after_max = absl::Minutes(10);
  };

  // The next request, to be made after `delay`.
  struct Step {
    absl::Duration delay;
    kubernetes::HttpRequest request;  // without a token; the caller reads it for each request
  };

  Reflector(const Options& options, absl::BitGenRef random);

  // Call it at the start, and after each OnEnd().
  Step Next(absl::Time now);

  // The response to the request of the last Next(). False: end the exchange.
  bool OnHead(const kubernetes::HttpHead& head, absl::Time now);
  bool OnBody(absl::string_view bytes, absl::Time now);
  void OnEnd(const kubernetes::HttpEnd& end, absl::Time now);

  // How long the present response may be silent: a WatchList begins as a list and
  // continues as a watch.
  absl::Duration IdleTimeout() const;

  // Instead of the three above, when the request could not be made because reading the
  // credentials failed with `status`.
  void OnNoCredentials(const absl::Status& status, absl::Time now);

  // The same, when the access to the server cannot be loaded. Also before the first Next().
  void OnNoAccess(const absl::Status& status, absl::Time now);

  // The next request goes to another server, perhaps of another cluster, where the known
  // version means nothing. Call Next() after it, in place of a request of before, which may be
  // in progress: its OnEnd() is not called then.
  void OnOtherServer();

  ServiceStore& store() { return store_; }
  const ServiceStore& store() const { return store_; }

  // True between an applied list and the next failure: the store is current.
  bool synced() const { return synced_; }
  // Why it is not: the last failure. OK before the first.
  const absl::Status& failure() const { return failure_; }
  // When a list was last applied; the epoch before the first.
  absl::Time listed() const { return state_.last_reading; }
  // True when the last list was a WatchList.
  bool used_watch_list() const { return listed_by_watch_; }

  // Its state; the caller fills in `detail`, because it knows the server.
  SourceState State() const;

 private:
  enum class Phase { kWatchList, kPage, kWatch };
  // Why the present exchange failed, and what to do after it.
  struct Failure {
    abi::SourceError kind = abi::SourceError::kHttp;
    std::string message = {};
    bool relist = false;  // the version to resume from is useless
    std::optional<absl::Duration> retry_after = std::nullopt;  // requested by the server
  };

  std::string ListTarget() const;
  std::string WatchTarget(bool initial_events);  // draws its timeout
  // Starts at the first page, without parameters that the server does not know.
  void BeginList();
  // The same, by pages, because the server does not know WatchList. Not a failure.
  void ListByPages();
  // The same, with all parameters again: the server may have been upgraded.
  void BeginListAnew();
  bool OnListBody(absl::string_view bytes);
  bool OnWatchBody(absl::string_view bytes, absl::Time now);
  absl::Status OnEvent(WatchEvent&& event, absl::Time now);
  absl::Status OnErrorEvent(const kubernetes::ApiStatus& status);
  // The server has not reached the known version.
  void OnVersionTooLarge(Failure& failure);
  void Commit(std::string resource_version, absl::Time now);

  void EndList(absl::Time now);
  void EndWatch(absl::Time now);
  void EndBadStatus(absl::Time now);
  void EndBadRequest(const std::string& message, const std::string& said, absl::Time now);
  void EndTransport(const kubernetes::HttpEnd& end, absl::Time now);
  void Fail(Failure failure, absl::Time now);
  void NoteFailure(abi::SourceError kind, const std::string& message, absl::Time now);

  const Options options_;
  absl::BitGenRef random_;
  kubernetes::Backoff backoff_;
  kubernetes::Backoff relist_backoff_;  // after an expired version

  // The known state.
  ServiceStore store_;
  std::string resource_version_;  // to resume from; empty: none, list
  bool version_in_doubt_ = false;
  int too_large_ = 0;          // answers since the last list that the version is too large
  bool wants_latest_ = false;  // too many of them: list the latest state, whatever its version
  bool synced_ = false;
  absl::Status failure_;
  SourceState state_;

  // What the server supports. Tried again with every list, because servers are upgraded.
  bool offers_watch_list_ = true;
  bool offers_selector_ = true;
  bool listed_by_watch_ = false;
  bool bookmarks_seen_ = false;
  int silent_watches_ = 0;  // that reached the idle limit
  absl::Time resync_;       // when to list again in any case

  // The present list.
  ServiceStore staging_;
  std::string continue_token_;
  std::string list_version_;  // of its first page

  // The present exchange.
  Phase phase_ = Phase::kWatchList;
  bool started_ = false;
  absl::Duration delay_;  // before the next
  absl::Time answered_ = absl::InfiniteFuture();
  int status_ = 0;
  std::optional<absl::Duration> retry_after_;
  bool got_body_ = false;
  bool token_refused_ = false;     // once: it may just have rotated
  bool no_list_in_watch_ = false;  // the server treats it as a plain watch: end it
  absl::Duration watch_timeout_;
  std::optional<Failure> stop_;  // why this side ends the exchange
  std::string error_body_;
  std::optional<ListDecoder> list_decoder_;
  std::optional<WatchDecoder> watch_decoder_;
};

}  // namespace npg::sources

#endif  // NODEPORT_GUARD_SOURCES_KUBERNETES_REFLECTOR_H_
