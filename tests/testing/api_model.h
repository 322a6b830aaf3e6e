// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_TESTS_TESTING_API_MODEL_H_
#define NODEPORT_GUARD_TESTS_TESTING_API_MODEL_H_

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "testing/api_object.h"
#include "testing/api_query.h"
#include "testing/api_status.h"

namespace npg::testing {

// How a server answers sendInitialEvents on a watch.
enum class WatchList {
  kOffered,
  kForbidden,   // 422: the feature gate is off
  kBadRequest,  // 400
  kIgnored,     // older than the parameter: treated as a plain watch
};

// The features in which servers differ. All may change while the model is in use.
struct ApiModelOptions {
  bool selects_by_type = true;  // false: spec.type is no field selector, 400
  WatchList watch_list = WatchList::kOffered;
  bool limit_ignored_at_zero = false;  // resourceVersion=0 lists all, for any limit
  bool expired_as_code = false;        // an expired watch: HTTP 410, not 200 and an event
};

class WatchCursor;

// The model behind LIST and WATCH of /api/v1/services: the Services, their history,
// and the counter of all resourceVersions. No sockets, no clock, no threads, and not
// thread-safe: the same calls give the same bytes.
//
// History is never deleted, so that RestoreTo() can go back beyond a Compact().
class ApiModel {
 public:
  explicit ApiModel(ApiModelOptions options = {}) : options_(options) {}
  ApiModel(const ApiModel&) = delete;
  ApiModel& operator=(const ApiModel&) = delete;

  ApiModelOptions& options() { return options_; }

  // Changes. Each creates or replaces one Service, takes the next
  // resourceVersion and returns it.
  uint64_t Put(const ServiceSpec& spec);
  // Keeps the object except for metadata.resourceVersion: see ApiObject.
  absl::StatusOr<uint64_t> PutJson(absl::string_view json);
  // Keeps the recorded resourceVersion and sets the counter to it; INVALID_ARGUMENT
  // if it is not greater than the counter.
  absl::StatusOr<uint64_t> PutRecorded(absl::string_view json);
  // Accepts any text without line feeds, also invalid JSON. It is never stamped.
  uint64_t PutVerbatim(const std::string& ns, const std::string& name, absl::string_view text);
  // NOT_FOUND when there is no such Service. The event carries the last object
  // with the new resourceVersion.
  absl::StatusOr<uint64_t> Delete(const std::string& ns, const std::string& name);

  // Events of the store. Sets the counter to `version`, as changes of other
  // resources do; it never goes back this way.
  void AdvanceTo(uint64_t version);
  // Compacts the history up to and with `version`: a watch from before it, or a list
  // of a state before it, has expired. Open watches are not affected.
  void Compact(uint64_t version);
  // Restores etcd from a backup: state and counter are those of `version` again, and
  // later changes reuse the numbers after it. All watches end.
  void RestoreTo(uint64_t version);

  uint64_t resource_version() const { return version_; }
  // The Services: "namespace/name" → the object as in lists.
  std::map<std::string, std::string> Services() const;

  // Answers a LIST with these parameters: fieldSelector, limit, continue,
  // resourceVersion, resourceVersionMatch.
  ApiAnswer List(const ApiQuery& query) const;

  // A watch that was accepted has a cursor; otherwise `refusal` is the answer.
  struct WatchAnswer {
    std::unique_ptr<WatchCursor> cursor;
    ApiAnswer refusal;
  };
  // Answers a WATCH: fieldSelector, resourceVersion, resourceVersionMatch,
  // allowWatchBookmarks, sendInitialEvents. The caller handles
  // timeoutSeconds. The model must outlive the cursor.
  WatchAnswer Watch(const ApiQuery& query) const;

 private:
  friend class WatchCursor;

  struct Stored {
    std::shared_ptr<const ApiObject> object;
    uint64_t version = 0;
  };
  using State = std::map<std::string, Stored>;  // by key, in the order of a list
  struct Event {
    uint64_t version = 0;
    std::shared_ptr<const ApiObject> object;  // nullptr: deleted
    std::optional<Stored> old;                // nothing: created
  };
  // `spec.type=value` or `spec.type!=value`; empty: everything.
  struct Selector {
    std::optional<std::string> type;
    bool equal = true;
    bool Matches(const ApiObject& object) const;
  };
  struct Page;

  uint64_t Store(ApiObject object);
  State StateAt(uint64_t version) const;
  std::optional<ApiAnswer> ParseSelector(const ApiQuery& query, Selector& selector) const;
  std::optional<ApiAnswer> CheckInitialEvents(const ApiQuery& query) const;
  std::optional<ApiAnswer> FirstPage(const ApiQuery& query, Page& page) const;
  std::optional<ApiAnswer> NextPage(const ApiQuery& query, Page& page) const;
  ApiAnswer ListPage(const Page& page, const Selector& selector) const;

  ApiModelOptions options_;
  State state_;
  std::vector<Event> events_;  // all, in order; their sum is the state
  uint64_t version_ = 1;
  uint64_t compacted_ = 0;
  uint64_t restores_ = 0;
};

// One open watch: the bytes to send to it. Lines are JSON and end in "\n".
class WatchCursor {
 public:
  // The lines to send now; empty when nothing is new.
  std::string Next();
  // A bookmark at the last event that Next() has returned. Empty where a server sends
  // none: the client did not allow bookmarks, still waits for its initial events, or
  // requested a future version; or the watch has ended.
  std::string Bookmark();
  // True when the watch has ended, by an ERROR or by RestoreTo().
  bool ended() const;

 private:
  friend class ApiModel;

  explicit WatchCursor(const ApiModel& model);
  void StartWith(const ApiModel::State& state);
  void AppendEvent(const ApiModel::Event& event, std::string& to) const;

  const ApiModel& model_;
  ApiModel::Selector selector_;
  const uint64_t restores_;
  size_t next_;    // index into events_
  uint64_t from_;  // events up to this version are not for this watch
  bool bookmarks_ = false;
  std::optional<uint64_t> initial_bookmark_;  // due when this version is reached
  bool expired_ = false;
  std::string first_;  // lines that come before the events
};

}  // namespace npg::testing

#endif  // NODEPORT_GUARD_TESTS_TESTING_API_MODEL_H_
