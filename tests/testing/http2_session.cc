// SPDX-License-Identifier: Apache-2.0
#include <nghttp2/nghttp2.h>
#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "testing/api_query.h"
#include "testing/api_reply.h"
#include "testing/api_request.h"
#include "testing/http_session.h"

namespace npg::testing {
namespace {

// The limit of Go's server.
constexpr uint32_t kMaxStreams = 250;

template <auto kDelete>
struct Deleter {
  template <typename T>
  void operator()(T* pointer) const {
    kDelete(pointer);
  }
};
using SessionPtr = std::unique_ptr<nghttp2_session, Deleter<nghttp2_session_del>>;
using CallbacksPtr =
    std::unique_ptr<nghttp2_session_callbacks, Deleter<nghttp2_session_callbacks_del>>;

absl::string_view View(const uint8_t* data, size_t size) {
  return {reinterpret_cast<const char*>(data), size};
}

nghttp2_nv Header(absl::string_view name, absl::string_view value) {
  // nghttp2 copies both and changes neither.
  const auto bytes = [](absl::string_view text) {
    return const_cast<uint8_t*>(reinterpret_cast<const uint8_t*>(text.data()));
  };
  return {bytes(name), bytes(value), name.size(), value.size(), NGHTTP2_NV_FLAG_NONE};
}

class Http2Session final : public HttpSession {
 public:
  Http2Session(Handler handler, bool client_known)
      : handler_(std::move(handler)), client_known_(client_known) {
    nghttp2_session_callbacks* made = nullptr;
    nghttp2_session_callbacks_new(&made);
    const CallbacksPtr callbacks(made);
    nghttp2_session_callbacks_set_on_begin_headers_callback(made, OnBeginHeaders);
    nghttp2_session_callbacks_set_on_header_callback(made, OnHeader);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(made, OnData);
    nghttp2_session_callbacks_set_on_frame_recv_callback(made, OnFrame);
    nghttp2_session_callbacks_set_on_stream_close_callback(made, OnStreamClose);
    nghttp2_session* session = nullptr;
    nghttp2_session_server_new(&session, made, this);
    session_.reset(session);
    const nghttp2_settings_entry setting{NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, kMaxStreams};
    nghttp2_submit_settings(session, NGHTTP2_FLAG_NONE, &setting, 1);
  }

  bool Receive(absl::string_view bytes) override {
    const auto* const data = reinterpret_cast<const uint8_t*>(bytes.data());
    return nghttp2_session_mem_recv(session_.get(), data, bytes.size()) ==
           static_cast<ssize_t>(bytes.size());
  }

  void Produce(size_t most, std::string& to) override {
    for (const auto& [id, stream] : streams_) {
      // An error only means that the stream waits for another event.
      if (stream.reply != nullptr) nghttp2_session_resume_data(session_.get(), id);
    }
    while (to.size() < most) {
      const uint8_t* data = nullptr;
      const ssize_t size = nghttp2_session_mem_send(session_.get(), &data);
      if (size < 0) end_ = End::kCut;
      if (size <= 0) return;
      absl::StrAppend(&to, View(data, static_cast<size_t>(size)));
    }
  }

  void GoAway() override {
    nghttp2_submit_goaway(session_.get(), NGHTTP2_FLAG_NONE,
                          nghttp2_session_get_last_proc_stream_id(session_.get()), NGHTTP2_NO_ERROR,
                          nullptr, 0);
  }

  End end() const override {
    if (end_ != End::kOpen) return end_;
    const bool wanted = nghttp2_session_want_read(session_.get()) != 0 ||
                        nghttp2_session_want_write(session_.get()) != 0;
    return wanted ? End::kOpen : End::kClose;
  }

 private:
  struct Stream {
    ApiRequest request;
    std::shared_ptr<ApiReply> reply;
  };

  static Http2Session& Self(void* self) { return *static_cast<Http2Session*>(self); }

  static int OnBeginHeaders(nghttp2_session* /*session*/, const nghttp2_frame* frame, void* self) {
    if (frame->headers.cat == NGHTTP2_HCAT_REQUEST) {
      ApiRequest& request = Self(self).streams_[frame->hd.stream_id].request;
      request.http_version = 2;
      request.client_known = Self(self).client_known_;
    }
    return 0;
  }

