// SPDX-License-Identifier: Apache-2.0
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "testing/api_query.h"
#include "testing/api_reply.h"
#include "testing/api_request.h"
#include "testing/http_session.h"

namespace npg::testing {
namespace {

constexpr size_t kLongestHead = 1 << 20;
constexpr size_t kChunk = 65536;

absl::string_view Reason(int code) {
  switch (code) {
    case 200:
      return "OK";
    case 201:
      return "Created";
    case 400:
      return "Bad Request";
    case 401:
      return "Unauthorized";
    case 403:
      return "Forbidden";
    case 404:
      return "Not Found";
    case 405:
      return "Method Not Allowed";
    case 409:
      return "Conflict";
    case 410:
      return "Gone";
    case 422:
      return "Unprocessable Entity";
    case 429:
      return "Too Many Requests";
    case 500:
      return "Internal Server Error";
    case 503:
      return "Service Unavailable";
    case 504:
      return "Gateway Timeout";
    default:
      return "Whatever";
  }
}

// Parses a request head without the empty line. Returns false if it is invalid.
bool ParseHead(absl::string_view head, ApiRequest& request) {
  const std::vector<absl::string_view> lines = absl::StrSplit(head, "\r\n");
  const std::vector<std::string> words = absl::StrSplit(lines[0], ' ');
  if (words.size() != 3 || words[2] != "HTTP/1.1") return false;
  request.method = words[0];
  request.target = words[1];
  ApiTarget target = ParseTarget(request.target);
  request.path = std::move(target.path);
  request.query = std::move(target.query);
  for (size_t i = 1; i < lines.size(); ++i) {
    const std::pair<absl::string_view, absl::string_view> header =
        absl::StrSplit(lines[i], absl::MaxSplits(':', 1));
    request.headers[absl::AsciiStrToLower(header.first)] =
        std::string(absl::StripAsciiWhitespace(header.second));
  }
  return true;
}

// Handles one request at a time; later ones wait.
class Http1Session final : public HttpSession {
 public:
  Http1Session(Handler handler, bool client_known)
      : handler_(std::move(handler)), client_known_(client_known) {}

  bool Receive(absl::string_view bytes) override {
    absl::StrAppend(&in_, bytes);
    return in_.size() <= kLongestHead;
  }

  void Produce(size_t most, std::string& to) override {
    while (end_ == End::kOpen && to.size() < most) {
      if (reply_ == nullptr && !NextRequest()) return;
      if (reply_ == nullptr) continue;
      if (reply_->fault().never_answer) return;
      if (!head_sent_) AppendHead(to);
      if (end_ != End::kOpen || !AppendBody(to)) return;
    }
  }

  End end() const override { return end_; }

 private:
  // True if there was a request, or invalid data, after which end() is kClose.
  bool NextRequest() {
    const size_t size = in_.find("\r\n\r\n");
    if (size == std::string::npos) return false;
    ApiRequest request;
    request.client_known = client_known_;
    if (!ParseHead(absl::string_view(in_).substr(0, size), request)) {
      end_ = End::kClose;
      return true;
    }
    size_t body = 0;
    if (!absl::SimpleAtoi(request.Header("content-length"), &body)) body = 0;
    if (in_.size() < size + 4 + body) return false;
    request.body = in_.substr(size + 4, body);
    in_.erase(0, size + 4 + body);
    last_ = absl::EqualsIgnoreCase(request.Header("connection"), "close");
    head_sent_ = false;
    reply_ = handler_(request);
    return true;
  }

  void AppendHead(std::string& to) {
    head_sent_ = true;
    if (reply_->fault().close_before) {
      Finish(End::kCut);
      return;
    }
    absl::StrAppend(&to, "HTTP/1.1 ", reply_->code(), " ", Reason(reply_->code()), "\r\n");
    for (const auto& [name, value] : reply_->headers()) {
      absl::StrAppend(&to, name, ": ", value, "\r\n");
    }
    if (last_) absl::StrAppend(&to, "connection: close\r\n");
    chunked_ = !reply_->length().has_value();
    if (chunked_) {
      absl::StrAppend(&to, "transfer-encoding: chunked\r\n\r\n");
    } else {
      absl::StrAppend(&to, "content-length: ", *reply_->length(), "\r\n\r\n");
    }
  }

  // Returns false if nothing more can be sent now.
  bool AppendBody(std::string& to) {
    chunk_.clear();
    const size_t size = reply_->Take(kChunk, chunk_);
    if (size != 0) {
      if (chunked_) absl::StrAppend(&to, absl::Hex(size), "\r\n");
      to += chunk_;
      if (chunked_) to += "\r\n";
    }
    switch (reply_->state()) {
      case ApiReply::State::kMore:
        return size != 0;
      case ApiReply::State::kDone:
        if (chunked_) to += "0\r\n\r\n";
        Finish(last_ ? End::kClose : End::kOpen);
        return true;
      case ApiReply::State::kCut:
        Finish(End::kCut);
        return true;
      case ApiReply::State::kReset:
        Finish(End::kReset);
        return true;
    }
    return false;
  }

  void Finish(End end) {
    reply_.reset();
    end_ = end;
  }

  const Handler handler_;
  const bool client_known_;
  std::string in_, chunk_;
  std::shared_ptr<ApiReply> reply_;
  bool head_sent_ = false, chunked_ = false, last_ = false;
  End end_ = End::kOpen;
};

}  // namespace

std::unique_ptr<HttpSession> MakeHttp1Session(HttpSession::Handler handler, bool client_known) {
  return std::make_unique<Http1Session>(std::move(handler), client_known);
}

}  // namespace npg::testing
