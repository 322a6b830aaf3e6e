// SPDX-License-Identifier: Apache-2.0
#include "testing/api_reply.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "testing/api_fault.h"
#include "testing/api_model.h"
#include "testing/api_status.h"
#include "testing/api_traffic.h"

namespace npg::testing {
namespace {

// The size that Go's server buffers; a longer answer has no Content-Length.
constexpr size_t kLongestWithLength = 2048;

}  // namespace

ApiReply::ApiReply(ApiAnswer answer, Fault fault)
    : fault_(std::move(fault)),
      code_(answer.code),
      headers_{{"cache-control", "no-cache, private"}, {"content-type", answer.content_type}},
      pending_(std::move(answer.body)),
      allowed_(fault_.drip_bytes) {
  if (answer.retry_after > 0) {
    headers_.emplace_back("retry-after", absl::StrCat(answer.retry_after));
  }
}

ApiReply::ApiReply(std::unique_ptr<WatchCursor> cursor, Fault fault)
    : fault_(std::move(fault)),
      headers_{{"cache-control", "no-cache, private"}, {"content-type", "application/json"}},
      cursor_(std::move(cursor)),
      allowed_(fault_.drip_bytes) {}

ApiReply::~ApiReply() {
  if (log_ == nullptr) return;
  log_->Update([this](Traffic& traffic) {
    traffic.requests[index_].ended = true;
    if (is_watch()) --traffic.open_watches;
  });
}

void ApiReply::RecordIn(TrafficLog& log, size_t index) {
  log_ = &log;
  index_ = index;
  log.Update([this](Traffic& traffic) {
    const bool answered = !fault_.close_before && !fault_.never_answer;
    traffic.requests[index_].code = answered ? code_ : 0;
    if (is_watch()) ++traffic.open_watches;
  });
}

std::optional<size_t> ApiReply::length() const {
  if (is_watch() || pending_.size() > kLongestWithLength) return std::nullopt;
  return pending_.size();
}

void ApiReply::Refill() {
  if (cursor_ == nullptr) return;
  // An answer of known length keeps its bytes, which length() counts.
  if (taken_ == pending_.size()) {
    pending_.clear();
    taken_ = 0;
  }
  pending_ += cursor_->Next();
}

uint64_t ApiReply::Room() const {
  uint64_t end = std::numeric_limits<uint64_t>::max();
  for (const auto& after : {fault_.cut_after, fault_.reset_after, fault_.stall_after}) {
    end = std::min(end, after.value_or(end));
  }
  if (fault_.drip_bytes != 0) end = std::min(end, allowed_);
  return end > sent_ ? end - sent_ : 0;
}

size_t ApiReply::Take(size_t most, std::string& to) {
  Refill();
  const auto size =
      static_cast<size_t>(std::min<uint64_t>({most, pending_.size() - taken_, Room()}));
  if (size == 0) return 0;
  const size_t begin = to.size();
  to.append(pending_, taken_, size);
  if (fault_.garble_at.has_value() && *fault_.garble_at - sent_ < size) {
    to[begin + static_cast<size_t>(*fault_.garble_at - sent_)] = '\x01';
  }
  taken_ += size;
  sent_ += size;
  if (log_ != nullptr) {
    log_->Update([this](Traffic& traffic) { traffic.requests[index_].body_bytes = sent_; });
  }
  return size;
}

ApiReply::State ApiReply::state() const {
  const auto reached = [this](const std::optional<uint64_t>& after) {
    return after.has_value() && sent_ >= *after;
  };
  if (reached(fault_.cut_after)) return State::kCut;
  if (reached(fault_.reset_after)) return State::kReset;
  if (reached(fault_.stall_after) || taken_ < pending_.size()) return State::kMore;
  return cursor_ == nullptr || finish_ || cursor_->ended() ? State::kDone : State::kMore;
}

void ApiReply::Send(const std::string& bytes) {
  Refill();
  pending_ += bytes;
}

void ApiReply::SendBookmark() {
  Refill();
  pending_ += cursor_->Bookmark();
}

}  // namespace npg::testing
