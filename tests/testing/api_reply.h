// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_TESTS_TESTING_API_REPLY_H_
#define NODEPORT_GUARD_TESTS_TESTING_API_REPLY_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "testing/api_fault.h"
#include "testing/api_model.h"
#include "testing/api_status.h"
#include "testing/api_traffic.h"

namespace npg::testing {

// An answer in progress and its fault, for both versions of HTTP. The session takes
// the bytes that may be sent now, when it has room for them.
class ApiReply {
 public:
  enum class State {
    kMore,  // the body has, or may get, more bytes
    kDone,
    kCut,    // send the taken bytes, then close the connection
    kReset,  // the same, then reset
  };

  ApiReply(ApiAnswer answer, Fault fault);
  // A watch. The model must outlive it.
  ApiReply(std::unique_ptr<WatchCursor> cursor, Fault fault);
  ~ApiReply();
  ApiReply(const ApiReply&) = delete;
  ApiReply& operator=(const ApiReply&) = delete;

  // Records what is sent in the request at `index`.
  void RecordIn(TrafficLog& log, size_t index);

  bool is_watch() const { return cursor_ != nullptr; }
  const Fault& fault() const { return fault_; }
  int code() const { return code_; }
  // Without Content-Length, names in lower case.
  const std::vector<std::pair<std::string, std::string>>& headers() const { return headers_; }
  // Content-Length; nothing if the body is streamed, as a real server does for all
  // but short answers.
  std::optional<size_t> length() const;

  // Appends what may be sent now, at most `most` bytes, and updates state().
  size_t Take(size_t most, std::string& to);
  State state() const;

  // For a watch, after its pending events: sends bytes, sends a bookmark if one is
  // due, ends the watch.
  void Send(const std::string& bytes);
  void SendBookmark();
  void Finish() { finish_ = true; }
  // Lets a dripping answer send the next bytes.
  void Allow(uint64_t bytes) { allowed_ += bytes; }

 private:
  void Refill();
  uint64_t Room() const;

  const Fault fault_;
  int code_ = 200;
  std::vector<std::pair<std::string, std::string>> headers_;
  std::unique_ptr<WatchCursor> cursor_;
  std::string pending_;
  size_t taken_ = 0;  // of pending_
  uint64_t sent_ = 0;
  uint64_t allowed_ = 0;
  bool finish_ = false;
  TrafficLog* log_ = nullptr;
  size_t index_ = 0;
};

}  // namespace npg::testing

#endif  // NODEPORT_GUARD_TESTS_TESTING_API_REPLY_H_
