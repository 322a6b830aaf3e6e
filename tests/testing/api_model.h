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
  kIgnored,     // older than the parameter: a watch like any other
};

// In what servers differ. All may change while the model is in use.
struct ApiModelOptions {
  bool selects_by_type = true;  // false: spec.type is no field selector, 400
  WatchList watch_list = WatchList::kOffered;
  bool limit_ignored_at_zero = false;  // resourceVersion=0 lists all, whatever the limit
  bool expired_as_code = false;        // an expired watch: HTTP 410, not 200 and an event
};

class WatchCursor;

// What LIST and WATCH of /api/v1/services know and answer: the Services, their
// history, and the one counter all resourceVersions come from. No sockets, no
// clock, no threads, and not thread-safe: the same calls give the same bytes.
//
// History is kept for good, so that RestoreTo() can go back beyond a Compact().
class ApiModel {
 public:
  explicit ApiModel(ApiModelOptions options = {}) : options_(options) {}
  ApiModel(const ApiModel&) = delete;
  ApiModel& operator=(const ApiModel&) = delete;

  ApiModelOptions& options() { return options_; }

  // Changes. Each creates or replaces one Service, takes the next
  // resourceVersion and returns it.
  uint64_t Put(const ServiceSpec& spec);
  // The object as it is but for metadata.resourceVersion: see ApiObject.
  absl::StatusOr<uint64_t> PutJson(absl::string_view json);
  // An object with the resourceVersion it was recorded with, which the counter
  // then has; INVALID_ARGUMENT when that is not in the future.
  absl::StatusOr<uint64_t> PutRecorded(absl::string_view json);
  // Any text without line feeds, also what is no JSON. It is never stamped.
  uint64_t PutVerbatim(const std::string& ns, const std::string& name, absl::string_view text);
  // NOT_FOUND when there is no such Service. The event carries the last object
  // with the new resourceVersion.
  absl::StatusOr<uint64_t> Delete(const std::string& ns, const std::string& name);

  // What happens to the store. The counter at `version`, because other
  // resources have changed; it never goes back this way.
  void AdvanceTo(uint64_t version);
  // History up to and with `version` is gone: a watch from before it, a list of
  // a state before it, has expired. Open watches are not affected.
  void Compact(uint64_t version);
  // etcd comes back from a backup: state and counter are those of `version`
  // again, later changes use the numbers after it anew. All watches end.
  void RestoreTo(uint64_t version);

  uint64_t resource_version() const { return version_; }
  // The Services there are: "namespace/name" → the object as lists have it.
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
  // allowWatchBookmarks, sendInitialEvents. timeoutSeconds is the caller's. A
  // cursor is not to outlive the model.
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
  std::vector<Event> events_;  // all, in order; the state is what they add up to
  uint64_t version_ = 1;
  uint64_t compacted_ = 0;
  uint64_t restores_ = 0;
};

// One open watch: the bytes that it is sent. Lines are JSON and end in "\n".
class WatchCursor {
 public:
  // What is to be sent now: any number of lines, empty when nothing is new.
  std::string Next();
  // A bookmark for what Next() has given, without the events that it has not.
  // Empty where a server sends none: the client did not allow them, is still
  // waiting for its initial events, asked from a version of the future; or the
  // watch has ended.
  std::string Bookmark();
  // True when there is nothing more to come: an ERROR was sent, or RestoreTo().
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
  std::optional<uint64_t> initial_bookmark_;  // still to come, when this is reached
  bool expired_ = false;
  std::string first_;  // lines that come before the events
};

}  // namespace npg::testing

#endif  // NODEPORT_GUARD_TESTS_TESTING_API_MODEL_H_
