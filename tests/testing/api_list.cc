// SPDX-License-Identifier: Apache-2.0
//
// LIST of ApiModel.
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "testing/api_model.h"
#include "testing/api_query.h"
#include "testing/api_status.h"

namespace npg::testing {

// The part of a state to list.
struct ApiModel::Page {
  uint64_t version = 0;
  std::string after;   // key of the last Service of the page before; empty: the first
  uint64_t limit = 0;  // 0: all
};

namespace {

constexpr absl::string_view kContinueExpired =
    "The provided continue parameter is too old to display a consistent list result. You can "
    "start a new list without the continue parameter, or use the continue token in this response "
    "to retrieve the remainder of the results. Continuing with the provided token results in an "
    "inconsistent list - objects that were created, modified, or deleted between the time the "
    "first chunk was returned and now may show up in the list.";
constexpr absl::string_view kListExpired = "The resourceVersion for the provided list is too old.";

// A token is opaque to clients. Version 0 continues with the state at that time.
std::string Token(uint64_t version, absl::string_view after) {
  return absl::WebSafeBase64Escape(absl::StrCat(version, "\n", after));
}

std::optional<std::pair<uint64_t, std::string>> ReadToken(absl::string_view token) {
  std::string text;
  if (!absl::WebSafeBase64Unescape(token, &text)) return std::nullopt;
  const std::pair<std::string, std::string> parts = absl::StrSplit(text, absl::MaxSplits('\n', 1));
  uint64_t version = 0;
  if (!absl::SimpleAtoi(parts.first, &version) || parts.second.empty()) return std::nullopt;
  return std::pair(version, parts.second);
}

}  // namespace

std::optional<ApiAnswer> ApiModel::FirstPage(const ApiQuery& query, Page& page) const {
  const std::string text = QueryValue(query, "resourceVersion");
  const std::string match = QueryValue(query, "resourceVersionMatch");
  page.version = version_;
  if (text.empty()) {
    if (match.empty()) return std::nullopt;
    return InvalidOption("resourceVersionMatch",
                         "resourceVersionMatch is forbidden unless resourceVersion is provided");
  }
  uint64_t wanted = 0;
  if (!absl::SimpleAtoi(text, &wanted)) {
    return BadRequest(absl::StrCat("Invalid value: ", JsonQuote(text),
                                   ": strconv.ParseUint: parsing ", JsonQuote(text),
                                   ": invalid syntax"));
  }
  if (wanted == 0) {
    if (match == "Exact") {
      return InvalidOption("resourceVersionMatch",
                           "resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"");
    }
    if (options_.limit_ignored_at_zero) page.limit = 0;
    return std::nullopt;
  }
  if (wanted > version_) return TooLargeVersion(wanted, version_);
  // A limit without a match means exactly that version, for compatibility.
  if (match == "Exact" || (match.empty() && page.limit != 0)) {
    if (wanted < compacted_) return Expired(kListExpired);
    page.version = wanted;
  } else if (!match.empty() && match != "NotOlderThan") {
    return InvalidOption("resourceVersionMatch", absl::StrCat("unknown value ", match));
  }
  return std::nullopt;
}

std::optional<ApiAnswer> ApiModel::NextPage(const ApiQuery& query, Page& page) const {
  if (!QueryValue(query, "resourceVersionMatch").empty()) {
    return InvalidOption("resourceVersionMatch",
                         "resourceVersionMatch is forbidden when continue is provided");
  }
  const std::string version = QueryValue(query, "resourceVersion");
  if (!version.empty() && version != "0") {
    return BadRequest("specifying resource version is not allowed when using continue");
  }
  const auto token = ReadToken(QueryValue(query, "continue"));
  if (!token.has_value()) return BadRequest("continue key is not valid: illegal base64 data");
  page.version = token->first == 0 ? version_ : token->first;
  page.after = token->second;
  if (page.version > version_) {
    return StatusAnswer(500, "",
                        "rpc error: code = OutOfRange desc = etcdserver: mvcc: required revision "
                        "is a future revision");
  }
  if (page.version < compacted_) {
    return Expired(kContinueExpired,
                   absl::StrCat(R"({"continue":")", Token(0, page.after), R"("})"));
  }
  return std::nullopt;
}

ApiAnswer ApiModel::List(const ApiQuery& query) const {
  Selector selector;
  if (auto refusal = ParseSelector(query, selector)) return *refusal;
  if (!QueryValue(query, "sendInitialEvents").empty() &&
      options_.watch_list != WatchList::kIgnored) {
    return InvalidOption("sendInitialEvents", "sendInitialEvents is forbidden for list");
  }
  Page page;
  const std::string limit = QueryValue(query, "limit");
  if (!limit.empty() && !absl::SimpleAtoi(limit, &page.limit)) {
    return BadRequest(
        absl::StrCat("strconv.ParseInt: parsing ", JsonQuote(limit), ": invalid syntax"));
  }
  const bool first = QueryValue(query, "continue").empty();
  if (auto refusal = first ? FirstPage(query, page) : NextPage(query, page)) return *refusal;
  return ListPage(page, selector);
}

ApiAnswer ApiModel::ListPage(const Page& page, const Selector& selector) const {
  State past;
  if (page.version != version_) past = StateAt(page.version);
  const State& state = page.version == version_ ? state_ : past;
  std::string items;
  std::string more;
  uint64_t count = 0;
  auto it = page.after.empty() ? state.begin() : state.upper_bound(page.after);
  absl::string_view last;
  for (; it != state.end(); ++it) {
    // The rest may match nothing: as with a real server, the last page of a
    // filtered list can be empty.
    if (page.limit != 0 && count == page.limit) break;
    last = it->first;
    if (!selector.Matches(*it->second.object)) continue;
    if (count++ != 0) items += ',';
    it->second.object->AppendItem(it->second.version, items);
  }
  if (it != state.end()) {
    absl::StrAppend(&more, R"(,"continue":")", Token(page.version, last), R"(")");
    // A server does not know how many items of a filtered list remain.
    if (!selector.type.has_value()) {
      absl::StrAppend(&more, R"(,"remainingItemCount":)", std::distance(it, state.end()));
    }
  }
  ApiAnswer answer;
  answer.body = absl::StrCat(R"({"kind":"ServiceList","apiVersion":"v1","metadata":)",
                             R"({"resourceVersion":")", page.version, "\"", more, R"(},"items":[)",
                             items, "]}\n");
  return answer;
}

}  // namespace npg::testing