  static int OnHeader(nghttp2_session* /*session*/, const nghttp2_frame* frame,
                      const uint8_t* name_data, size_t name_size, const uint8_t* value_data,
                      size_t value_size, uint8_t /*flags*/, void* self) {
    const auto it = Self(self).streams_.find(frame->hd.stream_id);
    if (it == Self(self).streams_.end()) return 0;
    ApiRequest& request = it->second.request;
    const absl::string_view name = View(name_data, name_size);
    const std::string value(View(value_data, value_size));
    if (name == ":method") {
      request.method = value;
    } else if (name == ":path") {
      request.target = value;
      ApiTarget target = ParseTarget(value);
      request.path = std::move(target.path);
      request.query = std::move(target.query);
    } else {
      request.headers[std::string(name)] = value;
    }
    return 0;
  }

  static int OnData(nghttp2_session* /*session*/, uint8_t /*flags*/, int32_t id,
                    const uint8_t* data, size_t size, void* self) {
    const auto it = Self(self).streams_.find(id);
    if (it != Self(self).streams_.end())
      absl::StrAppend(&it->second.request.body, View(data, size));
    return 0;
  }

  static int OnFrame(nghttp2_session* /*session*/, const nghttp2_frame* frame, void* self) {
    const bool carries = frame->hd.type == NGHTTP2_HEADERS || frame->hd.type == NGHTTP2_DATA;
    if (carries && (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0) {
      Self(self).Answer(frame->hd.stream_id);
    }
    return 0;
  }

  static int OnStreamClose(nghttp2_session* /*session*/, int32_t id, uint32_t /*error*/,
                           void* self) {
    Self(self).streams_.erase(id);
    return 0;
  }

  static ssize_t ReadBody(nghttp2_session* /*session*/, int32_t id, uint8_t* buffer, size_t size,
                          uint32_t* flags, nghttp2_data_source* /*source*/, void* self) {
    return Self(self).Body(id, buffer, size, *flags);
  }

  void Answer(int32_t id) {
    const auto it = streams_.find(id);
    if (it == streams_.end() || it->second.reply != nullptr) return;
    const std::shared_ptr<ApiReply> reply = handler_(it->second.request);
    it->second.reply = reply;
    if (reply->fault().close_before) end_ = End::kCut;
    if (reply->fault().close_before || reply->fault().never_answer) return;
    const std::string code = absl::StrCat(reply->code());
    std::string length;
    std::vector<nghttp2_nv> headers = {Header(":status", code)};
    for (const auto& [name, value] : reply->headers()) headers.push_back(Header(name, value));
    if (reply->length().has_value()) {
      length = absl::StrCat(*reply->length());
      headers.push_back(Header("content-length", length));
    }
    nghttp2_data_provider body{};
    body.read_callback = ReadBody;
    nghttp2_submit_response(session_.get(), id, headers.data(), headers.size(), &body);
  }

  ssize_t Body(int32_t id, uint8_t* buffer, size_t size, uint32_t& flags) {
    const auto it = streams_.find(id);
    if (it == streams_.end()) return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    ApiReply& reply = *it->second.reply;
    chunk_.clear();
    const size_t taken = reply.Take(size, chunk_);
    // A cut or a reset takes effect at the next call, after the taken bytes are sent.
    if (taken != 0) std::memcpy(buffer, chunk_.data(), taken);
    const ApiReply::State state = reply.state();
    if (state == ApiReply::State::kDone) flags |= NGHTTP2_DATA_FLAG_EOF;
    if (taken != 0 || state == ApiReply::State::kDone) return static_cast<ssize_t>(taken);
    if (state == ApiReply::State::kReset) return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    if (state == ApiReply::State::kCut) end_ = End::kCut;
    return NGHTTP2_ERR_DEFERRED;
  }

  const Handler handler_;
  const bool client_known_;
  std::map<int32_t, Stream> streams_;
  std::string chunk_;
  End end_ = End::kOpen;
  SessionPtr session_;  // calls back into the other members until destroyed
};

}  // namespace

std::unique_ptr<HttpSession> MakeHttp2Session(HttpSession::Handler handler, bool client_known) {
  return std::make_unique<Http2Session>(std::move(handler), client_known);
}

}  // namespace npg::testing
